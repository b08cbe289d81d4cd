//! G10: no answer ever comes from wrong bytes: a plaintext is the one that was encrypted, a data key the one
//! that was made, a view is of the key asked for, and nothing opens with another key or another context.
//! Exercised only by operations on keys whose stored bytes were swapped before.
//!
//! Does not check: attributes of swapped keys (G11 does: an older version is a stale read), that damage is
//! noticed or repaired, keys that cannot be recognised in the swapped record keys.

use super::{CheckInput, linear::decrypt_is_proper, swapped::Swaps};
use crate::{
    history::{Answer, Call, Op, Outcome},
    report::Verdict,
};

/// Judges.
pub fn check(input: &CheckInput<'_>) -> Verdict {
    let mut verdict = Verdict::new("G10", "g10_integrity");
    let swaps = Swaps::new(input.history);
    for (probe, measure) in [("swap-pair", "swapped_pairs"), ("swap-older-version", "older_versions")] {
        if let Some(count) = input.probes.get(probe) {
            verdict.count(measure, *count);
        }
    }
    for op in &input.history.ops {
        if let Some(key) = op.call.key()
            && swaps.any()
            && swaps.touched(key, op.invoked)
        {
            verdict.exercised += 1;
            match op.outcome {
                Outcome::Ok(_) => verdict.count("answered_after_swap", 1),
                _ => verdict.count("not_answered_after_swap", 1),
            }
        }
        if let Outcome::Ok(answer) = &op.outcome {
            answer_of(input, &mut verdict, op, answer);
        }
    }
    verdict
}

fn answer_of(input: &CheckInput<'_>, verdict: &mut Verdict, op: &Op, answer: &Answer) {
    match (&op.call, answer) {
        (Call::Create { key, .. } | Call::Get { key } | Call::Rename { key, .. }, Answer::Key(view)) => {
            verdict.count("answers_compared", 1);
            if *key != view.id {
                let text = format!("op {} asked for key {key} and was shown another", op.id);
                verdict.broken("other-key", &[op.id], text);
            }
        }
        (
            Call::Decrypt { key, from, .. }
            | Call::DataKeyDecrypt { key, from }
            | Call::Verify { key, from, .. },
            answer,
        ) => {
            opened(input, verdict, op, key, *from, answer);
        }
        _ => {}
    }
}

fn opened(input: &CheckInput<'_>, verdict: &mut Verdict, op: &Op, key: &str, from: u64, answer: &Answer) {
    verdict.count("answers_compared", 1);
    if !decrypt_is_proper(input.history, op) {
        let text = format!("op {} opened what op {from} made with another key or context (key {key})", op.id);
        return verdict.broken("opened-wrongly", &[from, op.id], text);
    }
    let source = usize::try_from(from).ok().and_then(|from| input.history.ops.get(from));
    let same = source.is_some_and(|source| match (&source.call, &source.outcome, answer) {
        (Call::Encrypt { plaintext, .. }, _, Answer::Plaintext(opened)) => plaintext == opened,
        (Call::Sign { .. }, _, Answer::Verified(verified)) => *verified,
        (
            _,
            Outcome::Ok(Answer::DataKey { plaintext_hex, .. }),
            Answer::Plaintext(opened) | Answer::Bytes(opened),
        ) => plaintext_hex.eq_ignore_ascii_case(opened),
        (
            _,
            Outcome::Ok(Answer::DataKey { plaintext_hex, .. }),
            Answer::DataKey { plaintext_hex: opened, .. },
        ) => plaintext_hex.eq_ignore_ascii_case(opened),
        _ => false,
    });
    if !same {
        let text = format!("op {} opened what op {from} made and got something else (key {key})", op.id);
        verdict.broken("wrong-plaintext", &[from, op.id], text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Build, S, assert_held, decrypt, encrypt, get, kinds, ok_key};
    use crate::history::What;
    use crate::report::Judgement;

    fn encrypted() -> (Build, u64) {
        let mut build = Build::new();
        build.created("k", "n", S);
        let from = build.op(encrypt("k"), 2 * S, 3 * S, Outcome::Ok(Answer::Ciphertext("jwe".into())));
        (build, from)
    }

    fn plaintext(text: &str) -> Outcome {
        Outcome::Ok(Answer::Plaintext(text.into()))
    }

    #[test]
    fn exercised_only_after_a_swap_of_that_key() {
        let (mut build, from) = encrypted();
        build.op(decrypt("k", from), 4 * S, 5 * S, plaintext("clear"));
        assert_eq!(check(&build.input()).judgement(), Judgement::NotExercised);
        build.event(6 * S, What::Swapped { node: "db-a".into(), keys: vec![hex::encode("other")] });
        build.op(decrypt("k", from), 7 * S, 8 * S, plaintext("clear"));
        assert_eq!(check(&build.input()).exercised, 0);
        build.event(6 * S, What::Swapped { node: "db-a".into(), keys: vec![hex::encode("k")] });
        assert_held(&check(&build.input()));
    }

    #[test]
    fn wrong_answers() {
        let (mut build, from) = encrypted();
        build.op(decrypt("k", from), 4 * S, 5 * S, plaintext("other"));
        assert_eq!(kinds(&check(&build.input())), ["wrong-plaintext"]);

        let (mut build, from) = encrypted();
        let call = Call::Decrypt { key: "k".into(), from, context: "another".into() };
        build.op(call, 4 * S, 5 * S, plaintext("clear"));
        build.op(decrypt("l", from), 4 * S, 5 * S, plaintext("clear"));
        assert_eq!(kinds(&check(&build.input())), ["opened-wrongly", "opened-wrongly"]);

        let mut build = Build::new();
        build.op(get("k"), S, 2 * S, ok_key("l", "n", "active"));
        assert_eq!(kinds(&check(&build.input())), ["other-key"]);
    }

    #[test]
    fn data_keys() {
        let mut build = Build::new();
        let made = Outcome::Ok(Answer::DataKey { blob: "jwe".into(), plaintext_hex: "0aff".into() });
        let from = build.op(Call::DataKey { key: "k".into(), bits: 256 }, S, 2 * S, made);
        let call = Call::DataKeyDecrypt { key: "k".into(), from };
        build.op(call.clone(), 3 * S, 4 * S, Outcome::Ok(Answer::Bytes("0AFF".into())));
        build.op(call.clone(), 3 * S, 4 * S, plaintext("0aff"));
        assert!(check(&build.input()).violations.is_empty());
        build.op(call, 3 * S, 4 * S, plaintext("0afe"));
        assert_eq!(kinds(&check(&build.input())), ["wrong-plaintext"]);
    }
}
