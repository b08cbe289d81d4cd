//! The small values of a scenario file: spans (`20s`, `500ms`, `31d`), ranges (`20s..40s`, `1..3`), odds (`1/3`)
//! and choices by integer weight. Refuses floats, negative spans and ranges that run backwards.

use crate::{dice::Dice, history::Micros};
use serde::{Deserialize, Deserializer, de::Error};
use std::collections::BTreeMap;

/// A span or a range of spans, microseconds, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spans {
    /// Shortest.
    pub low: Micros,
    /// Longest.
    pub high: Micros,
}

impl Spans {
    /// Exactly `us`.
    pub const fn exactly(us: Micros) -> Spans {
        Spans { low: us, high: us }
    }

    /// Uniform, in steps of a millisecond if both ends are whole milliseconds, else of a microsecond.
    pub fn draw(self, dice: &mut Dice) -> Micros {
        if self.low.is_multiple_of(1000) && self.high.is_multiple_of(1000) {
            dice.between(self.low / 1000, self.high / 1000) * 1000
        } else {
            dice.between(self.low, self.high)
        }
    }
}

/// Longest span, microseconds: longer than anything is kept, and every later sum stays within range.
const LONGEST: Micros = 60 * 86_400_000_000;

/// Reads `250us`, `500ms`, `20s`, `2m`, `12h` or `31d` as microseconds.
pub fn span(text: &str) -> Result<Micros, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return Err(format!("`{text}` is not a span: write 250us, 500ms, 20s, 2m, 12h or 31d")),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is not a span"))?;
    number
        .checked_mul(factor)
        .filter(|us| *us <= LONGEST)
        .ok_or_else(|| format!("`{text}` is longer than 60 days"))
}

impl<'de> Deserialize<'de> for Spans {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Spans, D::Error> {
        let text = String::deserialize(from)?;
        let (low, high) = text.split_once("..").unwrap_or((&text, &text));
        let (low, high) = (span(low).map_err(D::Error::custom)?, span(high).map_err(D::Error::custom)?);
        if low > high {
            return Err(D::Error::custom(format!("`{text}` runs backwards")));
        }
        Ok(Spans { low, high })
    }
}

/// A number or a range of numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Smallest.
    pub low: u64,
    /// Largest.
    pub high: u64,
}

impl Counts {
    /// Uniform.
    pub fn draw(self, dice: &mut Dice) -> u64 {
        dice.between(self.low, self.high)
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Counts, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            One(u32),
            Range(String),
        }
        match Raw::deserialize(from)? {
            Raw::One(count) => Ok(Counts { low: count.into(), high: count.into() }),
            Raw::Range(text) => {
                let parsed = text
                    .split_once("..")
                    .and_then(|(low, high)| Some((low.parse::<u32>().ok()?, high.parse::<u32>().ok()?)));
                match parsed {
                    Some((low, high)) if low <= high => Ok(Counts { low: low.into(), high: high.into() }),
                    _ => {
                        Err(D::Error::custom(format!("`{text}` is not a number or a range such as \"1..3\"")))
                    }
                }
            }
        }
    }
}

/// How often: `of` out of `out_of` cases, written `"1/3"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Odds {
    /// Cases in which it happens.
    pub of: u64,
    /// All cases.
    pub out_of: u64,
}

impl Odds {
    /// Whether it happens this time.
    pub fn draw(self, dice: &mut Dice) -> bool {
        dice.chance(self.of, self.out_of)
    }
}

impl<'de> Deserialize<'de> for Odds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Odds, D::Error> {
        let text = String::deserialize(from)?;
        let parsed = text
            .split_once('/')
            .and_then(|(of, out_of)| Some((of.parse::<u32>().ok()?, out_of.parse::<u32>().ok()?)));
        match parsed {
            Some((of, out_of)) if out_of > 0 && of <= out_of => {
                Ok(Odds { of: of.into(), out_of: out_of.into() })
            }
            _ => Err(D::Error::custom(format!("`{text}` is not odds: write \"1/3\""))),
        }
    }
}

/// One value, or several with integer weights: `"hold"` or `{ hold = 3, reset = 1 }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Choice<T: Ord> {
    /// Always this.
    Always(T),
    /// One of these, by weight.
    Weights(BTreeMap<T, u32>),
}

impl<T: Ord + Clone> Choice<T> {
    /// One value; `None` if no weight is above 0.
    pub fn draw(&self, dice: &mut Dice) -> Option<T> {
        match self {
            Choice::Always(value) => Some(value.clone()),
            Choice::Weights(weights) => {
                dice.weighted(weights.iter().map(|(item, weight)| (item, *weight))).cloned()
            }
        }
    }

    /// Every value that may be drawn.
    pub fn values(&self) -> Vec<&T> {
        match self {
            Choice::Always(value) => vec![value],
            Choice::Weights(weights) => {
                weights.iter().filter(|(_, weight)| **weight > 0).map(|(item, _)| item).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read() {
        assert_eq!(span("250us"), Ok(250));
        assert_eq!(span("20s"), Ok(20_000_000));
        assert_eq!(span("31d"), span("744h"));
        for bad in ["", "s", "-1s", "1.5s", "1w", "99999999999999999999s", "61d"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
