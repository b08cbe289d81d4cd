//! Reading everything back for the end checks: each key and each secret that was ever acknowledged, through REST, while one
//! database alone is on. Only asks; the checkers judge the answers by their phase.

use super::{Client, kind::Kind};
use crate::{
    dice::Dice,
    history::{Answer, Ask, Call, Dialect, Op, Outcome},
};
use std::collections::{BTreeMap, BTreeSet};

/// A key to be read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// The key.
    pub key: String,
    /// An encrypt on it that was answered, and its context; or a signature, and what was signed.
    pub ciphertext: Option<(u64, String)>,
}

/// What one reader reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// Keys.
    pub keys: Vec<Sought>,
    /// Paths of secrets.
    pub secrets: Vec<String>,
    /// Whether it walks through the list of the domain's keys too.
    pub lists: bool,
}

/// Keys on a page of a walk.
const PAGE: u32 = 100;

/// Every path at which an answered write made a secret, in order; of the operations for which `mine` holds.
pub fn acknowledged_secrets(ops: &[Op], mine: impl Fn(&Op) -> bool) -> Vec<String> {
    let written = |op: &Op| match (&op.call, &op.outcome) {
        (Call::Secret { path, ask, .. }, Outcome::Ok(_)) if ask.is_write() => Some(path.clone()),
        _ => None,
    };
    ops.iter().filter(|op| mine(op)).filter_map(written).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Every key that an answered create made, with its latest answered ciphertext, in order of the ids; of the
/// operations for which `mine` holds.
pub fn acknowledged_keys(ops: &[Op], mine: impl Fn(&Op) -> bool) -> Vec<Sought> {
    let mut keys: BTreeMap<String, Option<(u64, String)>> = BTreeMap::new();
    for op in ops.iter().filter(|op| mine(op)) {
        match (&op.call, &op.outcome) {
            (Call::Create { .. } | Call::CreateUnnamed { .. }, Outcome::Ok(Answer::Key(view))) => {
                keys.entry(view.id.clone()).or_default();
            }
            (Call::Encrypt { key, context, .. }, Outcome::Ok(Answer::Ciphertext(_))) => {
                keys.insert(key.clone(), Some((op.id, context.clone())));
            }
            (Call::Sign { key, message }, Outcome::Ok(Answer::Signature(_))) => {
                keys.insert(key.clone(), Some((op.id, message.clone())));
            }
            _ => {}
        }
    }
    keys.into_iter().map(|(key, ciphertext)| Sought { key, ciphertext }).collect()
}

/// Reads a share.
pub async fn read_everything(client: &mut Client, share: &mut Share, dice: &mut Dice) {
    read_keys(client, &mut share.keys, dice).await;
    for path in &share.secrets {
        read_secret(client, path).await;
    }
    if share.lists {
        walk(client).await;
    }
}

/// What is known of a secret, and each of its versions with its data, in the two interfaces by turns.
async fn read_secret(client: &mut Client, path: &str) {
    let call = |dialect, ask| Call::Secret { path: path.to_owned(), dialect, ask };
    let Some(Answer::Secret(view)) = ask(client, call(Dialect::Vault, Ask::Describe)).await else { return };
    for version in view.versions {
        let dialect = if version.number % 2 == 0 { Dialect::Vault } else { Dialect::Native };
        ask(client, call(dialect, Ask::Read { version: Some(version.number) })).await;
    }
}

/// All pages of the list of keys, destroyed ones too.
async fn walk(client: &mut Client) {
    let mut token = None;
    loop {
        let list = Call::List { state: "all".to_owned(), token: token.take(), max: PAGE };
        match ask(client, list).await {
            Some(Answer::Page { token: next, truncated: true, .. }) => token = Some(next),
            _ => return,
        }
    }
}

/// Reads every key: its attributes, a decrypt of its known ciphertext, or, without one, an encrypt whose
/// ciphertext (of keys that sign: a verification, or a signature that) is noted in `keys` for the next reader. Asks again, a few times, what was not answered.
async fn read_keys(client: &mut Client, keys: &mut [Sought], dice: &mut Dice) {
    for sought in keys {
        let Some(Answer::Key(view)) = ask(client, Call::Get { key: sought.key.clone() }).await else {
            continue;
        };
        if view.state.starts_with("destroyed") {
            continue;
        }
        match &sought.ciphertext {
            Some((from, context)) => {
                let (key, text) = (sought.key.clone(), context.clone());
                let call = if Kind::of(&key).signs() {
                    Call::Verify { key, message: text, from: *from }
                } else {
                    Call::Decrypt { key, from: *from, context: text }
                };
                ask(client, call).await;
            }
            None if view.state == "active" => protect(client, sought, dice).await,
            None => {}
        }
    }
}

async fn protect(client: &mut Client, sought: &mut Sought, dice: &mut Dice) {
    let (plaintext, context) = (dice.word(32), dice.word(32));
    client.recorder.needle("plaintext", plaintext.as_bytes());
    client.recorder.needle("context", context.as_bytes());
    let key = sought.key.clone();
    let call = if Kind::of(&key).signs() {
        Call::Sign { key, message: context.clone() }
    } else {
        Call::Encrypt { key, plaintext, context: context.clone() }
    };
    let before = client.recorder.now();
    if ask(client, call).await.is_some() {
        // The operation just answered is the client's last one.
        let last = client.recorder.last_of(client.number);
        sought.ciphertext = last
            .filter(|op| op.invoked >= before && matches!(op.outcome, Outcome::Ok(_)))
            .map(|op| (op.id, context));
    }
}

/// The answer, if it is a success within five attempts; a definite error ends the asking.
async fn ask(client: &mut Client, call: Call) -> Option<Answer> {
    for _ in 0..5 {
        let op = client.send(call.clone()).await?;
        match op.outcome {
            Outcome::Ok(answer) => return Some(answer),
            Outcome::Rejected { status, .. } if status < 500 => return None,
            _ => client.env.sleep(std::time::Duration::from_millis(300)).await,
        }
    }
    client.recorder.probe("end-check-unanswered");
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{KeyView, Phase};

    #[test]
    fn keys_come_with_their_latest_ciphertext() {
        let key = |id: &str| {
            Outcome::Ok(Answer::Key(KeyView {
                id: id.to_owned(),
                name: "n".to_owned(),
                state: "active".to_owned(),
                rest: String::new(),
            }))
        };
        let encrypt = |key: &str, context: &str| Call::Encrypt {
            key: key.to_owned(),
            plaintext: "p".to_owned(),
            context: context.to_owned(),
        };
        let create = |key: &str| Call::Create { key: key.to_owned(), name: "n".to_owned() };
        let calls = [
            (create("b"), key("b")),
            (create("a"), key("a")),
            (create("c"), Outcome::Unknown),
            (encrypt("a", "1"), Outcome::Ok(Answer::Ciphertext("x".to_owned()))),
            (encrypt("a", "2"), Outcome::Ok(Answer::Ciphertext("y".to_owned()))),
            (encrypt("b", "3"), Outcome::Unknown),
        ];
        let ops: Vec<Op> = (0u64..)
            .zip(calls)
            .map(|(id, (call, outcome))| Op {
                id,
                client: 0,
                call,
                invoked: id,
                done: Some(id),
                outcome,
                phase: Phase::Load,
            })
            .collect();
        let sought = acknowledged_keys(&ops, |_| true);
        assert_eq!(
            sought,
            [
                Sought { key: "a".to_owned(), ciphertext: Some((4, "2".to_owned())) },
                Sought { key: "b".to_owned(), ciphertext: None }
            ]
        );
        assert!(acknowledged_keys(&ops, |op| op.client == 1).is_empty());
    }
}
