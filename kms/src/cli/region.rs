//! A region as a tree of directories: `<node>/` for each node, `operator/`, `clients/`, `ca.pem`,
//! `okms.yaml`. Appears whole or not at all.

use super::Failure;
use clap::{ArgGroup, Args};
use kms::{
    env::{Disk, Env, Purpose},
    init::{Bundle, InitError, install, write_files},
    operator::OperatorConfig,
};
use std::path::{Path, PathBuf};

impl From<InitError> for Failure {
    fn from(error: InitError) -> Failure {
        match error {
            InitError::Spec(_) | InitError::Exists(_) => Failure::usage(error),
            other => Failure::runtime(other),
        }
    }
}

/// Writes a region to `dir`, which must not exist or be empty: beside it first, then renamed.
pub(super) fn write(env: &Env, dir: &Path, bundle: &Bundle) -> Result<(), Failure> {
    let disk = &*env.disk;
    let on_disk = |path: &Path| {
        let path = path.to_path_buf();
        move |error| Failure::from(InitError::Disk(path, error))
    };
    if !disk.list(dir).map_err(on_disk(dir))?.is_empty() {
        return Err(InitError::Exists(dir.into()).into());
    }
    let tag: [u8; 4] = env.random(Purpose::Public).map_err(Failure::runtime)?;
    let mut partial = dir.as_os_str().to_owned();
    partial.push(format!(".partial-{}", tag.map(|byte| format!("{byte:02x}")).concat()));
    let partial = PathBuf::from(partial);
    for node in &bundle.nodes {
        install(disk, &partial.join(node.dir()), node)?;
    }
    write_files(disk, &partial.join("operator"), &bundle.operator)?;
    for client in &bundle.clients {
        write_files(disk, &partial.join("clients"), &client.files())?;
    }
    let small = |name: &str, contents: String| {
        let path = partial.join(name);
        disk.write_atomic(&path, contents.as_bytes(), false).map_err(on_disk(&path))
    };
    small("ca.pem", bundle.ca_pem.clone())?;
    let domains: Vec<String> = bundle.domains.iter().map(|domain| format!("{domain}\n")).collect();
    small("domains.txt", domains.concat())?;
    if let Some(client) = bundle.clients.first() {
        small("okms.yaml", okms_yaml(dir, &bundle.endpoint, &client.name))?;
    }
    disk.sync_dir(&partial).map_err(on_disk(&partial))?;
    disk.rename(&partial, dir).map_err(on_disk(dir))?;
    let parent = dir.parent().unwrap_or(Path::new("/"));
    disk.sync_dir(parent).map_err(on_disk(parent))
}

/// Configuration of the `okms` command line tool.
fn okms_yaml(dir: &Path, endpoint: &str, client: &str) -> String {
    // A JSON string is a YAML string.
    let quoted = |path: PathBuf| serde_json::Value::from(path.to_string_lossy()).to_string();
    let ca = quoted(dir.join("ca.pem"));
    let cert = quoted(dir.join("clients").join(format!("{client}.crt")));
    let key = quoted(dir.join("clients").join(format!("{client}.key")));
    format!(
        "version: 1\n\
         profile: default\n\
         profiles:\n  \
           default:\n    \
             restapi:\n      \
               endpoint: \"https://{endpoint}\"\n      \
               ca: {ca}\n      \
               auth: {{ type: mtls, cert: {cert}, key: {key} }}\n"
    )
}

/// Reads a small text file that a region must have.
pub(super) fn read_text(disk: &dyn Disk, path: &Path) -> Result<String, Failure> {
    let bytes = disk
        .read(path)
        .map_err(|error| Failure::runtime(format!("{}: {error}", path.display())))?
        .ok_or_else(|| Failure::usage(format!("{} is missing", path.display())))?;
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not text", path.display())))
}

/// Which region an operator's command is about.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which region").required(true).args(["config", "dir"])))]
pub(super) struct WhichRegion {
    /// The operator's configuration, as `kms init` writes it to DIR/operator/operator.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of `kms init --out` or `kms dev --dir`, instead of --config
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl WhichRegion {
    /// Reads the operator's configuration.
    pub(super) fn load(&self, env: &Env) -> Result<OperatorConfig, Failure> {
        OperatorConfig::load(&*env.disk, &self.file(env)?).map_err(Failure::usage)
    }

    /// The file of --config, if that is a node's configuration and not the operator's: it has a role.
    pub(super) fn node_file(&self, env: &Env) -> Result<Option<&Path>, Failure> {
        let Some(path) = &self.config else { return Ok(None) };
        let has_role = |text: &str| text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("role"));
        Ok(has_role(&read_text(&*env.disk, path)?).then_some(path))
    }

    /// The directory of the operator's configuration, where the keys of the CAs are.
    pub(super) fn operator_dir(&self, env: &Env) -> Result<PathBuf, Failure> {
        Ok(self.file(env)?.parent().unwrap_or(Path::new("")).to_path_buf())
    }

    fn file(&self, env: &Env) -> Result<PathBuf, Failure> {
        match &self.dir {
            Some(dir) => below(env, dir, "operator/operator.toml"),
            None => self.config.clone().ok_or_else(|| Failure::usage("give --config or --dir")),
        }
    }
}

/// A file of a region, below the directory of `kms init --out` or `kms dev --dir`.
pub(super) fn below(env: &Env, dir: &Path, file: &str) -> Result<PathBuf, Failure> {
    for place in [dir.join(file), dir.join("region").join(file)] {
        if env.disk.read(&place).map_err(Failure::runtime)?.is_some() {
            return Ok(place);
        }
    }
    Err(Failure::Usage(format!("no {file} in {}: make a region with `kms init` or `kms dev`", dir.display())))
}
