//! The one error type of the service: a code, a public sentence, a private detail for the logs, and whose
//! fault it is. Status and number come from the code, never from the text. Knows no HTTP types.

use std::{borrow::Cow, fmt, io};

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The client asked for something it must not or cannot have.
    Caller,
    /// Another node did not do its part.
    Peer,
    /// This program.
    Us,
    /// A disk, or what it returned.
    Disk,
}

/// What went wrong. Each code has one HTTP status and one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The request is malformed or breaks a limit.
    BadArgument,
    /// A ciphertext or data key does not open with this key and context. One code for every reason.
    DecryptFailed,
    /// The key's permitted operations do not include the one asked for.
    WrongUse,
    /// The key may not leave the service.
    NotExtractable,
    /// Part of the documented service that this build does not offer.
    NotOffered,
    /// No client certificate or token, or one that is not, or not any more, valid for the domain.
    Unauthorised,
    /// The certificate is of another domain, or no policy allows it.
    Forbidden,
    /// No such key.
    KeyNotFound,
    /// No such secret.
    SecretNotFound,
    /// The secret has no such version, or its data is not to be had.
    VersionNotFound,
    /// No such policy, group, issuer or credential.
    AccessNotFound,
    /// No such domain in this region.
    DomainNotFound,
    /// No such path.
    PathNotFound,
    /// The path does not take this method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    Timeout,
    /// The id is taken, by a key or by the tombstone of one.
    Conflict,
    /// The key's state does not allow the operation.
    WrongState,
    /// The version is deleted, for good.
    VersionDeleted,
    /// The version that a write expects is not the current one.
    CasMismatch,
    /// A write must say which version it expects.
    CasRequired,
    /// More requests than the domain may make.
    TooMany,
    /// The domain has as many keys, or secrets, as it may.
    Full,
    /// The body is too large.
    TooLarge,
    /// The body is not JSON by its content type.
    WrongType,
    /// Definitely not done, and never will be; try again.
    Refused,
    /// A write that may have happened, may yet, or may never.
    Unknown,
    /// Stored data failed its integrity check in both zones.
    Integrity,
    /// A fault of this program.
    Internal,
}

/// How many codes there are; `Internal` stays the last one.
const CODES: usize = Code::Internal as usize + 1;

/// Numbers as OVHcloud composes them: major, minor, category, application (12 bits).
const fn number(major: u32, minor: u32, category: u32, app: u32) -> u32 {
    major << 24 | minor << 16 | category << 12 | app
}

impl Code {
    /// All of them, in their order.
    pub const ALL: [Code; CODES] = [
        Code::BadArgument,
        Code::DecryptFailed,
        Code::WrongUse,
        Code::NotExtractable,
        Code::NotOffered,
        Code::Unauthorised,
        Code::Forbidden,
        Code::KeyNotFound,
        Code::SecretNotFound,
        Code::VersionNotFound,
        Code::AccessNotFound,
        Code::DomainNotFound,
        Code::PathNotFound,
        Code::MethodNotAllowed,
        Code::Timeout,
        Code::Conflict,
        Code::WrongState,
        Code::VersionDeleted,
        Code::CasMismatch,
        Code::CasRequired,
        Code::TooMany,
        Code::Full,
        Code::TooLarge,
        Code::WrongType,
        Code::Refused,
        Code::Unknown,
        Code::Integrity,
        Code::Internal,
    ];

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Code::BadArgument
            | Code::DecryptFailed
            | Code::WrongUse
            | Code::NotExtractable
            | Code::CasMismatch
            | Code::CasRequired => 400,
            Code::Unauthorised => 401,
            Code::Forbidden => 403,
            Code::KeyNotFound
            | Code::SecretNotFound
            | Code::VersionNotFound
            | Code::AccessNotFound
            | Code::DomainNotFound
            | Code::PathNotFound => 404,
            Code::MethodNotAllowed => 405,
            Code::Timeout => 408,
            Code::Conflict | Code::WrongState | Code::VersionDeleted => 409,
            Code::TooLarge => 413,
            Code::WrongType => 415,
            Code::TooMany | Code::Full => 429,
            Code::Integrity | Code::Internal => 500,
            Code::NotOffered => 501,
            Code::Refused => 503,
            Code::Unknown => 504,
        }
    }

    /// The number clients decode: major 1 CCM, 3 REST, 5 database; category 1 internal, 2 argument,
    /// 3 authentication, 4 authorisation, 5 not found, 6 database, 7 unavailable, 8 bad argument, 9 too many requests, 10 conflict.
    pub const fn number(self) -> u32 {
        match self {
            Code::BadArgument => number(3, 3, 8, 1),
            Code::DecryptFailed => number(3, 3, 8, 2),
            Code::WrongUse => number(3, 3, 8, 3),
            Code::NotOffered => number(3, 3, 8, 4),
            Code::NotExtractable => number(3, 3, 8, 5),
            Code::Unauthorised => 50_475_011,
            Code::Forbidden => number(3, 2, 4, 1),
            Code::KeyNotFound => 17_190_913,
            Code::SecretNotFound => 17_125_377,
            Code::VersionNotFound => number(1, 5, 5, 2),
            Code::AccessNotFound => number(1, 2, 5, 1),
            Code::DomainNotFound => 16_994_305,
            Code::PathNotFound => number(3, 1, 5, 1),
            Code::MethodNotAllowed => number(3, 1, 2, 1),
            Code::Timeout => number(3, 1, 2, 2),
            Code::Conflict => 50_438_145,
            Code::WrongState => number(3, 3, 10, 1),
            Code::VersionDeleted => number(3, 4, 10, 1),
            Code::CasMismatch => number(3, 4, 8, 1),
            Code::CasRequired => number(3, 4, 8, 2),
            Code::TooLarge => number(3, 1, 2, 3),
            Code::WrongType => number(3, 1, 2, 4),
            Code::TooMany => 50_434_049,
            Code::Full => number(3, 1, 9, 2),
            Code::Refused => 50_425_858,
            Code::Unknown => 83_976_193,
            Code::Integrity => number(5, 1, 1, 1),
            Code::Internal => number(3, 1, 1, 1),
        }
    }

    /// What it was about, in the words of the numbers' categories.
    pub const fn category(self) -> &'static str {
        match self.number() >> 12 & 0xf {
            1 => "internal",
            2 => "argument",
            3 => "authentication",
            4 => "authorization",
            5 => "not_found",
            6 => "database",
            7 => "unavailable",
            8 => "bad_argument",
            9 => "too_many_requests",
            10 => "conflict",
            _ => "unspecified",
        }
    }

    /// Whose fault it is.
    pub const fn blame(self) -> Blame {
        match self {
            Code::Refused | Code::Unknown => Blame::Peer,
            Code::Integrity => Blame::Disk,
            Code::Internal => Blame::Us,
            _ => Blame::Caller,
        }
    }
}

/// An error of the service. `Display` is the public sentence; the private detail is for logs alone.
#[derive(Clone)]
pub struct Error {
    code: Code,
    public: Cow<'static, str>,
    detail: Option<Cow<'static, str>>,
}

impl Error {
    /// An error with its public sentence, which must hold nothing but what the caller sent or may know.
    pub fn new(code: Code, public: impl Into<Cow<'static, str>>) -> Error {
        Error { code, public: public.into(), detail: None }
    }

    /// Adds what only the logs may show. Never key material, names or contexts.
    #[must_use]
    pub fn because(mut self, detail: impl Into<Cow<'static, str>>) -> Error {
        self.detail = Some(detail.into());
        self
    }

    /// A malformed request.
    pub fn bad(public: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Code::BadArgument, public)
    }

    /// Nothing was done and nothing will be: safe to repeat.
    pub fn refused(detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Code::Refused, "refused: not done now, and never will be by this request; try again")
            .because(detail)
    }

    /// The outcome of a write is not known.
    pub fn unknown(detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Code::Unknown, "outcome unknown: repeat only with an id").because(detail)
    }

    /// No such key.
    pub fn key_not_found() -> Error {
        Error::new(Code::KeyNotFound, "key not found")
    }

    /// No such secret.
    pub fn secret_not_found() -> Error {
        Error::new(Code::SecretNotFound, "secret not found")
    }

    /// The secret has no such version.
    pub fn version_not_found() -> Error {
        Error::new(Code::VersionNotFound, "secret version not found")
    }

    /// Stored data failed its integrity check wherever it was read.
    pub fn integrity(detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Code::Integrity, "stored data failed its integrity check").because(detail)
    }

    /// A fault of this program.
    pub fn internal(detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Code::Internal, "internal error").because(detail)
    }

    /// What went wrong.
    pub fn code(&self) -> Code {
        self.code
    }

    /// For the caller.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// For the logs.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.code, self.detail.as_deref().unwrap_or_default())
    }
}

impl std::error::Error for Error {}

/// Two errors are the same answer when their codes are.
impl PartialEq for Error {
    fn eq(&self, other: &Error) -> bool {
        self.code == other.code
    }
}

/// The operating system had no randomness to give.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::internal(format!("entropy: {}", error.kind()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_has_a_number_of_its_own() {
        for (place, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, place, "{code:?}");
        }
        let numbers: std::collections::BTreeSet<u32> = Code::ALL.into_iter().map(Code::number).collect();
        assert_eq!(numbers.len(), Code::ALL.len());
    }

    #[test]
    fn documented_numbers_are_composed_as_documented() {
        assert_eq!(Code::Unauthorised.number(), number(3, 2, 3, 3));
        assert_eq!(Code::KeyNotFound.number(), number(1, 6, 5, 1));
        assert_eq!(Code::SecretNotFound.number(), number(1, 5, 5, 1));
        assert_eq!(Code::DomainNotFound.number(), number(1, 3, 5, 1));
        assert_eq!(Code::Conflict.number(), number(3, 1, 10, 1));
        assert_eq!(Code::Refused.number(), number(3, 1, 7, 2));
        assert_eq!(Code::TooMany.number(), number(3, 1, 9, 1));
        assert_eq!(Code::TooMany.category(), "too_many_requests");
        assert_eq!(Code::Unknown.number(), number(5, 1, 6, 1));
    }
}
