//! Signs with an active key, and says whether a signature is a key's. What is signed is a message, or its digest; what comes out is the
//! signature, or a compact JWS (RFC 7515) that has the message in it. A signature that is wrong is an answer, not an error.

use super::{HostService, Operations, encrypt::Use};
use crate::{
    crypto::asymmetric::{KeyError, SignatureAlgorithm},
    error::{Code, Error},
    iam::{Authorized, action},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde::{Deserialize, Serialize};

/// Longest message, or digest, bytes.
pub const MESSAGE_MAX_BYTES: usize = 4096;

/// What is signed.
#[derive(Clone, PartialEq, Eq)]
pub enum Message {
    /// It is hashed here.
    Whole(Vec<u8>),
    /// It was hashed by the client.
    Digest(Vec<u8>),
}

impl Message {
    fn digest(self, algorithm: SignatureAlgorithm) -> Vec<u8> {
        match self {
            Message::Whole(message) => algorithm.hash().digest(&message),
            Message::Digest(digest) => digest,
        }
    }
}

/// In which form a signature is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureFormat {
    /// The bytes.
    Raw,
    /// Compact JWS: the message is the payload.
    Jws,
    /// As `Jws`, of a JSON object, with `typ` JWT (RFC 7519).
    Jwt,
}

impl SignatureFormat {
    /// The format of a word.
    pub fn of_word(word: &str) -> Option<SignatureFormat> {
        Some(match word {
            "raw" => SignatureFormat::Raw,
            "jws" => SignatureFormat::Jws,
            "jwt" => SignatureFormat::Jwt,
            _ => return None,
        })
    }
}

/// A signature as it is given out, or was.
#[derive(Clone, PartialEq, Eq)]
pub enum Signature {
    /// The bytes.
    Raw(Vec<u8>),
    /// A compact JWS.
    Token(String),
}

/// What is to be verified.
pub struct ToVerify {
    /// What is said to be a signature.
    pub signature: Signature,
    /// What it is said to be of; a token has it in it.
    pub message: Option<Message>,
    /// How it is said to be made; a token says so itself.
    pub algorithm: Option<SignatureAlgorithm>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(default, skip_serializing)]
    crit: Option<serde::de::IgnoredAny>,
    #[serde(default, skip_serializing)]
    b64: Option<bool>,
}

fn said(error: KeyError) -> Error {
    match error {
        KeyError::WrongAlgorithm => Error::bad("alg is not one of this key's"),
        KeyError::DigestLength => Error::bad("the digest has not the length of the hash of alg"),
        KeyError::DoesNotOpen => Error::internal("nothing is opened here"),
        KeyError::Entropy(error) => Error::from(error),
    }
}

fn too_long() -> Error {
    Error::bad("message is longer than 4096 bytes")
}

impl HostService {
    /// Signs.
    ///
    /// # Errors
    /// `BadArgument`, `KeyNotFound`, `WrongState`, `WrongUse`, `Refused`, `Integrity`.
    pub async fn sign(
        &self,
        may: &Authorized<action::Sign>,
        (message, algorithm): (Message, SignatureAlgorithm),
        format: SignatureFormat,
    ) -> Result<Signature, Error> {
        let id = *may.of();
        let (Message::Whole(bytes) | Message::Digest(bytes)) = &message;
        if bytes.len() > MESSAGE_MAX_BYTES {
            return Err(too_long());
        }
        let signer = self.to_use(may.domain(), id, (Operations::SIGN, Use::Protect)).await?;
        let key = self.private_half(&signer)?;
        if format == SignatureFormat::Raw {
            let signature = match &message {
                Message::Whole(message) => key.sign_message(&self.env, algorithm, message),
                Message::Digest(digest) => key.sign(&self.env, algorithm, digest),
            };
            return signature.map(Signature::Raw).map_err(said);
        }
        let Message::Whole(payload) = message else {
            return Err(Error::bad("a jws or jwt has the message in it: isdigest must not be true"));
        };
        let jwt = format == SignatureFormat::Jwt;
        let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&payload);
        if jwt && object.is_err() {
            return Err(Error::bad("the claims of a jwt are a JSON object"));
        }
        let header = Header {
            alg: algorithm.word().to_owned(),
            typ: jwt.then(|| "JWT".to_owned()),
            kid: Some(id.to_string()),
            crit: None,
            b64: None,
        };
        let header = serde_json::to_vec(&header).map_err(|_| Error::internal("a header is not written"))?;
        let input = format!("{}.{}", B64.encode(header), B64.encode(payload));
        let signature = key.sign_message(&self.env, algorithm, input.as_bytes()).map_err(said)?;
        Ok(Signature::Token(format!("{input}.{}", B64.encode(signature))))
    }

    /// Whether a signature is this key's.
    ///
    /// # Errors
    /// `BadArgument`, `KeyNotFound`, `WrongState`, `WrongUse`, `Refused`, `Integrity`.
    pub async fn verify(&self, may: &Authorized<action::Verify>, asked: ToVerify) -> Result<bool, Error> {
        let id = *may.of();
        let signer = self.to_use(may.domain(), id, (Operations::VERIFY, Use::Process)).await?;
        let key = self.public_half(&signer)?;
        let ToVerify { signature, message, algorithm } = asked;
        match signature {
            Signature::Raw(signature) => {
                let algorithm = algorithm.ok_or_else(|| Error::bad("alg is missing"))?;
                let message = message.ok_or_else(|| Error::bad("message is missing"))?;
                key.verify(algorithm, &message.digest(algorithm), &signature).map_err(said)
            }
            Signature::Token(token) => {
                let Some(read) = Token::read(&token) else { return Ok(false) };
                if algorithm.is_some_and(|algorithm| algorithm != read.algorithm) {
                    return Ok(false);
                }
                let same = match message {
                    None => true,
                    Some(Message::Whole(message)) => message == read.payload,
                    Some(Message::Digest(_)) => {
                        return Err(Error::bad(
                            "a jws or jwt has the message in it: isdigest must not be true",
                        ));
                    }
                };
                let digest = read.algorithm.hash().digest(read.input.as_bytes());
                let verified = key.verify(read.algorithm, &digest, &read.signature).map_err(said)?;
                Ok(verified && same)
            }
        }
    }
}

/// A compact JWS.
struct Token<'a> {
    algorithm: SignatureAlgorithm,
    input: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Token<'_> {
    /// `None`: it is none, or needs something that is not understood here.
    fn read(token: &str) -> Option<Token<'_>> {
        let (input, signature) = token.rsplit_once('.')?;
        let (header, payload) = input.split_once('.')?;
        let header: Header = serde_json::from_slice(&B64.decode(header).ok()?).ok()?;
        if header.crit.is_some() || header.b64 == Some(false) {
            return None;
        }
        Some(Token {
            algorithm: SignatureAlgorithm::of_word(&header.alg)?,
            input,
            payload: B64.decode(payload).ok()?,
            signature: B64.decode(signature).ok()?,
        })
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Error {
        match error {
            KeyError::WrongAlgorithm => {
                Error::new(Code::WrongUse, "the key is not of the type that this needs")
            }
            other => said(other),
        }
    }
}
