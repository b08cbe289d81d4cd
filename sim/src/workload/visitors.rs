//! Visitors: clients that may do some of what they ask for. They ask for exhibits, keys and secrets of each domain that are made before
//! the load and left alone by it; for what is not there; and for those of other domains. Nobody here knows who may do what.

use super::{Client, Source, kind::Kind};
use crate::{
    dice::Dice,
    history::{Ask, Call, Dialect, Op, Outcome, VersionState},
    plan::ExhibitPlan,
};
use std::time::Duration;

/// Between two operations of a matrix: a host takes so many requests of clients without a certificate.
const MATRIX_PAUSE: Duration = Duration::from_millis(8);

/// What of one domain is asked for.
#[derive(Debug, Clone)]
pub struct Exhibits {
    domain: String,
    /// The last one is not there.
    keys: Vec<Exhibit>,
    /// Paths; the last one is not there.
    secrets: Vec<String>,
}

/// A key, and what it has sealed.
#[derive(Debug, Clone)]
struct Exhibit {
    key: String,
    /// Operation and context of an encrypt; of a key that signs, operation and message.
    sealed: (u64, String),
    datakey: u64,
}

/// What may be asked of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfKey {
    Get,
    Rename,
    Protect,
    Open,
    DataKey,
    OpenDataKey,
    Deactivate,
    Activate,
    Destroy,
}

/// Reads first: what they need is there then.
const OF_KEYS: [OfKey; 9] = [
    OfKey::Get,
    OfKey::Protect,
    OfKey::Open,
    OfKey::DataKey,
    OfKey::OpenDataKey,
    OfKey::Rename,
    // An active key is not destroyed.
    OfKey::Destroy,
    OfKey::Deactivate,
    OfKey::Activate,
];

/// What may be asked of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfSecret {
    Read(Dialect),
    Describe(Dialect),
    Create,
    Note,
    Set(Dialect, VersionState),
    Write,
    Delete,
}

const OF_SECRETS: [OfSecret; 11] = [
    OfSecret::Read(Dialect::Native),
    OfSecret::Read(Dialect::Vault),
    OfSecret::Describe(Dialect::Native),
    OfSecret::Describe(Dialect::Vault),
    OfSecret::Create,
    OfSecret::Note,
    OfSecret::Set(Dialect::Native, VersionState::Deactivated),
    OfSecret::Set(Dialect::Vault, VersionState::Active),
    OfSecret::Write,
    OfSecret::Set(Dialect::Native, VersionState::Deleted),
    OfSecret::Delete,
];

/// What may be asked of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfDomain {
    Random,
    Make,
    Import,
    List,
    ListSecrets,
}

const OF_DOMAINS: [OfDomain; 5] =
    [OfDomain::Random, OfDomain::Make, OfDomain::Import, OfDomain::List, OfDomain::ListSecrets];

/// Unique texts.
struct Texts {
    dice: Dice,
    client: u32,
    serial: u64,
}

type OnNeedle<'a> = &'a mut dyn FnMut(&str, &str);

impl Texts {
    fn text(&mut self, label: &str, secret: OnNeedle<'_>) -> String {
        self.serial += 1;
        let text = format!("{}{}x{}", self.dice.word(20), self.client, self.serial);
        secret(label, &text);
        text
    }

    /// A value or a note of a secret.
    fn tag(&mut self, label: &str, secret: OnNeedle<'_>) -> String {
        let tag = self.text(label, &mut |_, _| {});
        secret(label, &crate::veiled::text(&tag));
        tag
    }

    fn of_key(&mut self, wish: OfKey, exhibit: &Exhibit, secret: OnNeedle<'_>) -> Call {
        let key = exhibit.key.clone();
        let signs = Kind::of(&key).signs();
        let (from, text) = exhibit.sealed.clone();
        match wish {
            OfKey::Get => Call::Get { key },
            OfKey::Rename => Call::Rename { key, name: self.text("name", secret) },
            OfKey::Protect if signs => Call::Sign { key, message: self.text("plaintext", secret) },
            OfKey::Protect => {
                let plaintext = self.text("plaintext", secret);
                Call::Encrypt { key, plaintext, context: self.text("context", secret) }
            }
            OfKey::Open if signs => Call::Verify { key, message: text, from },
            OfKey::Open => Call::Decrypt { key, from, context: text },
            OfKey::DataKey | OfKey::OpenDataKey if signs => Call::Get { key },
            OfKey::DataKey => Call::DataKey { key, bits: 256 },
            OfKey::OpenDataKey => Call::DataKeyDecrypt { key, from: exhibit.datakey },
            OfKey::Deactivate => Call::Deactivate { key, reason: "superseded".to_owned() },
            OfKey::Activate => Call::Activate { key },
            OfKey::Destroy => Call::Delete { key },
        }
    }

    fn of_secret(&mut self, wish: OfSecret, path: &str, secret: OnNeedle<'_>) -> Call {
        let native = |ask| (Dialect::Native, ask);
        let (dialect, ask) = match wish {
            OfSecret::Read(dialect) => (dialect, Ask::Read { version: None }),
            OfSecret::Describe(dialect) => (dialect, Ask::Describe),
            OfSecret::Create => native(Ask::Create { value: self.tag("secret value", secret), note: None }),
            OfSecret::Note => native(Ask::Note { note: self.tag("secret metadata", secret) }),
            OfSecret::Set(dialect, state) => (dialect, Ask::Set { version: Some(1), state }),
            OfSecret::Write => native(Ask::Write { value: self.tag("secret value", secret), cas: None }),
            OfSecret::Delete => native(Ask::Delete),
        };
        Call::Secret { path: path.to_owned(), dialect, ask }
    }

    fn of_domain(&mut self, wish: OfDomain, secret: OnNeedle<'_>) -> Call {
        match wish {
            OfDomain::Random => Call::Random { length: 16 + self.dice.below(200) as u32 },
            OfDomain::Make => Call::CreateUnnamed { name: self.text("name", secret) },
            OfDomain::Import => {
                let key = Kind::Rsa.marked(Kind::mint(&mut self.dice, 0));
                Call::Create { key, name: self.text("name", secret) }
            }
            OfDomain::List => Call::List { state: "all".to_owned(), token: None, max: 100 },
            OfDomain::ListSecrets => Call::Secrets,
        }
    }
}

/// Whether what is there would be gone after it.
fn is_for_good(call: &Call) -> bool {
    matches!(call, Call::Secret { ask: Ask::Delete | Ask::Set { state: VersionState::Deleted, .. }, .. })
}

impl Exhibits {
    /// Has a client that may do everything make them.
    ///
    /// # Errors
    /// Something was not made: a harness error.
    pub async fn make(steward: &mut Client, plan: &ExhibitPlan, dice: Dice) -> Result<Exhibits, String> {
        let mut texts = Texts { dice, client: steward.number, serial: 0 };
        let mut keys = Vec::new();
        for key in &plan.keys {
            let create = Call::Create { key: key.clone(), name: needled(steward, &mut texts, "name") };
            done(steward, create).await?;
            let blank = Exhibit { key: key.clone(), sealed: (0, String::new()), datakey: 0 };
            let protect = with_needles(steward, |secret| texts.of_key(OfKey::Protect, &blank, secret));
            let text = match &protect {
                Call::Encrypt { context: text, .. } | Call::Sign { message: text, .. } => text.clone(),
                _ => String::new(),
            };
            let sealed = (done(steward, protect).await?.id, text);
            let datakey = with_needles(steward, |secret| texts.of_key(OfKey::DataKey, &blank, secret));
            keys.push(Exhibit { key: key.clone(), sealed, datakey: done(steward, datakey).await?.id });
        }
        for path in &plan.secrets {
            let create = with_needles(steward, |secret| texts.of_secret(OfSecret::Create, path, secret));
            done(steward, create).await?;
        }
        let mut secrets = plan.secrets.clone();
        secrets.push(plan.absent_secret.clone());
        for (_, name) in secrets.iter().filter_map(|path| path.split_once('/')) {
            steward.needle("secret path", name.as_bytes());
        }
        let like = keys.first().cloned().ok_or("a domain without exhibits")?;
        keys.push(Exhibit { key: plan.absent_key.clone(), ..like });
        Ok(Exhibits { domain: steward.domain.clone(), keys, secrets })
    }

    /// Everything that can be asked for, once each.
    fn all(&self, texts: &mut Texts, secret: OnNeedle<'_>) -> Vec<Call> {
        let mut calls = Vec::new();
        for exhibit in &self.keys {
            calls.extend(OF_KEYS.iter().map(|wish| texts.of_key(*wish, exhibit, secret)));
        }
        for (at, path) in self.secrets.iter().enumerate() {
            let absent = at + 1 == self.secrets.len();
            let all = OF_SECRETS.iter().map(|wish| texts.of_secret(*wish, path, secret));
            // What is not there is not made, and what is there is not deleted: it is the same for all who ask.
            let is_kept = |call: &Call| match call {
                Call::Secret { ask: Ask::Create { .. }, .. } => !absent,
                call => absent || !is_for_good(call),
            };
            calls.extend(all.filter(is_kept));
        }
        calls.extend(OF_DOMAINS.iter().map(|wish| texts.of_domain(*wish, secret)));
        calls
    }

    fn one(&self, texts: &mut Texts, secret: OnNeedle<'_>) -> Call {
        let call = match texts.dice.below(100) {
            0..50 => {
                let wish = texts.dice.pick(&OF_KEYS).copied().unwrap_or(OfKey::Get);
                // Destroyed exhibits show nothing.
                let exhibit = match (wish, texts.dice.chance(1, 10)) {
                    (OfKey::Destroy, _) | (_, true) => self.keys.last(),
                    _ => texts.dice.pick(&self.keys),
                };
                exhibit.map(|exhibit| texts.of_key(wish, exhibit, secret))
            }
            50..74 => {
                let wish = texts.dice.pick(&OF_SECRETS).copied().unwrap_or(OfSecret::Create);
                let call = texts.dice.pick(&self.secrets).map(|path| texts.of_secret(wish, path, secret));
                match (call, self.secrets.last(), self.secrets.first()) {
                    (Some(call), Some(absent), _) if is_for_good(&call) => {
                        Some(texts.of_secret(wish, absent, secret))
                    }
                    (_, _, Some(there)) if wish == OfSecret::Create => {
                        Some(texts.of_secret(wish, there, secret))
                    }
                    (call, ..) => call,
                }
            }
            74..88 => None,
            _ => {
                let wish = texts.dice.pick(&OF_DOMAINS).copied().unwrap_or(OfDomain::Random);
                Some(texts.of_domain(wish, secret))
            }
        };
        call.unwrap_or_else(|| texts.of_domain(OfDomain::Random, secret))
    }

    fn abroad(&self, call: Call) -> Call {
        Call::Abroad { domain: self.domain.clone(), call: Box::new(call) }
    }
}

fn with_needles(client: &Client, make: impl FnOnce(OnNeedle<'_>) -> Call) -> Call {
    make(&mut |label, text| client.needle(label, text.as_bytes()))
}

fn needled(client: &Client, texts: &mut Texts, label: &str) -> String {
    texts.text(label, &mut |label, text| client.needle(label, text.as_bytes()))
}

async fn done(client: &mut Client, call: Call) -> Result<Op, String> {
    let op = client.send(call).await.ok_or("a call without what it needs")?;
    match op.outcome {
        Outcome::Ok(_) => Ok(op),
        outcome => Err(format!("an exhibit was not made: {outcome:?}")),
    }
}

/// Asks for everything once, at home and in the other domains; a steward puts things right in between.
pub async fn matrix(client: &mut Client, steward: &mut Client, of: (&Exhibits, &[Exhibits]), dice: Dice) {
    let (home, all) = of;
    let mut texts = Texts { dice, client: client.number, serial: 1_000_000 };
    let calls = {
        let needles = &*client;
        let secret: OnNeedle<'_> = &mut |label, text| needles.needle(label, text.as_bytes());
        let mut calls = home.all(&mut texts, secret);
        for other in all.iter().filter(|other| other.domain != home.domain) {
            let there = other.all(&mut texts, secret);
            calls.extend(there.into_iter().map(|call| other.abroad(call)));
        }
        calls
    };
    for call in calls {
        let again = match &call {
            Call::Deactivate { key, .. } => Some(Call::Activate { key: key.clone() }),
            Call::Secret { path, dialect, ask: Ask::Set { version, state: VersionState::Deactivated } } => {
                let ask = Ask::Set { version: *version, state: VersionState::Active };
                Some(Call::Secret { path: path.clone(), dialect: *dialect, ask })
            }
            _ => None,
        };
        let op = client.send(call).await;
        if let (Some(again), Some(Outcome::Ok(_))) = (again, op.map(|op| op.outcome)) {
            steward.send(again).await;
        }
        client.env.sleep(MATRIX_PAUSE).await;
    }
}

/// What somebody tries whose credentials are good for nothing.
pub async fn knock(client: &mut Client, at: &Exhibits, dice: Dice) {
    let mut texts = Texts { dice, client: client.number, serial: 0 };
    let (Some(there), Some(path)) = (at.keys.first(), at.secrets.first()) else { return };
    let calls = {
        let needles = &*client;
        let secret: OnNeedle<'_> = &mut |label, text| needles.needle(label, text.as_bytes());
        let mut calls: Vec<Call> = OF_KEYS.iter().map(|wish| texts.of_key(*wish, there, secret)).collect();
        calls.push(texts.of_secret(OfSecret::Read(Dialect::Native), path, secret));
        calls.push(texts.of_secret(OfSecret::Read(Dialect::Vault), path, secret));
        calls.extend(OF_DOMAINS.iter().map(|wish| texts.of_domain(*wish, secret)));
        calls
    };
    for call in calls {
        client.send(call).await;
        client.env.sleep(MATRIX_PAUSE).await;
    }
}

/// One visitor's source of operations.
pub struct Visitor {
    texts: Texts,
    home: Exhibits,
    others: Vec<Exhibits>,
}

impl Visitor {
    /// The source of a client, from its stream in the plan.
    pub fn new(client: &Client, stream: [u8; 32], all: &[Exhibits]) -> Option<Visitor> {
        let texts = Texts { dice: Dice::from_seed(stream), client: client.number, serial: 2_000_000 };
        let home = all.iter().find(|exhibits| exhibits.domain == client.domain)?.clone();
        let others = all.iter().filter(|exhibits| exhibits.domain != client.domain).cloned().collect();
        Some(Visitor { texts, home, others })
    }
}

impl Source for Visitor {
    fn next(&mut self, secret: &mut dyn FnMut(&str, &str)) -> Call {
        if self.texts.dice.chance(1, 12)
            && let Some(other) = self.texts.dice.pick(&self.others)
        {
            return other.abroad(other.one(&mut self.texts, secret));
        }
        self.home.one(&mut self.texts, secret)
    }

    fn learn(&mut self, _: &Op) {}
}
