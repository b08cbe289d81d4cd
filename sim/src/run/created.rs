//! Domains that are made while a region runs (`create-domain`): what `kms domain create` asks of hosts is asked until it is done, now of
//! this one, now of that, and then somebody with a certificate of the new domain uses it.

use super::{access::Badge, operator::operator_file};
use crate::{
    dice::{Dice, stream_seed},
    plan::{Act, ClientPlan, Plan},
    workload::Client,
};
use kms::{
    env::Env,
    init::AccessCa,
    operator::{
        OperatorConfig,
        admin::{Admin, AdminError, Credential},
    },
    wire::tls::NodeTls,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use uuid::Uuid;

/// Days that certificates are good for.
const DAYS: u32 = 365;
/// Longest wait before a domain is asked for that is there.
const AGAIN_MS: u64 = 5_000;

/// What the first client of each domain shows, once the domain is there; by the draw of the order.
#[derive(Clone, Default)]
pub struct Badges(Arc<Mutex<BTreeMap<u64, Badge>>>);

impl Badges {
    fn put(&self, draw: u64, badge: Badge) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(draw, badge);
    }

    /// Takes it, if it is there.
    pub fn take(&self, draw: u64) -> Option<Badge> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&draw)
    }
}

/// A domain that is to be made, and who is to use it.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Of the order.
    pub draw: u64,
    /// The domain.
    pub domain: Uuid,
    /// The client's number: after the prober's.
    pub number: u32,
    /// The client's chances.
    pub chances: ClientPlan,
}

/// All of a plan, in the order of their faults.
pub fn planned(plan: &Plan) -> Vec<Planned> {
    let draws = plan.faults.iter().filter_map(|fault| match fault.act {
        Act::CreateDomain { draw } => Some(draw),
        _ => None,
    });
    let planned = |(number, draw)| Planned {
        draw,
        domain: domain(draw),
        number,
        chances: ClientPlan { stream: stream_seed(draw, "client"), first_us: 0 },
    };
    (plan.topology.clients + 1..).zip(draws).map(planned).collect()
}

fn domain(draw: u64) -> Uuid {
    Dice::named(draw, "create-domain").uuid()
}

/// A client that comes when its domain is there.
pub struct Newcomer {
    /// What was planned.
    pub planned: Planned,
    /// The client, once it can come.
    pub comes: Box<dyn FnMut() -> Option<Result<Client, String>> + Send>,
}

/// One order, and what was reached so far.
pub(super) struct Making {
    env: Env,
    config: OperatorConfig,
    tls: Arc<NodeTls>,
    badges: Badges,
    draw: u64,
    dice: Dice,
    credential: Option<(Credential, Badge)>,
}

impl Making {
    pub(super) fn new(
        env: &Env,
        (config, tls): (&OperatorConfig, &Arc<NodeTls>),
        badges: &Badges,
        draw: u64,
    ) -> Making {
        let (env, config, tls, badges) = (env.clone(), config.clone(), tls.clone(), badges.clone());
        Making { env, config, tls, badges, draw, dice: Dice::named(draw, "hosts"), credential: None }
    }

    pub(super) fn domain(&self) -> Uuid {
        domain(self.draw)
    }

    /// Who is asked first.
    fn admin(&mut self) -> Admin {
        let mut config = self.config.clone();
        let hosts = config.admin.len().max(1) as u64;
        config.admin.rotate_left(usize::try_from(self.dice.below(hosts)).unwrap_or(0));
        Admin::new(self.env.clone(), &config, self.tls.clone())
    }

    /// Until it is asked for again.
    pub(super) fn pause(&mut self) -> Duration {
        Duration::from_millis(self.dice.between(0, AGAIN_MS))
    }

    /// Asks for the domain that is there.
    ///
    /// # Errors
    /// Why it is to be tried again.
    pub(super) async fn again(&mut self) -> Result<(), String> {
        let (admin, domain) = (self.admin(), self.domain());
        admin.create_domain(domain).await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// One attempt at all that is left to do.
    ///
    /// # Errors
    /// Why it is to be tried again.
    pub(super) async fn attempt(&mut self) -> Result<(), String> {
        let (admin, domain) = (self.admin(), self.domain());
        let text = |error: AdminError| error.to_string();
        if self.credential.is_none() {
            admin.create_domain(domain).await.map_err(text)?;
            self.credential = Some(self.sign(domain)?);
        }
        let Some((credential, badge)) = &self.credential else { return Err("no credential".to_owned()) };
        match admin.register(domain, credential).await {
            // An attempt before was not answered.
            Ok(()) | Err(AdminError::Answered { status: 409, .. }) => {}
            Err(error) => return Err(text(error)),
        }
        self.badges.put(self.draw, badge.clone());
        Ok(())
    }

    fn sign(&self, domain: Uuid) -> Result<(Credential, Badge), String> {
        let file = |name| operator_file(&self.env, name);
        let ca = AccessCa::from_pem(&file("access-ca.crt")?, &file("access-ca.key")?)
            .map_err(|error| error.to_string())?;
        let signed = ca.sign(&self.env, domain, None, DAYS).map_err(|error| error.to_string())?;
        let key = signed.key_pem.as_ref().map(|key| key.as_str().to_owned()).unwrap_or_default();
        let badge = Badge { certificate: Some((signed.certificate_pem.clone(), key)), token: None };
        let credential = Credential {
            id: signed.id,
            name: "first".to_owned(),
            description: String::new(),
            identities: Vec::new(),
            created_s: self.env.clock.wall().as_secs(),
            expires_s: signed.expires_s,
            revoked_s: None,
            from_csr: false,
            certificate_pem: signed.certificate_pem,
        };
        Ok((credential, badge))
    }
}
