//! A container against everything that may befall it on its way: only what was sealed, whole and in its order, is read.

use super::{head::LEAD_BYTES, seal::FRAME_HEAD_BYTES, *};
use crate::{
    crypto::{
        Secret as Bytes32, SecretBytes,
        asymmetric::{Curve, PrivateKey, PublicKey, Shape},
        sha256,
        testing::counting,
    },
    env::{BlockFile, Env},
};
use proptest::prelude::*;
use std::{io, sync::LazyLock};
use uuid::Uuid;

/// A file in memory that is only read.
struct Held(Vec<u8>);

impl BlockFile for Held {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = (offset as usize).min(self.0.len());
        let bytes = self.0[from..].get(..buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// Keys take seconds to make.
static OWNER: LazyLock<(PrivateKey, PublicKey)> = LazyLock::new(|| {
    let key = PrivateKey::generate(&counting(), Shape::Rsa(3072)).expect("a key");
    let public = key.public();
    (key, public)
});

fn key(id: u128) -> Record {
    Record::Key(Box::new(Key {
        id: Uuid::from_u128(id),
        name: "the name of a key".to_owned(),
        r#type: "oct".to_owned(),
        size: Some(128),
        curve: None,
        operations: vec!["encrypt".to_owned()],
        context: None,
        state: "active".to_owned(),
        revocation_reason: 0,
        created_us: 5,
        activated_us: Some(6),
        deactivated_us: None,
        compromised_us: None,
        destroyed_us: None,
        extractable: false,
        was_extractable: false,
        imported: false,
        public_only: false,
        material: Some(Carried(SecretBytes::new(b"sixteen of a key".to_vec()))),
        public: None,
    }))
}

/// A container whose frames have so many keys, and the bytes that its frames begin at.
fn made(env: &Env, content: &ContentKey, frames: &[u32]) -> (Vec<u8>, Vec<usize>) {
    let head = NewHead {
        export_id: Uuid::from_u128(7),
        domain: Uuid::from_u128(8),
        region: "eu-west-rbx",
        started: "2026-01-01T00:00:00Z".to_owned(),
    };
    let mut bytes = head.written(env, &OWNER.1, content).expect("a head");
    let (mut before, mut counts, mut starts) = (sha256(&bytes), Counts::default(), Vec::new());
    for (number, many) in frames.iter().enumerate() {
        let (mut text, last) = (Text::default(), number + 1 == frames.len());
        for id in 0..*many {
            let record = key(number as u128 * 1_000 + u128::from(id));
            counts.add(&record);
            text.push(&record).expect("room");
        }
        if last {
            text.push(&Record::End(counts)).expect("room");
        }
        let frame = seal_frame(env, content, &Frame { number: number as u64, last, before }, text);
        let frame = frame.expect("entropy");
        before = sha256(&frame);
        starts.push(bytes.len());
        bytes.extend_from_slice(&frame);
    }
    (bytes, starts)
}

fn content(env: &Env) -> ContentKey {
    ContentKey::new(Bytes32::random(env).expect("entropy"))
}

/// How many keys it has, if it is read to its end by whoever has the content key.
fn read(bytes: &[u8], content: &ContentKey) -> Result<u64, BadContainer> {
    let file = Held(bytes.to_vec());
    let mut reader = Reader::open(&file)?;
    while reader.next(content)?.is_some() {}
    Ok(reader.counts().keys)
}

#[test]
fn the_owner_reads_it_and_nobody_else_does() {
    let env = counting();
    let (bytes, _) = made(&env, &content(&env), &[2, 0, 3]);
    let file = Held(bytes.clone());
    let mut reader = Reader::open(&file).expect("a container");
    assert_eq!((reader.head().domain, reader.head().region.as_str()), (Uuid::from_u128(8), "eu-west-rbx"));
    let found = reader.head().content_key(&env, &OWNER.0).expect("the owner's");
    let mut names = Vec::new();
    while let Some(sheet) = reader.next(&found).expect("opens") {
        names.extend(sheet.records.into_iter().filter_map(|record| match record {
            Record::Key(key) => Some((key.id, key.material.expect("material").0.expose().to_vec())),
            _ => None,
        }));
    }
    assert_eq!((names.len(), names[4].0), (5, Uuid::from_u128(2_002)));
    assert!(names.iter().all(|(_, material)| material == b"sixteen of a key"));
    reader.rewind();
    assert!(reader.next(&found).expect("opens again").is_some());
    let other = PrivateKey::generate(&env, Shape::Rsa(3072));
    let error = reader.head().content_key(&env, &other.expect("a key")).err().expect("refused");
    assert!(error.to_string().contains(&reader.head().recipient), "{error}");
    assert!(matches!(read(&bytes, &content(&env)), Err(BadContainer::Frame(0))), "another content key");
    for secret in [&b"sixteen of a key"[..], b"the name of a key", b"c2l4dGVlbiBvZiBhIGtleQ"] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "in clear");
    }
}

#[test]
fn keys_that_are_too_short_or_cannot_encrypt_get_no_container() {
    let env = counting();
    for shape in [Shape::Rsa(2048), Shape::Ec(Curve::P256)] {
        let to = PrivateKey::generate(&env, shape).expect("a key").public();
        let head =
            NewHead { export_id: Uuid::nil(), domain: Uuid::nil(), region: "r", started: String::new() };
        assert!(head.written(&env, &to, &content(&env)).is_err(), "{shape:?}");
    }
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused() {
    let env = counting();
    let content = content(&env);
    let (bytes, starts) = made(&env, &content, &[1, 1]);
    assert_eq!(read(&bytes, &content).expect("whole"), 2);
    // The head's encrypted key is not looked at here; it is bound to the first frame all the same.
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut altered = bytes.clone();
            altered[at] ^= bit;
            let error = read(&altered, &content).expect_err("altered");
            let wanted = match at {
                _ if at < LEAD_BYTES => matches!(
                    error,
                    BadContainer::NoContainer
                        | BadContainer::Newer(_)
                        | BadContainer::Head(_)
                        | BadContainer::Frame(0)
                        | BadContainer::Truncated(0)
                ),
                _ if at < starts[0] => matches!(error, BadContainer::Head(_) | BadContainer::Frame(0)),
                _ if at < starts[1] => matches!(error, BadContainer::Frame(0) | BadContainer::Truncated(0)),
                _ => matches!(error, BadContainer::Frame(1) | BadContainer::Truncated(1)),
            };
            assert!(wanted, "byte {at}: {error}");
        }
        let error = read(&bytes[..at], &content).expect_err("cut off");
        let cut = match at {
            _ if at < starts[0] => matches!(error, BadContainer::NoContainer),
            _ if at < starts[1] => matches!(error, BadContainer::Truncated(0)),
            _ => matches!(error, BadContainer::Truncated(1)),
        };
        assert!(cut, "{at} bytes: {error}");
    }
    assert!(matches!(read(&[&bytes[..], b"x"].concat(), &content), Err(BadContainer::Trailing)));
}

#[test]
fn frames_cannot_be_left_out_moved_repeated_or_taken_from_elsewhere() {
    let env = counting();
    let content = content(&env);
    let (bytes, starts) = made(&env, &content, &[1, 1, 1]);
    let (twin, twin_starts) = made(&env, &content, &[1, 1, 1]);
    let frame = |of: &[u8], starts: &[usize], at: usize| {
        of[starts[at]..starts.get(at + 1).copied().unwrap_or(of.len())].to_vec()
    };
    let mine = |at| frame(&bytes, &starts, at);
    let with = |frames: &[Vec<u8>]| [&bytes[..starts[0]], &frames.concat()].concat();
    assert_eq!(read(&with(&[mine(0), mine(1), mine(2)]), &content).expect("whole"), 3);
    for (frames, bad) in [
        (vec![mine(0), mine(2)], 1),
        (vec![mine(1), mine(0), mine(2)], 0),
        (vec![mine(0), mine(0), mine(1), mine(2)], 1),
        (vec![mine(2)], 0),
        (vec![mine(0), frame(&twin, &twin_starts, 1), mine(2)], 1),
        (vec![mine(0), mine(1), frame(&twin, &twin_starts, 2)], 2),
        (vec![frame(&twin, &twin_starts, 0), mine(1), mine(2)], 0),
    ] {
        let error = read(&with(&frames), &content).expect_err("not as it was sealed");
        assert!(matches!(error, BadContainer::Frame(at) if at == bad), "{error}");
    }
    assert!(matches!(read(&with(&[mine(0), mine(1)]), &content), Err(BadContainer::Truncated(2))));
    assert!(matches!(
        read(&with(&[mine(0), mine(1), mine(2), mine(2)]), &content),
        Err(BadContainer::Trailing)
    ));
}

#[test]
fn formats_that_are_not_known_are_told_from_what_is_no_container() {
    let env = counting();
    let content = content(&env);
    let (bytes, _) = made(&env, &content, &[1]);
    let mut newer = bytes.clone();
    newer[MAGIC.len() + 1] = 2;
    assert!(matches!(read(&newer, &content), Err(BadContainer::Newer(2))));
    let mut none = bytes;
    none[MAGIC.len() + 1] = 0;
    assert!(matches!(read(&none, &content), Err(BadContainer::NoContainer)));
}

/// A container of one frame with this text.
fn with_text(env: &Env, content: &ContentKey, lines: &[&str]) -> Vec<u8> {
    use std::io::Write;
    let (bytes, starts) = made(env, content, &[0]);
    let head = &bytes[..starts[0]];
    let mut text = Text::default();
    text.write_all(lines.join("\n").as_bytes()).expect("room");
    let place = Frame { number: 0, last: true, before: sha256(head) };
    [head, &seal_frame(env, content, &place, text).expect("entropy")].concat()
}

#[test]
fn what_opens_must_be_as_the_format_says_too() {
    let env = counting();
    let content = content(&env);
    let counts = |keys: u64| serde_json::to_string(&Record::End(Counts { keys, ..Counts::default() }));
    let (none, one) = (counts(0).expect("JSON"), counts(1).expect("JSON"));
    let key = serde_json::to_string(&key(1)).expect("JSON");
    let more = key.replace("\"name\"", "\"colour\":1,\"name\"");
    assert_eq!(read(&with_text(&env, &content, &[&key, &one]), &content).expect("whole"), 1);
    for (lines, line) in [
        (vec![key.as_str(), &none], 2),
        (vec![&key], 1),
        (vec![], 0),
        (vec![&none, &none], 2),
        (vec![&none, &key], 2),
        (vec![&more, &one], 1),
        (vec![r#"{"kmipObject":{}}"#, &none], 1),
        (vec!["", &none], 1),
        (vec!["[1]"], 1),
    ] {
        let error = read(&with_text(&env, &content, &lines), &content).expect_err("not a record");
        assert!(matches!(error, BadContainer::Record { line: at, .. } if at == line), "{lines:?}: {error}");
        assert!(!error.to_string().contains("the name of a key"), "{error}");
    }
}

#[test]
fn a_text_has_an_end_and_a_frame_made_twice_has_another_key() {
    let env = counting();
    let content = content(&env);
    let mut text = Text::default();
    let large = "x".repeat(crate::limits::EXPORT_PAGE_BYTES);
    text.push(&large).expect("room");
    assert!(text.is_full());
    while text.push(&large).is_ok() {}
    let place = Frame { number: 0, last: false, before: [1; 32] };
    let sealed = || {
        let mut text = Text::default();
        text.push(&"the same").expect("room");
        seal_frame(&env, &content, &place, text).expect("entropy")
    };
    let (one, two) = (sealed(), sealed());
    assert_ne!(one[FRAME_HEAD_BYTES..], two[FRAME_HEAD_BYTES..], "one key never meets two texts");
    assert_eq!(open_frame(&content, &place, &two).expect("opens").expose(), b"\"the same\"\n");
}

proptest! {
    #[test]
    fn noise_makes_no_reader_panic(noise in proptest::collection::vec(any::<u8>(), 0..300), marked in any::<bool>()) {
        let lead = if marked { [&MAGIC[..], &FORMAT.to_be_bytes()].concat() } else { Vec::new() };
        let env = counting();
        prop_assert!(read(&[lead, noise].concat(), &content(&env)).is_err());
    }

    #[test]
    fn altered_runs_of_bytes_are_refused(from in 0_usize.., len in 1_usize..64, with in any::<u8>()) {
        let env = counting();
        let content = content(&env);
        let (bytes, _) = made(&env, &content, &[2, 1]);
        let mut altered = bytes.clone();
        let from = from % bytes.len();
        let to = (from + len).min(bytes.len());
        altered[from..to].fill(with);
        prop_assume!(altered != bytes);
        prop_assert!(read(&altered, &content).is_err());
    }
}
