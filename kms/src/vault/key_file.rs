//! A file that holds one key of 32 bytes: the line `<format> <base64>`. Says nothing of which key it is.

use crate::crypto::Secret;
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::{Zeroize, Zeroizing};

/// The contents of the file. The caller writes it as a private file and nowhere else.
pub(crate) fn encode(format: &str, key: &Secret<32>) -> Zeroizing<Vec<u8>> {
    let text = Zeroizing::new(STANDARD.encode(key.expose()));
    let mut line = Zeroizing::new(Vec::with_capacity(format.len() + text.len() + 2));
    line.extend_from_slice(format.as_bytes());
    line.push(b' ');
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    line
}

/// Reads the contents of a file of that format.
pub(crate) fn parse(format: &str, contents: &[u8]) -> Option<Secret<32>> {
    let text = std::str::from_utf8(contents).ok()?.trim_ascii_end();
    let text = text.strip_prefix(format)?.strip_prefix(' ')?;
    let mut bytes = STANDARD.decode(text).ok()?;
    let key = Secret::copy_from(&bytes);
    bytes.zeroize();
    key
}
