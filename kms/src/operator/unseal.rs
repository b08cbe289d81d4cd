//! Unsealing and sealing of hosts, and the rotation of their shares. Every host is asked: each has to be unsealed by itself, since none
//! may give the root key to another.

use super::{
    OperatorConfig,
    admin::{Admin, AdminError},
};
use crate::{
    api::admin::types::{Line, RotateBody, SealBody, ShareBody},
    env::{BoxFuture, Env},
    vault::unseal::{UnsealError, UnsealKey},
    wire::tls::NodeTls,
};
use hyper::Method;
use std::sync::Arc;

pub use crate::vault::unseal::UnsealShare;

const SEAL: &str = "/admin/v1/seal";
const UNSEAL: &str = "/admin/v1/unseal";
const SHARES: &str = "/admin/v1/shares";

/// The shares of a new set, which seals nothing yet.
///
/// # Errors
/// [`UnsealError`] if the numbers cannot be, or there is no randomness.
pub fn new_shares(env: &Env, threshold: u8, count: u8) -> Result<Vec<UnsealShare>, UnsealError> {
    UnsealKey::generate(env, threshold, count)?.split(env)
}

/// One host, and what it said.
pub struct HostSeal {
    /// Where it is administered.
    pub address: String,
    /// How it stands now.
    pub state: Result<SealBody, AdminError>,
}

/// The hosts of a region, one by one.
pub struct Seals {
    hosts: Vec<(String, Admin)>,
}

impl Seals {
    /// All hosts that `operator.toml` names; or one of them alone.
    ///
    /// # Errors
    /// [`AdminError::NoAddress`] if it names none.
    pub fn new(
        env: &Env,
        config: &OperatorConfig,
        tls: &Arc<NodeTls>,
        only: Option<&str>,
    ) -> Result<Seals, AdminError> {
        let addresses = config.admin.iter().filter(|address| only.is_none_or(|only| only == *address));
        let hosts: Vec<(String, Admin)> = addresses
            .map(|address| (address.clone(), Admin::at(env.clone(), Arc::clone(tls), address)))
            .collect();
        if hosts.is_empty() { Err(AdminError::NoAddress) } else { Ok(Seals { hosts }) }
    }

    /// How they stand.
    pub async fn states(&self) -> Vec<HostSeal> {
        self.each(|host| Box::pin(host.get(SEAL))).await
    }

    /// Seals them.
    pub async fn seal(&self) -> Vec<HostSeal> {
        self.each(|host| Box::pin(host.order(Method::POST, SEAL))).await
    }

    /// Gives each the same share; or, without one, has each read its root key file again.
    pub async fn unseal(&self, share: Option<&UnsealShare>) -> Vec<HostSeal> {
        let body = ShareBody { share: share.map(line) };
        self.each(|host| Box::pin(host.send(Method::POST, UNSEAL, &body))).await
    }

    /// Has them forget the shares that they were given.
    pub async fn forget(&self) -> Vec<HostSeal> {
        self.each(|host| Box::pin(host.order(Method::DELETE, UNSEAL))).await
    }

    /// Puts another set of shares in the place of the one there is. Repeating it where it was done changes nothing.
    pub async fn rotate(&self, old: &[UnsealShare], new: &[UnsealShare]) -> Vec<HostSeal> {
        let lines = |shares: &[UnsealShare]| shares.iter().map(line).collect();
        let body = RotateBody { old: lines(old), new: lines(new) };
        self.each(|host| Box::pin(host.send(Method::PUT, SHARES, &body))).await
    }

    /// Boxed: else nobody could spawn a task that asks.
    async fn each<'a>(
        &'a self,
        ask: impl Fn(&'a Admin) -> BoxFuture<'a, Result<SealBody, AdminError>>,
    ) -> Vec<HostSeal> {
        let mut seals = Vec::with_capacity(self.hosts.len());
        for (address, host) in &self.hosts {
            seals.push(HostSeal { address: address.clone(), state: ask(host).await });
        }
        seals
    }
}

fn line(share: &UnsealShare) -> Line {
    Line(share.line())
}
