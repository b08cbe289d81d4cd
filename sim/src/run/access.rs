//! What people do about who may do what: certificates and tokens are handed out before a region is used, and an operator changes policies,
//! groups, credentials and issuers at the planned moments, with what `kms policy` and its like call. Says in the history what
//! hosts answered to each attempt; whom it is told by then holds is for the checker.

use super::{
    operator::{OPERATOR, operator_config},
    phases::us,
};
use crate::{
    access::{Attempt, Bearer, Change},
    actions::Actions,
    dice::Dice,
    history::{Micros, What},
    plan::{AccessPlan, Bears, ChangePlan, ISSUER, Plan, VisitorPlan},
    workload::{
        Client, Pace,
        token::{AUDIENCE, FLAWS, TokenIssuer},
        visitors::{Exhibits, Visitor, knock, matrix},
    },
    world::World,
};
use kms::{
    env::{Env, Task},
    init::{AccessCa, Bundle, SignedCredential},
    operator::{
        OperatorConfig,
        admin::{Admin, AdminError, Credential, Group, Issuer, Policy},
    },
    wire::tls::NodeTls,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use uuid::Uuid;

/// Days that certificates are good for.
const DAYS: u32 = 365;
/// Between two attempts at a change.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for a change to hold everywhere, beyond what hosts go by for.
const SPREAD: Duration = Duration::from_millis(200);

/// What is handed out in one run, and who changes what it is good for.
pub struct Access {
    plan: AccessPlan,
    first: u32,
    domains: Vec<Uuid>,
    certificates: BTreeMap<u32, SignedCredential>,
    issuers: Vec<TokenIssuer>,
    config: OperatorConfig,
    tls: Arc<NodeTls>,
    world: World,
    env: Env,
    fresh_ms: u64,
}

/// Somebody who asks: how a client shows itself.
#[derive(Debug, Clone, Default)]
pub struct Badge {
    /// Certificate and private key, PEM.
    pub certificate: Option<(String, String)>,
    /// A token.
    pub token: Option<String>,
}

impl Access {
    /// Signs certificates for all clients and visitors of a plan; `None` for a plan without any such thing.
    ///
    /// # Errors
    /// A harness error.
    pub fn new(plan: &Plan, world: &World, bundle: &Bundle) -> Result<Option<Access>, String> {
        let Some(access) = plan.access.clone() else { return Ok(None) };
        let env = world.env(OPERATOR);
        let (config, tls) = operator_config(&env)?;
        let file = |name: &str| {
            let found = bundle.operator.iter().find(|file| file.path.as_os_str() == name);
            let bytes = found.map(|file| file.contents.to_vec()).ok_or(format!("no {name}"))?;
            String::from_utf8(bytes).map_err(|error| error.to_string())
        };
        let ca = AccessCa::from_pem(&file("access-ca.crt")?, &file("access-ca.key")?)
            .map_err(|error| error.to_string())?;
        let domains = bundle.domains.clone();
        let issuers = (0..domains.len())
            .map(|place| TokenIssuer::new(format!("https://idp-{place}.test")))
            .collect::<Result<Vec<_>, String>>()?;
        let first = plan.visitor(0);
        let mut all = Access {
            plan: access,
            first,
            domains,
            certificates: BTreeMap::new(),
            issuers,
            config,
            tls,
            world: world.clone(),
            env,
            fresh_ms: plan.limits.access_fresh_ms,
        };
        let load = (0..first)
            .map(|client| (client, if client + 1 == first { 0 } else { client % plan.topology.domains }));
        let visitors = (first..).zip(&all.plan.visitor);
        let with_certificate = visitors.filter(|(_, visitor)| visitor.bears == Bears::Certificate);
        let bearers: Vec<(u32, u32)> =
            load.chain(with_certificate.map(|(number, visitor)| (number, visitor.domain))).collect();
        for (number, domain) in bearers {
            let signed =
                ca.sign(&all.env, all.domain(domain), None, DAYS).map_err(|error| error.to_string())?;
            all.certificates.insert(number, signed);
        }
        Ok(Some(all))
    }

    fn domain(&self, place: u32) -> Uuid {
        self.domains.get(place as usize).copied().unwrap_or_default()
    }

    /// Everybody who asks beside the load's clients: number, domain, badge and who that makes them. Those who are nobody come last.
    ///
    /// # Errors
    /// A harness error.
    pub fn guests(&self) -> Result<Vec<(u32, Uuid, Badge, Bearer)>, String> {
        let mut all = Vec::new();
        for (number, visitor) in (self.first..).zip(&self.plan.visitor) {
            let (badge, bearer) = self.visitor(number, visitor)?;
            all.push((number, self.domain(visitor.domain), badge, bearer));
        }
        let mut next = self.first + u32::try_from(self.plan.visitor.len()).unwrap_or(0);
        let mut nobody = |domain: u32, token: Option<String>, why: String| {
            let badge = Badge { certificate: None, token };
            all.push((next, self.domain(domain), badge, Bearer::Nobody(why)));
            next += 1;
        };
        for (place, issuer) in (0..).zip(&self.issuers) {
            let of_domain = |visitor: &&VisitorPlan| visitor.domain == place && visitor.bears == Bears::Token;
            let subject = self.plan.visitor.iter().find(of_domain).map(|visitor| visitor.subject.as_str());
            nobody(place, None, "neither certificate nor token".to_owned());
            for flaw in FLAWS {
                let token = issuer.token(&self.env, subject.unwrap_or("nobody"), Some(flaw))?;
                nobody(place, Some(token), format!("a token: {flaw:?}"));
            }
        }
        Ok(all)
    }

    fn visitor(&self, number: u32, visitor: &VisitorPlan) -> Result<(Badge, Bearer), String> {
        match (self.badge(number), self.issuers.get(visitor.domain as usize)) {
            (Some((badge, bearer)), _) => Ok((badge, bearer)),
            (None, Some(issuer)) => {
                let token = issuer.token(&self.env, &visitor.subject, None)?;
                let bearer = Bearer::Token { issuer: ISSUER.to_owned(), subject: visitor.subject.clone() };
                Ok((Badge { certificate: None, token: Some(token) }, bearer))
            }
            (None, None) => Err(format!("visitor {number} has nothing to show")),
        }
    }

    /// What a client with a certificate shows.
    pub fn badge(&self, number: u32) -> Option<(Badge, Bearer)> {
        let signed = self.certificates.get(&number)?;
        let key = signed.key_pem.as_ref().map(|key| key.as_str().to_owned())?;
        let certificate = Some((signed.certificate_pem.clone(), key));
        Some((Badge { certificate, token: None }, Bearer::Certificate(signed.id.to_string())))
    }

    /// What a planned change says of this region.
    fn filled(&self, planned: &ChangePlan) -> Change {
        let domain = self.domain(planned.domain).to_string();
        planned.change.filled(&|text| {
            let mut text = text.replace("{domain}", &domain);
            for (number, signed) in &self.certificates {
                text = text.replace(&format!("{{client-{number}}}"), &signed.id.to_string());
            }
            text
        })
    }

    /// Makes what there is before the load.
    ///
    /// # Errors
    /// A harness error: nothing is wrong yet.
    pub async fn prepare(&self) -> Result<(), String> {
        for planned in self.plan.change.iter().filter(|planned| planned.at_us.is_none()) {
            if !self.attempt(planned, &self.filled(planned)).await {
                return Err("a change of access was not done although nothing is wrong".to_owned());
            }
        }
        self.env.sleep(Duration::from_millis(self.fresh_ms) + SPREAD).await;
        Ok(())
    }

    /// Makes the changes of one domain in their order, each when it is due and the one before is done.
    async fn carry_out(self: Arc<Access>, domain: u32, from: Micros) {
        let due = |planned: &&ChangePlan| planned.domain == domain && planned.at_us.is_some();
        for planned in self.plan.change.iter().filter(due) {
            let at = from + planned.at_us.unwrap_or(0);
            self.env.sleep(us(at.saturating_sub(self.world.now()))).await;
            let change = self.filled(planned);
            while !self.attempt(planned, &change).await {
                self.env.sleep(PAUSE).await;
            }
        }
    }

    /// Begins to make the planned changes; `from` is the start of the faults phase.
    pub fn begin(self: &Arc<Access>, from: Micros) -> Vec<Task<()>> {
        (0..)
            .zip(&self.domains)
            .map(|(domain, _)| {
                self.env.spawn("access", Arc::clone(self).carry_out(domain, from)).abort_on_drop()
            })
            .collect()
    }

    /// One attempt; whether it is done.
    async fn attempt(&self, planned: &ChangePlan, change: &Change) -> bool {
        let domain = self.domain(planned.domain);
        let said = |step| {
            let (domain, change) = (domain.to_string(), change.clone());
            self.world.happened(What::Access { domain, change, step });
        };
        let mut config = self.config.clone();
        let hosts = config.admin.len().max(1);
        config.admin.rotate_left(planned.host as usize % hosts);
        let admin = Admin::new(self.env.clone(), &config, self.tls.clone());
        said(Attempt::Begun);
        let (step, why) = match self.send(&admin, domain, planned.domain, change).await {
            Ok(()) => (Attempt::Acknowledged, String::new()),
            // What is to be gone is not there: it may have been an earlier attempt.
            Err(AdminError::Answered { status: 404, .. }) if is_removal(change) => {
                (Attempt::Acknowledged, String::new())
            }
            Err(error @ (AdminError::NoAddress | AdminError::Unreachable(_))) => {
                (Attempt::Refused, error.to_string())
            }
            Err(error) => match error.status() {
                Some(503) => (Attempt::Refused, error.to_string()),
                Some(status) if status < 500 => {
                    // A plan says nothing that a host may not take.
                    self.world.probe(&format!("malformed-answer-to-the-operator-{status}"), OPERATOR);
                    (Attempt::Unknown, error.to_string())
                }
                _ => (Attempt::Unknown, error.to_string()),
            },
        };
        self.world.note("operator", &format!("access: {:?} {step:?} {why}", change.part()));
        said(step);
        step == Attempt::Acknowledged
    }

    async fn send(&self, admin: &Admin, domain: Uuid, place: u32, change: &Change) -> Result<(), AdminError> {
        match change {
            Change::Policy(policy) => {
                let policy = policy.clone();
                let policy = Policy {
                    name: policy.name,
                    identities: policy.identities,
                    allow: policy.allow,
                    deny: policy.deny,
                    resources: policy.resources,
                };
                admin.put_policy(domain, &policy).await
            }
            Change::Group { name, members } => {
                admin.put_group(domain, &Group { name: name.clone(), members: members.clone() }).await
            }
            Change::Issuer { name, prefix } => {
                let Some(issuer) = self.issuers.get(place as usize) else {
                    return Err(AdminError::NoAddress);
                };
                let issuer = Issuer {
                    name: name.clone(),
                    issuer: issuer.name().to_owned(),
                    algorithm: "ES256".to_owned(),
                    key: issuer.jwk(),
                    audience: Some(AUDIENCE.to_owned()),
                    identity_prefix: prefix.clone(),
                };
                admin.put_issuer(domain, &issuer).await
            }
            Change::PolicyGone { .. } | Change::GroupGone { .. } | Change::IssuerGone { .. } => {
                let (list, name) = change.part();
                admin.delete_named(domain, list, name).await
            }
            Change::Credential { id, identities } => {
                let signed = self.certificates.values().find(|signed| signed.id.to_string() == *id);
                let Some(signed) = signed else { return Err(AdminError::NoAddress) };
                let credential = Credential {
                    id: signed.id,
                    name: "visitor".to_owned(),
                    description: String::new(),
                    identities: identities.clone(),
                    created_s: self.env.clock.wall().as_secs(),
                    expires_s: signed.expires_s,
                    revoked_s: None,
                    from_csr: false,
                    certificate_pem: signed.certificate_pem.clone(),
                };
                admin.register(domain, &credential).await
            }
            Change::Revoked { id } => match id.parse() {
                Ok(id) => admin.revoke(domain, id).await,
                Err(_) => Err(AdminError::NoAddress),
            },
        }
    }

    /// What visitors do: exhibits are made by a client of each domain's load, everybody asks for everything once, and visitors begin
    /// to ask by chance.
    ///
    /// # Errors
    /// A harness error.
    pub async fn open(
        &self,
        seed: u64,
        stewards: &mut [Client],
        guests: Vec<(Client, Bearer)>,
    ) -> Result<Vec<(Client, Pace, Visitor)>, String> {
        let mut exhibits = Vec::new();
        for (place, (steward, plan)) in stewards.iter_mut().zip(&self.plan.exhibits).enumerate() {
            exhibits
                .push(Exhibits::make(steward, plan, Dice::named(seed, &format!("exhibits-{place}"))).await?);
        }
        let mut visitors = Vec::new();
        for (mut client, bearer) in guests {
            let home = self.domains.iter().position(|domain| domain.to_string() == client.domain);
            let home = home.ok_or("a visitor of no domain")?;
            let (steward, shown) = (&mut stewards[home], &exhibits[home]);
            let dice = Dice::named(seed, &format!("matrix-{}", client.number));
            if let Bearer::Nobody(_) = bearer {
                knock(&mut client, shown, dice).await;
                continue;
            }
            matrix(&mut client, steward, (shown, &exhibits), dice).await;
            let place = (client.number - self.first) as usize;
            let planned = self.plan.visitor.get(place).ok_or("a visitor that is not planned")?;
            client.needle("identity", planned.subject.as_bytes());
            let pace = Pace { first_us: planned.first_us, interval_us: self.plan.interval_us, retries: 0 };
            let visitor =
                Visitor::new(&client, planned.stream, &exhibits).ok_or("a visitor without a home")?;
            visitors.push((client, pace, visitor));
        }
        Ok(visitors)
    }
}

fn is_removal(change: &Change) -> bool {
    matches!(change, Change::PolicyGone { .. } | Change::GroupGone { .. } | Change::IssuerGone { .. })
}
