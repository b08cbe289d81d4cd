//! What clients put into secrets, and what of it stands in a history: a tag that a text is made from, and the mark that an answered text is
//! known by. Neither is the text. Texts are 40 hexadecimal digits, so long that none is found anywhere by chance.

use ring::digest::{SHA256, digest};

const TEXT_BYTES: usize = 20;
const MARK_BYTES: usize = 8;

fn hashed(what: &str, text: &str, bytes: usize) -> String {
    let hash = digest(&SHA256, format!("{what}:{text}").as_bytes());
    hex::encode(&hash.as_ref()[..bytes])
}

/// The text that a tag stands for.
pub fn text(tag: &str) -> String {
    hashed("text", tag, TEXT_BYTES)
}

/// What a text is known by.
pub fn mark_of(text: &str) -> String {
    hashed("mark", text, MARK_BYTES)
}

/// What the text of a tag is known by.
pub fn mark(tag: &str) -> String {
    mark_of(&text(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_texts_and_marks_are_different_things() {
        let (text, mark) = (text("a"), mark("a"));
        assert_eq!((text.len(), mark.len()), (40, 16));
        assert_eq!(mark, mark_of(&text));
        assert!(!text.contains(&mark));
        assert_ne!(text, super::text("b"));
    }
}
