//! The data of a version: a JSON object, kept as compact text and wiped where it was. What is done with it - merge patch
//! (RFC 7396), the tree of its keys - is pure. Refuses anything but an object, and more than 64 KiB.

use crate::{crypto::SecretBytes, error::Error, limits::SECRET_DATA_MAX_BYTES};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use zeroize::Zeroize;

/// A JSON object that is wiped on drop. Cannot be printed.
pub struct Document(Map<String, Value>);

impl Drop for Document {
    fn drop(&mut self) {
        wipe_map(std::mem::take(&mut self.0));
    }
}

fn wipe_map(map: Map<String, Value>) {
    for (mut name, value) in map {
        name.zeroize();
        wipe(value);
    }
}

fn wipe(value: Value) {
    match value {
        Value::String(mut text) => text.zeroize(),
        Value::Array(values) => values.into_iter().for_each(wipe),
        Value::Object(map) => wipe_map(map),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        Map::deserialize(deserializer).map(Document)
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Document {
    /// Its text, to be sealed.
    ///
    /// # Errors
    /// `BadArgument` if it is longer than 64 KiB.
    pub(super) fn text(&self) -> Result<SecretBytes, Error> {
        // Room for all that may be: the buffer is never grown, so nothing is left behind in another one.
        let mut text = Vec::with_capacity(SECRET_DATA_MAX_BYTES);
        let mut room = Bounded(&mut text);
        let written = serde_json::to_writer(&mut room, &self.0);
        let text = SecretBytes::new(text);
        match written {
            Ok(()) => Ok(text),
            Err(_) => Err(Error::bad("the data of a secret is larger than 65536 bytes of compact JSON")),
        }
    }

    /// Reads what was stored.
    pub(super) fn read(text: &SecretBytes) -> Option<Document> {
        serde_json::from_slice(text.expose()).ok().map(Document)
    }

    /// Changed by a merge patch (RFC 7396).
    pub(super) fn patch(&mut self, patch: Document) {
        let mut patch = patch;
        merge(&mut self.0, std::mem::take(&mut patch.0));
    }

    /// The names in it as a tree whose leaves are `null`, down to `depth` levels; 0 means all.
    pub fn subkeys(&self, depth: u32) -> Value {
        keys(&self.0, depth)
    }
}

/// Writes as much as there is room for.
struct Bounded<'a>(&'a mut Vec<u8>);

impl std::io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > SECRET_DATA_MAX_BYTES {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                if let Some(removed) = target.remove(&name) {
                    wipe(removed);
                }
            }
            Value::Object(inner) => {
                let place = target.entry(name).or_insert(Value::Null);
                if !place.is_object() {
                    wipe(std::mem::replace(place, Value::Object(Map::new())));
                }
                if let Value::Object(map) = place {
                    merge(map, inner);
                }
            }
            other => {
                if let Some(replaced) = target.insert(name, other) {
                    wipe(replaced);
                }
            }
        }
    }
}

fn keys(map: &Map<String, Value>, depth: u32) -> Value {
    let below = |value: &Value| match value {
        Value::Object(inner) if depth != 1 && !inner.is_empty() => keys(inner, depth.saturating_sub(1)),
        _ => Value::Null,
    };
    Value::Object(map.iter().map(|(name, value)| (name.clone(), below(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(value: Value) -> Document {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn merge_patches_are_those_of_rfc_7396() {
        // The examples of appendix A that are about objects.
        let cases = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ];
        for (target, patch, result) in cases {
            let mut target = document(target);
            target.patch(document(patch));
            assert_eq!(Value::Object(target.0.clone()), result);
        }
    }

    #[test]
    fn subkeys_are_cut_at_their_depth() {
        let data = document(json!({"a": {"b": {"c": 1}, "d": [1]}, "e": "x", "f": {}}));
        assert_eq!(data.subkeys(0), json!({"a": {"b": {"c": null}, "d": null}, "e": null, "f": null}));
        assert_eq!(data.subkeys(1), json!({"a": null, "e": null, "f": null}));
        assert_eq!(data.subkeys(2), json!({"a": {"b": null, "d": null}, "e": null, "f": null}));
    }

    #[test]
    fn only_objects_of_64_kib_are_data() {
        for text in ["[]", "null", "\"a\"", "1", ""] {
            assert!(serde_json::from_str::<Document>(text).is_err(), "{text}");
        }
        let sized = |len: usize| document(json!({ "k": "v".repeat(len - r#"{"k":""}"#.len()) }));
        let text = sized(SECRET_DATA_MAX_BYTES).text().expect("fits");
        assert_eq!(text.expose().len(), SECRET_DATA_MAX_BYTES);
        assert!(Document::read(&text).is_some());
        assert!(sized(SECRET_DATA_MAX_BYTES + 1).text().is_err());
    }
}
