//! Another witness in the place of one that was lost, or is to go (R17a): what the operator states, and what it
//! changes once the chain has committed it. Decides nothing about when it may be stated.

use super::{
    codec::Malformed,
    epoch::{BadStatement, Epoch, Identity, Statement},
    log::Entry,
};
use crate::{crypto::OperatorVerifier, wire::epoch as wire};

/// Which witness takes which one's place, for the members of which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replacement {
    /// The epoch. In any other one the statement means nothing: that one's own record names its witness.
    pub epoch: Epoch,
    /// Whom its members must be listening to.
    pub from: [u8; 16],
    /// Whom they listen to afterwards.
    pub to: [u8; 16],
}

/// A replacement with its statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// What it says.
    pub record: Replacement,
    /// As signed.
    pub signed: wire::Signed,
}

impl Replaced {
    /// Reads without a look at the signature; see [`Entry::check_witness`].
    ///
    /// # Errors
    /// `Malformed` if it is another statement, or none.
    pub(super) fn read(signed: wire::Signed) -> Result<Replaced, Malformed> {
        match Statement::read(&signed)? {
            (_, Statement::Witness(record)) => Ok(Replaced { record, signed }),
            _ => Err(Malformed("another statement than that of a witness")),
        }
    }

    /// From the operator's statement.
    ///
    /// # Errors
    /// [`BadStatement`].
    pub fn verify(
        signed: &wire::Signed,
        operator: &OperatorVerifier,
        region: &str,
    ) -> Result<Replaced, BadStatement> {
        match Statement::verify(signed, operator, region)? {
            Statement::Witness(record) => Ok(Replaced { record, signed: signed.clone() }),
            _ => Err(BadStatement::Other),
        }
    }
}

impl Entry {
    /// Whether it may stand in a log: a witness is replaced by the operator's word alone, given for the epoch in which
    /// the entry was written.
    ///
    /// # Errors
    /// [`BadStatement`].
    pub fn check_witness(&self, operator: &OperatorVerifier, region: &str) -> Result<(), BadStatement> {
        let Some(witness) = &self.witness else { return Ok(()) };
        let replaced = Replaced::verify(&witness.signed, operator, region)?;
        if replaced.record.epoch == self.epoch { Ok(()) } else { Err(BadStatement::Other) }
    }
}

impl Identity {
    /// The one witness that this database listens to (R17a).
    pub fn witness(&self) -> [u8; 16] {
        self.replaced.as_ref().map_or(self.epoch.record.witness, |replaced| replaced.record.to)
    }

    /// Whether a replacement is about this epoch and about the witness that is listened to.
    pub fn fits(&self, replacement: Replacement) -> bool {
        replacement.epoch == self.epoch() && replacement.from == self.witness()
    }

    /// What the database is once it has applied `entry`; `None`: what it is already. An entry that was in doubt while a new epoch
    /// was adopted is applied in that one, where it means nothing: the new epoch's record names the witness at which it
    /// was registered, and all who are in it listen to that.
    pub fn after(&self, entry: &Entry) -> Option<Identity> {
        let witness = entry.witness.as_ref()?;
        self.fits(witness.record).then(|| Identity { replaced: Some(witness.clone()), ..self.clone() })
    }
}
