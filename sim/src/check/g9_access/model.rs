//! Who may do what, as docs/access.md says it, decided a second time: knows nothing of how hosts do it. What holds at a moment is not one
//! document but several, where nobody knows whether a change was made, or whether a host has heard of it: each part of a domain's access
//! has one or more values, and every combination of them is a world that may be.

use crate::{
    access::{Attempt, Bearer, Change, Policy},
    history::{Ask, Call, Dialect, History, Micros, VersionState, What},
};
use std::collections::{BTreeMap, BTreeSet};

/// More worlds at once are not looked through.
const WORLDS_MAX: usize = 4_096;
const USERS: &str = "urn:v1:eu:identity";
const RESOURCES: &str = "urn:v1:eu:resource:okms";

/// Whether `text` is one of those that a pattern means: `*` is any run of characters.
pub(super) fn means(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let mut ends = (0..=rest.len()).filter(|at| rest.is_char_boundary(*at));
            after.is_empty() || ends.any(|at| means(after, &rest[at..]))
        }),
    }
}

/// One thing to be allowed: an action on a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Need {
    pub(super) action: &'static str,
    pub(super) resource: String,
}

/// What a call needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Needs {
    /// All of these, or all of another of these lists: which one is said by what is there.
    One(Vec<Vec<Need>>),
    /// Something that may be listed: an action, and how the names of what it shows begin.
    Some(&'static str, String),
}

/// The name of a domain in policies, with something in it.
fn urn(domain: &str, rest: &str) -> String {
    format!("{RESOURCES}:{domain}{rest}")
}

/// What a call in a domain needs; `None`: it is asked for abroad.
pub(super) fn needs(domain: &str, call: &Call) -> Option<Needs> {
    let key = |action, key: &str| Need { action, resource: urn(domain, &format!("/serviceKey/{key}")) };
    let here = |action| Need { action, resource: urn(domain, "") };
    let one = match call {
        Call::Abroad { .. } => return None,
        Call::List { .. } => return Some(Needs::Some("serviceKey/get", urn(domain, "/serviceKey/"))),
        Call::Secrets => return Some(Needs::Some("secret/get", urn(domain, "/secret/"))),
        Call::Secret { path, dialect, ask } => {
            let on = |action| Need { action, resource: urn(domain, &format!("/secret/{path}")) };
            let all = of_secret(*dialect, ask);
            let lists = all.iter().map(|actions| actions.iter().map(|action| on(action)).collect());
            return Some(Needs::One(lists.collect()));
        }
        Call::Create { key, .. } if crate::workload::Kind::of(key) == crate::workload::Kind::Rsa => {
            here("serviceKey/import")
        }
        Call::Create { .. } | Call::CreateUnnamed { .. } => here("serviceKey/create"),
        Call::Random { .. } => here("random/get"),
        Call::Get { key: id } => key("serviceKey/get", id),
        Call::Rename { key: id, .. } => key("serviceKey/update", id),
        Call::Activate { key: id } => key("serviceKey/activate", id),
        Call::Deactivate { key: id, .. } => key("serviceKey/deactivate", id),
        Call::Delete { key: id } => key("serviceKey/delete", id),
        Call::Encrypt { key: id, .. } => key("serviceKey/encrypt", id),
        Call::Decrypt { key: id, .. } => key("serviceKey/decrypt", id),
        Call::DataKey { key: id, .. } => key("serviceKey/dataKey/create", id),
        Call::DataKeyDecrypt { key: id, .. } => key("serviceKey/dataKey/decrypt", id),
        Call::Sign { key: id, .. } => key("serviceKey/sign", id),
        Call::Verify { key: id, .. } => key("serviceKey/verify", id),
    };
    Some(Needs::One(vec![vec![one]]))
}

/// Each list: all of it, whichever list it is.
fn of_secret(dialect: Dialect, ask: &Ask) -> Vec<Vec<&'static str>> {
    const MAKE: &str = "secret/create";
    const WRITE: &str = "secret/version/create";
    match (dialect, ask) {
        (Dialect::Native, Ask::Create { .. }) => vec![vec![MAKE]],
        (Dialect::Native, Ask::Write { .. }) => vec![vec![WRITE]],
        (Dialect::Vault, Ask::Create { .. } | Ask::Write { .. }) => vec![vec![MAKE], vec![WRITE]],
        (Dialect::Native, Ask::Read { .. }) => vec![vec!["secret/get", "secret/version/getData"]],
        (Dialect::Vault, Ask::Read { .. }) => vec![vec!["secret/version/getData"]],
        (_, Ask::Describe) => vec![vec!["secret/get"]],
        (_, Ask::Set { state: VersionState::Active, .. }) => vec![vec!["secret/version/activate"]],
        (_, Ask::Set { state: VersionState::Deactivated, .. }) => vec![vec!["secret/version/deactivate"]],
        (_, Ask::Set { state: VersionState::Deleted, .. }) => vec![vec!["secret/version/delete"]],
        (_, Ask::Note { .. }) => vec![vec!["secret/updateMetadata"]],
        (_, Ask::Delete) => vec![vec!["secret/delete"]],
    }
}

/// What may be said to somebody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct May {
    /// That it is done, or whatever else is said to those who may do it.
    pub(super) allow: bool,
    /// That it is denied (403).
    pub(super) deny: bool,
    /// That nobody knows who asks (401).
    pub(super) nobody: bool,
}

impl May {
    /// Whether nothing else than one thing may be said.
    pub(super) fn is_certain(self) -> bool {
        u8::from(self.allow) + u8::from(self.deny) + u8::from(self.nobody) == 1
    }

    fn or(self, other: May) -> May {
        May {
            allow: self.allow || other.allow,
            deny: self.deny || other.deny,
            nobody: self.nobody || other.nobody,
        }
    }
}

/// One attempt at a change of one part.
struct Tried<'a> {
    change: &'a Change,
    begun: Micros,
    /// When it was acknowledged; `None`: it was not, and may have been done.
    done: Option<Micros>,
}

/// What is known of a domain's access over time.
#[derive(Default)]
pub(super) struct Domain<'a> {
    parts: BTreeMap<(&'static str, &'a str), Vec<Tried<'a>>>,
    /// When changes were acknowledged.
    pub(super) acknowledged: Vec<Micros>,
}

/// One world: what each part is; not there: nothing.
pub(super) type World<'a> = Vec<Option<&'a Change>>;

/// The domains of a history.
pub(super) fn domains(history: &History) -> BTreeMap<&str, Domain<'_>> {
    let mut all: BTreeMap<&str, Domain<'_>> = BTreeMap::new();
    for event in &history.events {
        let What::Access { domain, change, step } = &event.what else { continue };
        let domain = all.entry(domain).or_default();
        let tries = domain.parts.entry(change.part()).or_default();
        match step {
            Attempt::Begun => tries.push(Tried { change, begun: event.at, done: None }),
            Attempt::Acknowledged => {
                if let Some(last) = tries.last_mut() {
                    last.done = Some(event.at);
                }
                domain.acknowledged.push(event.at);
            }
            Attempt::Refused => drop(tries.pop()),
            Attempt::Unknown => {}
        }
    }
    all
}

impl<'a> Domain<'a> {
    /// What each part may be for somebody who knows all that was acknowledged by `from`, and nothing of what began after `until`.
    fn values(&self, from: Micros, until: Micros) -> Vec<Vec<Option<&'a Change>>> {
        let of = |tries: &Vec<Tried<'a>>| {
            // What was acknowledged by then stands in the place of everything before it.
            let known = tries.iter().rposition(|tried| tried.done.is_some_and(|done| done <= from));
            let open = &tries[known.map_or(0, |at| at + 1)..];
            let first = known.map(|at| tries[at].change);
            let later = open.iter().filter(|tried| tried.begun <= until).map(|tried| Some(tried.change));
            let mut values: Vec<Option<&'a Change>> = vec![first];
            for value in later {
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            values
        };
        self.parts.values().map(of).collect()
    }

    /// Every world that may be; `None`: too many.
    pub(super) fn worlds(&self, from: Micros, until: Micros) -> Option<Vec<World<'a>>> {
        let mut worlds: Vec<World<'a>> = vec![Vec::new()];
        for values in self.values(from, until) {
            if worlds.len() * values.len() > WORLDS_MAX {
                return None;
            }
            worlds = worlds
                .iter()
                .flat_map(|world| {
                    values.iter().map(|value| {
                        let mut world = world.clone();
                        world.push(*value);
                        world
                    })
                })
                .collect();
        }
        Some(worlds)
    }
}

/// Who somebody is in a world; `None`: nobody.
fn identities(domain: &str, bearer: &Bearer, world: &World<'_>) -> Option<BTreeSet<String>> {
    let mut own = BTreeSet::new();
    match bearer {
        Bearer::Nobody(_) => return None,
        Bearer::Certificate(id) => {
            let registered = world.iter().flatten().find(|change| change.part() == ("credentials", id));
            match registered {
                Some(Change::Revoked { .. }) => return None,
                Some(Change::Credential { identities, .. }) if !identities.is_empty() => {
                    own.extend(identities.iter().cloned());
                }
                _ => drop(own.insert(format!("{USERS}:credential:{domain}/{id}"))),
            }
        }
        Bearer::Token { issuer, subject } => {
            let prefix = world.iter().flatten().find_map(|change| match change {
                Change::Issuer { name, prefix } if name == issuer => Some(prefix),
                _ => None,
            })?;
            own.insert(format!("{prefix}{subject}"));
        }
    }
    let groups: Vec<String> = world
        .iter()
        .flatten()
        .filter_map(|change| match change {
            Change::Group { name, members } => {
                let is_in = members.iter().any(|member| own.iter().any(|identity| means(member, identity)));
                is_in.then(|| format!("{USERS}:group:{domain}/{name}"))
            }
            _ => None,
        })
        .collect();
    own.extend(groups);
    Some(own)
}

/// The policies of a world that concern somebody.
fn policies<'a>(world: &World<'a>, who: &BTreeSet<String>) -> Vec<&'a Policy> {
    let concerns =
        |policy: &&Policy| policy.identities.iter().any(|pattern| who.iter().any(|one| means(pattern, one)));
    let all = world.iter().flatten().filter_map(|change| match change {
        Change::Policy(policy) => Some(policy),
        _ => None,
    });
    all.filter(concerns).collect()
}

fn names(list: &[String], action: &str) -> bool {
    list.iter().any(|pattern| means(pattern, &format!("okms:apikms:{action}")))
}

fn allowed(policies: &[&Policy], need: &Need) -> bool {
    let on = |policy: &&&Policy| policy.resources.iter().any(|pattern| means(pattern, &need.resource));
    let denied = policies.iter().filter(on).any(|policy| names(&policy.deny, need.action));
    !denied && policies.iter().filter(on).any(|policy| names(&policy.allow, need.action))
}

/// What of a list may be said: with nothing that is allowed somewhere it is denied. Where something is and may be denied again, or is of another
/// sort, either will do.
fn listed(policies: &[&Policy], action: &str, begin: &str) -> May {
    let allow = policies.iter().filter(|policy| names(&policy.allow, action));
    let resources: Vec<&String> = allow.flat_map(|policy| &policy.resources).collect();
    let of_sort = |pattern: &&&String| match pattern.strip_suffix('*') {
        Some(prefix) => begin.starts_with(prefix) || prefix.starts_with(begin),
        None => pattern.starts_with(begin),
    };
    let denies = policies.iter().any(|policy| names(&policy.deny, action));
    let some = resources.iter().any(|pattern| of_sort(&pattern));
    May { allow: !resources.is_empty(), deny: !some || denies, nobody: false }
}

/// What concerns somebody in each world; `None`: nobody knows who asks.
pub(super) type Standing<'a> = Vec<Option<Vec<&'a Policy>>>;

/// What concerns a bearer in each of the worlds.
pub(super) fn standing<'a>(domain: &str, bearer: &Bearer, worlds: &[World<'a>]) -> Standing<'a> {
    let in_world = |world| identities(domain, bearer, world).map(|who| policies(world, &who));
    worlds.iter().map(in_world).collect()
}

/// What may be said to somebody.
pub(super) fn decide(standing: &Standing<'_>, needs: &Needs) -> May {
    let in_world = |policies: &Option<Vec<&Policy>>| match (policies, needs) {
        (None, _) => May { nobody: true, ..May::default() },
        (Some(policies), Needs::Some(action, begin)) => listed(policies, action, begin),
        (Some(policies), Needs::One(lists)) => {
            let all = |list: &Vec<Need>| list.iter().all(|need| allowed(policies, need));
            May { allow: lists.iter().any(all), deny: !lists.iter().all(all), nobody: false }
        }
    };
    standing.iter().map(in_world).fold(May::default(), May::or)
}
