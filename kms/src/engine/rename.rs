//! Gives a key another name, and says whether it may leave. A destroyed key keeps its last name.

use super::{HostService, KeyName, KeyRecord, KeyView, payload::Flags, write::Change};
use crate::{
    error::{Code, Error},
    iam::{Authorized, action},
};

impl HostService {
    /// Changes what is said, and answers with the key. A key that was extractable once will always have been.
    ///
    /// # Errors
    /// `BadArgument`, `KeyNotFound`, `WrongState` when destroyed, `Refused`, `Unknown`.
    pub async fn change(
        &self,
        may: &Authorized<action::Update>,
        name: Option<KeyName>,
        extractable: Option<bool>,
    ) -> Result<KeyView, Error> {
        let id = *may.of();
        self.update_key(may.domain(), id, |record| {
            let before = &record.view;
            if before.state.is_destroyed() {
                return Err(Error::new(Code::WrongState, "the key is destroyed"));
            }
            let flags = match extractable {
                Some(false) if before.flags.public_only => {
                    return Err(Error::bad("a public key is always extractable"));
                }
                Some(extractable) => Flags {
                    extractable,
                    was_extractable: before.flags.was_extractable || extractable,
                    ..before.flags
                },
                None => before.flags,
            };
            let name = name.as_ref().map_or(before.name.as_str(), KeyName::text).to_owned();
            let view = KeyView { name, flags, ..before.clone() };
            if view == *before {
                return Ok(Change::Keep(view));
            }
            Ok(Change::Put(KeyRecord { view: view.clone(), ..record }, view))
        })
        .await
    }
}
