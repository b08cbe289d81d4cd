//! How a secret may look on a wire or a disk: as it is, in hex, in base64.

use super::VARIANT_MAX_BYTES;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Number of the encoding that is none.
pub(super) const RAW: u8 = 0;

/// Puts one of the encodings, in the order of their numbers, into `out`, and names it; `None` past the last. What
/// repeats another encoding of the same bytes is empty.
pub(super) fn encode(bytes: &[u8], number: u8, out: &mut Vec<u8>) -> Option<&'static str> {
    out.clear();
    let base64 = |engine: &base64::engine::GeneralPurpose, skip: usize, out: &mut Vec<u8>| {
        let mut padded = [0; VARIANT_MAX_BYTES + 2];
        let padded = &mut padded[..skip + bytes.len()];
        padded[skip..].copy_from_slice(bytes);
        let mut text = [0; VARIANT_MAX_BYTES * 2];
        // It has room for a third more than the longest needle, so this cannot fail.
        let Ok(_) = engine.encode_slice(&*padded, &mut text) else { return };
        // Characters that also depend on what stands before or after the needle are dropped.
        let first = (skip * 8).div_ceil(6);
        let last = padded.len() * 8 / 6;
        out.extend_from_slice(&text[first..last]);
    };
    let hex = |digits: &[u8; 16], out: &mut Vec<u8>| {
        let pairs = bytes.iter().map(|byte| [byte >> 4, byte & 15]);
        out.extend(pairs.flatten().map(|digit| digits[usize::from(digit)]));
    };
    Some(match number {
        RAW => {
            out.extend_from_slice(bytes);
            "raw"
        }
        1 => {
            hex(b"0123456789abcdef", out);
            "hex"
        }
        2 => {
            hex(b"0123456789ABCDEF", out);
            if !out.iter().any(u8::is_ascii_uppercase) {
                out.clear();
            }
            "HEX"
        }
        3..=5 => {
            base64(&STANDARD_NO_PAD, usize::from(number) - 3, out);
            "base64"
        }
        6..=8 => {
            base64(&URL_SAFE_NO_PAD, usize::from(number) - 6, out);
            if !out.iter().any(|character| b"-_".contains(character)) {
                out.clear();
            }
            "base64url"
        }
        _ => return None,
    })
}
