//! Needles in every encoding are found wherever they stand, and nothing else is.

use super::*;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

fn secret() -> Vec<u8> {
    (0..32u8).map(|index| index.wrapping_mul(57) ^ 0xa5).collect()
}

fn found(text: &[u8]) -> Option<String> {
    let mut secrecy = Secrecy::new();
    assert!(secrecy.add("key", &secret()));
    secrecy.scan(0, text, || "here".to_owned());
    secrecy.leaks().first().map(|leak| leak.encoding.clone())
}

#[test]
fn finds_every_encoding_at_every_offset() {
    for lead in 0..9usize {
        let mut plain = vec![b'~'; lead];
        plain.extend_from_slice(&secret());
        plain.extend_from_slice(b"tail");
        assert_eq!(found(&plain).as_deref(), Some("raw"), "{lead}");
        assert_eq!(found(STANDARD_NO_PAD.encode(&plain).as_bytes()).as_deref(), Some("base64"));
        assert_eq!(found(URL_SAFE_NO_PAD.encode(&plain).as_bytes()).as_deref().map(|_| ()), Some(()));
        assert_eq!(found(hex::encode(&plain).as_bytes()).as_deref(), Some("hex"));
        assert_eq!(found(hex::encode_upper(&plain).as_bytes()).as_deref(), Some("HEX"));
    }
    assert_eq!(found(&[7; 4096]), None);
}

#[test]
fn zeros_hide_nothing() {
    for needle in [secret(), [&[0; 11][..], b"!"].concat(), vec![0; 12]] {
        for (before, after) in (0..140).map(|lead| (lead, 140 - lead)) {
            let mut secrecy = Secrecy::new();
            secrecy.add("key", &needle);
            let text = [&vec![0; before][..], &needle, &vec![0; after]].concat();
            secrecy.scan(0, &text, || "here".to_owned());
            assert_eq!(secrecy.leaks().len(), 1, "{before} zeros before");
        }
    }
}

#[test]
fn shortest_needles_are_found_and_shorter_refused() {
    let mut secrecy = Secrecy::new();
    assert!(!secrecy.add("short", b"elevenbytes"));
    assert!(secrecy.add("name", b"twelve bytes"));
    for lead in 0..4usize {
        let mut text = vec![b'.'; lead];
        text.extend_from_slice(b"twelve bytes..");
        secrecy.scan(0, &text, || format!("raw{lead}"));
        secrecy.scan(0, STANDARD_NO_PAD.encode(&text).as_bytes(), || format!("b64{lead}"));
    }
    assert_eq!(secrecy.leaks().len(), 8);
}

#[test]
fn spans_chunks_however_small() {
    for size in 1..80 {
        let mut secrecy = Secrecy::new();
        secrecy.add("key", &secret());
        let mut carry = Carry::default();
        let mut text = vec![0; 100];
        text.extend_from_slice(hex::encode(secret()).as_bytes());
        text.extend_from_slice(&[0; 100]);
        for chunk in text.chunks(size) {
            secrecy.scan_stream(0, &mut carry, chunk, || "wire".to_owned());
        }
        assert_eq!(secrecy.leaks().len(), 1, "chunks of {size}");
    }
}

#[test]
fn a_needle_is_found_wherever_a_stream_is_cut() {
    let text = [&[b'.'; 70][..], hex::encode(secret()).as_bytes(), &[b'.'; 70]].concat();
    for cut in 0..text.len() {
        let mut secrecy = Secrecy::new();
        secrecy.add("key", &secret());
        let mut carry = Carry::default();
        for chunk in [&text[..cut], &text[cut..]] {
            secrecy.scan_stream(0, &mut carry, chunk, || "wire".to_owned());
        }
        assert_eq!(secrecy.leaks().len(), 1, "cut at {cut}");
        assert_eq!(secrecy.counts(), (1, text.len() as u64));
    }
}

#[test]
fn what_only_begins_like_a_needle_is_none() {
    let mut secrecy = Secrecy::new();
    secrecy.add("key", &secret());
    assert!(!secrecy.add("again", &secret()));
    let mut carry = Carry::default();
    for chunk in [&secret()[..20], b"something else", &secret()[20..]] {
        secrecy.scan_stream(0, &mut carry, chunk, || "wire".to_owned());
    }
    assert_eq!(secrecy.leaks(), []);
    assert!(carry.open.is_empty() && carry.bytes.len() < WINDOW + STRIDE);
}
