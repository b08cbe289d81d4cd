//! Shamir's secret sharing (Shamir, "How to share a secret", CACM 22, 1979) of 32-byte secrets: any `threshold` shares give the
//! secret back, fewer say nothing of it. Over GF(2^8) with the polynomial of AES, x^8 + x^4 + x^3 + x + 1, byte by byte.
//!
//! Our own, because the crates there are either index tables with secret bytes, which caches betray, or leave coefficients
//! and secrets unwiped in memory (ARCHITECTURE.md). Authenticates nothing: what the shares give has to be tried on something sealed.

use super::{Secret, SecretBytes};
use crate::env::Env;
use std::io;

/// Bytes of a shared secret.
pub const SECRET_BYTES: usize = 32;

/// One share: where the polynomials were evaluated, and what they gave.
pub struct Share {
    /// From 1; 0 would be the secret itself.
    pub index: u8,
    /// One byte per byte of the secret.
    pub value: Secret<SECRET_BYTES>,
}

impl Share {
    /// A second copy, where one is really needed.
    #[must_use]
    pub fn duplicate(&self) -> Share {
        let mut value = Secret::zero();
        value.expose_mut().copy_from_slice(self.value.expose());
        Share { index: self.index, value }
    }
}

/// Why shares give nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadShares {
    /// None at all.
    #[error("no shares")]
    None,
    /// Number 0 is no share.
    #[error("a share of number 0 is none")]
    Zero,
    /// Two with one number.
    #[error("the share of number {0} is there twice")]
    Twice(u8),
}

/// Product in GF(2^8), in time that does not depend on the factors.
fn product(a: u8, b: u8) -> u8 {
    let (mut a, mut sum) = (a, 0);
    for bit in 0..8 {
        sum ^= a & (b >> bit & 1).wrapping_neg();
        let carry = (a >> 7).wrapping_neg();
        a = a << 1 ^ 0x1b & carry;
    }
    sum
}

/// The inverse in GF(2^8): a^254, since a^255 = 1; 0 for 0.
fn inverse(a: u8) -> u8 {
    let (mut power, mut result) = (a, 1);
    // 254 = 0b1111_1110.
    for _ in 0..7 {
        power = product(power, power);
        result = product(result, power);
    }
    result
}

/// Makes `count` shares, numbered from 1, any `threshold` of which give the secret.
///
/// # Errors
/// When there is no randomness to be had.
///
/// # Panics
/// If the threshold is 0 or above the count.
pub fn split(env: &Env, secret: &Secret<SECRET_BYTES>, threshold: u8, count: u8) -> io::Result<Vec<Share>> {
    assert!((1..=count).contains(&threshold), "{threshold} of {count} shares");
    // The highest power first, 32 coefficients of each.
    let coefficients = SecretBytes::random(env, usize::from(threshold - 1) * SECRET_BYTES)?;
    let shares = (1..=count).map(|index| {
        let mut value = Secret::zero();
        for power in coefficients.expose().chunks(SECRET_BYTES).chain([secret.expose().as_slice()]) {
            for (byte, coefficient) in value.expose_mut().iter_mut().zip(power) {
                *byte = product(*byte, index) ^ coefficient;
            }
        }
        Share { index, value }
    });
    Ok(shares.collect())
}

/// The secret that the shares give, if they are of one set and enough; else some other 32 bytes.
///
/// # Errors
/// [`BadShares`] if the numbers are not those of different shares.
pub fn combine(shares: &[Share]) -> Result<Secret<SECRET_BYTES>, BadShares> {
    if shares.is_empty() {
        return Err(BadShares::None);
    }
    let mut seen = std::collections::BTreeSet::new();
    for share in shares {
        if share.index == 0 {
            return Err(BadShares::Zero);
        }
        if !seen.insert(share.index) {
            return Err(BadShares::Twice(share.index));
        }
    }
    let mut secret = Secret::zero();
    for share in shares {
        // Lagrange's polynomial of this share, at 0. Numbers of shares are no secret.
        let others = shares.iter().filter(|other| other.index != share.index);
        let weight = others.fold(1, |weight, other| {
            product(weight, product(other.index, inverse(other.index ^ share.index)))
        });
        for (byte, value) in secret.expose_mut().iter_mut().zip(share.value.expose()) {
            *byte ^= product(*value, weight);
        }
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::counting;
    use proptest::prelude::*;

    /// Multiplication as in FIPS 197, 4.2, by the schoolbook: carry-less product, then reduction.
    fn by_the_book(a: u8, b: u8) -> u8 {
        let mut wide =
            (0..8).filter(|bit| b >> bit & 1 == 1).fold(0_u16, |sum, bit| sum ^ u16::from(a) << bit);
        for bit in (8..16).rev() {
            if wide >> bit & 1 == 1 {
                wide ^= 0x11b << (bit - 8);
            }
        }
        wide as u8
    }

    #[test]
    fn the_field_is_that_of_aes() {
        assert_eq!(product(0x57, 0x83), 0xc1, "FIPS 197, 4.2");
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(product(a, b), by_the_book(a, b), "{a} * {b}");
            }
            assert_eq!(product(a, inverse(a)), u8::from(a != 0), "1 / {a}");
        }
    }

    fn some<const N: usize>(shares: &[Share], which: [usize; N]) -> Vec<Share> {
        which.iter().map(|at| shares[*at].duplicate()).collect()
    }

    #[test]
    fn any_three_of_five_give_the_secret_and_no_two_do() {
        let env = counting();
        let secret = Secret::random(&env).expect("random");
        let shares = split(&env, &secret, 3, 5).expect("shares");
        let given = |shares: &[Share]| *combine(shares).expect("combines").expose();
        for a in 0..5 {
            for b in 0..5 {
                for c in 0..5 {
                    if a != b && b != c && a != c {
                        assert_eq!(&given(&some(&shares, [a, b, c])), secret.expose(), "{a} {b} {c}");
                    }
                }
                if a != b {
                    assert_ne!(&given(&some(&shares, [a, b])), secret.expose(), "{a} {b}");
                }
            }
            assert_ne!(&given(&some(&shares, [a])), secret.expose(), "{a}");
        }
        assert_eq!(&given(&some(&shares, [0, 1, 2, 3, 4])), secret.expose(), "more than enough");
    }

    fn share(index: u8, value: &str) -> Share {
        let bytes = hex::decode(value).expect("hexadecimal");
        Share { index, value: Secret::copy_from(&bytes).expect("32 bytes") }
    }

    #[test]
    fn shares_of_other_programs_give_their_secrets() {
        // draft-mcgrew-tss-03, section 9 ("test", threshold 2), with zeros behind its 5 bytes.
        let long = |text: &str| format!("{text:0<64}");
        let given = combine(&[share(1, &long("b9fa07e185")), share(2, &long("f5409b4511"))]);
        assert_eq!(given.expect("combines").expose()[..5], *b"test\0");
        // Made by pyshamir 1.1.0, a port of HashiCorp Vault's `shamir`: 3 of 5, of the bytes 0x40 to 0x5f.
        let shares = [
            share(0x1e, "663ac3eeac356c95468b9c2f9cdfc9089fcfd6827db7af61853a98e16a9e5605"),
            share(0x16, "63204aa2b4a05d83bf78338d7947989f7bf2f85b5c71d5574d29a837dae41253"),
            share(0x04, "ee5db97f88d6bb5273d92f32532495ff7e5037907d172042eea19878a9da72ff"),
            share(0x5a, "1f945a9ce27362852c4ec06fb74838b98018a0170b6060e832159b57079f5b25"),
            share(0x0f, "431e1f05e1b9116d5613ec745fca26e0d9bacf7372349a5a502c77eeb0184c9e"),
        ];
        let secret: Vec<u8> = (0x40..0x60).collect();
        for three in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
            assert_eq!(combine(&some(&shares, three)).expect("combines").expose()[..], secret, "{three:?}");
        }
    }

    /// A secret in `count` shares, and the order in which they are drawn.
    fn any_split() -> impl Strategy<Value = ([u8; 32], u8, u8, Vec<usize>)> {
        (proptest::array::uniform32(0_u8..), 1_u8..=16, 1_u8..=16).prop_flat_map(|(secret, one, other)| {
            let (threshold, count) = (one.min(other), one.max(other));
            let order = Just((0..usize::from(count)).collect::<Vec<_>>()).prop_shuffle();
            (Just(secret), Just(threshold), Just(count), order)
        })
    }

    proptest! {
        #[test]
        fn as_many_as_the_threshold_give_the_secret((secret, threshold, count, order) in any_split()) {
            let secret = Secret::copy_from(&secret).expect("32 bytes");
            let shares = split(&counting(), &secret, threshold, count).expect("shares");
            let drawn = order[..usize::from(threshold)].iter().map(|at| shares[*at].duplicate());
            let given = combine(&drawn.collect::<Vec<_>>()).expect("combines");
            prop_assert_eq!(given.expose(), secret.expose());
        }

        /// Whatever fewer shares are: each value of one more gives another secret, so every secret is as likely as before.
        #[test]
        fn fewer_fit_every_secret((secret, threshold, count, order) in any_split()) {
            let secret = Secret::copy_from(&secret).expect("32 bytes");
            let shares = split(&counting(), &secret, threshold, count).expect("shares");
            let mut drawn: Vec<Share> =
                order[..usize::from(threshold)].iter().map(|at| shares[*at].duplicate()).collect();
            let mut secrets = std::collections::BTreeSet::new();
            for guess in 0..=255 {
                drawn.last_mut().expect("at least one").value.expose_mut()[0] = guess;
                secrets.insert(combine(&drawn).expect("combines").expose()[0]);
            }
            prop_assert_eq!(secrets.len(), 256);
        }
    }

    /// Over all coefficients, a share below the threshold has each value equally often, whatever the secret.
    #[test]
    fn one_share_of_two_has_every_value_for_every_secret() {
        for secret in [0, 1, 0x53, 0xff] {
            for index in 1..=255 {
                let values: std::collections::BTreeSet<u8> =
                    (0..=255).map(|coefficient| product(coefficient, index) ^ secret).collect();
                assert_eq!(values.len(), 256, "{secret} {index}");
            }
        }
    }

    #[test]
    fn one_of_one_is_the_secret_and_numbers_are_looked_at() {
        let env = counting();
        let secret = Secret::random(&env).expect("random");
        let shares = split(&env, &secret, 1, 2).expect("shares");
        assert_eq!(shares[1].value.expose(), secret.expose());
        assert_eq!(combine(&[]).err(), Some(BadShares::None));
        assert_eq!(combine(&some(&shares, [0, 0])).err(), Some(BadShares::Twice(1)));
        let mut zero = some(&shares, [0]);
        zero[0].index = 0;
        assert_eq!(combine(&zero).err(), Some(BadShares::Zero));
    }
}
