//! Byte strings in a row, each with its length before it (u32, big-endian): how rows and entries lie in an object's text.

use super::Malformed;
use crate::limits::BACKUP_ITEM_MAX_BYTES;

/// Adds one.
pub(super) fn put(text: &mut Vec<u8>, item: &[u8]) -> Result<(), Malformed> {
    let len = u32::try_from(item.len()).ok().filter(|_| item.len() <= BACKUP_ITEM_MAX_BYTES);
    let len = len.ok_or(Malformed("a row or entry is larger than any can be"))?;
    text.extend_from_slice(&len.to_be_bytes());
    text.extend_from_slice(item);
    Ok(())
}

/// Takes the one at `at`, and moves on; `None` at the end.
pub(super) fn take<'a>(text: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, Malformed> {
    let rest = text.get(*at..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(None);
    }
    let (len, rest) = rest.split_first_chunk::<4>().ok_or(Malformed("a length is cut off"))?;
    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
    if len > BACKUP_ITEM_MAX_BYTES {
        return Err(Malformed("a length is larger than any can be"));
    }
    let item = rest.get(..len).ok_or(Malformed("a row or entry is cut off"))?;
    *at += 4 + len;
    Ok(Some(item))
}
