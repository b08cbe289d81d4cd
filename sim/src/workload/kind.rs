//! What a key is to be is said by the version digit of its id (RFC 9562, 4.2), so that whoever meets an id knows what can be asked of the key.
//! Ids that the service draws are of version 4, and so are those of symmetric keys. RSA keys are imported from a fixed pool of test keys: to make
//! one costs seconds of processor time without optimization, and says nothing about the service.

use crate::dice::Dice;
use serde_json::Value;

/// RSA keys of 2048 bits as JWK, made for this and used for nothing else.
const POOL: &str = include_str!("pool.json");

/// What a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Symmetric, AES-256.
    Oct,
    /// On P-256, made by the service.
    Ec,
    /// RSA, imported.
    Rsa,
}

/// Where the version of an id stands in its text.
const VERSION_AT: std::ops::Range<usize> = 14..15;

impl Kind {
    /// Of a key's id.
    pub fn of(key: &str) -> Kind {
        match key.get(VERSION_AT) {
            Some("8") => Kind::Ec,
            Some("6") => Kind::Rsa,
            _ => Kind::Oct,
        }
    }

    /// A fresh id: of a key that signs in `signers_percent` of a hundred cases.
    pub fn mint(dice: &mut Dice, signers_percent: u32) -> String {
        let mut id = dice.uuid().to_string();
        if signers_percent > 0 && dice.chance(signers_percent.into(), 100) {
            let kind = if dice.chance(1, 3) { Kind::Rsa } else { Kind::Ec };
            id = kind.marked(id);
        }
        id
    }

    /// An id that says that its key is of this kind.
    pub fn marked(self, mut id: String) -> String {
        let version = match self {
            Kind::Oct => "4",
            Kind::Ec => "8",
            Kind::Rsa => "6",
        };
        id.replace_range(VERSION_AT, version);
        id
    }

    /// Whether the key signs and verifies; else it encrypts and decrypts.
    pub fn signs(self) -> bool {
        self != Kind::Oct
    }
}

/// What is signed with.
pub fn algorithm(key: &str) -> &'static str {
    match (Kind::of(key), place(key) / 4 % 2) {
        (Kind::Rsa, 0) => "RS256",
        (Kind::Rsa, _) => "PS256",
        _ => "ES256",
    }
}

/// The key of the pool that is imported under an id.
pub fn of_pool(key: &str) -> Value {
    let pool: Vec<Value> = serde_json::from_str(POOL).expect("a list of JWK");
    pool[place(key) % pool.len()].clone()
}

/// The first digit of an id.
fn place(key: &str) -> usize {
    key.chars().next().and_then(|digit| digit.to_digit(16)).unwrap_or_default() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_what_they_are_for() {
        let mut dice = Dice::named(1, "kinds");
        let drawn: Vec<Kind> = (0..20_000).map(|_| Kind::of(&Kind::mint(&mut dice, 0))).collect();
        assert!(drawn.iter().all(|kind| *kind == Kind::Oct));
        let drawn: Vec<Kind> = (0..2_000).map(|_| Kind::of(&Kind::mint(&mut dice, 60))).collect();
        let share = |kind| drawn.iter().filter(|drawn| **drawn == kind).count();
        assert!((350..450).contains(&share(Kind::Rsa)) && (750..850).contains(&share(Kind::Ec)), "{drawn:?}");
    }

    #[test]
    fn the_pool_has_several_keys() {
        let of = |digit: &str| of_pool(&format!("{digit}0000000-0000-6000-8000-000000000000"))["n"].clone();
        let all: Vec<Value> = ["0", "1", "2", "3"].map(of).into();
        assert!(all.iter().enumerate().all(|(at, n)| n.is_string() && !all[..at].contains(n)));
        assert_eq!(of("7"), all[3]);
    }
}
