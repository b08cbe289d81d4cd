//! Keys on the curves of NIST, for ECDSA alone. Each is used with the hash that RFC 7518 names for its curve.

use super::{BadKey, Curve, Draws, KeyError, SecretBytes, SignatureAlgorithm};
use crate::env::Env;
use std::io;

/// One variant for each curve, and what is the same for all.
macro_rules! curves {
    ($($name:ident = $krate:ident),*) => {
        /// See the module. With its public half, which is worked out once: that costs as much as a signature.
        pub enum EcPrivate {
            $(#[doc = stringify!($name)] $name($krate::ecdsa::SigningKey),)*
        }

        /// See the module.
        #[derive(Clone, PartialEq)]
        pub enum EcPublic {
            $(#[doc = stringify!($name)] $name($krate::PublicKey),)*
        }

        impl EcPrivate {
            pub(super) fn generate(env: &Env, curve: Curve) -> io::Result<EcPrivate> {
                use rsa::rand_core::TryRng;
                match curve {
                    $(Curve::$name => loop {
                        let mut bytes = SecretBytes::new(vec![0; curve.bytes()]);
                        Draws(env).try_fill_bytes(bytes.expose_mut())?;
                        // Candidates beyond the order are thrown away (FIPS 186-5, A.2.2).
                        if curve == Curve::P521 {
                            bytes.expose_mut()[0] &= 1;
                        }
                        if let Ok(key) = $krate::ecdsa::SigningKey::from_slice(bytes.expose()) {
                            return Ok(EcPrivate::$name(key));
                        }
                    },)*
                }
            }

            pub(super) fn of_number(curve: Curve, d: &[u8]) -> Result<EcPrivate, BadKey> {
                let bad = BadKey("d is no private key of the curve");
                match curve {
                    $(Curve::$name => {
                        $krate::ecdsa::SigningKey::from_slice(d).map(EcPrivate::$name).map_err(|_| bad)
                    })*
                }
            }

            pub(super) fn from_pkcs8(der: &[u8]) -> Result<EcPrivate, BadKey> {
                $({
                    use $krate::pkcs8::DecodePrivateKey;
                    if let Ok(key) = $krate::ecdsa::SigningKey::from_pkcs8_der(der) {
                        return Ok(EcPrivate::$name(key));
                    }
                })*
                Err(BadKey("it is PKCS #8 of no RSA key, and of no key on P-256, P-384 or P-521"))
            }

            pub(super) fn to_pkcs8(&self) -> SecretBytes {
                match self {
                    $(EcPrivate::$name(key) => {
                        use $krate::pkcs8::EncodePrivateKey;
                        SecretBytes::new(key.to_pkcs8_der().expect("a key").as_bytes().to_vec())
                    })*
                }
            }

            /// The private number, as long as the curve's field.
            pub(super) fn number(&self) -> SecretBytes {
                match self {
                    $(EcPrivate::$name(key) => SecretBytes::new(key.to_bytes().to_vec()),)*
                }
            }

            pub(super) fn public(&self) -> EcPublic {
                match self {
                    $(EcPrivate::$name(key) => EcPublic::$name(key.verifying_key().into()),)*
                }
            }

            pub(super) fn sign(&self, algorithm: SignatureAlgorithm, digest: &[u8]) -> Result<Vec<u8>, KeyError> {
                match (self, algorithm) {
                    $((EcPrivate::$name(key), SignatureAlgorithm::Es(Curve::$name)) => {
                        use $krate::ecdsa::{Signature, signature::hazmat::PrehashSigner};
                        let signature: Signature =
                            key.sign_prehash(digest).map_err(|_| KeyError::DigestLength)?;
                        Ok(signature.to_bytes().to_vec())
                    })*
                    _ => Err(KeyError::WrongAlgorithm),
                }
            }
        }

        impl EcPublic {
            pub(super) fn of_point(curve: Curve, x: &[u8], y: &[u8]) -> Result<EcPublic, BadKey> {
                let bad = BadKey("x and y are no point of the curve");
                // SEC 1, 2.3.3: uncompressed.
                let point = [&[4], x, y].concat();
                match curve {
                    $(Curve::$name => {
                        $krate::PublicKey::from_sec1_bytes(&point).map(EcPublic::$name).map_err(|_| bad)
                    })*
                }
            }

            pub(super) fn from_spki(der: &[u8]) -> Result<EcPublic, BadKey> {
                $({
                    use $krate::pkcs8::DecodePublicKey;
                    if let Ok(key) = $krate::PublicKey::from_public_key_der(der) {
                        return Ok(EcPublic::$name(key));
                    }
                })*
                Err(BadKey("it is SPKI of no RSA key, and of no key on P-256, P-384 or P-521"))
            }

            pub(super) fn to_spki(&self) -> Vec<u8> {
                match self {
                    $(EcPublic::$name(key) => {
                        use $krate::pkcs8::EncodePublicKey;
                        key.to_public_key_der().expect("a key").into_vec()
                    })*
                }
            }

            pub(super) fn curve(&self) -> Curve {
                match self {
                    $(EcPublic::$name(_) => Curve::$name,)*
                }
            }

            /// Both coordinates, each as long as the curve's field.
            pub(super) fn point(&self) -> [Vec<u8>; 2] {
                let bytes = match self {
                    $(EcPublic::$name(key) => key.to_sec1_bytes().into_vec(),)*
                };
                let field = self.curve().bytes();
                // Crates of other curves default to compressed points: these do not.
                assert_eq!(bytes.len(), 1 + 2 * field, "an uncompressed point");
                [bytes[1..=field].to_vec(), bytes[1 + field..].to_vec()]
            }

            pub(super) fn verify(
                &self,
                algorithm: SignatureAlgorithm,
                digest: &[u8],
                signature: &[u8],
            ) -> Result<bool, KeyError> {
                match (self, algorithm) {
                    $((EcPublic::$name(key), SignatureAlgorithm::Es(Curve::$name)) => {
                        use $krate::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier};
                        let Ok(signature) = Signature::from_slice(signature) else { return Ok(false) };
                        Ok(VerifyingKey::from(key).verify_prehash(digest, &signature).is_ok())
                    })*
                    _ => Err(KeyError::WrongAlgorithm),
                }
            }
        }
    };
}

curves!(P256 = p256, P384 = p384, P521 = p521);
