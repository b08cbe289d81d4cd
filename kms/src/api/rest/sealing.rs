//! Sealing and unsealing of a host: its keys and its audit come and go together, and one thing is done at a time.

use super::call::App;
use crate::{
    error::Error,
    iam::Administrator,
    vault::{RootKey, unseal::UnsealShare},
};
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

impl App {
    /// Forgets all keys. Requests under way end with the keys that they have, or are refused.
    pub(in crate::api) async fn seal(&self, may: &Administrator) {
        let _turn = self.turning.lock().await;
        if !self.service.is_sealed() {
            tracing::warn!("sealed: nothing is served until this host is unsealed");
        }
        if let Some(recorder) = &self.audit {
            recorder.end();
        }
        self.service.seal(may);
    }

    /// Takes a share, and unseals the host once there are enough. A host that is unsealed wants none.
    ///
    /// # Errors
    /// As of [`HostService::take_share`](crate::engine::HostService::take_share).
    pub(in crate::api) async fn unseal_with(
        self: &Arc<App>,
        may: &Administrator,
        share: UnsealShare,
    ) -> Result<(), Error> {
        let turn = Arc::clone(&self.turning).lock_owned().await;
        if self.service.is_sealed() {
            let (set, number) = (share.set().name(), share.index());
            tracing::info!(set, number, "a share of the root key is given");
            match self.service.take_share(may, share) {
                Ok(Some(root)) => self.open(root, turn, "unsealed by shares").await?,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(set, number, why = error.public(), "the share does not unseal");
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Unseals the host by its root key file.
    ///
    /// # Errors
    /// As of [`HostService::root_in_file`](crate::engine::HostService::root_in_file).
    pub(in crate::api) async fn unseal_by_file(self: &Arc<App>, may: &Administrator) -> Result<(), Error> {
        let turn = Arc::clone(&self.turning).lock_owned().await;
        if self.service.is_sealed() {
            let root = self.service.root_in_file(may)?;
            self.open(root, turn, "unsealed by its root key file").await?;
        }
        Ok(())
    }

    /// Begins to record, then to serve. To its end, although whoever asked may leave: the shares are used up.
    async fn open(
        self: &Arc<App>,
        root: RootKey,
        turn: OwnedMutexGuard<()>,
        how: &'static str,
    ) -> Result<(), Error> {
        let app = Arc::clone(self);
        let opening = self.env.spawn("unseal", async move {
            if let Some(recorder) = &app.audit {
                recorder.begin(&root).await;
            }
            app.service.unseal(root);
            tracing::warn!("{how}");
            drop(turn);
        });
        opening.await.map_err(|_| Error::internal("unsealing panicked"))
    }
}
