//! Names and sizes: curves, hashes and signature algorithms (RFC 7518, 3.1 and 6.2.1.1).

use ring::digest;

/// A curve of NIST (FIPS 186-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Curve {
    /// P-256.
    P256,
    /// P-384.
    P384,
    /// P-521.
    P521,
}

/// All curves.
pub const CURVES: [Curve; 3] = [Curve::P256, Curve::P384, Curve::P521];

impl Curve {
    /// Its name in JWK and bodies.
    pub fn word(self) -> &'static str {
        match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        }
    }

    /// The curve of a name.
    pub fn of_word(word: &str) -> Option<Curve> {
        CURVES.into_iter().find(|curve| curve.word() == word)
    }

    /// Bits of its field.
    pub fn bits(self) -> u32 {
        match self {
            Curve::P256 => 256,
            Curve::P384 => 384,
            Curve::P521 => 521,
        }
    }

    /// Bytes of a coordinate, of a private key, and of either half of a signature.
    pub fn bytes(self) -> usize {
        (self.bits() as usize).div_ceil(8)
    }
}

/// A hash of the SHA-2 family (FIPS 180-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Length of a digest, bytes.
    pub fn bytes(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    /// The digest of a message.
    pub fn digest(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha384 => &digest::SHA384,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message).as_ref().to_vec()
    }
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ECDSA on a curve, with the hash that goes with it: ES256, ES384, ES512.
    Es(Curve),
    /// RSASSA-PKCS1-v1_5: RS256, RS384, RS512.
    Rs(Hash),
    /// RSASSA-PSS with a salt as long as the hash: PS256, PS384, PS512.
    Ps(Hash),
}

/// All algorithms with their names.
const WORDS: [(SignatureAlgorithm, &str); 9] = [
    (SignatureAlgorithm::Es(Curve::P256), "ES256"),
    (SignatureAlgorithm::Es(Curve::P384), "ES384"),
    (SignatureAlgorithm::Es(Curve::P521), "ES512"),
    (SignatureAlgorithm::Rs(Hash::Sha256), "RS256"),
    (SignatureAlgorithm::Rs(Hash::Sha384), "RS384"),
    (SignatureAlgorithm::Rs(Hash::Sha512), "RS512"),
    (SignatureAlgorithm::Ps(Hash::Sha256), "PS256"),
    (SignatureAlgorithm::Ps(Hash::Sha384), "PS384"),
    (SignatureAlgorithm::Ps(Hash::Sha512), "PS512"),
];

impl SignatureAlgorithm {
    /// The algorithm of a name.
    pub fn of_word(word: &str) -> Option<SignatureAlgorithm> {
        WORDS.iter().find(|(_, text)| *text == word).map(|(algorithm, _)| *algorithm)
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        WORDS.iter().find(|(algorithm, _)| *algorithm == self).map_or("", |(_, text)| *text)
    }

    /// The hash of the message that is signed.
    pub fn hash(self) -> Hash {
        match self {
            SignatureAlgorithm::Es(Curve::P256) => Hash::Sha256,
            SignatureAlgorithm::Es(Curve::P384) => Hash::Sha384,
            SignatureAlgorithm::Es(Curve::P521) => Hash::Sha512,
            SignatureAlgorithm::Rs(hash) | SignatureAlgorithm::Ps(hash) => hash,
        }
    }
}
