//! An issuer of tokens: JWT (RFC 7519) as compact JWS with ES256, made with *ring* and not with the service's own code. Makes good tokens,
//! and such as must not be believed.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use kms::env::Env;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It never ends.
    NoEnd,
    /// It ended ten minutes ago.
    Ended,
    /// It is good in ten minutes.
    Early,
    /// Somebody else signed it.
    Forged,
    /// It says that it is not signed, and is not.
    Unsigned,
    /// It is for somebody else.
    Elsewhere,
}

/// Every flaw.
pub const FLAWS: [Flaw; 6] =
    [Flaw::NoEnd, Flaw::Ended, Flaw::Early, Flaw::Forged, Flaw::Unsigned, Flaw::Elsewhere];

/// A good token lasts as long as any run.
const LIFE_S: u64 = 30 * 86_400;
const OFF_S: u64 = 600;
/// What must stand in `aud`.
pub const AUDIENCE: &str = "kms";

/// An issuer.
pub struct TokenIssuer {
    name: String,
    key: EcdsaKeyPair,
}

#[expect(
    clippy::disallowed_methods,
    reason = "no part of the service; in a simulated world what ring draws comes from the seed"
)]
fn random() -> SystemRandom {
    SystemRandom::new()
}

fn key() -> Result<EcdsaKeyPair, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let random = random();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|error| text(&error))?;
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).map_err(|error| text(&error))
}

impl TokenIssuer {
    /// One of this name (`iss`), with a key of its own.
    ///
    /// # Errors
    /// No randomness: a harness error.
    pub fn new(name: String) -> Result<TokenIssuer, String> {
        Ok(TokenIssuer { name, key: key()? })
    }

    /// Its `iss`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its public key, a JWK.
    pub fn jwk(&self) -> Value {
        // An uncompressed point (SEC 1, 2.3.3): 4, x, y.
        let point = self.key.public_key().as_ref();
        let (x, y) = (B64.encode(&point[1..33]), B64.encode(&point[33..65]));
        json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
    }

    /// A token for a subject, perhaps with a flaw.
    ///
    /// # Errors
    /// No randomness: a harness error.
    pub fn token(&self, env: &Env, subject: &str, flaw: Option<Flaw>) -> Result<String, String> {
        let now = env.clock.wall().as_secs();
        let mut claims = json!({ "iss": self.name, "sub": subject, "aud": AUDIENCE, "exp": now + LIFE_S });
        let mut algorithm = "ES256";
        match flaw {
            Some(Flaw::NoEnd) => drop(claims.as_object_mut().and_then(|claims| claims.remove("exp"))),
            Some(Flaw::Ended) => claims["exp"] = json!(now - OFF_S),
            Some(Flaw::Early) => claims["nbf"] = json!(now + OFF_S),
            Some(Flaw::Elsewhere) => claims["aud"] = json!("another"),
            Some(Flaw::Unsigned) => algorithm = "none",
            Some(Flaw::Forged) | None => {}
        }
        let header = json!({ "alg": algorithm, "typ": "JWT" });
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        if flaw == Some(Flaw::Unsigned) {
            return Ok(format!("{signed}."));
        }
        let other;
        let key = match flaw {
            Some(Flaw::Forged) => {
                other = key()?;
                &other
            }
            _ => &self.key,
        };
        let signature = key.sign(&random(), signed.as_bytes()).map_err(|error| error.to_string())?;
        Ok(format!("{signed}.{}", B64.encode(signature)))
    }
}
