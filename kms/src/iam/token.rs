//! Bearer tokens: JWT (RFC 7519) as compact JWS, signed by an issuer that the operator has configured for the domain. The algorithm is the
//! issuer's, and the token must name that very one: what a token says of itself decides nothing. `exp` is required.

use super::policy::{ENTRY_MAX_CHARS, check_name};
use crate::{
    crypto::asymmetric::{Jwk, JwkKey, PublicKey, SignatureAlgorithm},
    error::{Code, Error},
    limits::TOKEN_LEEWAY_S,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use ring::digest;
use serde::{Deserialize, Serialize};

/// Longest token, characters.
pub const TOKEN_MAX_CHARS: usize = 8 << 10;
/// Longest subject, characters.
const SUBJECT_MAX_CHARS: usize = 256;

/// Whose tokens are taken in a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Its name, for people.
    pub name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// What it signs with: ES256, ES384, ES512, RS256 to RS512, PS256 to PS512.
    pub algorithm: String,
    /// Its public key, a JWK.
    pub key: serde_json::Value,
    /// What must stand in `aud`; none: anything may.
    #[serde(default)]
    pub audience: Option<String>,
    /// What goes before `sub` to make the URN of an identity.
    pub identity_prefix: String,
}

/// An issuer whose key was read.
pub struct Known {
    issuer: Issuer,
    algorithm: SignatureAlgorithm,
    key: PublicKey,
}

impl Issuer {
    /// Checks an issuer, and reads its key.
    ///
    /// # Errors
    /// `BadArgument` says what is wrong.
    pub fn known(&self) -> Result<Known, Error> {
        check_name(&self.name)?;
        if self.issuer.is_empty() || self.issuer.len() > ENTRY_MAX_CHARS {
            return Err(Error::bad("issuer must have 1 to 512 characters"));
        }
        // What follows is the issuer's to choose: it must not be able to make a group or a credential of it.
        let kind = self.identity_prefix.strip_prefix("urn:v1:eu:identity:");
        let free = |kind: &str| {
            ["group:", "credential:"].iter().all(|own| !own.starts_with(kind) && !kind.starts_with(own))
        };
        if !kind.is_some_and(free) || self.identity_prefix.contains('*') {
            return Err(Error::bad(
                "identity_prefix must begin with urn:v1:eu:identity: and a kind other than group and credential, such as \
                 urn:v1:eu:identity:user:acme/, and have no *",
            ));
        }
        let algorithm = SignatureAlgorithm::of_word(&self.algorithm).ok_or_else(|| {
            Error::bad("algorithm must be one of ES256 ES384 ES512 RS256 RS384 RS512 PS256 PS384 PS512")
        })?;
        let jwk: Jwk =
            serde_json::from_value(self.key.clone()).map_err(|_| Error::bad("key must be a public JWK"))?;
        let key = match jwk.key() {
            Ok(JwkKey::Public(key)) => key,
            Ok(_) => return Err(Error::bad("key must be a public JWK: keep the private half at the issuer")),
            Err(error) => return Err(Error::bad(error.0)),
        };
        if key.verify(algorithm, &vec![0; algorithm.hash().bytes()], &[]).is_err() {
            return Err(Error::bad("the algorithm is not one of this key"));
        }
        Ok(Known { issuer: self.clone(), algorithm, key })
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Dates may have a fraction (RFC 7519, 2).
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// A token that was read and not believed yet.
pub struct Bearer {
    header: Header,
    claims: Claims,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

fn unauthorised(sentence: &'static str) -> Error {
    Error::new(Code::Unauthorised, sentence)
}

impl Bearer {
    /// Reads a token.
    ///
    /// # Errors
    /// `Unauthorised`.
    pub fn parse(token: &str) -> Result<Bearer, Error> {
        let read = || {
            if token.len() > TOKEN_MAX_CHARS {
                return None;
            }
            let (signed, signature) = token.rsplit_once('.')?;
            let (header, claims) = signed.split_once('.')?;
            let header = serde_json::from_slice(&B64.decode(header).ok()?).ok()?;
            let claims = serde_json::from_slice(&B64.decode(claims).ok()?).ok()?;
            let signature = B64.decode(signature).ok()?;
            Some(Bearer { header, claims, signed: signed.as_bytes().to_vec(), signature })
        };
        read().ok_or_else(|| unauthorised("the bearer token is no JWT with iss and sub"))
    }

    /// What this very token is known by, without it: a digest.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.signed);
        context.update(b".");
        context.update(&self.signature);
        let mut print = [0; 32];
        print.copy_from_slice(context.finish().as_ref());
        print
    }

    /// Whose token it is: the URN of an identity.
    ///
    /// # Errors
    /// `Unauthorised` says what does not hold; all tokens that no issuer of the domain has signed are the same.
    pub fn verify(&self, issuers: &[Known], now_s: u64) -> Result<String, Error> {
        let digest = |known: &Known| known.algorithm.hash().digest(&self.signed);
        let signed = |known: &&Known| {
            self.header.crit.is_none()
                && known.issuer.issuer == self.claims.iss
                && known.issuer.algorithm == self.header.alg
                && known.key.verify(known.algorithm, &digest(known), &self.signature).unwrap_or(false)
        };
        let known = issuers
            .iter()
            .find(signed)
            .ok_or_else(|| unauthorised("the bearer token is not signed by an issuer of this domain"))?;
        let (now, leeway) = (now_s as f64, TOKEN_LEEWAY_S as f64);
        match self.claims.exp {
            Some(exp) if now < exp + leeway => {}
            Some(_) => return Err(unauthorised("the bearer token has expired")),
            None => return Err(unauthorised("the bearer token has no exp")),
        }
        if self.claims.nbf.is_some_and(|nbf| now + leeway < nbf) {
            return Err(unauthorised("the bearer token is not valid yet"));
        }
        if let Some(wanted) = &known.issuer.audience {
            let meant = match &self.claims.aud {
                Some(Audience::One(one)) => one == wanted,
                Some(Audience::Several(several)) => several.contains(wanted),
                None => false,
            };
            if !meant {
                return Err(unauthorised("the bearer token is for another audience"));
            }
        }
        let subject = &self.claims.sub;
        let plain = subject.bytes().all(|byte| byte.is_ascii_graphic());
        if subject.is_empty() || subject.len() > SUBJECT_MAX_CHARS || !plain {
            return Err(unauthorised("the subject of the bearer token is no name of an identity"));
        }
        Ok(format!("{}{subject}", known.issuer.identity_prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{
        asymmetric::{Curve, PrivateKey, Shape},
        testing::counting,
    };
    use serde_json::{Value, json};

    fn issuer(key: &PrivateKey) -> Issuer {
        Issuer {
            name: "idp".to_owned(),
            issuer: "https://idp".to_owned(),
            algorithm: "ES256".to_owned(),
            key: serde_json::to_value(Jwk::of_public(&key.public())).expect("JSON"),
            audience: Some("kms".to_owned()),
            identity_prefix: "urn:v1:eu:identity:user:x/".to_owned(),
        }
    }

    fn token(key: &PrivateKey, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let algorithm = SignatureAlgorithm::of_word("ES256").expect("an algorithm");
        let digest = algorithm.hash().digest(signed.as_bytes());
        let signature = key.sign(&counting(), algorithm, &digest).expect("signed");
        format!("{signed}.{}", B64.encode(signature))
    }

    #[test]
    fn only_what_the_issuer_signed_and_for_now_and_for_us() {
        let env = counting();
        let key = PrivateKey::generate(&env, Shape::Ec(Curve::P256)).expect("a key");
        let other = PrivateKey::generate(&env, Shape::Ec(Curve::P256)).expect("a key");
        let known = [issuer(&key).known().expect("an issuer")];
        let (header, now) = (json!({"alg": "ES256"}), 1_000_000);
        let claims = json!({"iss": "https://idp", "sub": "bob", "aud": ["a", "kms"], "exp": now + 60});
        let with = |name: &str, value: Value| {
            let mut changed = claims.clone();
            changed[name] = value;
            changed
        };
        let verify = |token: &str, at| Bearer::parse(token).and_then(|bearer| bearer.verify(&known, at));
        let good = token(&key, &header, &claims);
        assert_eq!(verify(&good, now).ok().as_deref(), Some("urn:v1:eu:identity:user:x/bob"));
        let leeway = now + 60 + TOKEN_LEEWAY_S;
        assert!(verify(&good, leeway - 1).is_ok() && verify(&good, leeway).is_err());
        let refused = [
            token(&other, &header, &claims),
            token(&key, &json!({"alg": "none"}), &claims),
            token(&key, &json!({"alg": "HS256"}), &claims),
            token(&key, &json!({"alg": "ES384"}), &claims),
            token(&key, &json!({"alg": "ES256", "crit": ["exp"]}), &claims),
            token(&key, &header, &with("iss", json!("https://other"))),
            token(&key, &header, &with("aud", json!("other"))),
            token(&key, &header, &with("aud", Value::Null)),
            token(&key, &header, &with("exp", Value::Null)),
            token(&key, &header, &with("nbf", json!(now + 1_000))),
            token(&key, &header, &with("sub", json!(""))),
            token(&key, &header, &with("sub", json!("a b"))),
            good.rsplit_once('.').map(|(signed, _)| format!("{signed}.")).expect("dots"),
            "a.b.c".to_owned(),
            String::new(),
        ];
        for (place, token) in refused.iter().enumerate() {
            assert!(verify(token, now).is_err(), "token {place}");
        }
        // Whatever byte is changed, it is not believed.
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(bytes).expect("ASCII");
            assert!(verify(&tampered, now).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_issuer_has_a_public_key_of_its_algorithm() {
        let key = PrivateKey::generate(&counting(), Shape::Ec(Curve::P256)).expect("a key");
        let good = issuer(&key);
        assert!(good.known().is_ok());
        let private = serde_json::to_value(Jwk::of_private(&key)).expect("JSON");
        for bad in [
            Issuer { algorithm: "HS256".to_owned(), ..good.clone() },
            Issuer { algorithm: "none".to_owned(), ..good.clone() },
            Issuer { algorithm: "RS256".to_owned(), ..good.clone() },
            Issuer { key: private, ..good.clone() },
            Issuer { key: json!({"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAA"}), ..good.clone() },
            Issuer { identity_prefix: "*".to_owned(), ..good.clone() },
        ] {
            assert!(bad.known().is_err());
        }
    }
}
