//! Issues the certificates of a region: a node CA, an access CA, and what they sign. ECDSA P-256, Ed25519
//! for the operator. Serial numbers and dates come from the [`Env`].

use super::InitError;
use crate::{
    env::{Env, Purpose},
    iam::LIFE_MAX_DAYS,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PKCS_RSA_SHA512, SanType, SerialNumber,
    SignatureAlgorithm, string::Ia5String,
};
use std::{net::IpAddr, time::Duration};
use time::OffsetDateTime;
use uuid::Uuid;

/// How far a certificate is dated back, for clocks that differ.
const BACKDATE: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Life of the CAs.
const CA_LIFE: Duration = DAY.saturating_mul(20 * 365);
/// Life of node and operator certificates.
const NODE_LIFE: Duration = DAY.saturating_mul(10 * 365);
/// Life of client certificates, counted from their (backdated) beginning.
const CLIENT_LIFE: Duration = DAY.saturating_mul(365);

/// A certificate and its private key, PEM.
pub(super) struct Issued {
    pub(super) cert_pem: String,
    pub(super) key_pem: String,
}

/// A certificate authority that can sign.
pub(super) struct Authority {
    pub(super) own: Issued,
    issuer: Issuer<'static, KeyPair>,
}

impl From<rcgen::Error> for InitError {
    fn from(error: rcgen::Error) -> Self {
        InitError::Certificate(error.to_string())
    }
}

impl Authority {
    pub(super) fn new(env: &Env, common_name: &str) -> Result<Authority, InitError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(env, common_name, serial(env)?, CA_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert_pem = params.self_signed(&key)?.pem();
        let own = Issued { cert_pem, key_pem: key.serialize_pem() };
        Ok(Authority { own, issuer: Issuer::new(params, key) })
    }

    /// A node's certificate: `uri` is who it is, `names` are what REST clients call it (hosts only).
    pub(super) fn node(&self, env: &Env, uri: &str, names: &[String]) -> Result<Issued, InitError> {
        self.member(env, uri, names, &PKCS_ECDSA_P256_SHA256)
    }

    /// The operator's certificate.
    pub(super) fn operator(&self, env: &Env, uri: &str) -> Result<Issued, InitError> {
        self.member(env, uri, &[], &PKCS_ED25519)
    }

    fn member(
        &self,
        env: &Env,
        uri: &str,
        names: &[String],
        algorithm: &'static SignatureAlgorithm,
    ) -> Result<Issued, InitError> {
        let key = KeyPair::generate_for(algorithm)?;
        let common_name = uri.rsplit('/').next().unwrap_or(uri);
        let mut params = params(env, common_name, serial(env)?, NODE_LIFE)?;
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri)?));
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName(dns_name(name)?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, key)
    }

    /// A client's certificate for `domain`: the domain is in a critical SAN (UPN `okms.domain:<uuid>`), the
    /// serial number is the id of the credential.
    pub(super) fn client(&self, env: &Env, domain: Uuid) -> Result<Issued, InitError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        self.sign(client_params(env, domain, serial(env)?, CLIENT_LIFE)?, key)
    }

    fn sign(&self, mut params: CertificateParams, key: KeyPair) -> Result<Issued, InitError> {
        params.use_authority_key_identifier_extension = true;
        let cert_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { cert_pem, key_pem: key.serialize_pem() })
    }
}

/// The access CA of a region, where its private key is: with the operator. No host has it.
pub struct AccessCa {
    issuer: Issuer<'static, KeyPair>,
}

/// An access certificate that was just signed.
pub struct SignedCredential {
    /// Its serial number.
    pub id: Uuid,
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PEM (PKCS #8), if it was made here. Shown once, and kept nowhere.
    pub key_pem: Option<zeroize::Zeroizing<String>>,
    /// When it ends, Unix seconds.
    pub expires_s: u64,
}

impl AccessCa {
    /// Reads the certificate and the private key that `kms init` wrote.
    ///
    /// # Errors
    /// [`InitError::Certificate`].
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<AccessCa, InitError> {
        let key = KeyPair::from_pem(key_pem)?;
        Ok(AccessCa { issuer: Issuer::from_ca_cert_pem(cert_pem, key)? })
    }

    /// Signs an access certificate of a domain, for so many days: for the key of a certificate signing request (PKCS #10, PEM), whose
    /// signature is checked and of which nothing but the key is taken; or for a key that is made here.
    ///
    /// # Errors
    /// [`InitError::Spec`] for what cannot be signed.
    pub fn sign(
        &self,
        env: &Env,
        domain: Uuid,
        request: Option<&str>,
        days: u32,
    ) -> Result<SignedCredential, InitError> {
        if !(1..=LIFE_MAX_DAYS).contains(&days) {
            return Err(InitError::Spec(format!("a certificate is valid for 1 to {LIFE_MAX_DAYS} days")));
        }
        let serial = serial(env)?;
        let mut params = client_params(env, domain, serial, DAY.saturating_mul(days))?;
        params.use_authority_key_identifier_extension = true;
        let expires_s = u64::try_from(params.not_after.unix_timestamp()).unwrap_or(0);
        let (certificate, key_pem) = match request {
            Some(request) => {
                let request = CertificateSigningRequestParams::from_pem(request)
                    .map_err(|error| InitError::Spec(format!("the certificate signing request: {error}")))?;
                let algorithms =
                    [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_RSA_SHA256, &PKCS_RSA_SHA512];
                if !algorithms.contains(&request.public_key.algorithm()) {
                    let why =
                        "the key of the certificate signing request must be RSA, or EC on P-256 or P-384";
                    return Err(InitError::Spec(why.to_owned()));
                }
                (params.signed_by(&request.public_key, &self.issuer)?, None)
            }
            None => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                let certificate = params.signed_by(&key, &self.issuer)?;
                (certificate, Some(zeroize::Zeroizing::new(key.serialize_pem())))
            }
        };
        let (id, certificate_pem) = (Uuid::from_bytes(serial), certificate.pem());
        Ok(SignedCredential { id, certificate_pem, key_pem, expires_s })
    }
}

fn client_params(
    env: &Env,
    domain: Uuid,
    serial: [u8; 16],
    life: Duration,
) -> Result<CertificateParams, InitError> {
    let mut params = params(env, &domain.to_string(), serial, life)?;
    let mut san = CustomExtension::from_oid_content(&[2, 5, 29, 17], domain_san(domain));
    san.set_criticality(true);
    params.custom_extensions.push(san);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// Random, and always 16 bytes with no sign byte in DER: it doubles as the UUID of a credential.
fn serial(env: &Env) -> Result<[u8; 16], InitError> {
    let mut uuid = uuid::Builder::from_random_bytes(env.random(Purpose::Public).map_err(InitError::Entropy)?)
        .into_uuid()
        .into_bytes();
    uuid[0] = uuid[0] & 0x7f | 0x40;
    Ok(uuid)
}

fn params(
    env: &Env,
    common_name: &str,
    serial: [u8; 16],
    life: Duration,
) -> Result<CertificateParams, InitError> {
    let begin = env.clock.wall().saturating_sub(BACKDATE);
    let date = |at: Duration| {
        i64::try_from(at.as_secs())
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .ok_or_else(|| InitError::Certificate("the wall clock is beyond the year 9999".to_owned()))
    };
    let mut params = CertificateParams::default();
    params.not_before = date(begin)?;
    params.not_after = date(begin + life)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

fn dns_name(name: &str) -> Result<Ia5String, InitError> {
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if name.len() > 253
        || !name.split('.').enumerate().all(|(at, label)| label_ok(label) || at == 0 && label == "*")
    {
        return Err(InitError::Spec(format!(
            "endpoint name {name:?} is neither a DNS name nor an IP address"
        )));
    }
    Ok(Ia5String::try_from(name)?)
}

/// `GeneralNames { otherName { 1.3.6.1.4.1.311.20.2.3, [0] UTF8String "okms.domain:<uuid>" } }` in DER. By
/// hand because the library marks a SAN critical only when the subject is empty.
fn domain_san(domain: Uuid) -> Vec<u8> {
    const UPN: [u8; 12] = [0x06, 10, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x14, 0x02, 0x03];
    let text = der(0x0c, format!("okms.domain:{domain}").as_bytes());
    let other_name = [&UPN[..], &der(0xa0, &text)].concat();
    der(0x30, &der(0xa0, &other_name))
}

/// A DER element with a length below 128, which everything here has.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128);
    let mut element = vec![tag, content.len() as u8];
    element.extend_from_slice(content);
    element
}
