//! Decides whether the history of one record, a key or a secret, is linearizable (Wing and Gong's search with Lowe's memory of
//! visited configurations). Bounded; says so when it gives up.
//!
//! Answers that change nothing are taken as soon as they are true: taking one earlier never hurts. So only
//! changes branch. A write with an unknown outcome may be taken once at any moment after its invocation, or
//! never; those with the same effect are interchangeable and taken in order of invocation. A configuration
//! that took no fewer of them than another with the same state and the same steps placed has nothing to add.

use super::model::{Change, Check, State};
use crate::history::Micros;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::DefaultHasher},
    hash::{BuildHasherDefault, Hash, Hasher},
};

/// A record at one moment, and what may become of it.
pub trait Machine: Clone + Eq + Hash {
    /// A write.
    type Change: Clone + Ord;
    /// An answer that says something about the state.
    type Check: Clone;

    /// Before anything.
    fn initial() -> Self;
    /// The state after a change that was accepted; `None` if it cannot have been.
    fn after(&self, change: &Self::Change) -> Option<Self>;
    /// Whether an answer is true.
    fn explains(&self, check: &Self::Check) -> bool;
    /// The name that an answer shows.
    fn named(check: &Self::Check) -> Option<u32>;
    /// The name that a change sets, if it does nothing else and any later one sets another.
    fn names(change: &Self::Change) -> Option<u32>;
    /// For reports: holds no secret.
    fn word(&self) -> String;
}

/// What an operation did to or said about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<C = Change, K = Check> {
    /// Acknowledged change, and what its answer showed of the record after it.
    Changed(C, Option<K>),
    /// Change with an unknown outcome.
    Perhaps(C),
    /// An answer.
    Saw(K),
}

/// One step of one record's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<C = Change, K = Check> {
    /// The operation.
    pub op: u64,
    /// Its invocation.
    pub call: Micros,
    /// Its end.
    pub ret: Micros,
    /// What it did.
    pub step: Step<C, K>,
}

type ItemOf<S> = Item<<S as Machine>::Change, <S as Machine>::Check>;

/// The search's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<S = State> {
    /// An order exists.
    Linearizable,
    /// None exists.
    Violated(Explanation<S>),
    /// Gave up.
    Undecided,
}

/// Where the longest order found got stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<S = State> {
    /// The operation that could not follow.
    pub op: u64,
    /// The state then.
    pub state: S,
    /// Last changes of that order, oldest first.
    pub after: Vec<u64>,
    /// Other operations not yet placed that overlap the one that could not follow.
    pub beside: Vec<u64>,
}

/// Decides, visiting at most `max` configurations. Also returns how many it visited.
pub fn decide<S: Machine>(items: &[ItemOf<S>], max: usize) -> (Decision<S>, usize) {
    Search::<S>::new(items).run(max)
}

type FixedHasher = BuildHasherDefault<DefaultHasher>;

struct Group<C> {
    change: C,
    /// (invocation, operation), in order.
    uses: Vec<(Micros, u64)>,
}

struct Search<S: Machine> {
    /// Everything that must be placed, by invocation.
    must: Vec<ItemOf<S>>,
    /// Writes that may be placed, by effect.
    may: Vec<Group<S::Change>>,
    /// By state and steps placed: the least sets of uncertain writes taken on the way there.
    frontier: HashMap<(u64, u64), Vec<Vec<u16>>, FixedHasher>,
    visited: usize,
    best: Option<(usize, Explanation<S>)>,
}

#[derive(Clone)]
struct Config<S> {
    state: S,
    /// First item not placed.
    first: usize,
    placed: usize,
    done: Vec<u64>,
    used: Vec<u16>,
    /// The last changes on the way here.
    trail: [u64; 4],
}

impl<S: Hash> Config<S> {
    fn is_done(&self, index: usize) -> bool {
        self.done[index / 64] >> (index % 64) & 1 == 1
    }

    fn place(&mut self, index: usize, len: usize) {
        self.done[index / 64] |= 1 << (index % 64);
        self.placed += 1;
        while self.first < len && self.is_done(self.first) {
            self.first += 1;
        }
    }

    fn note(&mut self, op: u64) {
        self.trail.rotate_left(1);
        self.trail[3] = op;
    }

    fn fingerprint(&self) -> (u64, u64) {
        let mut one = DefaultHasher::new();
        (&self.state, &self.done).hash(&mut one);
        let mut two = DefaultHasher::new();
        (0x9e37_79b9_u64, &self.done, &self.state).hash(&mut two);
        (one.finish(), two.finish())
    }
}

impl<S: Machine> Search<S> {
    fn new(items: &[ItemOf<S>]) -> Search<S> {
        let observed: BTreeSet<u32> =
            items.iter().filter_map(|item| observed_name::<S>(&item.step)).collect();
        let mut must = Vec::new();
        let mut may: BTreeMap<S::Change, Vec<(Micros, u64)>> = BTreeMap::new();
        for item in items {
            match &item.step {
                // A name nobody ever saw explains nothing: that rename may as well not have happened.
                Step::Perhaps(change) if S::names(change).is_some_and(|name| !observed.contains(&name)) => {}
                Step::Perhaps(change) => may.entry(change.clone()).or_default().push((item.call, item.op)),
                _ => must.push(item.clone()),
            }
        }
        must.sort_by_key(|item| (item.call, item.ret, item.op));
        let may = may
            .into_iter()
            .map(|(change, mut uses)| {
                uses.sort_unstable();
                Group { change, uses }
            })
            .collect();
        Search { must, may, frontier: HashMap::default(), visited: 0, best: None }
    }

    fn run(mut self, max: usize) -> (Decision<S>, usize) {
        let start = Config {
            state: S::initial(),
            first: 0,
            placed: 0,
            done: vec![0; self.must.len().div_ceil(64)],
            used: vec![0; self.may.len()],
            trail: [u64::MAX; 4],
        };
        let mut stack = vec![start];
        while let Some(mut config) = stack.pop() {
            let limit = self.settle(&mut config);
            if config.first == self.must.len() {
                return (Decision::Linearizable, self.visited);
            }
            if !self.is_new(&config) {
                continue;
            }
            self.visited += 1;
            if self.visited > max {
                return (Decision::Undecided, self.visited);
            }
            self.remember(&config, limit);
            self.branch(&config, limit, &mut stack);
        }
        let decision = match self.best {
            Some((_, explanation)) => Decision::Violated(explanation),
            None => Decision::Linearizable,
        };
        (decision, self.visited)
    }

    /// Whether nothing visited makes the configuration superfluous; remembers it if so.
    fn is_new(&mut self, config: &Config<S>) -> bool {
        let least = self.frontier.entry(config.fingerprint()).or_default();
        let no_more = |one: &[u16], other: &[u16]| one.iter().zip(other).all(|(one, other)| one <= other);
        if least.iter().any(|used| no_more(used, &config.used)) {
            return false;
        }
        least.retain(|used| !no_more(&config.used, used));
        least.push(config.used.clone());
        true
    }

    /// Indices that may come next, and the moment by which one of them must have.
    fn limit(&self, config: &Config<S>) -> Micros {
        let mut limit = Micros::MAX;
        for (index, item) in self.must.iter().enumerate().skip(config.first) {
            if item.call > limit {
                break;
            }
            if !config.is_done(index) {
                limit = limit.min(item.ret);
            }
        }
        limit
    }

    fn candidates<'a>(&'a self, config: &'a Config<S>, limit: Micros) -> impl Iterator<Item = usize> + 'a {
        let open =
            self.must.iter().enumerate().skip(config.first).take_while(move |(_, item)| item.call <= limit);
        open.map(|(index, _)| index).filter(|index| !config.is_done(*index))
    }

    /// Places every answer that is true now.
    fn settle(&self, config: &mut Config<S>) -> Micros {
        loop {
            let limit = self.limit(config);
            let holds = |index: &usize| matches!(&self.must[*index].step, Step::Saw(check) if config.state.explains(check));
            let ready: Vec<usize> = self.candidates(config, limit).filter(holds).collect();
            if ready.is_empty() {
                return limit;
            }
            for index in ready {
                config.place(index, self.must.len());
            }
        }
    }

    /// Pushes the configurations one change further; the likeliest last, so that it is tried first.
    fn branch(&self, config: &Config<S>, limit: Micros, stack: &mut Vec<Config<S>>) {
        for (number, group) in self.may.iter().enumerate() {
            let next = group.uses.get(usize::from(config.used[number])).filter(|(call, _)| *call <= limit);
            let after = config.state.after(&group.change).filter(|state| *state != config.state);
            if let (Some((_, op)), Some(state)) = (next, after) {
                let mut further = config.clone();
                further.state = state;
                further.used[number] += 1;
                further.note(*op);
                stack.push(further);
            }
        }
        let mut changes: Vec<usize> = self.candidates(config, limit).collect();
        changes.sort_by_key(|index| std::cmp::Reverse(self.must[*index].ret));
        for index in changes {
            let Step::Changed(change, view) = &self.must[index].step else { continue };
            let Some(state) = config.state.after(change) else { continue };
            if view.as_ref().is_some_and(|view| !state.explains(view)) {
                continue;
            }
            let mut further = config.clone();
            further.state = state;
            further.place(index, self.must.len());
            further.note(self.must[index].op);
            stack.push(further);
        }
    }

    fn remember(&mut self, config: &Config<S>, limit: Micros) {
        if self.best.as_ref().is_some_and(|(placed, _)| *placed >= config.placed) {
            return;
        }
        let open: Vec<usize> = self.candidates(config, limit).collect();
        let Some(stuck) = open.iter().copied().find(|index| self.must[*index].ret == limit) else { return };
        let beside = open.iter().filter(|index| **index != stuck).take(8).map(|index| self.must[*index].op);
        let explanation = Explanation {
            op: self.must[stuck].op,
            state: config.state.clone(),
            after: config.trail.into_iter().filter(|op| *op != u64::MAX).collect(),
            beside: beside.collect(),
        };
        self.best = Some((config.placed, explanation));
    }
}

fn observed_name<S: Machine>(step: &Step<S::Change, S::Check>) -> Option<u32> {
    match step {
        Step::Saw(check) | Step::Changed(_, Some(check)) => S::named(check),
        _ => None,
    }
}
