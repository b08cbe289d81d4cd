//! A service key as it is sealed into its record, and as clients see it. The two are apart so that material
//! cannot be shown by mistake.

use super::{lifecycle::State, write::Ends};
use crate::{
    crypto::{
        SecretBytes,
        asymmetric::{Curve, Shape},
    },
    vault::{Header, KIND_SERVICE_KEY, Payload},
};
use prost::Message;
use uuid::Uuid;
use zeroize::Zeroize;

/// Permitted operations, one bit each, in the order of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operations(u16);

/// Bit and word of each operation.
const WORDS: [(u16, &str); 6] =
    [(1, "sign"), (2, "verify"), (4, "encrypt"), (8, "decrypt"), (16, "wrapKey"), (32, "unwrapKey")];

impl Operations {
    /// None.
    pub const NONE: Operations = Operations(0);
    /// `sign`.
    pub const SIGN: Operations = Operations(1);
    /// `verify`.
    pub const VERIFY: Operations = Operations(2);
    /// `encrypt`.
    pub const ENCRYPT: Operations = Operations(4);
    /// `decrypt`.
    pub const DECRYPT: Operations = Operations(8);
    /// `wrapKey`: make data keys, or carry other keys out.
    pub const WRAP: Operations = Operations(16);
    /// `unwrapKey`: open data keys, or bring other keys in.
    pub const UNWRAP: Operations = Operations(32);

    /// The operation of a word.
    pub fn of_word(word: &str) -> Option<Operations> {
        WORDS.iter().find(|(_, text)| *text == word).map(|(bit, _)| Operations(*bit))
    }

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Operations) -> Operations {
        Operations(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub fn allow(self, other: Operations) -> bool {
        self.0 & other.0 == other.0
    }

    /// The words, in the order of the documentation.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        WORDS.into_iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, word)| word)
    }
}

/// Moments of a key's life, microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dates {
    /// Created.
    pub created_us: u64,
    /// Last activated.
    pub activated_us: Option<u64>,
    /// Last deactivated.
    pub deactivated_us: Option<u64>,
    /// Declared compromised.
    pub compromised_us: Option<u64>,
    /// Destroyed.
    pub destroyed_us: Option<u64>,
}

/// What a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// Symmetric, of so many bits.
    Oct(u32),
    /// RSA or on a curve.
    Of(Shape),
}

impl KeyType {
    /// The word in bodies.
    pub fn word(self) -> &'static str {
        match self {
            KeyType::Oct(_) => "oct",
            KeyType::Of(Shape::Rsa(_)) => "RSA",
            KeyType::Of(Shape::Ec(_)) => "EC",
        }
    }

    /// Its size, bits, if it has one.
    pub fn size(self) -> Option<u32> {
        match self {
            KeyType::Oct(bits) | KeyType::Of(Shape::Rsa(bits)) => Some(bits),
            KeyType::Of(Shape::Ec(_)) => None,
        }
    }

    /// Its curve, if it is on one.
    pub fn curve(self) -> Option<Curve> {
        match self {
            KeyType::Of(Shape::Ec(curve)) => Some(curve),
            KeyType::Oct(_) | KeyType::Of(Shape::Rsa(_)) => None,
        }
    }

    /// Algorithm numbers of record headers.
    fn number(self) -> u8 {
        match self {
            KeyType::Oct(_) => 1,
            KeyType::Of(Shape::Rsa(_)) => 2,
            KeyType::Of(Shape::Ec(Curve::P256)) => 3,
            KeyType::Of(Shape::Ec(Curve::P384)) => 4,
            KeyType::Of(Shape::Ec(Curve::P521)) => 5,
        }
    }

    fn of_number(number: u32, size: u32) -> Option<KeyType> {
        Some(match number {
            // Records that were written while there was no other type have no number.
            0 | 1 => KeyType::Oct(size),
            2 => KeyType::Of(Shape::Rsa(size)),
            3 => KeyType::Of(Shape::Ec(Curve::P256)),
            4 => KeyType::Of(Shape::Ec(Curve::P384)),
            5 => KeyType::Of(Shape::Ec(Curve::P521)),
            _ => return None,
        })
    }
}

/// Which halves of a key there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// One secret.
    Secret,
    /// A private and a public half.
    Pair,
    /// A public half alone.
    Public,
}

/// What may be shown of a key's way in and out. Part of the record's authenticated header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// It may leave, wrapped under another key.
    pub extractable: bool,
    /// It might once have left: that is not forgotten.
    pub was_extractable: bool,
    /// It was made elsewhere.
    pub imported: bool,
    /// It is a public half alone.
    pub public_only: bool,
}

impl Flags {
    fn bits(self) -> u8 {
        let Flags { extractable, was_extractable, imported, public_only } = self;
        u8::from(extractable)
            | u8::from(was_extractable) << 1
            | u8::from(imported) << 2
            | u8::from(public_only) << 3
    }

    fn of_bits(bits: u32) -> Option<Flags> {
        let bit = |place: u32| bits >> place & 1 == 1;
        (bits < 16).then(|| Flags {
            extractable: bit(0),
            was_extractable: bit(1),
            imported: bit(2),
            public_only: bit(3),
        })
    }
}

/// What of a key may be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Key id.
    pub id: Uuid,
    /// Friendly name.
    pub name: String,
    /// What it is.
    pub kind: KeyType,
    /// Its public half, SPKI in DER; none for symmetric keys, and once destroyed.
    pub public: Option<Vec<u8>>,
    /// Permitted operations.
    pub operations: Operations,
    /// Its way in and out.
    pub flags: Flags,
    /// State.
    pub state: State,
    /// Moments of its life.
    pub dates: Dates,
}

impl KeyView {
    /// Which halves there are, or were.
    pub fn class(&self) -> Class {
        match self.kind {
            KeyType::Oct(_) => Class::Secret,
            KeyType::Of(_) if self.flags.public_only => Class::Public,
            KeyType::Of(_) => Class::Pair,
        }
    }
}

/// A service key, whole.
pub struct KeyRecord {
    /// What may be shown.
    pub view: KeyView,
    /// Context given at creation.
    pub context: Option<String>,
    /// Revocation reason, numbered as in KMIP; 0 before any.
    pub reason: u32,
    /// Key material: the bytes of a symmetric key, or PKCS #8 in DER; empty once destroyed, and for a public half alone.
    pub material: SecretBytes,
}

impl KeyRecord {
    /// Takes what makes it a key out of it.
    pub fn destroy(&mut self) {
        self.material = SecretBytes::new(Vec::new());
        self.view.public = None;
    }

    /// Whether what is there is what a key of its kind and state has.
    fn is_consistent(&self) -> bool {
        let (material, public) = (!self.material.expose().is_empty(), self.view.public.is_some());
        let wanted = match self.view.class() {
            _ if self.view.state.is_destroyed() => (false, false),
            Class::Secret => (true, false),
            Class::Pair => (true, true),
            Class::Public => (false, true),
        };
        (material, public) == wanted
    }
}

/// Wire form (prost; numbers are never reused).
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Stored {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(uint32, tag = "3")]
    size: u32,
    #[prost(uint32, tag = "4")]
    operations: u32,
    #[prost(string, optional, tag = "5")]
    context: Option<String>,
    #[prost(uint32, tag = "6")]
    state: u32,
    #[prost(uint64, tag = "7")]
    created_us: u64,
    #[prost(uint64, optional, tag = "8")]
    activated_us: Option<u64>,
    #[prost(uint64, optional, tag = "9")]
    deactivated_us: Option<u64>,
    #[prost(uint64, optional, tag = "10")]
    compromised_us: Option<u64>,
    #[prost(uint64, optional, tag = "11")]
    destroyed_us: Option<u64>,
    #[prost(uint32, tag = "12")]
    reason: u32,
    #[prost(bytes = "vec", tag = "13")]
    material: Vec<u8>,
    #[prost(uint32, tag = "14")]
    kind: u32,
    #[prost(bytes = "vec", optional, tag = "15")]
    public: Option<Vec<u8>>,
    #[prost(uint32, tag = "16")]
    flags: u32,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.material.zeroize();
    }
}

/// Numbers of states in records: greater wins when copies are merged.
fn state_number(state: State) -> u32 {
    match state {
        State::PreActive => 1,
        State::Active => 2,
        State::Deactivated => 3,
        State::Compromised => 4,
        State::Destroyed => 5,
        State::DestroyedCompromised => 6,
    }
}

fn state_of(number: u32) -> Option<State> {
    super::lifecycle::STATES.into_iter().find(|state| state_number(*state) == number)
}

impl Ends for KeyRecord {
    fn has_ended(&self) -> bool {
        self.view.state.is_destroyed()
    }
}

impl Payload for KeyRecord {
    fn header(&self) -> Header {
        let KeyView { operations, kind, flags, .. } = &self.view;
        Header { kind: KIND_SERVICE_KEY, algorithm: kind.number(), usage: operations.0, flags: flags.bits() }
    }

    fn encode(&self) -> SecretBytes {
        let (view, dates) = (&self.view, &self.view.dates);
        let stored = Stored {
            id: view.id.as_bytes().to_vec(),
            name: view.name.clone(),
            size: view.kind.size().unwrap_or_default(),
            operations: view.operations.0.into(),
            context: self.context.clone(),
            state: state_number(view.state),
            created_us: dates.created_us,
            activated_us: dates.activated_us,
            deactivated_us: dates.deactivated_us,
            compromised_us: dates.compromised_us,
            destroyed_us: dates.destroyed_us,
            reason: self.reason,
            material: self.material.expose().to_vec(),
            kind: view.kind.number().into(),
            public: view.public.clone(),
            flags: view.flags.bits().into(),
        };
        SecretBytes::new(stored.encode_to_vec())
    }

    fn decode(bytes: &[u8]) -> Option<KeyRecord> {
        let mut stored = Stored::decode(bytes).ok()?;
        let state = state_of(stored.state)?;
        let material = SecretBytes::new(std::mem::take(&mut stored.material));
        let view = KeyView {
            id: Uuid::from_slice(&stored.id).ok()?,
            name: std::mem::take(&mut stored.name),
            kind: KeyType::of_number(stored.kind, stored.size)?,
            public: stored.public.take(),
            operations: Operations(stored.operations.try_into().ok()?),
            flags: Flags::of_bits(stored.flags)?,
            state,
            dates: Dates {
                created_us: stored.created_us,
                activated_us: stored.activated_us,
                deactivated_us: stored.deactivated_us,
                compromised_us: stored.compromised_us,
                destroyed_us: stored.destroyed_us,
            },
        };
        let record = KeyRecord { view, context: stored.context.take(), reason: stored.reason, material };
        record.is_consistent().then_some(record)
    }
}
