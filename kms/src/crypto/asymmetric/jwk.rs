//! JSON Web Keys (RFC 7517) of the kinds that are offered, as their members come and go: base64url texts. Numbers may come without their
//! leading zeros, as some clients send them; they go as RFC 7518 wants them.

use super::{
    BadKey, Curve, Kind, PrivateKey, PublicKey,
    ec::{EcPrivate, EcPublic},
    rsa_key::{Numbers, RsaPrivate, RsaPublic},
};
use crate::crypto::SecretBytes;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// Lengths of symmetric keys, bytes.
const OCT_BYTES: [usize; 3] = [16, 24, 32];

/// Most zeros in front of a symmetric key that are put back: of random keys one in 2^32 begins with more, and what is much too short is a mistake.
const DROPPED_MAX: usize = 3;

/// Why a JWK is none that can be taken.
pub type BadJwk = BadKey;

/// A key as JSON. Holds secrets: wiped on drop, and not to be printed.
#[derive(Default, Serialize, Deserialize)]
pub struct Jwk {
    /// `oct`, `RSA` or `EC`.
    pub kty: String,
    /// Id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Intended use.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub use_: Option<String>,
    /// Permitted operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
    /// Algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// Modulus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// Public exponent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// A symmetric key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<String>,
    /// Curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// A coordinate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// The other one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// Private exponent, or private number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d: Option<String>,
    /// `d` modulo `p - 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dp: Option<String>,
    /// `d` modulo `q - 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dq: Option<String>,
    /// First prime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<String>,
    /// Second prime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Inverse of `q` modulo `p`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qi: Option<String>,
}

impl Drop for Jwk {
    fn drop(&mut self) {
        let secrets =
            [&mut self.k, &mut self.d, &mut self.dp, &mut self.dq, &mut self.p, &mut self.q, &mut self.qi];
        for text in secrets.into_iter().flatten() {
            text.zeroize();
        }
    }
}

/// What a JWK holds.
pub enum JwkKey {
    /// A symmetric key of 16, 24 or 32 bytes.
    Oct(SecretBytes),
    /// A key with both halves.
    Pair(PrivateKey),
    /// A public half alone.
    Public(PublicKey),
}

fn bytes(text: Option<&String>, missing: &'static str) -> Result<SecretBytes, BadKey> {
    let text = text.filter(|text| !text.is_empty()).ok_or(BadKey(missing))?;
    // Some encoders pad, although RFC 7515 says not to.
    let decoded = B64.decode(text.trim_end_matches('='));
    decoded.map(SecretBytes::new).map_err(|_| BadKey("a member of the JWK is not base64url"))
}

/// With zeros before it up to `len`; more than that must be zeros too.
fn padded(number: &SecretBytes, len: usize, long: &'static str) -> Result<SecretBytes, BadKey> {
    let bytes = number.expose();
    let (zeros, rest) = bytes.split_at(bytes.len().saturating_sub(len));
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(BadKey(long));
    }
    let mut out = SecretBytes::new(vec![0; len]);
    out.expose_mut()[len - rest.len()..].copy_from_slice(rest);
    Ok(out)
}

impl Jwk {
    /// Reads the key, and checks it.
    ///
    /// # Errors
    /// [`BadJwk`] says which member is wrong.
    pub fn key(&self) -> Result<JwkKey, BadJwk> {
        match self.kty.as_str() {
            "oct" => self.oct().map(JwkKey::Oct),
            "RSA" => self.rsa(),
            "EC" => self.ec(),
            _ => Err(BadKey("kty must be oct, RSA or EC")),
        }
    }

    /// A client that encodes through a number drops zeros in front: 15 bytes are 16 with one of them.
    fn oct(&self) -> Result<SecretBytes, BadKey> {
        let key = bytes(self.k.as_ref(), "an oct key needs k")?;
        let fits = |len: &usize| (len - DROPPED_MAX..=*len).contains(&key.expose().len());
        let len = OCT_BYTES.into_iter().find(fits);
        padded(&key, len.ok_or(BadKey("an oct key has 16, 24 or 32 bytes"))?, "k is too long")
    }

    fn rsa(&self) -> Result<JwkKey, BadKey> {
        let n = bytes(self.n.as_ref(), "an RSA key needs n")?;
        let e = bytes(self.e.as_ref(), "an RSA key needs e")?;
        let secrets = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi];
        if secrets.iter().all(|member| member.is_none()) {
            return RsaPublic::of_numbers(n.expose(), e.expose()).map(PublicKey::Rsa).map(JwkKey::Public);
        }
        let d = bytes(self.d.as_ref(), "an RSA private key needs d")?;
        let primes = match (&self.p, &self.q) {
            (None, None) => None,
            (p, q) => {
                let missing = "p and q of an RSA key come together";
                Some((bytes(p.as_ref(), missing)?, bytes(q.as_ref(), missing)?))
            }
        };
        let primes = primes.as_ref().map(|(p, q)| (p.expose(), q.expose()));
        let numbers = Numbers { n: n.expose(), e: e.expose(), d: d.expose(), primes };
        RsaPrivate::of_numbers(&numbers).map(PrivateKey::from).map(JwkKey::Pair)
    }

    fn ec(&self) -> Result<JwkKey, BadKey> {
        let crv = self.crv.as_deref().ok_or(BadKey("an EC key needs crv"))?;
        let curve = Curve::of_word(crv).ok_or(BadKey("crv must be P-256, P-384 or P-521"))?;
        let member = |text: &Option<String>, missing, long| {
            bytes(text.as_ref(), missing).and_then(|number| padded(&number, curve.bytes(), long))
        };
        let point = || {
            let x = member(&self.x, "an EC key needs x and y", "x is longer than the curve's field")?;
            let y = member(&self.y, "an EC key needs x and y", "y is longer than the curve's field")?;
            EcPublic::of_point(curve, x.expose(), y.expose())
        };
        if self.d.is_none() {
            return point().map(PublicKey::Ec).map(JwkKey::Public);
        }
        let d = member(&self.d, "an EC private key needs d", "d is longer than the curve's field")?;
        let key = EcPrivate::of_number(curve, d.expose())?;
        // x and y may be left out: d says them.
        if (self.x.is_some() || self.y.is_some()) && point()? != key.public() {
            return Err(BadKey("x and y are not the public half of d"));
        }
        Ok(JwkKey::Pair(key.into()))
    }

    fn of_kind(kty: &str) -> Jwk {
        let mut jwk = Jwk::default();
        kty.clone_into(&mut jwk.kty);
        jwk
    }

    /// The members of a symmetric key.
    pub fn of_oct(key: &SecretBytes) -> Jwk {
        let mut jwk = Jwk::of_kind("oct");
        jwk.k = Some(B64.encode(key.expose()));
        jwk
    }

    /// The members of a public key.
    pub fn of_public(key: &PublicKey) -> Jwk {
        let text = |bytes: &Vec<u8>| Some(B64.encode(bytes));
        match key {
            PublicKey::Rsa(key) => {
                let ([n, e], mut jwk) = (key.numbers(), Jwk::of_kind("RSA"));
                (jwk.n, jwk.e) = (text(&n), text(&e));
                jwk
            }
            PublicKey::Ec(key) => {
                let ([x, y], mut jwk) = (key.point(), Jwk::of_kind("EC"));
                jwk.crv = Some(key.curve().word().to_owned());
                (jwk.x, jwk.y) = (text(&x), text(&y));
                jwk
            }
        }
    }

    /// The members of a private key; of an RSA key without those that follow from the others.
    pub fn of_private(key: &PrivateKey) -> Jwk {
        let mut jwk = Jwk::of_public(&key.public());
        let text = |bytes: &SecretBytes| Some(B64.encode(bytes.expose()));
        match &key.kind {
            Kind::Rsa(key) => {
                let [d, p, q] = key.secrets();
                (jwk.d, jwk.p, jwk.q) = (text(&d), text(&p), text(&q));
            }
            Kind::Ec(key) => jwk.d = text(&key.number()),
        }
        jwk
    }
}
