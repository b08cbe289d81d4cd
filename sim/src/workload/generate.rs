//! Draws a client's operations: by the mix, on its own recent keys or on the hot records that all clients of
//! the domain write. Every name, context and plaintext is unique, random, at least 16 characters, and a needle.

use super::{
    Source,
    kind::{Kind, of_pool},
    secrets::{Secrets, Shelf},
};
use crate::{
    dice::Dice,
    history::{Answer, Call, Op, Outcome},
    plan::LoadPlan,
    scenario::OpKind,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Own keys that a client goes on using.
const RECENT_MAX: usize = 24;
/// Ciphertexts and data keys remembered per key.
const SEALED_MAX: usize = 8;
/// Hot records that were destroyed and are still asked for now and then.
const RETIRED_MAX: usize = 8;

/// What the clients of one domain know together: the hot records.
#[derive(Clone)]
pub struct Board {
    keys: Arc<Mutex<Shared>>,
    secrets: Shelf,
}

struct Shared {
    dice: Dice,
    signers_percent: u32,
    hot: Vec<Known>,
    retired: VecDeque<Known>,
}

/// A key and what it has sealed.
#[derive(Debug, Clone, Default)]
struct Known {
    key: String,
    created: bool,
    /// Operation and context of each encrypt that was answered; of a key that signs, operation and message.
    ciphertexts: VecDeque<(u64, String)>,
    datakeys: VecDeque<u64>,
}

impl Known {
    fn new(key: String) -> Known {
        Known { key, ..Known::default() }
    }
}

impl Board {
    /// `hot_records` fresh ids, from a stream of their own.
    pub fn new(seed: u64, domain: usize, load: &LoadPlan) -> Board {
        let mut dice = Dice::named(seed, &format!("hot-{domain}"));
        let signers_percent = load.signers_percent;
        let hot = (0..load.hot_records).map(|_| Known::new(Kind::mint(&mut dice, signers_percent))).collect();
        let shared = Shared { dice, signers_percent, hot, retired: VecDeque::new() };
        Board { keys: Arc::new(Mutex::new(shared)), secrets: Shelf::new(seed, domain, load.hot_records) }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn find(&mut self, key: &str) -> Option<&mut Known> {
        self.hot.iter_mut().find(|known| known.key == key)
    }

    /// A destroyed hot record gives way to a fresh one.
    fn retire(&mut self, key: &str) {
        let fresh = Known::new(Kind::mint(&mut self.dice, self.signers_percent));
        if let Some(known) = self.find(key) {
            let old = std::mem::replace(known, fresh);
            self.retired.push_back(old);
            if self.retired.len() > RETIRED_MAX {
                self.retired.pop_front();
            }
        }
    }
}

/// One client's source of operations.
pub struct Generator {
    dice: Dice,
    mix: BTreeMap<OpKind, u32>,
    hot_percent: u64,
    signers_percent: u32,
    secrets_percent: u32,
    secrets: Secrets,
    board: Board,
    own: VecDeque<Known>,
    page: Option<String>,
    /// A create whose outcome nobody told, to be sent once more.
    again: Option<Call>,
    serial: u64,
    client: u32,
}

impl Generator {
    /// The source of `client`, from its stream in the plan.
    pub fn new(client: u32, load: &LoadPlan, stream: [u8; 32], board: Board) -> Generator {
        Generator {
            dice: Dice::from_seed(stream),
            mix: load.mix.clone(),
            hot_percent: load.hot_percent.into(),
            signers_percent: load.signers_percent,
            secrets_percent: load.secrets_percent,
            secrets: Secrets::new(client, load.hot_percent, board.secrets.clone()),
            board,
            own: VecDeque::new(),
            page: None,
            again: None,
            serial: 0,
            client,
        }
    }

    fn hot_record(&mut self) -> Option<Known> {
        let shared = self.board.lock();
        if !shared.retired.is_empty() && self.dice.chance(1, 20) {
            let retired: Vec<_> = shared.retired.iter().collect();
            return self.dice.pick(&retired).map(|known| (*known).clone());
        }
        self.dice.pick(&shared.hot).cloned()
    }

    fn hot_call(&mut self, kind: OpKind, known: &Known, secret: &mut dyn FnMut(&str, &str)) -> Call {
        if !known.created {
            return self.create(known.key.clone(), secret);
        }
        // Destroying is rare on hot records: most of what is asked of a tombstone is dull.
        let kind = match kind {
            OpKind::Destroy if self.dice.chance(2, 3) => OpKind::Rename,
            kind => kind,
        };
        self.call(kind, known, secret)
    }

    fn own_call(&mut self, kind: OpKind, secret: &mut dyn FnMut(&str, &str)) -> Call {
        let usable: Vec<_> = self.own.iter().collect();
        let known = self.dice.pick(&usable).map(|known| (*known).clone());
        match known {
            Some(known) if kind != OpKind::Create => self.call(kind, &known, secret),
            _ if self.dice.chance(1, 8) => Call::CreateUnnamed { name: self.text("name", 24, secret) },
            _ => {
                let key = Kind::mint(&mut self.dice, self.signers_percent);
                self.create(key, secret)
            }
        }
    }

    fn create(&mut self, key: String, secret: &mut dyn FnMut(&str, &str)) -> Call {
        if Kind::of(&key) == Kind::Rsa {
            let jwk = of_pool(&key);
            for member in ["d", "p", "q"] {
                secret("material", jwk[member].as_str().unwrap_or_default());
            }
        }
        Call::Create { key, name: self.text("name", 24, secret) }
    }

    fn call(&mut self, kind: OpKind, known: &Known, secret: &mut dyn FnMut(&str, &str)) -> Call {
        let key = known.key.clone();
        if Kind::of(&key).signs() {
            let signed = match kind {
                OpKind::Encrypt | OpKind::Datakey => None,
                OpKind::Decrypt | OpKind::DatakeyDecrypt => self.pick_queue(&known.ciphertexts),
                _ => return self.other_call(kind, key, secret),
            };
            return match signed {
                Some((from, message)) => Call::Verify { key, message, from },
                None => Call::Sign { key, message: self.text("plaintext", 40, secret) },
            };
        }
        match kind {
            OpKind::Decrypt => match self.pick_queue(&known.ciphertexts) {
                Some((from, context)) => Call::Decrypt { key, from, context },
                None => self.encrypt(key, secret),
            },
            OpKind::DatakeyDecrypt => match self.pick_queue(&known.datakeys) {
                Some(from) => Call::DataKeyDecrypt { key, from },
                None => Call::DataKey { key, bits: 256 },
            },
            OpKind::Encrypt => self.encrypt(key, secret),
            OpKind::Datakey => Call::DataKey { key, bits: 256 },
            other => self.other_call(other, key, secret),
        }
    }

    /// What is asked of a key whatever it is for.
    fn other_call(&mut self, kind: OpKind, key: String, secret: &mut dyn FnMut(&str, &str)) -> Call {
        match kind {
            OpKind::Create => self.create(key, secret),
            OpKind::Rename => Call::Rename { key, name: self.text("name", 24, secret) },
            OpKind::Activate => Call::Activate { key },
            OpKind::Deactivate => {
                let reason = if self.dice.chance(1, 4) { "key_compromise" } else { "superseded" };
                Call::Deactivate { key, reason: reason.to_owned() }
            }
            OpKind::Destroy => Call::Delete { key },
            _ => Call::Get { key },
        }
    }

    fn pick_queue<T: Clone>(&mut self, queue: &VecDeque<T>) -> Option<T> {
        let index = usize::try_from(self.dice.below(queue.len() as u64)).ok()?;
        queue.get(index).cloned()
    }

    fn encrypt(&mut self, key: String, secret: &mut dyn FnMut(&str, &str)) -> Call {
        let length = if self.dice.chance(1, 10) { 1024 } else { 24 + self.dice.below(64) as usize };
        let plaintext = self.text("plaintext", length, secret);
        let context = self.text("context", 32, secret);
        Call::Encrypt { key, plaintext, context }
    }

    fn list(&mut self) -> Call {
        let state = if self.dice.chance(1, 2) { "all" } else { "active" };
        match self.page.take() {
            // The token belongs to the walk over `all`.
            Some(token) => Call::List { state: "all".to_owned(), token: Some(token), max: 20 },
            None => Call::List { state: state.to_owned(), token: None, max: 20 },
        }
    }

    /// Unique by the client and a serial number, unguessable by the rest.
    fn text(&mut self, label: &str, length: usize, secret: &mut dyn FnMut(&str, &str)) -> String {
        self.serial += 1;
        let tag = format!("{}x{}", self.client, self.serial);
        let text = format!("{}{tag}", self.dice.word(length.saturating_sub(tag.len()).max(16)));
        secret(label, &text);
        text
    }
}

impl Source for Generator {
    fn next(&mut self, secret: &mut dyn FnMut(&str, &str)) -> Call {
        if let Some(call) = self.again.take() {
            return call;
        }
        if self.secrets_percent > 0 && self.dice.chance(self.secrets_percent.into(), 100) {
            return self.secrets.next(&mut self.dice, secret);
        }
        let kind = self
            .dice
            .weighted(self.mix.iter().map(|(kind, weight)| (kind, *weight)))
            .copied()
            .unwrap_or(OpKind::Random);
        if kind == OpKind::Random {
            return Call::Random { length: 16 + self.dice.below(240) as u32 };
        }
        if kind == OpKind::List {
            return self.list();
        }
        // A create without an id cannot be hot; lists and random bytes have no record. The share of the hot
        // ones is drawn among the rest, so it is raised by as much.
        let hot = self.dice.chance(self.hot_percent * 11, 1000);
        if hot && let Some(known) = self.hot_record() {
            return self.hot_call(kind, &known, secret);
        }
        self.own_call(kind, secret)
    }

    fn learn(&mut self, op: &Op) {
        if matches!(op.call, Call::Secret { .. } | Call::Secrets) {
            return self.secrets.learn(op);
        }
        if let (Call::List { state, .. }, Outcome::Ok(Answer::Page { token, truncated: true, .. })) =
            (&op.call, &op.outcome)
        {
            self.page = (state == "all").then(|| token.clone());
        }
        // What a client does that does not know: a create with an id may be repeated, a conflict then says that
        // the key exists. It had better.
        if let (Call::Create { .. }, Outcome::SaidUnknown | Outcome::Unknown) = (&op.call, &op.outcome)
            && self.dice.chance(1, 2)
        {
            self.again = Some(op.call.clone());
        }
        let created = match (&op.call, &op.outcome) {
            (Call::CreateUnnamed { .. }, Outcome::Ok(Answer::Key(view))) => Some(view.id.clone()),
            (Call::Create { key, .. }, outcome) if may_exist(outcome) => Some(key.clone()),
            _ => None,
        };
        let mut shared = self.board.lock();
        if let Some(key) = created {
            match shared.find(&key) {
                Some(known) => known.created = true,
                None if self.own.iter().all(|known| known.key != key) => {
                    self.own.push_back(Known { key, created: true, ..Known::default() });
                    if self.own.len() > RECENT_MAX {
                        self.own.pop_front();
                    }
                }
                None => {}
            }
            return;
        }
        let Some(key) = op.call.key() else { return };
        if matches!(op.call, Call::Delete { .. })
            && !matches!(op.outcome, Outcome::Refused | Outcome::Rejected { .. })
        {
            shared.retire(key);
            return;
        }
        let known = shared.find(key).or_else(|| self.own.iter_mut().find(|known| known.key == key));
        let Some(known) = known else { return };
        match (&op.call, &op.outcome) {
            (Call::Encrypt { context, .. }, Outcome::Ok(_)) => {
                keep(&mut known.ciphertexts, (op.id, context.clone()));
            }
            (Call::Sign { message, .. }, Outcome::Ok(_)) => {
                keep(&mut known.ciphertexts, (op.id, message.clone()));
            }
            (Call::DataKey { .. }, Outcome::Ok(_)) => keep(&mut known.datakeys, op.id),
            _ => {}
        }
    }
}

/// After these a key may be there (a conflict says that one is).
fn may_exist(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Ok(_) | Outcome::Unknown | Outcome::SaidUnknown | Outcome::Rejected { status: 409, .. }
    )
}

fn keep<T>(queue: &mut VecDeque<T>, item: T) {
    queue.push_back(item);
    if queue.len() > SEALED_MAX {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{history::Phase, plan::Plan, scenario::Scenario};
    use std::collections::BTreeSet;

    fn load() -> Plan {
        let text = "name = \"x\"\nabout = \"y\"\npromises = []\n[topology]\nregion = \"r\"\n\
                    [phases]\nfaults = \"10s\"\nsettle = \"1s\"\n";
        Plan::draw(&Scenario::parse(text).expect("scenario"), 1).expect("plan")
    }

    fn calls(count: u64) -> (Vec<Call>, Vec<String>, BTreeSet<String>) {
        let plan = load();
        let board = Board::new(plan.seed, 0, &plan.load);
        let hot: BTreeSet<String> = board.lock().hot.iter().map(|known| known.key.clone()).collect();
        let mut generator = Generator::new(3, &plan.load, plan.load.client[0].stream, board);
        let (mut made, mut needles) = (Vec::new(), Vec::new());
        for id in 0..count {
            let call = generator.next(&mut |_, text| needles.push(text.to_owned()));
            made.push(call.clone());
            // Deletes are refused here: the hot records stay the same.
            let outcome = match call {
                Call::Delete { .. } => Outcome::Refused,
                Call::CreateUnnamed { .. } => Outcome::Unknown,
                _ => Outcome::Ok(Answer::Done),
            };
            generator.learn(&Op {
                id,
                client: 3,
                call,
                invoked: id,
                done: Some(id),
                outcome,
                phase: Phase::Load,
            });
        }
        (made, needles, hot)
    }

    #[test]
    fn operations_repeat_and_cover_every_kind() {
        let (made, ..) = calls(2000);
        assert_eq!(made, calls(2000).0);
        let kinds: BTreeSet<_> =
            made.iter().map(std::mem::discriminant).map(|kind| format!("{kind:?}")).collect();
        assert_eq!(kinds.len(), 13);
    }

    #[test]
    fn a_fifth_of_all_goes_to_the_hot_records() {
        let (made, _, hot) = calls(4000);
        let count = made.iter().filter(|call| call.key().is_some_and(|key| hot.contains(key))).count();
        assert!(count * 100 >= 20 * made.len(), "{count} of {}", made.len());
        assert!(hot.iter().all(|key| made.iter().any(|call| call.key() == Some(key))));
    }

    #[test]
    fn secrets_are_long_unique_and_fit() {
        let (made, needles, _) = calls(2000);
        assert_eq!(needles.iter().collect::<BTreeSet<_>>().len(), needles.len());
        assert!(needles.iter().all(|needle| needle.len() >= 16));
        for call in made {
            match call {
                Call::Create { name, .. } | Call::Rename { name, .. } => assert!(name.len() <= 32, "{name}"),
                Call::Encrypt { context, plaintext, .. } => {
                    assert!(context.len() <= 64);
                    assert!(plaintext.len() <= 4096);
                }
                _ => {}
            }
        }
    }
}
