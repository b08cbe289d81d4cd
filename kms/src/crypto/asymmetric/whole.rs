//! Signatures of whole messages by *ring*, which is three times as fast as the crates that sign digests (docs/performance.md) and signs nothing
//! else than messages. It draws nonces and salts from the operating system by itself, as TLS does.
//!
//! *ring* does not wipe its keys when they are dropped: the program `kms` wipes all memory that it gives back.

use super::{Curve, Hash, Kind, SignatureAlgorithm};
use ring::{
    rand::SystemRandom,
    rsa,
    signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, RsaEncoding},
};

/// A private key, as *ring* has it.
pub(super) enum WholeSigner {
    Ec(Curve, Box<EcdsaKeyPair>),
    Rsa(Box<rsa::KeyPair>),
}

#[expect(clippy::disallowed_methods, reason = "ring takes no other source")]
fn random() -> SystemRandom {
    SystemRandom::new()
}

fn on(curve: Curve) -> Option<&'static EcdsaSigningAlgorithm> {
    match curve {
        Curve::P256 => Some(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        Curve::P384 => Some(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        Curve::P521 => None,
    }
}

fn padding(algorithm: SignatureAlgorithm) -> Option<&'static dyn RsaEncoding> {
    Some(match algorithm {
        SignatureAlgorithm::Rs(Hash::Sha256) => &signature::RSA_PKCS1_SHA256,
        SignatureAlgorithm::Rs(Hash::Sha384) => &signature::RSA_PKCS1_SHA384,
        SignatureAlgorithm::Rs(Hash::Sha512) => &signature::RSA_PKCS1_SHA512,
        SignatureAlgorithm::Ps(Hash::Sha256) => &signature::RSA_PSS_SHA256,
        SignatureAlgorithm::Ps(Hash::Sha384) => &signature::RSA_PSS_SHA384,
        SignatureAlgorithm::Ps(Hash::Sha512) => &signature::RSA_PSS_SHA512,
        SignatureAlgorithm::Es(_) => return None,
    })
}

impl WholeSigner {
    /// `None`: *ring* does not take this key. It has no P-521, and no RSA whose primes differ in length.
    pub(super) fn new(key: &Kind) -> Option<WholeSigner> {
        match key {
            Kind::Ec(key) => {
                let public = key.public();
                let ([x, y], d) = (public.point(), key.number());
                let point = [&[4], &*x, &*y].concat();
                let algorithm = on(public.curve())?;
                EcdsaKeyPair::from_private_key_and_public_key(algorithm, d.expose(), &point, &random())
                    .ok()
                    .map(|pair| WholeSigner::Ec(public.curve(), Box::new(pair)))
            }
            Kind::Rsa(key) => {
                let pair = rsa::KeyPair::from_pkcs8(key.to_pkcs8().expose());
                pair.ok().map(|pair| WholeSigner::Rsa(Box::new(pair)))
            }
        }
    }

    /// `None`: the algorithm is not one of this key, or there was no randomness. Whoever signs the digest instead finds out which.
    pub(super) fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Option<Vec<u8>> {
        let random = random();
        match self {
            WholeSigner::Ec(curve, pair) => {
                let fits = algorithm == SignatureAlgorithm::Es(*curve);
                let signed = fits.then(|| pair.sign(&random, message))?;
                signed.ok().map(|signature| signature.as_ref().to_vec())
            }
            WholeSigner::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = pair.sign(padding(algorithm)?, &random, message, &mut signature);
                signed.ok().map(|()| signature)
            }
        }
    }
}
