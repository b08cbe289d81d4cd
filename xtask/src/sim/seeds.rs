//! Seeds and shards as written on the command line.

use std::ops::Range;
use std::str::FromStr;

/// `--seeds`: `N` is 1 to N, `A..B` excludes B.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds(pub Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse::<u64>().map_err(|_| format!("`{part}` is not a number"));
        let range = match text.split_once("..") {
            Some((from, to)) => number(from)?..number(to)?,
            None => {
                let count = number(text)?;
                1..count.checked_add(1).ok_or("too many seeds")?
            }
        };
        if range.is_empty() {
            return Err(format!("`{text}` names no seed: write N (1 to N) or A..B (B excluded)"));
        }
        Ok(Seeds(range))
    }
}

/// `--seed`: a number, or a commit hash, of which the first 16 hexadecimal digits are the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seed) = text.parse() {
            return Ok(Seed(seed));
        }
        let hash = text.len() >= 7 && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digits = text.get(..text.len().min(16)).unwrap_or_default();
        match u64::from_str_radix(digits, 16) {
            Ok(seed) if hash => Ok(Seed(seed)),
            _ => Err(format!("`{text}` is neither a number nor a commit hash")),
        }
    }
}

/// `--shard k/n`: the k-th of n equal parts, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    part: u64,
    of: u64,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((part, of)) if part >= 1 && part <= of => Ok(Shard { part, of }),
            _ => Err(format!("`{text}` is not k/n with k from 1 to n")),
        }
    }
}

impl Shard {
    /// Whether the shard has the run of this index.
    pub fn has(self, index: u64) -> bool {
        index % self.of == self.part - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_count_from_one_and_exclude_the_end() {
        assert_eq!("3".parse(), Ok(Seeds(1..4)));
        assert_eq!("7..9".parse(), Ok(Seeds(7..9)));
        for wrong in ["0", "5..5", "x", "1..", "9..7"] {
            assert!(wrong.parse::<Seeds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_commit_hash_is_a_seed() {
        assert_eq!("7".parse(), Ok(Seed(7)));
        let hash = "fc53dfd0123456789abcdef0123456789abcdef0";
        assert_eq!(hash.parse(), Ok(Seed(0xfc53_dfd0_1234_5678)));
        assert_eq!("fc53dfd".parse(), Ok(Seed(0xfc5_3dfd)));
        for wrong in ["", "abc", "nothex0", "ééééééé"] {
            assert!(wrong.parse::<Seed>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn shards_part_the_runs() {
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"].iter().filter_map(|text| text.parse().ok()).collect();
        for index in 0..10 {
            assert_eq!(shards.iter().filter(|shard| shard.has(index)).count(), 1);
        }
        for wrong in ["0/3", "4/3", "1", "a/b"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
