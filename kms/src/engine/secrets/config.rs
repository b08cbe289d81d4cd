//! The configuration of all secrets of a domain: read, and changed with compare-and-set. What is not given stays.

use super::{path::config_key, record::ConfigRecord, settings::Settings};
use crate::{
    engine::{HostService, write::Attempt},
    error::Error,
    iam::{Authorized, action},
};

impl HostService {
    /// What is set for the domain.
    ///
    /// # Errors
    /// `Refused`, `Integrity`.
    pub async fn secret_config(&self, may: &Authorized<action::SecretConfigGet>) -> Result<Settings, Error> {
        self.domain_settings(may.domain()).await
    }

    /// Sets what is given and answers with all that is set.
    ///
    /// # Errors
    /// `BadArgument`, `Refused`, `Unknown`.
    pub async fn set_secret_config(
        &self,
        may: &Authorized<action::SecretConfigUpdate>,
        newer: &Settings,
    ) -> Result<Settings, Error> {
        newer.check()?;
        let (domain, key) = (may.domain(), config_key(may.domain()));
        let until = self.write_deadline();
        for _ in 0..8 {
            let held = self.held::<ConfigRecord>(domain, &key).await?;
            let before = held.value.unwrap_or_default();
            let settings = before.0.updated(newer);
            if settings == before.0 {
                return Ok(settings);
            }
            let mut batch = self.batch(domain).await?;
            batch.put(&key, held.version, &ConfigRecord(settings.clone()))?;
            match batch.commit(until).await? {
                Attempt::Done => return Ok(settings),
                Attempt::Conflict | Attempt::EpochChanged => {}
            }
            if !self.time_left(until) {
                break;
            }
        }
        Err(Error::refused("secret configuration: conflicts until the deadline"))
    }
}
