//! RSA keys of 2048, 3072 and 4096 bits with two primes (RFC 8017). Every private operation is blinded.

use super::{BadKey, Draws, Hash, KeyError, SecretBytes, SignatureAlgorithm};
use crate::env::Env;
use rsa::{
    BoxedUint, Oaep, Pkcs1v15Sign, PrivateKey, Pss, PublicKey,
    pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey},
    pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, PrivateKeyInfoRef, spki},
    traits::{PrivateKeyParts, PublicKeyParts},
};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use std::io;

/// Sizes of the modulus that are offered, bits.
pub const RSA_BITS: [u32; 3] = [2048, 3072, 4096];

/// The hash of RSA-OAEP, and of its mask generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OaepHash {
    /// `RSA-OAEP` (RFC 7518, 4.3): SHA-1, of which only the resistance to preimages matters here.
    Sha1,
    /// `RSA-OAEP-256`.
    Sha256,
}

/// See the module.
pub struct RsaPrivate(Box<PrivateKey>);

/// See the module.
#[derive(Clone, PartialEq)]
pub struct RsaPublic(PublicKey);

/// The numbers of a private key, big-endian.
pub(super) struct Numbers<'a> {
    pub(super) n: &'a [u8],
    pub(super) e: &'a [u8],
    pub(super) d: &'a [u8],
    /// Both primes, or neither: they are found from the others.
    pub(super) primes: Option<(&'a [u8], &'a [u8])>,
}

fn number(bytes: &[u8]) -> Result<BoxedUint, BadKey> {
    if bytes.len() > 1024 {
        return Err(BadKey("a number of the RSA key is longer than 8192 bits"));
    }
    Ok(BoxedUint::from_be_slice_vartime(bytes))
}

fn io_error(error: rsa::Error) -> io::Error {
    io::Error::other(error.to_string())
}

impl RsaPrivate {
    pub(super) fn generate(env: &Env, bits: u32) -> io::Result<RsaPrivate> {
        assert!(RSA_BITS.contains(&bits), "checked by who asks");
        let key = PrivateKey::new(&mut Draws(env), bits as usize).map_err(io_error)?;
        Ok(RsaPrivate(Box::new(key)))
    }

    /// Checks what was sent: size, exponent, and that the numbers belong together.
    fn checked(key: rsa::Result<PrivateKey>) -> Result<RsaPrivate, BadKey> {
        let key = key.map_err(|_| BadKey("the numbers of the RSA key do not belong together"))?;
        if key.primes().len() != 2 {
            return Err(BadKey("an RSA key must have two primes"));
        }
        RsaPublic::checked(key.to_public_key())?;
        Ok(RsaPrivate(Box::new(key)))
    }

    pub(super) fn of_numbers(numbers: &Numbers<'_>) -> Result<RsaPrivate, BadKey> {
        let Numbers { n, e, d, primes } = numbers;
        let primes = match primes {
            Some((p, q)) => vec![number(p)?, number(q)?],
            None => Vec::new(),
        };
        RsaPrivate::checked(PrivateKey::from_components(number(n)?, number(e)?, number(d)?, primes))
    }

    /// `None`: it is PKCS #8 of another kind of key.
    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Option<RsaPrivate>, BadKey> {
        let info = PrivateKeyInfoRef::try_from(der).map_err(|_| BadKey("it is not PKCS #8"))?;
        if info.algorithm.oid != rsa::pkcs1::ALGORITHM_OID {
            return Ok(None);
        }
        let key = PrivateKey::from_pkcs8_der(der).map_err(|_| rsa::Error::InvalidArguments);
        RsaPrivate::checked(key).map(Some)
    }

    pub(super) fn to_pkcs8(&self) -> SecretBytes {
        SecretBytes::new(self.0.to_pkcs8_der().expect("a checked key").as_bytes().to_vec())
    }

    pub(super) fn from_pkcs1(der: &[u8]) -> Result<RsaPrivate, BadKey> {
        let key = PrivateKey::from_pkcs1_der(der).map_err(|_| BadKey("it is not PKCS #1 of an RSA key"))?;
        RsaPrivate::checked(Ok(key))
    }

    pub(super) fn to_pkcs1(&self) -> SecretBytes {
        SecretBytes::new(self.0.to_pkcs1_der().expect("a checked key").as_bytes().to_vec())
    }

    pub(super) fn public(&self) -> RsaPublic {
        RsaPublic(self.0.to_public_key())
    }

    /// Private exponent and both primes, big-endian.
    pub(super) fn secrets(&self) -> [SecretBytes; 3] {
        let bytes = |number: &BoxedUint| SecretBytes::new(number.to_be_bytes_trimmed_vartime().into_vec());
        let primes = self.0.primes();
        [bytes(self.0.d()), bytes(&primes[0]), bytes(&primes[1])]
    }

    pub(super) fn sign(
        &self,
        env: &Env,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let mut draws = Draws(env);
        let signed = match algorithm {
            SignatureAlgorithm::Rs(hash) => self.0.sign_with_rng(&mut draws, pkcs1(hash), digest),
            SignatureAlgorithm::Ps(Hash::Sha256) => {
                self.0.sign_with_rng(&mut draws, Pss::<Sha256>::new(), digest)
            }
            SignatureAlgorithm::Ps(Hash::Sha384) => {
                self.0.sign_with_rng(&mut draws, Pss::<Sha384>::new(), digest)
            }
            SignatureAlgorithm::Ps(Hash::Sha512) => {
                self.0.sign_with_rng(&mut draws, Pss::<Sha512>::new(), digest)
            }
            SignatureAlgorithm::Es(_) => return Err(KeyError::WrongAlgorithm),
        };
        signed.map_err(|error| KeyError::Entropy(io_error(error)))
    }

    pub(super) fn unwrap(&self, env: &Env, hash: OaepHash, wrapped: &[u8]) -> Result<SecretBytes, KeyError> {
        let mut draws = Draws(env);
        let opened = match hash {
            OaepHash::Sha1 => self.0.decrypt_blinded(&mut draws, Oaep::<Sha1>::new(), wrapped),
            OaepHash::Sha256 => self.0.decrypt_blinded(&mut draws, Oaep::<Sha256>::new(), wrapped),
        };
        opened.map(SecretBytes::new).map_err(|_| KeyError::DoesNotOpen)
    }
}

fn pkcs1(hash: Hash) -> Pkcs1v15Sign {
    match hash {
        Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
        Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
        Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
    }
}

impl RsaPublic {
    fn checked(key: PublicKey) -> Result<RsaPublic, BadKey> {
        if !RSA_BITS.contains(&key.n().bit_width_vartime()) {
            return Err(BadKey("an RSA key must have 2048, 3072 or 4096 bits"));
        }
        let e = key.e();
        let odd = key.e_bytes().last().is_some_and(|byte| byte % 2 == 1);
        // FIPS 186-5, A.1.1 asks for more than 2^16.
        if e.bit_width_vartime() < 17 || !odd {
            return Err(BadKey("the public exponent must be odd, and 65537 or greater"));
        }
        Ok(RsaPublic(key))
    }

    pub(super) fn of_numbers(n: &[u8], e: &[u8]) -> Result<RsaPublic, BadKey> {
        let key = PublicKey::new(number(n)?, number(e)?);
        RsaPublic::checked(key.map_err(|_| BadKey("it is no public key of RSA"))?)
    }

    /// `None`: it is SPKI of another kind of key.
    pub(super) fn from_spki(der: &[u8]) -> Result<Option<RsaPublic>, BadKey> {
        let bad = BadKey("it is not SPKI");
        let info = spki::SubjectPublicKeyInfoRef::try_from(der).map_err(|_| bad)?;
        if info.algorithm.oid != rsa::pkcs1::ALGORITHM_OID {
            return Ok(None);
        }
        RsaPublic::checked(PublicKey::from_public_key_der(der).map_err(|_| bad)?).map(Some)
    }

    pub(super) fn to_spki(&self) -> Vec<u8> {
        self.0.to_public_key_der().expect("a checked key").into_vec()
    }

    pub(super) fn bits(&self) -> u32 {
        self.0.n().bit_width_vartime()
    }

    /// Modulus and exponent, big-endian.
    pub(super) fn numbers(&self) -> [Vec<u8>; 2] {
        [self.0.n_bytes().into_vec(), self.0.e_bytes().into_vec()]
    }

    pub(super) fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<bool, KeyError> {
        let verified = match algorithm {
            SignatureAlgorithm::Rs(hash) => self.0.verify(pkcs1(hash), digest, signature),
            SignatureAlgorithm::Ps(Hash::Sha256) => self.0.verify(Pss::<Sha256>::new(), digest, signature),
            SignatureAlgorithm::Ps(Hash::Sha384) => self.0.verify(Pss::<Sha384>::new(), digest, signature),
            SignatureAlgorithm::Ps(Hash::Sha512) => self.0.verify(Pss::<Sha512>::new(), digest, signature),
            SignatureAlgorithm::Es(_) => return Err(KeyError::WrongAlgorithm),
        };
        Ok(verified.is_ok())
    }

    pub(super) fn wrap(&self, env: &Env, hash: OaepHash, key: &SecretBytes) -> Result<Vec<u8>, KeyError> {
        let mut draws = Draws(env);
        let wrapped = match hash {
            OaepHash::Sha1 => self.0.encrypt(&mut draws, Oaep::<Sha1>::new(), key.expose()),
            OaepHash::Sha256 => self.0.encrypt(&mut draws, Oaep::<Sha256>::new(), key.expose()),
        };
        wrapped.map_err(|error| KeyError::Entropy(io_error(error)))
    }
}
