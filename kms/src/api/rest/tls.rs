//! TLS towards clients: a client certificate is optional, but one that is shown must be issued by the access
//! CA (not by the node CA) and be valid now, by this node's clock. Session resumption is off: each
//! connection shows its certificate.

use crate::{
    config::NodeConfig,
    env::{Clock, Env},
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    time_provider::TimeProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why the REST endpoint's certificates could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, io::Error),
    /// A file holds no certificate or key in PEM.
    #[error("{0}: no {1} in PEM")]
    Pem(PathBuf, &'static str),
    /// The configuration names no access CA.
    #[error("a host needs `access_ca`")]
    NoAccessCa,
    /// Certificate and key were refused by the TLS library.
    #[error("certificate of the REST endpoint: {0}")]
    Refused(String),
}

/// The node's clock, for the validity of certificates.
struct NodeTime(Arc<dyn Clock>);

impl fmt::Debug for NodeTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeTime")
    }
}

impl TimeProvider for NodeTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.wall()))
    }
}

fn read(env: &Env, path: &Path) -> Result<Vec<u8>, TlsError> {
    let contents = env.disk.read(path).map_err(|error| TlsError::Read(path.into(), error))?;
    contents.ok_or_else(|| TlsError::Read(path.into(), io::ErrorKind::NotFound.into()))
}

fn certificates(env: &Env, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(env, path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(TlsError::Pem(path.into(), "certificate")),
    }
}

/// The TLS configuration of a host's REST endpoint.
///
/// # Errors
/// [`TlsError`] names the file at fault.
pub(super) fn server_config(env: &Env, config: &NodeConfig) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(default_provider());
    let access_ca = config.access_ca.as_deref().ok_or(TlsError::NoAccessCa)?;
    let mut roots = RootCertStore::empty();
    for ca in certificates(env, access_ca)? {
        roots.add(ca).map_err(|_| TlsError::Pem(access_ca.into(), "CA certificate"))?;
    }
    let refused = |error: &dyn fmt::Display| TlsError::Refused(error.to_string());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| refused(&error))?;
    let chain = certificates(env, &config.cert)?;
    let key = zeroize::Zeroizing::new(read(env, &config.key)?);
    let key =
        PrivateKeyDer::from_pem_slice(&key).map_err(|_| TlsError::Pem(config.key.clone(), "private key"))?;
    let time = Arc::new(NodeTime(Arc::clone(&env.clock)));
    let mut tls = ServerConfig::builder_with_details(provider, time)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| refused(&error))?;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}
