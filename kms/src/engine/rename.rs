//! Gives a key another name. A destroyed key keeps its last one.

use super::{HostService, KeyName, KeyRecord, KeyView, write::Change};
use crate::{
    error::{Code, Error},
    iam::{Authorized, action},
};
use uuid::Uuid;

impl HostService {
    /// Renames a key and answers with it.
    ///
    /// # Errors
    /// `KeyNotFound`, `WrongState` when destroyed, `Refused`, `Unknown`.
    pub async fn rename(
        &self,
        may: &Authorized<action::Update>,
        id: Uuid,
        name: KeyName,
    ) -> Result<KeyView, Error> {
        self.update_key(may.domain(), id, |record| {
            if record.view.state.is_destroyed() {
                return Err(Error::new(Code::WrongState, "the key is destroyed"));
            }
            let view = KeyView { name: name.text().to_owned(), ..record.view.clone() };
            if view == record.view {
                return Ok(Change::Keep(view));
            }
            Ok(Change::Put(KeyRecord { view: view.clone(), ..record }, view))
        })
        .await
    }
}
