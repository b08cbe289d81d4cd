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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::testing::operator_key,
        store::{
            epoch::{DbId, EpochRecord, Registered},
            log::Position,
            witness::Known,
        },
    };

    const REGION: &str = "eu-west-rbx";

    fn epoch(no: u8) -> Epoch {
        Epoch { no: no.into(), id: [no; 16] }
    }

    fn registered(no: u8, witness: u8) -> Registered {
        let members = [DbId([1; 16]), DbId([no + 1; 16])];
        let (source, target) = (members[0], members[1]);
        let (epoch, previous, witness) = (epoch(no), epoch(no - 1), [witness; 16]);
        let record = EpochRecord { epoch, previous, source, target, members, witness };
        Registered { record, signed: Statement::Epoch(record).sign(&operator_key(), REGION, 0) }
    }

    fn replaced(no: u8, from: u8, to: u8) -> Replaced {
        let record = Replacement { epoch: epoch(no), from: [from; 16], to: [to; 16] };
        Replaced { record, signed: Statement::Witness(record).sign(&operator_key(), REGION, 0) }
    }

    /// The witness `id` of epoch `no`, whose record names witness 9.
    fn known(no: u8, id: u8, replaced: Option<Replaced>) -> Known {
        let active = registered(no, 9);
        let activation = Statement::Active(epoch(no), Position::ORIGIN).sign(&operator_key(), REGION, 0);
        Known { witness: [id; 16], active, activation, pending: None, replaced }
    }

    #[test]
    fn a_witness_has_the_id_that_its_epoch_or_a_replacement_in_it_names() {
        let verified = |known: &Known| Known::verify(&known.out(REGION), &operator_key().verifier(), REGION);
        for good in [known(1, 9, None), known(1, 10, Some(replaced(1, 9, 10)))] {
            assert_eq!(verified(&good), Ok(good));
        }
        for bad in [
            known(1, 10, None),
            known(1, 9, Some(replaced(1, 9, 10))),
            known(1, 10, Some(replaced(2, 9, 10))),
        ] {
            assert_eq!(verified(&bad), Err(BadStatement::Other));
        }
    }

    #[test]
    fn only_a_blank_witness_or_the_very_one_that_was_replaced_takes_the_place() {
        let begin = known(1, 10, Some(replaced(1, 9, 10)));
        assert_eq!(begin.install(None), Ok(true));
        assert_eq!(begin.install(Some(&known(1, 9, None))), Ok(true));
        assert_eq!(begin.install(Some(&begin)), Ok(false), "it is that already");
        let registers = Known { pending: Some(registered(2, 9)), ..known(1, 9, None) };
        let another = known(1, 11, Some(replaced(1, 9, 11)));
        let later = Known { active: registered(2, 9), ..known(1, 9, None) };
        for stands in [&registers, &another, &later] {
            assert!(begin.install(Some(stands)).is_err(), "{stands:?}");
        }
        assert!(known(1, 9, None).install(None).is_err(), "nothing was replaced");
        let pending = Known { pending: Some(registered(2, 10)), ..begin };
        assert!(pending.install(None).is_err(), "it begins with nothing registered");
    }
}
