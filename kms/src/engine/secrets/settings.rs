//! What may be set for a secret, or for all secrets of a domain: check-and-set, how many versions are kept, for how long a version
//! is active; and the custom metadata of a secret. Pure.

use crate::error::Error;
use std::collections::BTreeMap;

/// Versions that are kept where nothing else is said.
pub const DEFAULT_VERSIONS: u32 = 10;
/// Most versions a secret can have, kept at a time and ever.
pub const VERSIONS_MAX: u32 = 24_000;
/// Most entries of custom metadata.
pub const METADATA_MAX_ENTRIES: usize = 64;
/// Longest name of an entry, characters.
pub const METADATA_NAME_MAX_CHARS: usize = 128;
/// Longest value of an entry, characters.
pub const METADATA_VALUE_MAX_CHARS: usize = 512;
/// Longest time a version may be active for, if there is an end: what fits beside a version in the index (34 years).
pub(super) const SPAN_MAX_S: u64 = (1 << 30) - 2;
const SPAN_MAX_CHARS: usize = 32;

/// A length of time as the client wrote it, such as `10h30m10s`, and what it means.
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    text: String,
    seconds: u64,
}

impl Span {
    /// Reads a length of time: numbers with `d`, `h`, `m` or `s`, or a number of seconds.
    ///
    /// # Errors
    /// `BadArgument` if it is none, or longer than 34 years.
    pub fn new(text: String) -> Result<Span, Error> {
        let wrong =
            || Error::bad("a length of time is written like 30d, 10h30m10s or 3600, and is at most 34 years");
        if text.len() > SPAN_MAX_CHARS {
            return Err(wrong());
        }
        let seconds = seconds(&text).filter(|seconds| *seconds <= SPAN_MAX_S).ok_or_else(wrong)?;
        Ok(Span { text, seconds })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its length; `None` stands for "for ever".
    pub(super) fn seconds(&self) -> Option<u64> {
        (self.seconds > 0).then_some(self.seconds)
    }
}

fn seconds(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at_checked(rest.find(|c: char| !c.is_ascii_digit())?)?;
        let unit = match after.as_bytes().first()? {
            b'd' => 86_400,
            b'h' => 3_600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = &after[1..];
    }
    (!text.is_empty()).then_some(total)
}

/// Settings of a secret, or of a domain. `None` is what was never set.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Whether a write must name the version that it replaces.
    pub cas_required: Option<bool>,
    /// How many versions are kept; 0 is as good as not set.
    pub max_versions: Option<u32>,
    /// How long a version is active.
    pub deactivate_after: Option<Span>,
}

impl Settings {
    /// Checks the bounds.
    ///
    /// # Errors
    /// `BadArgument` for too many versions.
    pub fn check(&self) -> Result<(), Error> {
        match self.max_versions {
            Some(versions) if versions > VERSIONS_MAX => {
                Err(Error::bad("the number of versions to keep is at most 24000"))
            }
            _ => Ok(()),
        }
    }

    /// What is set in `newer`, else what is set here.
    pub(super) fn updated(&self, newer: &Settings) -> Settings {
        Settings {
            cas_required: newer.cas_required.or(self.cas_required),
            max_versions: newer.max_versions.or(self.max_versions),
            deactivate_after: newer.deactivate_after.clone().or_else(|| self.deactivate_after.clone()),
        }
    }

    /// What holds for a secret with these settings in a domain with those: check-and-set if either asks for it, else its own.
    pub fn within(&self, domain: &Settings) -> Effective {
        let positive = |versions: &Settings| versions.max_versions.filter(|versions| *versions > 0);
        Effective {
            cas_required: self.cas_required == Some(true) || domain.cas_required == Some(true),
            max_versions: positive(self).or(positive(domain)).unwrap_or(DEFAULT_VERSIONS),
            deactivate_after: self.deactivate_after.clone().or_else(|| domain.deactivate_after.clone()),
        }
    }
}

/// What holds for a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Effective {
    /// Whether a write must name the version that it replaces.
    pub cas_required: bool,
    /// How many versions are kept.
    pub max_versions: u32,
    /// How long a version is active; for ever if not set.
    pub deactivate_after: Option<Span>,
}

/// The custom metadata of a secret: names and values.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CustomMetadata(BTreeMap<String, String>);

fn word(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:/=@%-".contains(c))
}

impl CustomMetadata {
    /// Checks names and values.
    ///
    /// # Errors
    /// `BadArgument` if there are too many, or one is empty, too long or has other characters than the documented ones.
    pub fn new(entries: BTreeMap<String, String>) -> Result<CustomMetadata, Error> {
        if entries.len() > METADATA_MAX_ENTRIES {
            return Err(Error::bad("custom metadata has at most 64 entries"));
        }
        let fits = |(name, value): (&String, &String)| {
            word(name, METADATA_NAME_MAX_CHARS) && word(value, METADATA_VALUE_MAX_CHARS)
        };
        if !entries.iter().all(fits) {
            return Err(Error::bad(
                "custom metadata: names have 1 to 128 characters, values 1 to 512, of a-z A-Z 0-9 _ . : / = @ % -",
            ));
        }
        Ok(CustomMetadata(entries))
    }

    /// The entries.
    pub fn entries(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// With some entries set and some removed.
    ///
    /// # Errors
    /// `BadArgument` as for new ones.
    pub(super) fn patched(
        &self,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<CustomMetadata, Error> {
        let mut entries = self.0.clone();
        for (name, value) in changes {
            match value {
                Some(value) => entries.insert(name.clone(), value.clone()),
                None => entries.remove(name),
            };
        }
        CustomMetadata::new(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Option<u64> {
        Span::new(text.to_owned()).ok().map(|span| span.seconds)
    }

    #[test]
    fn lengths_of_time_are_read_as_written() {
        for (text, seconds) in [
            ("1d", 86_400),
            ("10h30m10s", 37_810),
            ("3600", 3_600),
            ("0s", 0),
            ("0", 0),
            ("90m", 5_400),
            ("12000d", 1_036_800_000),
        ] {
            assert_eq!(span(text), Some(seconds), "{text}");
        }
        for text in ["", "d", "-1s", "1w", "1h2", "1.5h", "12500d", "99999999999999999999s", " 1s", "1s "] {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_goes_before_its_domain_and_both_may_ask_for_check_and_set() {
        let domain = Settings { cas_required: Some(true), max_versions: Some(3), ..Settings::default() };
        let own = Settings { cas_required: Some(false), max_versions: Some(0), ..Settings::default() };
        let holds = own.within(&domain);
        assert_eq!((holds.cas_required, holds.max_versions), (true, 3));
        let own = Settings { max_versions: Some(7), ..Settings::default() };
        assert_eq!(own.within(&domain).max_versions, 7);
        assert!(!own.within(&Settings::default()).cas_required);
        assert_eq!(Settings::default().within(&Settings::default()).max_versions, DEFAULT_VERSIONS);
    }

    #[test]
    fn custom_metadata_is_bounded() {
        let map = |n: usize, value: &str| (0..n).map(|i| (format!("k{i}"), value.to_owned())).collect();
        assert!(CustomMetadata::new(map(64, "v%2F@x")).is_ok());
        for bad in [map(65, "v"), map(1, ""), map(1, "a b"), map(1, &"v".repeat(513))] {
            assert!(CustomMetadata::new(bad).is_err());
        }
        assert!(CustomMetadata::new(BTreeMap::from([(String::new(), "v".to_owned())])).is_err());
    }
}
