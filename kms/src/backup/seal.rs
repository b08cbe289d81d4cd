//! The sealed form of every object of a backup: chunks of bounded size under a key derived for this one object from the
//! day's key. The nonce of a chunk is its number and whether it is the last, so a chunk that is cut off, moved, or taken
//! from another object does not open. Sealing the same text under the same name gives the same bytes.
//!
//! Object: `okmsbk`, format 1 (u8), kind (u8), id of the day key (8 bytes); then chunks of 64 KiB of ciphertext and a tag (16
//! bytes), the last one shorter or as long. Nonce: number (u64, big-endian), three zero bytes, 1 for the last chunk.

use super::{
    key::DayKey,
    names::{DayKeyId, Name},
};
use crate::{
    crypto::{Canonical, NONCE_BYTES, TAG_BYTES},
    limits::BACKUP_CHUNK_BYTES,
};

const MAGIC: &[u8; 6] = b"okmsbk";
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = MAGIC.len() + 2 + 8;
const SEALED_BYTES: usize = BACKUP_CHUNK_BYTES + TAG_BYTES;

/// What an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A manifest.
    Manifest = 1,
    /// The list of a full snapshot's parts.
    FullIndex = 2,
    /// Rows.
    Rows = 3,
    /// Log entries.
    Entries = 4,
    /// The tombstones of a log entry.
    Tombstones = 5,
}

/// Why an object does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadObject {
    /// A later build made it.
    #[error("format {0} of a later build")]
    Format(u8),
    /// Altered, truncated, another object's, or no object of a backup.
    #[error("does not open")]
    Damaged,
}

fn header(kind: Kind, key: DayKeyId) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()] = FORMAT;
    header[MAGIC.len() + 1] = kind as u8;
    header[MAGIC.len() + 2..].copy_from_slice(&key.0);
    header
}

/// What the derived key and each chunk are bound to.
fn bound_to(region: &str, name: Name, header: &[u8]) -> Canonical {
    Canonical::new("okms/backup-object/v1")
        .add(region.as_bytes())
        .add(name.object().as_str().as_bytes())
        .add(header)
}

fn nonce(number: usize, last: bool) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&(number as u64).to_be_bytes());
    nonce[NONCE_BYTES - 1] = u8::from(last);
    nonce
}

/// Seals the text of an object. A name must not be given to two texts under one day key.
pub fn seal(key: &DayKey, region: &str, name: Name, kind: Kind, clear: &[u8]) -> Vec<u8> {
    let header = header(kind, key.id());
    let bound = bound_to(region, name, &header);
    let sealing = key.derive(&bound);
    let chunks = clear.len().div_ceil(BACKUP_CHUNK_BYTES).max(1);
    let mut object = Vec::with_capacity(HEADER_BYTES + clear.len() + chunks * TAG_BYTES);
    object.extend_from_slice(&header);
    let mut chunk = Vec::with_capacity(SEALED_BYTES);
    for number in 0..chunks {
        let rest = &clear[number * BACKUP_CHUNK_BYTES..];
        chunk.clear();
        chunk.extend_from_slice(&rest[..rest.len().min(BACKUP_CHUNK_BYTES)]);
        sealing.seal(nonce(number, number + 1 == chunks), bound.bytes(), &mut chunk);
        object.extend_from_slice(&chunk);
    }
    object
}

/// Which day key an object says that it is sealed under.
///
/// # Errors
/// [`BadObject`] if it says none.
pub fn sealed_under(object: &[u8]) -> Result<DayKeyId, BadObject> {
    let (header, _) = object.split_first_chunk::<HEADER_BYTES>().ok_or(BadObject::Damaged)?;
    let rest = header.strip_prefix(MAGIC).ok_or(BadObject::Damaged)?;
    let (&[format, _], id) = rest.split_first_chunk::<2>().ok_or(BadObject::Damaged)?;
    if format != FORMAT {
        return Err(BadObject::Format(format));
    }
    id.try_into().map(DayKeyId).map_err(|_| BadObject::Damaged)
}

/// Opens an object in its own buffer.
///
/// # Errors
/// [`BadObject`] unless it is as it was sealed, under this key and this name.
pub fn open(
    key: &DayKey,
    region: &str,
    name: Name,
    kind: Kind,
    mut object: Vec<u8>,
) -> Result<Vec<u8>, BadObject> {
    if sealed_under(&object)? != key.id() {
        return Err(BadObject::Damaged);
    }
    let header = header(kind, key.id());
    if !object.starts_with(&header) {
        return Err(BadObject::Damaged);
    }
    let bound = bound_to(region, name, &header);
    let sealing = key.derive(&bound);
    let (mut from, mut to, mut number) = (HEADER_BYTES, 0, 0);
    loop {
        let end = object.len().min(from + SEALED_BYTES);
        let last = end == object.len();
        let sealed = object.get_mut(from..end).ok_or(BadObject::Damaged)?;
        let clear =
            sealing.open(nonce(number, last), bound.bytes(), sealed).map_err(|_| BadObject::Damaged)?;
        let clear = clear.len();
        // Only an empty text has an empty chunk.
        if clear == 0 && number > 0 {
            return Err(BadObject::Damaged);
        }
        object.copy_within(from..from + clear, to);
        (from, to, number) = (end, to + clear, number + 1);
        if last {
            object.truncate(to);
            return Ok(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            key::BackupKey,
            names::{AttemptId, Day},
        },
        *,
    };
    use crate::{crypto::testing::counting, env::Env};
    use proptest::prelude::*;

    const REGION: &str = "eu-west-rbx";

    fn key(env: &Env, backup: &BackupKey) -> DayKey {
        DayKey::make(env, backup, REGION, Day::of(0)).expect("entropy").0
    }

    fn name(id: u8) -> Name {
        Name::FullIndex(Day::of(0), 7, AttemptId([id; 16]))
    }

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
    }

    #[test]
    fn objects_of_any_length_come_back_and_only_under_their_own_name() {
        let env = counting();
        let backup = BackupKey::generate(&env).expect("entropy");
        let (one, other) = (key(&env, &backup), key(&env, &backup));
        let chunk = BACKUP_CHUNK_BYTES;
        for len in [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 3 * chunk + 5] {
            let clear = text(len);
            let object = seal(&one, REGION, name(1), Kind::Rows, &clear);
            assert_eq!(object, seal(&one, REGION, name(1), Kind::Rows, &clear), "sealing repeats");
            let open =
                |key, region, name, kind, object: &[u8]| open(key, region, name, kind, object.to_vec());
            assert_eq!(open(&one, REGION, name(1), Kind::Rows, &object), Ok(clear));
            for wrong in [
                open(&other, REGION, name(1), Kind::Rows, &object),
                open(&one, "eu-west-gra", name(1), Kind::Rows, &object),
                open(&one, REGION, name(2), Kind::Rows, &object),
                open(&one, REGION, name(1), Kind::Entries, &object),
            ] {
                assert_eq!(wrong, Err(BadObject::Damaged));
            }
        }
    }

    #[test]
    fn chunks_cannot_be_cut_off_moved_or_repeated() {
        let env = counting();
        let backup = BackupKey::generate(&env).expect("entropy");
        let key = key(&env, &backup);
        let object = seal(&key, REGION, name(1), Kind::Rows, &text(3 * BACKUP_CHUNK_BYTES));
        let (head, chunks) = object.split_at(HEADER_BYTES);
        let chunks: Vec<&[u8]> = chunks.chunks(SEALED_BYTES).collect();
        for order in [&[0, 1][..], &[0], &[], &[1, 0, 2], &[0, 1, 2, 2], &[0, 2], &[0, 1, 1, 2], &[2]] {
            let mut forged = head.to_vec();
            order.iter().for_each(|at| forged.extend_from_slice(chunks[*at]));
            assert_eq!(open(&key, REGION, name(1), Kind::Rows, forged), Err(BadObject::Damaged), "{order:?}");
        }
        let mut later = object.clone();
        later[MAGIC.len()] = 9;
        assert_eq!(open(&key, REGION, name(1), Kind::Rows, later), Err(BadObject::Format(9)));
    }

    #[test]
    fn a_day_key_opens_under_its_own_name_and_backup_key_only() {
        let env = counting();
        let backup = BackupKey::generate(&env).expect("entropy");
        let other = BackupKey::generate(&env).expect("entropy");
        let day = Day::of(1_795_694_400_000);
        let (key, object) = DayKey::make(&env, &backup, REGION, day).expect("entropy");
        let open = |backup, region, day, id, object: &[u8]| {
            DayKey::open(backup, region, day, id, object)
                .map(|key| key.id())
                .map_err(|error| error.to_string())
        };
        assert_eq!(open(&backup, REGION, day, key.id(), &object), Ok(key.id()));
        assert!(open(&other, REGION, day, key.id(), &object).is_err_and(|error| error.contains("another")));
        assert!(open(&backup, "eu-west-gra", day, key.id(), &object).is_err());
        assert!(open(&backup, REGION, Day::of(0), key.id(), &object).is_err());
        assert!(open(&backup, REGION, day, DayKeyId([0; 8]), &object).is_err());
        for at in 0..object.len() {
            let mut altered = object.clone();
            altered[at] ^= 0x10;
            assert!(open(&backup, REGION, day, key.id(), &altered).is_err(), "byte {at}");
            assert!(open(&backup, REGION, day, key.id(), &object[..at]).is_err(), "{at} bytes");
        }
        let file = backup.file();
        assert_eq!(BackupKey::parse(&file).map(|key| key.file().to_vec()), Some(file.to_vec()));
        assert!(BackupKey::parse(b"okms-root-key-v1 AAAA\n").is_none());
    }

    proptest! {
        #[test]
        fn any_changed_bit_and_any_truncation_is_refused(len in 0usize..200_000, at in 0usize.., bit in 0u8..8) {
            let env = counting();
            let backup = BackupKey::generate(&env).expect("entropy");
            let key = key(&env, &backup);
            let object = seal(&key, REGION, name(1), Kind::Rows, &text(len));
            let mut altered = object.clone();
            altered[at % object.len()] ^= 1 << bit;
            prop_assert!(open(&key, REGION, name(1), Kind::Rows, altered).is_err());
            let short = object[..at % object.len()].to_vec();
            prop_assert!(open(&key, REGION, name(1), Kind::Rows, short).is_err());
        }

        #[test]
        fn noise_is_refused(noise in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let env = counting();
            let backup = BackupKey::generate(&env).expect("entropy");
            let key = key(&env, &backup);
            prop_assert!(open(&key, REGION, name(1), Kind::Rows, noise.clone()).is_err());
            let marked = [&header(Kind::Rows, key.id())[..], &noise].concat();
            prop_assert!(open(&key, REGION, name(1), Kind::Rows, marked).is_err());
        }
    }
}
