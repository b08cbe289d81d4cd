//! Decisions. A domain's policies, groups and issuers are a [`Document`]; what of it concerns somebody is found once and compiled, and each decision
//! after that looks into two sorted lists. Deny goes before allow; what nothing allows is denied.

use super::{
    action,
    pattern::{Endings, matches},
    policy::{Group, Policy},
    token::{Issuer, Known},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};
use uuid::Uuid;

/// Most sets of identities that a document keeps what concerns them of.
const COMPILED_MAX: usize = 4_096;

/// Who may do what in one domain.
pub struct Document {
    domain: Uuid,
    policies: Vec<Policy>,
    groups: Vec<Group>,
    issuers: Vec<Issuer>,
    known: Vec<Known>,
    compiled: Mutex<BTreeMap<BTreeSet<String>, Arc<Compiled>>>,
}

/// What of a document concerns somebody.
pub struct Compiled {
    /// Policies, by their place in the document.
    policies: Vec<Policy>,
    /// By action.
    rules: Vec<OnceLock<Rules>>,
}

/// What concerns one action.
struct Rules {
    allow: Endings,
    deny: Endings,
}

/// Why something is allowed or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whether it is.
    pub allowed: bool,
    /// The policy that decides; none: nothing allows it.
    pub policy: Option<String>,
    /// The entry of its list of actions that decides.
    pub action: Option<String>,
    /// The entry of its list of resources that decides.
    pub resource: Option<String>,
    /// The identities that were considered, groups among them.
    pub identities: Vec<String>,
}

/// Whether an entry of `allow` allows an action. Those on a whole domain are named in full, or not meant.
fn allows_action(pattern: &str, name: &str) -> bool {
    pattern == name || !action::BY_NAME_ONLY.contains(&name) && matches(pattern, name)
}

impl Document {
    /// The policies, groups and issuers of a domain. An issuer whose key does not read has no tokens that are believed.
    pub fn new(domain: Uuid, policies: Vec<Policy>, groups: Vec<Group>, issuers: Vec<Issuer>) -> Document {
        let known = issuers.iter().filter_map(|issuer| issuer.known().ok()).collect();
        Document { domain, policies, groups, issuers, known, compiled: Mutex::default() }
    }

    /// The policies.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The issuers.
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// The issuers, with their keys.
    pub fn known_issuers(&self) -> &[Known] {
        &self.known
    }

    /// The identities, and the groups that they are in.
    fn with_groups(&self, identities: &BTreeSet<String>) -> BTreeSet<String> {
        let is_member = |group: &&Group| {
            group.members.iter().any(|member| identities.iter().any(|identity| matches(member, identity)))
        };
        let groups = self.groups.iter().filter(is_member).map(|group| group.urn(self.domain));
        identities.iter().cloned().chain(groups).collect()
    }

    /// What concerns somebody with these identities.
    pub fn compiled(&self, identities: &BTreeSet<String>) -> Arc<Compiled> {
        let lock = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = lock().get(identities) {
            return Arc::clone(found);
        }
        let all = self.with_groups(identities);
        let concerns = |policy: &&Policy| {
            policy.identities.iter().any(|pattern| all.iter().any(|identity| matches(pattern, identity)))
        };
        let policies = self.policies.iter().filter(concerns).cloned().collect();
        let rules = action::NAMES.iter().map(|_| OnceLock::new()).collect();
        let compiled = Arc::new(Compiled { policies, rules });
        let mut kept = lock();
        if kept.len() >= COMPILED_MAX {
            kept.clear();
        }
        kept.insert(identities.clone(), Arc::clone(&compiled));
        compiled
    }

    /// The decision with its reason: rule by rule, as a person would read the policies.
    pub fn explain(&self, identities: &BTreeSet<String>, action: &str, urn: &str) -> Explanation {
        let all = self.with_groups(identities);
        let decides = |actions: fn(&Policy) -> &[String], means: fn(&str, &str) -> bool| {
            self.policies.iter().find_map(|policy| {
                let concerns = policy
                    .identities
                    .iter()
                    .any(|pattern| all.iter().any(|identity| matches(pattern, identity)));
                let found = actions(policy).iter().find(|pattern| concerns && means(pattern, action))?;
                let resource = policy.resources.iter().find(|pattern| matches(pattern, urn))?;
                Some((policy.name.clone(), found.clone(), resource.clone()))
            })
        };
        let denied = decides(|policy| &policy.deny, matches);
        let (allowed, by) = match denied {
            Some(by) => (false, Some(by)),
            None => {
                let by = decides(|policy| &policy.allow, allows_action);
                (by.is_some(), by)
            }
        };
        let (policy, action, resource) = match by {
            Some((policy, action, resource)) => (Some(policy), Some(action), Some(resource)),
            None => (None, None, None),
        };
        Explanation { allowed, policy, action, resource, identities: all.into_iter().collect() }
    }
}

impl Compiled {
    fn rules(&self, place: usize) -> Option<&Rules> {
        let name = action::NAMES.get(place)?;
        let resources = |actions: fn(&Policy) -> &[String], means: fn(&str, &str) -> bool| {
            let with = self
                .policies
                .iter()
                .filter(move |policy| actions(policy).iter().any(|pattern| means(pattern, name)));
            Endings::new(with.flat_map(|policy| policy.resources.iter().map(String::as_str)))
        };
        let make = || Rules {
            allow: resources(|policy| &policy.allow, allows_action),
            deny: resources(|policy| &policy.deny, matches),
        };
        Some(self.rules.get(place)?.get_or_init(make))
    }

    /// Whether the action at a place of [`action::NAMES`] may be done on what has this URN.
    pub fn allows(&self, place: usize, urn: &str) -> bool {
        self.rules(place).is_some_and(|rules| !rules.deny.mean(urn) && rules.allow.mean(urn))
    }

    /// Whether there is anything at all that allows the action somewhere.
    pub fn may_allow(&self, place: usize) -> bool {
        self.rules(place).is_some_and(|rules| !rules.allow.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOMAIN: Uuid = Uuid::from_u128(7);

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn policy(name: &str, who: &[&str], allow: &[&str], deny: &[&str], on: &[&str]) -> Policy {
        let (identities, allow) = (texts(who), texts(allow));
        Policy { name: name.to_owned(), identities, allow, deny: texts(deny), resources: texts(on) }
    }

    fn place(name: &str) -> usize {
        action::NAMES.iter().position(|action| *action == name).expect("an action")
    }

    fn both(document: &Document, who: &str, action: &str, urn: &str) -> bool {
        let identities = BTreeSet::from([who.to_owned()]);
        let allowed = document.compiled(&identities).allows(place(action), urn);
        assert_eq!(document.explain(&identities, action, urn).allowed, allowed, "{who} {action} {urn}");
        allowed
    }

    #[test]
    fn deny_goes_before_allow_and_nothing_is_allowed_by_itself() {
        let (get, sign) = ("okms:apikms:serviceKey/get", "okms:apikms:serviceKey/sign");
        let one = "urn:v1:eu:resource:okms:d/serviceKey/1";
        let other = "urn:v1:eu:resource:okms:d/serviceKey/2";
        let staff = Group { name: "staff".to_owned(), members: texts(&["urn:v1:eu:identity:user:x/*"]) };
        let document = Document::new(
            DOMAIN,
            vec![
                policy(
                    "a",
                    &[&staff.urn(DOMAIN)],
                    &["okms:apikms:serviceKey/*"],
                    &[],
                    &["urn:v1:eu:resource:okms:d/*"],
                ),
                policy("b", &["urn:v1:eu:identity:user:x/eve"], &[], &[sign], &[one]),
            ],
            vec![staff],
            Vec::new(),
        );
        let (bob, eve) = ("urn:v1:eu:identity:user:x/bob", "urn:v1:eu:identity:user:x/eve");
        assert!(both(&document, bob, sign, one) && both(&document, bob, get, other));
        assert!(!both(&document, eve, sign, one), "denied by one, allowed by the other");
        assert!(both(&document, eve, sign, other) && both(&document, eve, get, one));
        assert!(!both(&document, "urn:v1:eu:identity:user:y/bob", get, one), "no group, no policy");
        assert!(!both(&document, bob, "okms:apikms:random/get", "urn:v1:eu:resource:okms:d"));
        let why = document.explain(&BTreeSet::from([eve.to_owned()]), sign, one);
        assert_eq!((why.policy.as_deref(), why.action.as_deref()), (Some("b"), Some(sign)));
    }

    #[test]
    fn a_whole_domain_is_given_by_name_alone_and_denied_by_any_star() {
        let (who, domain) = ("urn:v1:eu:identity:user:x/bob", "urn:v1:eu:resource:okms:d");
        let document = |policies| Document::new(DOMAIN, policies, Vec::new(), Vec::new());
        for name in action::BY_NAME_ONLY {
            for stars in ["*", "okms:*", "okms:apikms:domain/*", "okms:apikms:domain/*port"] {
                let open = policy("p", &["*"], &[stars], &[], &["*"]);
                assert!(!both(&document(vec![open.clone()]), who, name, domain), "{stars}");
                let named = policy("q", &[who], &[name], &[], &[domain]);
                assert!(both(&document(vec![open, named.clone()]), who, name, domain));
                let denied = policy("r", &["*"], &[], &[stars], &["*"]);
                assert!(!both(&document(vec![named, denied]), who, name, domain), "{stars}");
            }
        }
    }

    fn some_policy() -> impl Strategy<Value = Policy> {
        let list = |of: &'static [&'static str], from| {
            proptest::collection::vec(proptest::sample::select(of), from..3)
                .prop_map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        let who = list(
            &["u:a", "u:b", "u:*", "*", "urn:v1:eu:identity:group:00000000-0000-0000-0000-000000000007/g"],
            0,
        );
        let what: &[&str] = &[
            "*",
            "okms:apikms:serviceKey/*",
            "okms:apikms:serviceKey/get",
            "okms:*/get",
            "okms:apikms:random/get",
            "okms:apikms:domain/export",
        ];
        let on = list(&["*", "r", "r/*", "r/1", "r/1*", "r/12"], 0);
        (who, list(what, 0), list(what, 0), on).prop_map(|(identities, allow, deny, resources)| Policy {
            name: "p".to_owned(),
            identities,
            allow,
            deny,
            resources,
        })
    }

    proptest! {
        #[test]
        fn what_is_compiled_decides_as_what_is_read(
            policies in proptest::collection::vec(some_policy(), 0..6),
            members in proptest::collection::vec(proptest::sample::select(&["u:a", "u:c", "x*"][..]), 0..3),
        ) {
            let group = Group { name: "g".to_owned(), members: members.into_iter().map(str::to_owned).collect() };
            let document = Document::new(DOMAIN, policies, vec![group], Vec::new());
            for who in ["u:a", "u:b", "u:c"] {
                for action in action::NAMES {
                    for urn in ["r", "r/1", "r/12", "r/2"] {
                        both(&document, who, action, urn);
                    }
                }
            }
        }
    }
}
