//! TLS 1.3 between nodes. Both ends show a certificate of the node CA; what counts is the chain and the
//! SAN URI (region, role, zone), never a DNS name. No session resumption: every connection proves itself.
//! Refuses everything it cannot check; knows nothing of client certificates of the REST endpoint.

pub use super::identity::{BadIdentity, Peer, PeerRole};

use super::identity;
use crate::{
    config::{NodeConfig, Zone},
    crypto::OperatorVerifier,
    env::{Clock, Env, Stream},
    limits::ms,
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, ring as provider, verify_tls13_signature},
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    time_provider::TimeProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use std::{fmt, future::Future, io, path::Path, path::PathBuf, sync::Arc, time::Duration};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use zeroize::Zeroizing;

/// Who a connection is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The role the peer's certificate must name.
    pub role: PeerRole,
    /// Its zone, if that matters.
    pub zone: Option<Zone>,
}

/// Why the TLS material of a node is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there.
    #[error("{what} {path} is missing: `kms init` writes it beside node.toml")]
    Missing {
        /// What the file is.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {what} {path}: {error}")]
    Read {
        /// What the file is.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// The disk's error.
        error: io::Error,
    },
    /// A file holds something else.
    #[error("{0} is not valid PEM of the kind expected")]
    Pem(&'static str),
    /// The certificate is for another node than the configuration says.
    #[error(
        "the node certificate is for {found}, but node.toml says {configured}: use the files `kms init` made for this node"
    )]
    OtherNode {
        /// The name in the certificate.
        found: String,
        /// The name in the configuration.
        configured: String,
    },
    /// The certificate names no node.
    #[error("node certificate: {0}")]
    Identity(#[from] BadIdentity),
    /// Key and certificate do not fit, or the library refuses them.
    #[error("node certificate, key and CA do not fit together: {0}")]
    Refused(String),
}

/// Gives rustls the node's wall clock.
pub struct WallTime(Arc<dyn Clock>);

impl WallTime {
    /// The wall clock of `env` as a rustls time provider.
    pub fn of(env: &Env) -> Arc<WallTime> {
        Arc::new(WallTime(env.clock.clone()))
    }
}

impl fmt::Debug for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallTime")
    }
}

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.wall()))
    }
}

/// The identity of this node and the CA of the others, ready for handshakes.
pub struct NodeTls {
    env: Env,
    identity: Peer,
    handshake: Duration,
    acceptor: TlsAcceptor,
    /// The same, for HTTP.
    http: TlsAcceptor,
    connector: TlsConnector,
    public: TlsConnector,
}

impl fmt::Debug for NodeTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeTls({})", self.identity)
    }
}

/// PEM texts of a node's certificate chain, its private key and the node CA.
pub struct NodePem<'a> {
    /// Certificate chain, the node's own first.
    pub cert: &'a [u8],
    /// Private key, PKCS #8.
    pub key: &'a [u8],
    /// Node CA.
    pub node_ca: &'a [u8],
}

impl NodeTls {
    /// Reads the files named in `config`.
    ///
    /// # Errors
    /// [`TlsError`] says which file is wrong, and what to do.
    pub fn load(env: &Env, config: &NodeConfig) -> Result<Arc<NodeTls>, TlsError> {
        let cert = read_file(env, "node certificate", &config.cert)?;
        let key = read_file(env, "node key", &config.key)?;
        let node_ca = read_file(env, "node CA", &config.node_ca)?;
        let pem = NodePem { cert: &cert, key: &key, node_ca: &node_ca };
        let tls = NodeTls::from_pem(env, &pem, ms(config.limits.handshake_ms))?;
        let configured = Peer {
            role: match config.role {
                crate::config::Role::Host => PeerRole::Host,
                crate::config::Role::Database => PeerRole::Database,
                crate::config::Role::Entry => PeerRole::Entry,
                crate::config::Role::Witness => PeerRole::Witness,
                crate::config::Role::Replica => PeerRole::Replica,
            },
            region: config.region.clone(),
            zone: config.zone,
            node_id: config.node_id.clone(),
        };
        if tls.identity != configured {
            return Err(TlsError::OtherNode {
                found: tls.identity.to_string(),
                configured: configured.to_string(),
            });
        }
        Ok(tls)
    }

    /// As [`NodeTls::load`] from texts, for tools that have no `node.toml` (the operator). The region is the
    /// certificate's. A handshake takes at most `handshake`.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn from_pem(env: &Env, pem: &NodePem<'_>, handshake: Duration) -> Result<Arc<NodeTls>, TlsError> {
        let chain = certificates(pem.cert).ok_or(TlsError::Pem("node certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(pem.key).map_err(|_| TlsError::Pem("node key"))?;
        let mut roots = RootCertStore::empty();
        for ca in certificates(pem.node_ca).ok_or(TlsError::Pem("node CA"))? {
            roots.add(ca).map_err(|error| TlsError::Refused(error.to_string()))?;
        }
        let identity = Peer::from_certificate(&chain[0])?;
        let parts = Parts {
            provider: Arc::new(provider::default_provider()),
            time: WallTime::of(env),
            roots: Arc::new(roots),
            region: identity.region.clone(),
        };
        let refused = |error: Error| TlsError::Refused(error.to_string());
        let acceptor = parts.acceptor(chain.clone(), key.clone_key())?;
        let mut http = (*acceptor).clone();
        http.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(NodeTls {
            env: env.clone(),
            handshake,
            acceptor: acceptor.into(),
            http: Arc::new(http).into(),
            connector: parts.connector(Some((chain, key))).map_err(refused)?.into(),
            public: parts.connector(None).map_err(refused)?.into(),
            identity,
        }))
    }

    /// The name in this node's own certificate.
    pub fn identity(&self) -> &Peer {
        &self.identity
    }

    /// Takes a connection of another node: a certificate of the node CA and of this region is required.
    ///
    /// # Errors
    /// `TimedOut` after the handshake bound, `InvalidData` with the reason if the peer is refused (it gets
    /// an alert), or the stream's own.
    pub async fn accept(&self, stream: Stream) -> io::Result<(server::TlsStream<Stream>, Peer)> {
        self.accept_by(&self.acceptor, stream).await
    }

    /// As [`NodeTls::accept`], and offers HTTP/2 and HTTP/1.1 by ALPN.
    ///
    /// # Errors
    /// As [`NodeTls::accept`].
    pub async fn accept_http(&self, stream: Stream) -> io::Result<(server::TlsStream<Stream>, Peer)> {
        self.accept_by(&self.http, stream).await
    }

    async fn accept_by(
        &self,
        acceptor: &TlsAcceptor,
        stream: Stream,
    ) -> io::Result<(server::TlsStream<Stream>, Peer)> {
        let stream = self.bounded(acceptor.accept(stream)).await?;
        let peer = peer_of(stream.get_ref().1.peer_certificates())?;
        Ok((stream, peer))
    }

    /// Connects to another node. In TLS 1.3 the peer judges our certificate after this returns: its refusal
    /// shows as an alert at the first read.
    ///
    /// # Errors
    /// `TimedOut` after the handshake bound, `InvalidData` with the reason if the peer is not the one
    /// expected, or the stream's own.
    pub async fn connect(
        &self,
        stream: Stream,
        expect: &Expected,
    ) -> io::Result<(client::TlsStream<Stream>, Peer)> {
        self.connect_by(&self.connector, stream, expect).await
    }

    /// As [`NodeTls::connect`], without a certificate of our own: for a host's REST endpoint, whose client
    /// certificates come from another CA. Speaks HTTP/1.1.
    ///
    /// # Errors
    /// As [`NodeTls::connect`].
    pub async fn connect_public(
        &self,
        stream: Stream,
        expect: &Expected,
    ) -> io::Result<(client::TlsStream<Stream>, Peer)> {
        self.connect_by(&self.public, stream, expect).await
    }

    async fn connect_by(
        &self,
        connector: &TlsConnector,
        stream: Stream,
        expect: &Expected,
    ) -> io::Result<(client::TlsStream<Stream>, Peer)> {
        let name = ServerName::try_from("node.kms.internal").map_err(invalid)?;
        let stream = self.bounded(connector.connect(name, stream)).await?;
        let peer = peer_of(stream.get_ref().1.peer_certificates())?;
        if peer.role != expect.role || expect.zone.is_some() && peer.zone != expect.zone {
            let zone = expect.zone.map_or(String::new(), |zone| format!(" of zone {}", zone.word()));
            return Err(invalid(format!(
                "peer is {peer}, expected a {}{zone}: check [peers] in node.toml",
                expect.role.word()
            )));
        }
        Ok((stream, peer))
    }

    async fn bounded<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        self.env
            .timeout(self.handshake, work)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "TLS handshake took too long")))
            .map_err(plain)
    }
}

/// All certificates of a PEM text; `None` if there is none, or the text is damaged.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!chain.is_empty()).then_some(chain)
}

/// The whole of a file that TLS or a signature depends on; `what` names it in the error.
///
/// # Errors
/// [`TlsError::Missing`], [`TlsError::Read`].
pub fn read_file(env: &Env, what: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    match env.disk.read(path) {
        Ok(Some(bytes)) => Ok(Zeroizing::new(bytes)),
        Ok(None) => Err(TlsError::Missing { what, path: path.into() }),
        Err(error) => Err(TlsError::Read { what, path: path.into(), error }),
    }
}

/// The public key in the operator's certificate, as a node was given it by `kms init`.
///
/// # Errors
/// [`TlsError`] says what is wrong with the file.
pub fn load_operator(env: &Env, path: &Path) -> Result<OperatorVerifier, TlsError> {
    const WHAT: &str = "operator certificate";
    let pem = read_file(env, WHAT, path)?;
    let der = CertificateDer::from_pem_slice(&pem).map_err(|_| TlsError::Pem(WHAT))?;
    let (peer, key) = identity::public_key(&der)?;
    if peer.role != PeerRole::Operator {
        return Err(TlsError::Pem(WHAT));
    }
    OperatorVerifier::new(&key).map_err(|error| TlsError::Refused(error.to_string()))
}

fn peer_of(chain: Option<&[CertificateDer<'_>]>) -> io::Result<Peer> {
    let leaf = chain.and_then(<[_]>::first).ok_or_else(|| invalid("peer shows no certificate"))?;
    Peer::from_certificate(leaf).map_err(invalid)
}

/// Our own reasons in their own words: the library prints them as debug text.
fn plain(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(CertificateError::Other(OtherError(reason)))) => {
            invalid(reason.to_string())
        }
        _ => error,
    }
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// What both directions are made of.
struct Parts {
    provider: Arc<CryptoProvider>,
    time: Arc<WallTime>,
    roots: Arc<RootCertStore>,
    region: String,
}

impl Parts {
    fn acceptor(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let chain_check =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), self.provider.clone())
                .build()
                .map_err(|error| TlsError::Refused(error.to_string()))?;
        let verifier = Arc::new(NodeClientVerifier { chain: chain_check, region: self.region.clone() });
        let mut config = ServerConfig::builder_with_details(self.provider.clone(), self.time.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| TlsError::Refused(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| TlsError::Refused(error.to_string()))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// `own` is the certificate to show, if one is to be shown.
    fn connector(
        &self,
        own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Arc<ClientConfig>, Error> {
        let verifier = Arc::new(NodeServerVerifier {
            provider: self.provider.clone(),
            roots: self.roots.clone(),
            region: self.region.clone(),
        });
        let builder = ClientConfig::builder_with_details(self.provider.clone(), self.time.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match own {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => {
                let mut config = builder.with_no_client_auth();
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                config
            }
        };
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Arc::new(config))
    }
}

/// A peer that the library accepts and we do not.
#[derive(Debug, thiserror::Error)]
enum Stranger {
    #[error(
        "certificate of peer is not signed by the node CA: use certificates of the same `kms init`, and the right node-ca.crt"
    )]
    OtherCa,
    #[error("certificate of peer is expired or not valid yet: check the clocks of both nodes, or renew it")]
    Validity,
    #[error("peer belongs to region {theirs}, this node to {ours}")]
    OtherRegion { theirs: String, ours: String },
    #[error("{0}")]
    Identity(#[from] BadIdentity),
}

impl From<Stranger> for Error {
    fn from(stranger: Stranger) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(stranger))))
    }
}

/// Says what to do about the usual reasons.
fn explain(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            Stranger::OtherCa.into()
        }
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Stranger::Validity.into(),
        other => other,
    }
}

fn check_region(leaf: &CertificateDer<'_>, region: &str) -> Result<(), Stranger> {
    let peer = Peer::from_certificate(leaf)?;
    if peer.region == region {
        Ok(())
    } else {
        Err(Stranger::OtherRegion { theirs: peer.region, ours: region.to_owned() })
    }
}

/// Checks a server by chain and SAN URI.
#[derive(Debug)]
struct NodeServerVerifier {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    region: String,
}

impl ServerCertVerifier for NodeServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, intermediates, now, algorithms)
            .map_err(explain)?;
        check_region(end_entity, &self.region)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken between nodes".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks a client by chain (the library's verifier) and SAN URI.
#[derive(Debug)]
struct NodeClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    region: String,
}

impl ClientCertVerifier for NodeClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now).map_err(explain)?;
        check_region(end_entity, &self.region)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
