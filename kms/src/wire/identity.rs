//! Who a node is, as its certificate says: one SAN URI `kms://<region>/<role>/<zone>/<id>`. Reads names
//! only; whether the certificate may be believed is for [`super::tls`] to check first.

use crate::config::Zone;
use std::fmt;
use x509_parser::{extensions::GeneralName, prelude::parse_x509_certificate};

/// What the other end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerRole {
    /// Serves REST to clients.
    Host,
    /// Keeps sealed records.
    Database,
    /// Passes client connections on.
    Entry,
    /// Knows which epoch is current.
    Witness,
    /// Follows the committed log from another region.
    Replica,
    /// The person (or tool) that runs the region.
    Operator,
}

impl PeerRole {
    /// The word used in certificates.
    pub fn word(self) -> &'static str {
        match self {
            PeerRole::Host => "host",
            PeerRole::Database => "database",
            PeerRole::Entry => "entry",
            PeerRole::Witness => "witness",
            PeerRole::Replica => "replica",
            PeerRole::Operator => "operator",
        }
    }

    fn parse(word: &str) -> Option<PeerRole> {
        use PeerRole::{Database, Entry, Host, Operator, Replica, Witness};
        let all = [Host, Database, Entry, Witness, Replica, Operator];
        all.into_iter().find(|role| role.word() == word)
    }

    /// Whether nodes of this role belong to a zone.
    pub fn has_zone(self) -> bool {
        matches!(self, PeerRole::Host | PeerRole::Database)
    }
}

/// The name in a node's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it is.
    pub role: PeerRole,
    /// The region it belongs to.
    pub region: String,
    /// Its zone; `None` for entries and operators.
    pub zone: Option<Zone>,
    /// Its unique name in the region.
    pub node_id: String,
}

impl fmt::Display for Peer {
    /// The SAN URI.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.zone.map_or("-", Zone::word);
        write!(f, "kms://{}/{}/{zone}/{}", self.region, self.role.word(), self.node_id)
    }
}

/// Why a certificate names no node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// Not a certificate.
    #[error("certificate cannot be parsed")]
    Unreadable,
    /// No `kms://` name.
    #[error("certificate has no SAN URI kms://<region>/<role>/<zone>/<id>: issue it with `kms init`")]
    NoName,
    /// More than one `kms://` name.
    #[error("certificate has several kms:// SAN URIs: a node has one name")]
    SeveralNames,
    /// The name is not of the form.
    #[error("SAN URI of the certificate is not kms://<region>/<role>/<zone>/<id>")]
    Malformed,
}

impl Peer {
    /// Reads the SAN URI of a certificate.
    ///
    /// # Errors
    /// [`BadIdentity`]; any bytes are fine as input.
    pub fn from_certificate(der: &[u8]) -> Result<Peer, BadIdentity> {
        let (rest, certificate) = parse_x509_certificate(der).map_err(|_| BadIdentity::Unreadable)?;
        if !rest.is_empty() {
            return Err(BadIdentity::Unreadable);
        }
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| BadIdentity::Unreadable)?
            .ok_or(BadIdentity::NoName)?;
        let mut uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix("kms://"),
            _ => None,
        });
        let uri = uris.next().ok_or(BadIdentity::NoName)?;
        if uris.next().is_some() {
            return Err(BadIdentity::SeveralNames);
        }
        Peer::parse_name(uri).ok_or(BadIdentity::Malformed)
    }

    /// `<region>/<role>/<zone>/<id>`.
    fn parse_name(name: &str) -> Option<Peer> {
        let mut parts = name.split('/');
        let (region, role, zone, node_id) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || region.is_empty() || node_id.is_empty() {
            return None;
        }
        let role = PeerRole::parse(role)?;
        let zone = match zone {
            "a" => Some(Zone::A),
            "b" => Some(Zone::B),
            "-" => None,
            _ => return None,
        };
        (zone.is_some() == role.has_zone()).then(|| Peer {
            role,
            region: region.to_owned(),
            zone,
            node_id: node_id.to_owned(),
        })
    }
}

/// The name and the public key in a certificate.
///
/// # Errors
/// [`BadIdentity`].
pub fn public_key(der: &[u8]) -> Result<(Peer, Vec<u8>), BadIdentity> {
    let peer = Peer::from_certificate(der)?;
    let (_, certificate) = parse_x509_certificate(der).map_err(|_| BadIdentity::Unreadable)?;
    Ok((peer, certificate.public_key().subject_public_key.data.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::{Peer, PeerRole};
    use crate::config::Zone;

    #[test]
    fn names_parse_back() {
        for name in [
            "r/host/a/h1",
            "r/database/b/db-b",
            "r/entry/-/entry",
            "r/witness/-/witness",
            "r/operator/-/operator",
        ] {
            let peer = Peer::parse_name(name).expect("well formed");
            assert_eq!(peer.to_string(), format!("kms://{name}"));
        }
        let peer = Peer::parse_name("eu-west-rbx/host/b/host-b1").expect("well formed");
        assert_eq!((peer.role, peer.zone), (PeerRole::Host, Some(Zone::B)));
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "r",
            "r/host/a",
            "r/host/a/",
            "/host/a/x",
            "r/host/-/x",
            "r/host/c/x",
            "r/king/-/x",
            "r/entry/a/x",
            "r/host/a/x/y",
        ] {
            assert_eq!(Peer::parse_name(name), None, "{name}");
        }
        assert!(Peer::from_certificate(b"\x30\x03\x02\x01").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_fine_as_input(bytes: Vec<u8>, name: String) {
            let _ = Peer::from_certificate(&bytes);
            if let Some(peer) = Peer::parse_name(&name) {
                proptest::prop_assert_eq!(peer.to_string(), format!("kms://{}", name));
            }
        }

        #[test]
        fn damaged_certificates_never_panic(at in 0..600usize, mask in 1..=255u8) {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::default();
            let uri = "kms://r/host/a/h1".try_into().expect("ASCII");
            params.subject_alt_names.push(rcgen::SanType::URI(uri));
            let mut der = params.self_signed(&key).expect("a certificate").der().to_vec();
            proptest::prop_assert!(Peer::from_certificate(&der).is_ok());
            let at = at % der.len();
            der[at] ^= mask;
            let _ = Peer::from_certificate(&der);
            let _ = Peer::from_certificate(&der[..at]);
        }
    }
}
