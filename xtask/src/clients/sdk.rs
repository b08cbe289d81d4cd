//! OVHcloud's own library of its KMS for Go, unchanged, in the program `xtask/clients/sdk` that makes every call that it has.

use super::okms::{heard, on_path};
use super::{Came, token};
use crate::region::Region;
use crate::say;
use crate::shell::{self, Failure, harness};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longest that it may take to have the modules, and to build the program.
const BUILT_WITHIN: Duration = Duration::from_secs(600);
/// Longest that all calls of one identity may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(300);

/// Has the library make all its calls, against a region of its own in `run`: with the certificate of `kms dev`, then with a token.
///
/// # Errors
/// When the region cannot be started, or the program does not build.
pub fn come(root: &Path, home: &Path, kms: &Path, run: &Path) -> Result<Came, Failure> {
    let program = match program(&root.join("xtask/clients/sdk"), home)? {
        Ok(program) => program,
        Err(why) => return Ok(Came::NotExercised(why)),
    };
    let region = Region::start(kms, run)?;
    if !held(&program, &region, "certificate", None)? {
        return Ok(Came::Broken(run.to_path_buf()));
    }
    let granted = token::grant(kms, &region, run)?;
    let tokens = run.join("tokens");
    fs::create_dir_all(&tokens)?;
    for (name, token) in
        [("allowed", granted.allowed), ("stranger", granted.stranger), ("forged", granted.forged)]
    {
        fs::write(tokens.join(name), token)?;
    }
    let held = held(&program, &region, "token", Some(&tokens))?;
    Ok(if held { Came::Held } else { Came::Broken(run.to_path_buf()) })
}

/// Whether the program found all as it must be, known in this way.
fn held(program: &Path, region: &Region, how: &str, tokens: Option<&Path>) -> Result<bool, Failure> {
    let mut command = Command::new(program);
    command.args([how, &region.address, &region.domain]).arg(&region.directory).args(tokens);
    say::err(format_args!("$ {}", shell::shown(&command)));
    let answer = heard(&mut command, ANSWERED_WITHIN)?;
    say::err(answer.err.trim_end());
    for line in answer.out.lines() {
        say::out(format_args!("sdk, {how}: {line}"));
    }
    Ok(answer.succeeded)
}

/// The program, built below `home` of what stands in `source`; or why there is none.
fn program(source: &Path, home: &Path) -> Result<Result<PathBuf, String>, Failure> {
    let Some(go) = on_path("go") else { return Ok(Err("there is no go to build it with".into())) };
    fs::create_dir_all(home)?;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&go);
        command.args(arguments).current_dir(source);
        // The module cache is where the go of whoever builds expects it below GOPATH, whatever else its environment says.
        command.env("GOPATH", home.join("go")).env("GOCACHE", home.join("cache"));
        command.env("GOMODCACHE", home.join("go/pkg/mod"));
        command.env("GOFLAGS", "-mod=readonly -modcacherw").env("GOWORK", "off");
        say::err(format_args!("$ {}", shell::shown(&command)));
        heard(&mut command, BUILT_WITHIN)
    };
    let modules = run(&["mod", "download"])?;
    if !modules.succeeded {
        say::err(modules.err.trim_end());
        return Ok(Err("go cannot have the modules that xtask/clients/sdk/go.mod lists".into()));
    }
    let program = home.join("bin/kms-clients-sdk");
    let build = run(&["build", "-trimpath", "-buildvcs=false", "-o", &program.to_string_lossy(), "."])?;
    if !build.succeeded {
        say::err(build.err.trim_end());
        return Err(harness("xtask/clients/sdk does not build"));
    }
    Ok(Ok(program))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_library_is_unchanged_and_in_one_version() {
        let modules = include_str!("../../clients/sdk/go.mod");
        let sums = include_str!("../../clients/sdk/go.sum");
        assert!(modules.contains("github.com/ovh/okms-sdk-go v0.5.1\n"), "{modules}");
        assert!(!modules.contains("replace"), "{modules}");
        for line in modules.lines().filter_map(|line| line.strip_prefix('\t')) {
            let named = line.trim_end_matches(" // indirect");
            assert!(sums.contains(&format!("{named} h1:")), "go.sum has nothing of {named}");
        }
    }
}
