//! Unsealing by shares. The root key is sealed under an unseal key, which is nowhere whole: it is split into shares (see
//! [`crypto::shares`](crate::crypto::shares)), of which a host needs so many before it opens anything. Shares of one splitting are a
//! set; another set is another unseal key, so shares of a set that was replaced open nothing that is still kept.

use super::{RootKey, secret_copy};
use crate::{
    crypto::{
        Canonical, NONCE_BYTES, SealingKey, Secret, TAG_BYTES, equal, hkdf_expand, sha256,
        shares::{self, Share},
    },
    env::{Env, Purpose},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::io;
use zeroize::Zeroizing;

const ROOT_FORMAT: &str = "okms-sealed-root-v1";
const SHARE_FORMAT: &str = "okms-unseal-share-v1";
const SET_BYTES: usize = 16;
const ROOT_BYTES: usize = SET_BYTES + 2 + NONCE_BYTES + 32 + TAG_BYTES;
const SUM_BYTES: usize = 4;
const SHARE_BYTES: usize = SET_BYTES + 3 + shares::SECRET_BYTES + SUM_BYTES;

/// Least and most shares of a set.
pub const SHARES: std::ops::RangeInclusive<u8> = 1..=16;

/// Which splitting of which unseal key, and how it was split. No secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareSet {
    id: [u8; SET_BYTES],
    /// Shares that are needed.
    pub threshold: u8,
    /// Shares that there are.
    pub count: u8,
}

impl ShareSet {
    /// A set that has not been yet.
    ///
    /// # Errors
    /// [`UnsealError::Numbers`]; [`UnsealError::Entropy`].
    fn new(env: &Env, threshold: u8, count: u8) -> Result<ShareSet, UnsealError> {
        let id = env.random(Purpose::Public)?;
        ShareSet { id, threshold, count }.checked().ok_or(UnsealError::Numbers(threshold, count))
    }

    fn checked(self) -> Option<ShareSet> {
        let holds = SHARES.contains(&self.count) && (1..=self.count).contains(&self.threshold);
        holds.then_some(self)
    }

    fn bytes(&self) -> [u8; SET_BYTES + 2] {
        let mut bytes = [0; SET_BYTES + 2];
        bytes[..SET_BYTES].copy_from_slice(&self.id);
        bytes[SET_BYTES] = self.threshold;
        bytes[SET_BYTES + 1] = self.count;
        bytes
    }

    fn read(bytes: &[u8; SET_BYTES + 2]) -> Option<ShareSet> {
        let [id @ .., threshold, count] = *bytes;
        ShareSet { id, threshold, count }.checked()
    }

    /// Its name, for people to tell sets apart: hexadecimal.
    pub fn name(&self) -> String {
        hex::encode(&self.id[..4])
    }
}

/// Why nothing was unsealed. Says nothing of the shares.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// A threshold and a count that cannot be.
    #[error("{0} of {1} shares: from 1 to {max} shares, and at least one and at most all of them are needed", max = SHARES.end())]
    Numbers(u8, u8),
    /// Not a share, or not all of one.
    #[error(
        "this is no share: expected one line `{SHARE_FORMAT} <base64>`, whole; a letter may be wrong or missing"
    )]
    NoShare,
    /// A share of another set than the root key that is kept.
    #[error(
        "this is a share of set {given}; the root key here is sealed under set {wanted}: take shares of that set"
    )]
    OtherSet {
        /// The set of the share.
        given: String,
        /// The set that is wanted.
        wanted: String,
    },
    /// Two shares of one number that differ.
    #[error("there is another share {0} already: one of the two is not what was handed out")]
    Twice(u8),
    /// The host does not need any.
    #[error("this host is not unsealed by shares: its node.toml names a root key file")]
    NoneWanted,
    /// The shares do not give the key.
    #[error(
        "these shares do not open the root key: at least one is not what was handed out. All were forgotten; begin anew"
    )]
    DoesNotOpen,
    /// No randomness.
    #[error("no randomness: {0}")]
    Entropy(#[from] io::Error),
}

/// The name of the file of a share, by its number.
pub fn share_file(number: u8) -> String {
    format!("share-{number}.txt")
}

/// What a host keeps instead of its root key: useless without the shares.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedRoot {
    set: ShareSet,
    nonce: [u8; NONCE_BYTES],
    sealed: Vec<u8>,
}

/// The key that shares give: it seals the root key.
pub struct UnsealKey {
    set: ShareSet,
    key: Secret<{ shares::SECRET_BYTES }>,
}

/// One person's part of an unseal key.
pub struct UnsealShare {
    set: ShareSet,
    share: Share,
}

fn sealing_key(key: &UnsealKey) -> (SealingKey, Canonical) {
    let bound = Canonical::new("okms/sealed-root/v1").add(&key.set.bytes());
    (SealingKey::new(&hkdf_expand(&key.key, &[bound.bytes()])), bound)
}

impl UnsealKey {
    /// A new one, for so many shares.
    ///
    /// # Errors
    /// [`UnsealError::Numbers`], [`UnsealError::Entropy`].
    pub fn generate(env: &Env, threshold: u8, count: u8) -> Result<UnsealKey, UnsealError> {
        Ok(UnsealKey { set: ShareSet::new(env, threshold, count)?, key: Secret::random(env)? })
    }

    /// Its set.
    pub fn set(&self) -> ShareSet {
        self.set
    }

    /// Its shares. Each splitting has other ones: they are made once, and handed out.
    ///
    /// # Errors
    /// [`UnsealError::Entropy`].
    pub fn split(&self, env: &Env) -> Result<Vec<UnsealShare>, UnsealError> {
        let shares = shares::split(env, &self.key, self.set.threshold, self.set.count)?;
        Ok(shares.into_iter().map(|share| UnsealShare { set: self.set, share }).collect())
    }

    /// The key of enough shares of one set. Whether they are the right ones shows when something is opened with it.
    ///
    /// # Errors
    /// [`UnsealError`] if they are not of one set, not different or not enough ([`UnsealError::DoesNotOpen`]).
    pub fn combine(given: &[UnsealShare]) -> Result<UnsealKey, UnsealError> {
        let set = given.first().ok_or(UnsealError::NoShare)?.set;
        if let Some(other) = given.iter().find(|share| share.set != set) {
            return Err(UnsealError::OtherSet { given: other.set.name(), wanted: set.name() });
        }
        if given.len() < usize::from(set.threshold) {
            return Err(UnsealError::DoesNotOpen);
        }
        let parts: Vec<Share> = given.iter().map(|given| given.share.duplicate()).collect();
        let key = shares::combine(&parts).map_err(|error| match error {
            shares::BadShares::Twice(index) => UnsealError::Twice(index),
            shares::BadShares::None | shares::BadShares::Zero => UnsealError::NoShare,
        })?;
        Ok(UnsealKey { set, key })
    }

    /// Seals a root key.
    ///
    /// # Errors
    /// When there is no randomness to be had.
    pub fn seal(&self, env: &Env, root: &RootKey) -> io::Result<SealedRoot> {
        let nonce = env.random(Purpose::Public)?;
        let (key, bound) = sealing_key(self);
        let mut sealed = secret_copy(root.0.expose()).into_sealable();
        key.seal(nonce, bound.bytes(), &mut sealed);
        Ok(SealedRoot { set: self.set, nonce, sealed })
    }

    /// Opens a sealed root key.
    ///
    /// # Errors
    /// [`UnsealError::OtherSet`]; [`UnsealError::DoesNotOpen`].
    pub fn open(&self, sealed: &SealedRoot) -> Result<RootKey, UnsealError> {
        if self.set.id != sealed.set.id {
            return Err(UnsealError::OtherSet { given: self.set.name(), wanted: sealed.set.name() });
        }
        let (key, bound) = sealing_key(self);
        let mut text = secret_copy(&sealed.sealed);
        let clear =
            key.open(sealed.nonce, bound.bytes(), text.expose_mut()).map_err(|_| UnsealError::DoesNotOpen)?;
        Secret::copy_from(clear).map(RootKey).ok_or(UnsealError::DoesNotOpen)
    }
}

impl SealedRoot {
    /// The set of shares that it needs.
    pub fn set(&self) -> ShareSet {
        self.set
    }

    /// The contents of its file: one line.
    pub fn file(&self) -> String {
        let mut bytes = Vec::with_capacity(ROOT_BYTES);
        bytes.extend_from_slice(&self.set.bytes());
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.sealed);
        format!("{ROOT_FORMAT} {}\n", STANDARD.encode(bytes))
    }

    /// Reads the contents of its file.
    pub fn parse(contents: &[u8]) -> Option<SealedRoot> {
        let text = std::str::from_utf8(contents).ok()?.trim_ascii_end();
        let bytes = STANDARD.decode(text.strip_prefix(ROOT_FORMAT)?.strip_prefix(' ')?).ok()?;
        let (set, rest) = bytes.split_first_chunk()?;
        let (nonce, sealed) = rest.split_first_chunk()?;
        let set = ShareSet::read(set)?;
        (bytes.len() == ROOT_BYTES).then(|| SealedRoot { set, nonce: *nonce, sealed: sealed.to_vec() })
    }
}

impl UnsealShare {
    /// Its set.
    pub fn set(&self) -> ShareSet {
        self.set
    }

    /// Its number.
    pub fn index(&self) -> u8 {
        self.share.index
    }

    /// The line that a person keeps.
    pub fn line(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(SHARE_BYTES));
        bytes.extend_from_slice(&self.set.bytes());
        bytes.push(self.share.index);
        bytes.extend_from_slice(self.share.value.expose());
        let sum = sha256(&bytes);
        bytes.extend_from_slice(&sum[..SUM_BYTES]);
        let text = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        Zeroizing::new(format!("{SHARE_FORMAT} {}\n", text.as_str()))
    }

    /// Reads such a line. A slip of the pen is noticed here, not when the shares open nothing.
    ///
    /// # Errors
    /// [`UnsealError::NoShare`].
    pub fn parse(line: &str) -> Result<UnsealShare, UnsealError> {
        UnsealShare::read(line.trim()).ok_or(UnsealError::NoShare)
    }

    fn read(line: &str) -> Option<UnsealShare> {
        let text = line.strip_prefix(SHARE_FORMAT)?.trim_start();
        let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
        let (body, sum) = bytes.split_last_chunk::<SUM_BYTES>()?;
        if bytes.len() != SHARE_BYTES || sha256(body)[..SUM_BYTES] != *sum {
            return None;
        }
        let (set, rest) = body.split_first_chunk()?;
        let (&index, value) = rest.split_first()?;
        let set = ShareSet::read(set)?;
        let value = Secret::copy_from(value)?;
        (1..=set.count).contains(&index).then_some(UnsealShare { set, share: Share { index, value } })
    }
}

/// Shares given to a host so far.
#[derive(Default)]
pub struct Unsealing {
    given: Vec<UnsealShare>,
}

impl Unsealing {
    /// How many there are.
    pub fn given(&self) -> u8 {
        u8::try_from(self.given.len()).unwrap_or(u8::MAX)
    }

    /// Takes one share; the root key, once there are enough. Then, and after shares that open nothing, all are forgotten.
    ///
    /// # Errors
    /// [`UnsealError`]: the share was not taken.
    pub fn take(&mut self, sealed: &SealedRoot, share: UnsealShare) -> Result<Option<RootKey>, UnsealError> {
        if share.set != sealed.set {
            return Err(UnsealError::OtherSet { given: share.set.name(), wanted: sealed.set.name() });
        }
        match self.given.iter().find(|given| given.index() == share.index()) {
            // Whoever is not sure that it arrived gives it again.
            Some(given) if equal(given.share.value.expose(), share.share.value.expose()) => return Ok(None),
            Some(_) => return Err(UnsealError::Twice(share.index())),
            None => self.given.push(share),
        }
        if self.given() < sealed.set.threshold {
            return Ok(None);
        }
        let given = std::mem::take(&mut self.given);
        UnsealKey::combine(&given)?.open(sealed).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::counting;
    use proptest::prelude::*;

    fn made() -> (Env, RootKey, SealedRoot, Vec<UnsealShare>) {
        let env = counting();
        let root = RootKey::generate(&env).expect("root");
        let key = UnsealKey::generate(&env, 3, 5).expect("key");
        let sealed = key.seal(&env, &root).expect("sealed");
        let shares = key.split(&env).expect("shares");
        (env, root, sealed, shares)
    }

    fn again(share: &UnsealShare) -> UnsealShare {
        UnsealShare::parse(&share.line()).expect("a share")
    }

    #[test]
    fn three_of_five_unseal() {
        let (_, root, sealed, shares) = made();
        let sealed = SealedRoot::parse(sealed.file().as_bytes()).expect("its file reads");
        let mut unsealing = Unsealing::default();
        for (at, share) in [&shares[4], &shares[0]].into_iter().enumerate() {
            assert!(unsealing.take(&sealed, again(share)).expect("taken").is_none());
            assert_eq!(usize::from(unsealing.given()), at + 1);
        }
        assert!(unsealing.take(&sealed, again(&shares[0])).expect("it is there").is_none());
        let mut other = again(&shares[0]);
        other.share.value.expose_mut()[0] ^= 1;
        assert!(matches!(unsealing.take(&sealed, other), Err(UnsealError::Twice(1))));
        assert_eq!(unsealing.given(), 2);
        let opened = unsealing.take(&sealed, again(&shares[2])).expect("opens").expect("enough");
        assert_eq!(opened.0.expose(), root.0.expose());
        assert_eq!(unsealing.given(), 0, "shares are kept no longer than needed");
    }

    #[test]
    fn a_wrong_share_opens_nothing_and_all_are_forgotten() {
        let (_, _, sealed, shares) = made();
        let mut wrong = again(&shares[1]);
        wrong.share.value.expose_mut()[31] ^= 1;
        let mut unsealing = Unsealing::default();
        for share in [again(&shares[0]), wrong] {
            assert!(unsealing.take(&sealed, share).expect("taken").is_none());
        }
        assert!(matches!(unsealing.take(&sealed, again(&shares[2])), Err(UnsealError::DoesNotOpen)));
        assert_eq!(unsealing.given(), 0);
    }

    #[test]
    fn shares_of_a_set_that_was_replaced_open_nothing() {
        let (env, root, sealed, shares) = made();
        let old = UnsealKey::combine(&[again(&shares[0]), again(&shares[1]), again(&shares[2])]);
        let old = old.expect("a key");
        let new = UnsealKey::generate(&env, 2, 3).expect("key");
        let replaced = new.seal(&env, &old.open(&sealed).expect("opens")).expect("sealed");
        assert!(matches!(old.open(&replaced), Err(UnsealError::OtherSet { .. })));
        let mut unsealing = Unsealing::default();
        assert!(matches!(unsealing.take(&replaced, again(&shares[3])), Err(UnsealError::OtherSet { .. })));
        // Nor if its set's name is written over.
        let renamed =
            UnsealKey { set: replaced.set, key: Secret::copy_from(old.key.expose()).expect("32 bytes") };
        assert!(matches!(renamed.open(&replaced), Err(UnsealError::DoesNotOpen)));
        let shares = new.split(&env).expect("shares");
        assert!(unsealing.take(&replaced, again(&shares[2])).expect("taken").is_none());
        let opened = unsealing.take(&replaced, again(&shares[0])).expect("opens").expect("enough");
        assert_eq!(opened.0.expose(), root.0.expose());
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        let env = counting();
        for (threshold, count) in [(0, 5), (6, 5), (1, 0), (1, 17)] {
            assert!(matches!(UnsealKey::generate(&env, threshold, count), Err(UnsealError::Numbers(..))));
        }
    }

    #[test]
    fn one_letter_wrong_is_noticed_at_once() {
        let (_, _, sealed, shares) = made();
        let line = shares[0].line();
        let body = line.trim_end();
        for at in 0..body.len() {
            let mut typed = body.as_bytes().to_vec();
            typed[at] = if typed[at] == b'A' { b'B' } else { b'A' };
            let typed = String::from_utf8(typed).expect("ASCII");
            assert!(UnsealShare::parse(&typed).is_err(), "letter {at}");
            assert!(UnsealShare::parse(&body[..at]).is_err(), "{at} letters");
        }
        assert!(UnsealShare::parse(&format!("  {body} \r\n")).is_ok());
        let file = sealed.file();
        for at in 0..file.trim_end().len() {
            assert!(SealedRoot::parse(&file.as_bytes()[..at]).is_none(), "{at} letters");
        }
    }

    proptest! {
        #[test]
        fn anything_may_be_typed(text in ".{0,200}", bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
            let _ = UnsealShare::parse(&text);
            let _ = UnsealShare::parse(&format!("{SHARE_FORMAT} {}", STANDARD.encode(&bytes)));
            let _ = SealedRoot::parse(text.as_bytes());
            let _ = SealedRoot::parse(format!("{ROOT_FORMAT} {}", STANDARD.encode(&bytes)).as_bytes());
        }
    }
}
