//! What a person who runs a region does to it: `operator.toml` says where its nodes are; [`ask`] asks and orders
//! a single node once, a [`session`] signs what is ordered and asks until it is answered; [`rebuild`] makes a lost zone anew,
//! [`restore`] a lost region, [`witness`] replaces a witness, [`domain`] ends the service of a domain; [`admin`] asks a host about
//! access; [`seals`] tells whether records open; [`unseal`] gives hosts their root key, and takes it away; [`rotation`] is about another
//! set of shares.

pub mod admin;
pub mod ask;
pub mod domain;
mod meant;
pub mod rebuild;
pub mod restore;
pub mod rotation;
pub mod seals;
pub mod session;
pub mod unseal;
mod watch;
pub mod witness;

use crate::{
    config::ConfigError,
    crypto::OperatorKey,
    env::{Disk, Env},
    wire::tls::{NodePem, NodeTls, TlsError, read_file},
};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Where the nodes of a region are, and the operator's certificate. Relative paths are relative to the
/// directory of `operator.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorConfig {
    /// Region id.
    pub region: String,
    /// Operator's certificate, PEM.
    pub cert: PathBuf,
    /// Operator's private key, PEM (PKCS #8).
    pub key: PathBuf,
    /// CA of the nodes, PEM.
    pub node_ca: PathBuf,
    /// Node address of the head database.
    pub head: String,
    /// Node address of the tail database.
    pub tail: String,
    /// Node address of the witness.
    pub witness: String,
    /// Node address of the replica, if the region has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// REST addresses of the hosts.
    pub hosts: Vec<String>,
    /// Address of the entry.
    pub entry: String,
    /// Where hosts are administered: any that answers is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admin: Vec<String>,
}

impl OperatorConfig {
    /// Reads the file; paths in the result are resolved against its directory.
    ///
    /// # Errors
    /// [`ConfigError`] says what to mend.
    pub fn load(disk: &dyn Disk, path: &Path) -> Result<OperatorConfig, ConfigError> {
        let bytes = disk
            .read(path)
            .map_err(|error| ConfigError::Read(path.into(), error))?
            .ok_or_else(|| ConfigError::Missing(path.into()))?;
        let syntax = |text: String| ConfigError::Syntax(path.into(), text);
        let text = String::from_utf8(bytes).map_err(|_| syntax("not UTF-8".to_owned()))?;
        let mut config: OperatorConfig = toml::from_str(&text).map_err(|error| syntax(error.to_string()))?;
        let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
        for field in [&mut config.cert, &mut config.key, &mut config.node_ca] {
            *field = dir.join(&*field);
        }
        Ok(config)
    }

    /// The key that the operator signs statements with.
    ///
    /// # Errors
    /// [`TlsError`] says what is wrong with the file.
    pub fn signer(&self, env: &Env) -> Result<OperatorKey, TlsError> {
        let pem = read_file(env, "operator key", &self.key)?;
        OperatorKey::from_pem(&pem).map_err(|error| TlsError::Refused(error.to_string()))
    }

    /// The operator's side of mutual TLS; a handshake takes at most `handshake`.
    ///
    /// # Errors
    /// [`TlsError`] says which file is wrong.
    pub fn tls(&self, env: &Env, handshake: Duration) -> Result<Arc<NodeTls>, TlsError> {
        let cert = read_file(env, "operator certificate", &self.cert)?;
        let key = read_file(env, "operator key", &self.key)?;
        let node_ca = read_file(env, "node CA", &self.node_ca)?;
        NodeTls::from_pem(env, &NodePem { cert: &cert, key: &key, node_ca: &node_ca }, handshake)
    }
}
