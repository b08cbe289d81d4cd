//! A service key as it is sealed into its record, and as clients see it. The two are apart so that material
//! cannot be shown by mistake.

use super::{lifecycle::State, write::Ends};
use crate::{
    crypto::SecretBytes,
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
    /// `encrypt`.
    pub const ENCRYPT: Operations = Operations(4);
    /// `decrypt`.
    pub const DECRYPT: Operations = Operations(8);
    /// `wrapKey`: make data keys.
    pub const WRAP: Operations = Operations(16);
    /// `unwrapKey`: open data keys.
    pub const UNWRAP: Operations = Operations(32);
    /// What an `oct` key may have.
    pub const SYMMETRIC: Operations = Operations(4 | 8 | 16 | 32);

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

/// What of a key may be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Key id.
    pub id: Uuid,
    /// Friendly name.
    pub name: String,
    /// Size, bits.
    pub size: u32,
    /// Permitted operations.
    pub operations: Operations,
    /// State.
    pub state: State,
    /// Moments of its life.
    pub dates: Dates,
}

/// A service key, whole.
pub struct KeyRecord {
    /// What may be shown.
    pub view: KeyView,
    /// Context given at creation.
    pub context: Option<String>,
    /// Revocation reason, numbered as in KMIP; 0 before any.
    pub reason: u32,
    /// Key material; empty once destroyed.
    pub material: SecretBytes,
}

/// Algorithm numbers of record headers.
const ALGORITHM_OCT: u8 = 1;

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
        let usage = self.view.operations.0;
        Header { kind: KIND_SERVICE_KEY, algorithm: ALGORITHM_OCT, usage, flags: 0 }
    }

    fn encode(&self) -> SecretBytes {
        let (view, dates) = (&self.view, &self.view.dates);
        let stored = Stored {
            id: view.id.as_bytes().to_vec(),
            name: view.name.clone(),
            size: view.size,
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
        };
        SecretBytes::new(stored.encode_to_vec())
    }

    fn decode(bytes: &[u8]) -> Option<KeyRecord> {
        let mut stored = Stored::decode(bytes).ok()?;
        let state = state_of(stored.state)?;
        let material = SecretBytes::new(std::mem::take(&mut stored.material));
        if material.expose().is_empty() != state.is_destroyed() {
            return None;
        }
        let view = KeyView {
            id: Uuid::from_slice(&stored.id).ok()?,
            name: std::mem::take(&mut stored.name),
            size: stored.size,
            operations: Operations(stored.operations.try_into().ok()?),
            state,
            dates: Dates {
                created_us: stored.created_us,
                activated_us: stored.activated_us,
                deactivated_us: stored.deactivated_us,
                compromised_us: stored.compromised_us,
                destroyed_us: stored.destroyed_us,
            },
        };
        Some(KeyRecord { view, context: stored.context.take(), reason: stored.reason, material })
    }
}
