//! The audit of a host that may be sealed: the spool's key comes from the root key, so there is an audit only while there is that.

use super::{Audit, AuditKey};
use crate::{config::AuditConfig, env::Env, vault::RootKey};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Opens a host's audit when it is unsealed, and lets go of it when it is sealed.
pub struct Recorder {
    env: Env,
    data_dir: PathBuf,
    host: String,
    config: AuditConfig,
    open: Mutex<Open>,
    /// Two that write at once would fork the chain.
    pen: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Open {
    now: Option<Arc<Audit>>,
    /// The last one, as long as requests that it was there for are under way.
    before: Weak<Audit>,
}

impl Recorder {
    /// Of a host, by name; nothing is opened yet.
    pub fn new(env: &Env, data_dir: PathBuf, host: String, config: AuditConfig) -> Recorder {
        let (open, pen) = Default::default();
        Recorder { env: env.clone(), data_dir, host, config, open, pen }
    }

    /// The audit; none while the host is sealed.
    pub fn audit(&self) -> Option<Arc<Audit>> {
        self.open().now.clone()
    }

    /// The host has its root key: opens the spool, or makes it.
    pub async fn begin(&self, root: &RootKey) {
        let before = self.open().before.upgrade();
        let audit = match before {
            Some(audit) => audit,
            None => {
                let pen = Arc::clone(&self.pen).lock_owned().await;
                let key = AuditKey::new(root, &self.host);
                Arc::new(Audit::start(&self.env, &self.data_dir, key, self.config.clone(), pen).await)
            }
        };
        self.open().now = Some(audit);
    }

    /// The host is sealed. Requests under way are recorded yet; then the key goes.
    pub fn end(&self) {
        let mut open = self.open();
        if let Some(audit) = open.now.take() {
            open.before = Arc::downgrade(&audit);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
