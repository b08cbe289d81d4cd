//! Throws the dice of `[access]`: who the visitors are, which policies, groups and credentials there are at first, and what is changed when.
//! Knows no more of policies than how they are written.

use super::{
    TopologyPlan,
    access::{AccessPlan, Bears, ChangePlan, ExhibitPlan, ISSUER, VisitorPlan},
    draw::small,
};
use crate::{
    access::{Change, Policy},
    dice::{Dice, stream_seed},
    history::Micros,
    scenario::{Access, ChangeKind, Choice},
    workload::Kind,
};

/// Policies of a domain beside that of the load.
const POLICIES: [&str; 4] = ["desk", "lab", "night", "yard"];
const GROUPS: [&str; 2] = ["staff", "guests"];
const DOMAIN: &str = "urn:v1:eu:resource:okms:{domain}";

/// With weights.
const ACTIONS: [(&str, u32); 16] = [
    ("*", 3),
    ("okms:apikms:serviceKey/*", 4),
    ("okms:apikms:serviceKey/get", 3),
    ("okms:apikms:serviceKey/*crypt", 3),
    ("okms:apikms:serviceKey/*activate", 2),
    ("okms:apikms:serviceKey/update", 2),
    ("okms:apikms:serviceKey/sign", 1),
    ("okms:apikms:serviceKey/verify", 1),
    ("okms:apikms:serviceKey/dataKey/*", 2),
    ("okms:apikms:serviceKey/create", 1),
    ("okms:*/get", 3),
    ("okms:apikms:random/get", 5),
    ("okms:apikms:secret/*", 3),
    ("okms:apikms:secret/version/*", 2),
    ("okms:apikms:secret/version/getData", 2),
    ("okms:apikms:secret/get", 2),
];

/// One domain while its access is drawn.
struct Domain<'a> {
    place: u32,
    /// Its users' URNs begin so.
    prefix: String,
    /// Visitors by their numbers among the clients.
    visitors: Vec<(u32, &'a VisitorPlan)>,
    /// Those whose credentials are registered, and not revoked.
    registered: Vec<u32>,
    exhibits: &'a ExhibitPlan,
    issuer: bool,
    hosts: u64,
}

/// Draws all.
pub(super) fn draw(access: &Access, seed: u64, topology: &TopologyPlan, faults_us: Micros) -> AccessPlan {
    let mut dice = Dice::named(seed, "visitors");
    let mut plan =
        AccessPlan { interval_us: 1, visitor: Vec::new(), exhibits: Vec::new(), change: Vec::new() };
    for domain in 0..topology.domains {
        let count = small(access.visitors.draw(&mut dice));
        for place in 0..count {
            let bears = match place {
                0 => Bears::Certificate,
                1 => Bears::Token,
                _ if dice.chance(1, 3) => Bears::Token,
                _ => Bears::Certificate,
            };
            let stream = stream_seed(seed, &format!("visitor-{domain}-{place}"));
            plan.visitor.push(VisitorPlan { domain, bears, subject: dice.word(16), stream, first_us: 0 });
        }
        plan.exhibits.push(exhibits(&mut dice));
    }
    plan.interval_us = 1_000_000 * plan.visitor.len() as u64 / u64::from(access.rate_per_s);
    plan.visitor.iter_mut().for_each(|visitor| visitor.first_us = dice.below(plan.interval_us));
    for domain in 0..topology.domains {
        let mut dice = Dice::named(seed, &format!("access-{domain}"));
        let changes = changes(access, &mut dice, (topology, domain), &plan, faults_us);
        plan.change.extend(changes);
    }
    plan.change.sort_by_key(|change| change.at_us);
    plan
}

fn exhibits(dice: &mut Dice) -> ExhibitPlan {
    let hall = dice.word(6);
    let mut secret = |length| format!("{hall}/{}", dice.word(length));
    let (secrets, absent_secret) = (vec![secret(24), secret(25)], secret(24));
    let mut key = |kind: Kind| kind.marked(Kind::mint(dice, 0));
    let keys = vec![key(Kind::Oct), key(Kind::Oct), key(Kind::Ec)];
    ExhibitPlan { keys, absent_key: key(Kind::Oct), secrets, absent_secret }
}

fn changes(
    access: &Access,
    dice: &mut Dice,
    (topology, place): (&TopologyPlan, u32),
    plan: &AccessPlan,
    faults_us: Micros,
) -> Vec<ChangePlan> {
    let numbered = (topology.clients + 1..).zip(&plan.visitor);
    let mut domain = Domain {
        place,
        prefix: format!("urn:v1:eu:identity:user:{}/", dice.word(8)),
        visitors: numbered.filter(|(_, visitor)| visitor.domain == place).collect(),
        registered: Vec::new(),
        exhibits: &plan.exhibits[place as usize],
        issuer: true,
        hosts: 2 * u64::from(topology.hosts_per_zone),
    };
    // The prober is of the first domain.
    let load = (0..=topology.clients).filter(|client| match *client == topology.clients {
        true => place == 0,
        false => client % topology.domains == place,
    });
    let mut changes = domain.first(load.collect(), dice);
    let mut moments: Vec<Micros> = (0..access.changes.draw(dice)).map(|_| dice.below(faults_us)).collect();
    moments.sort_unstable();
    for at_us in moments {
        let kind = Choice::Weights(access.mix.clone()).draw(dice).unwrap_or(ChangeKind::Policy);
        let change = domain.change(kind, dice);
        changes.push(ChangePlan { at_us: Some(at_us), ..domain.plan(change, dice) });
    }
    changes
}

impl Domain<'_> {
    fn plan(&self, change: Change, dice: &mut Dice) -> ChangePlan {
        ChangePlan { domain: self.place, at_us: None, host: small(dice.below(self.hosts)), change }
    }

    /// What there is before the load.
    fn first(&mut self, load: Vec<u32>, dice: &mut Dice) -> Vec<ChangePlan> {
        let any = || vec!["*".to_owned()];
        let own = load.into_iter().map(credential).collect();
        let mut all = vec![Change::Policy(Policy {
            name: "load".to_owned(),
            identities: own,
            allow: any(),
            deny: Vec::new(),
            resources: any(),
        })];
        for (number, visitor) in self.visitors.clone() {
            // The first one can be revoked; of the others some are never registered.
            if visitor.bears == Bears::Certificate && (self.registered.is_empty() || dice.chance(3, 4)) {
                let identities = if self.registered.is_empty() || dice.chance(3, 4) {
                    vec![self.user(visitor)]
                } else {
                    Vec::new()
                };
                self.registered.push(number);
                all.push(Change::Credential { id: format!("{{client-{number}}}"), identities });
            }
        }
        all.push(self.put_issuer());
        all.extend(GROUPS.iter().map(|name| self.group(name, dice)));
        all.extend(POLICIES.iter().map(|name| Change::Policy(self.policy(name, dice))));
        all.push(Change::PolicyGone { name: "default".to_owned() });
        all.into_iter().map(|change| self.plan(change, dice)).collect()
    }

    fn put_issuer(&self) -> Change {
        Change::Issuer { name: ISSUER.to_owned(), prefix: self.prefix.clone() }
    }

    fn user(&self, visitor: &VisitorPlan) -> String {
        format!("{}{}", self.prefix, visitor.subject)
    }

    /// Whom a visitor is, as policies may name it.
    fn named(&self, number: u32, visitor: &VisitorPlan, dice: &mut Dice) -> String {
        match visitor.bears {
            Bears::Certificate if dice.chance(1, 3) => credential(number),
            _ => self.user(visitor),
        }
    }

    fn some_visitor(&self, dice: &mut Dice) -> String {
        match dice.pick(&self.visitors).copied() {
            Some((number, visitor)) => self.named(number, visitor, dice),
            None => format!("{}*", self.prefix),
        }
    }

    fn group(&self, name: &str, dice: &mut Dice) -> Change {
        let mut members: Vec<String> = Vec::new();
        for (number, visitor) in &self.visitors {
            if dice.chance(1, 2) {
                members.push(self.named(*number, visitor, dice));
            }
        }
        if members.is_empty() {
            members.push(self.some_visitor(dice));
        }
        Change::Group { name: name.to_owned(), members }
    }

    fn policy(&self, name: &str, dice: &mut Dice) -> Policy {
        let identities: Vec<String> = (0..dice.between(1, 2))
            .map(|_| match dice.below(10) {
                0..4 => self.some_visitor(dice),
                4..8 => {
                    let group = dice.pick(&GROUPS).copied().unwrap_or(GROUPS[0]);
                    format!("urn:v1:eu:identity:group:{{domain}}/{group}")
                }
                8 => format!("{}*", self.prefix),
                _ => "*".to_owned(),
            })
            .collect();
        let mut actions = |count| {
            let pick = |_| dice.weighted(ACTIONS.iter().map(|(action, weight)| (action, *weight))).copied();
            (0..count).filter_map(pick).map(str::to_owned).collect::<Vec<String>>()
        };
        let allow = actions(3);
        let mut deny = actions(1);
        // What the load's clients may do is never changed.
        if dice.chance(1, 2) || identities.iter().any(|identity| identity == "*") {
            deny.clear();
        }
        let count = dice.between(1, 3);
        let resources = (0..count).map(|_| self.resource(dice)).collect();
        Policy { name: name.to_owned(), identities, allow, deny, resources }
    }

    fn resource(&self, dice: &mut Dice) -> String {
        let ExhibitPlan { keys, absent_key, secrets, absent_secret } = self.exhibits;
        let key = if dice.chance(1, 5) { Some(absent_key) } else { dice.pick(keys) };
        let secret = if dice.chance(1, 5) { Some(absent_secret) } else { dice.pick(secrets) };
        let (key, secret) = (key.cloned().unwrap_or_default(), secret.cloned().unwrap_or_default());
        let hall = secret.split('/').next().unwrap_or_default();
        match dice.below(12) {
            0..3 => "*".to_owned(),
            3 => DOMAIN.to_owned(),
            4 => format!("{DOMAIN}/*"),
            5 | 6 => format!("{DOMAIN}/serviceKey/*"),
            7 => format!("{DOMAIN}/serviceKey/{key}"),
            8 => format!("{DOMAIN}/serviceKey/{}*", key.get(..3).unwrap_or_default()),
            9 => format!("{DOMAIN}/secret/{hall}/*"),
            10 => format!("{DOMAIN}/secret/{secret}"),
            _ => format!("{DOMAIN}/secret/*"),
        }
    }

    fn change(&mut self, kind: ChangeKind, dice: &mut Dice) -> Change {
        let name = |from: &[&str], dice: &mut Dice| dice.pick(from).copied().unwrap_or("desk").to_owned();
        match kind {
            ChangeKind::Group => {
                let name = name(&GROUPS, dice);
                if dice.chance(1, 6) { Change::GroupGone { name } } else { self.group(&name, dice) }
            }
            ChangeKind::Credential if !self.registered.is_empty() => {
                let place = dice.below(self.registered.len() as u64);
                let number = self.registered.remove(usize::try_from(place).unwrap_or(0));
                Change::Revoked { id: format!("{{client-{number}}}") }
            }
            ChangeKind::Issuer => {
                self.issuer = !self.issuer;
                match self.issuer {
                    true => self.put_issuer(),
                    false => Change::IssuerGone { name: ISSUER.to_owned() },
                }
            }
            ChangeKind::Policy | ChangeKind::Credential => {
                let name = name(&POLICIES, dice);
                match dice.chance(1, 5) {
                    true => Change::PolicyGone { name },
                    false => Change::Policy(self.policy(&name, dice)),
                }
            }
        }
    }
}

fn credential(number: u32) -> String {
    format!("urn:v1:eu:identity:credential:{{domain}}/{{client-{number}}}")
}
