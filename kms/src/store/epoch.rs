//! Epochs: which two databases are the region's, in which roles, since where in the log. An epoch is made by
//! `kms init` or by the operator's signed statement; nothing here decides when one may be used.

use super::{
    codec::{Malformed, id16},
    log::Position,
    replacement::{Replaced, Replacement},
    termination::Termination,
};
use crate::{
    crypto::{OperatorKey, OperatorVerifier},
    wire::epoch as wire,
};
use prost::Message;
use std::fmt;

/// Random id of a database: of one store, not of a machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbId(pub [u8; 16]);

impl fmt::Display for DbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for DbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

impl DbId {
    /// From the wire.
    pub fn read(bytes: &[u8]) -> Result<DbId, Malformed> {
        id16(bytes).map(DbId)
    }
}

/// Number and id. Two epochs of one number and different ids are two histories (F4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Raised by each rebuild or restore.
    pub no: u64,
    /// 128 random bits.
    pub id: [u8; 16],
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.no, hex::encode(&self.id[..4]))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Epoch {
    /// To the wire.
    pub fn out(self) -> wire::Epoch {
        wire::Epoch { no: self.no, id: self.id.to_vec() }
    }

    /// From the wire.
    pub fn read(epoch: Option<&wire::Epoch>) -> Result<Epoch, Malformed> {
        let epoch = epoch.ok_or(Malformed("an epoch is missing"))?;
        Ok(Epoch { no: epoch.no, id: id16(&epoch.id)? })
    }
}

/// An epoch as registered: who is in it, and from whom the other one is filled (R11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochRecord {
    /// The epoch.
    pub epoch: Epoch,
    /// The one that stood at the witness when it was registered.
    pub previous: Epoch,
    /// Who has the data.
    pub source: DbId,
    /// Who is filled; in a restore, the head: the tail is filled too.
    pub target: DbId,
    /// Head and tail, once it is active.
    pub members: [DbId; 2],
    /// The one witness that members listen to, until the chain commits another one (R17a).
    pub witness: [u8; 16],
}

impl EpochRecord {
    /// Whether both members are new, filled from one that is neither: the region is made anew from a replica (R17).
    pub fn is_restore(&self) -> bool {
        !self.members.contains(&self.source)
    }

    /// Who is filled at the place of the head, or of the tail; `None`: whoever stands there is the source.
    pub fn target_at(&self, head: bool) -> Option<DbId> {
        let member = self.members[usize::from(!head)];
        (self.is_restore() || member == self.target).then_some(member)
    }

    /// Whether `id` is filled.
    pub fn is_target(&self, id: DbId) -> bool {
        [true, false].into_iter().any(|head| self.target_at(head) == Some(id))
    }
}

/// What an operator's statement says.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// Register this epoch.
    Epoch(EpochRecord),
    /// The epoch is active; both logs ended here.
    Active(Epoch, Position),
    /// These databases serve no longer; made for this epoch. True: it answered so; false: a person says that
    /// it is not running.
    Fence(Epoch, Vec<(DbId, bool)>),
    /// The database may serve although nobody answers it, until its process ends.
    Alone {
        /// Its epoch.
        epoch: Epoch,
        /// Who.
        database: DbId,
        /// Names its start.
        start: Vec<u8>,
    },
    /// Another witness is to be listened to (R17a).
    Witness(Replacement),
    /// The service of a domain has ended (G14).
    Terminate(Termination),
}

/// A statement that is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadStatement {
    /// Not the operator's.
    #[error("the statement is not signed by this region's operator")]
    Signature,
    /// Of another region.
    #[error("the statement is about another region")]
    Region,
    /// Nothing in it, or a field of the wrong length.
    #[error("the statement does not decode: {0}")]
    Malformed(#[from] Malformed),
    /// It says something else than it must say here.
    #[error("the statement says something else than what it is used for")]
    Other,
}

impl Statement {
    /// Signs for `region`; `made_ms` is wall time for people.
    pub fn sign(&self, key: &OperatorKey, region: &str, made_ms: u64) -> wire::Signed {
        let region = region.to_owned();
        let statement = match self {
            Statement::Epoch(record) => wire::Statement::Epoch(wire::EpochStatement {
                region,
                epoch: Some(record.epoch.out()),
                previous: Some(record.previous.out()),
                source: record.source.0.to_vec(),
                target: record.target.0.to_vec(),
                head: record.members[0].0.to_vec(),
                tail: record.members[1].0.to_vec(),
                witness: record.witness.to_vec(),
                made_ms,
            }),
            Statement::Active(epoch, position) => wire::Statement::Active(wire::ActiveStatement {
                region,
                epoch: Some(epoch.out()),
                position: Some(position.out()),
                made_ms,
            }),
            Statement::Fence(epoch, fenced) => wire::Statement::Fence(wire::FenceStatement {
                region,
                epoch: Some(epoch.out()),
                fenced: fenced
                    .iter()
                    .map(|(id, retired)| wire::Fenced { db_id: id.0.to_vec(), retired: *retired })
                    .collect(),
                made_ms,
            }),
            Statement::Alone { epoch, database, start } => wire::Statement::Alone(wire::AloneStatement {
                region,
                epoch: Some(epoch.out()),
                db_id: database.0.to_vec(),
                start: start.clone(),
                made_ms,
            }),
            Statement::Witness(replacement) => wire::Statement::Witness(wire::WitnessStatement {
                region,
                epoch: Some(replacement.epoch.out()),
                from: replacement.from.to_vec(),
                to: replacement.to.to_vec(),
                made_ms,
            }),
            Statement::Terminate(Termination { domain, made_ms }) => {
                wire::Statement::Terminate(wire::TerminateStatement {
                    region,
                    domain: domain.as_bytes().to_vec(),
                    made_ms: *made_ms,
                })
            }
        };
        let bytes = wire::Statements { statement: Some(statement) }.encode_to_vec();
        wire::Signed { signature: key.sign(&bytes), bytes }
    }

    /// Reads a statement that the operator of `region` signed.
    ///
    /// # Errors
    /// [`BadStatement`].
    pub fn verify(
        signed: &wire::Signed,
        operator: &OperatorVerifier,
        region: &str,
    ) -> Result<Statement, BadStatement> {
        if !operator.verify(&signed.bytes, &signed.signature) {
            return Err(BadStatement::Signature);
        }
        let (of, statement) = Statement::read(signed)?;
        if of != region {
            return Err(BadStatement::Region);
        }
        Ok(statement)
    }

    /// Reads without a look at the signature: for what this node has stored itself after it had looked.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(super) fn read(signed: &wire::Signed) -> Result<(String, Statement), Malformed> {
        let statement = wire::Statements::decode(signed.bytes.as_slice())
            .ok()
            .and_then(|statements| statements.statement)
            .ok_or(Malformed("an empty statement"))?;
        Ok(match statement {
            wire::Statement::Epoch(said) => {
                let record = EpochRecord {
                    epoch: Epoch::read(said.epoch.as_ref())?,
                    previous: Epoch::read(said.previous.as_ref())?,
                    source: DbId::read(&said.source)?,
                    target: DbId::read(&said.target)?,
                    members: [DbId::read(&said.head)?, DbId::read(&said.tail)?],
                    witness: id16(&said.witness)?,
                };
                (said.region, Statement::Epoch(record))
            }
            wire::Statement::Active(said) => {
                let position = Position::read(said.position.as_ref())?;
                (said.region, Statement::Active(Epoch::read(said.epoch.as_ref())?, position))
            }
            wire::Statement::Fence(said) => {
                let fenced = |fenced: &wire::Fenced| Ok((DbId::read(&fenced.db_id)?, fenced.retired));
                let all = said.fenced.iter().map(fenced).collect::<Result<_, Malformed>>()?;
                (said.region, Statement::Fence(Epoch::read(said.epoch.as_ref())?, all))
            }
            wire::Statement::Alone(said) => {
                let (epoch, database) = (Epoch::read(said.epoch.as_ref())?, DbId::read(&said.db_id)?);
                (said.region, Statement::Alone { epoch, database, start: said.start })
            }
            wire::Statement::Witness(said) => {
                let (from, to) = (id16(&said.from)?, id16(&said.to)?);
                let replacement = Replacement { epoch: Epoch::read(said.epoch.as_ref())?, from, to };
                (said.region, Statement::Witness(replacement))
            }
            wire::Statement::Terminate(said) => {
                let domain = uuid::Uuid::from_bytes(id16(&said.domain)?);
                (said.region, Statement::Terminate(Termination { domain, made_ms: said.made_ms }))
            }
        })
    }
}

/// A registered epoch with its statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// What it says.
    pub record: EpochRecord,
    /// As signed.
    pub signed: wire::Signed,
}

impl Registered {
    /// From the operator's statement.
    ///
    /// # Errors
    /// [`BadStatement`].
    pub fn verify(
        signed: &wire::Signed,
        operator: &OperatorVerifier,
        region: &str,
    ) -> Result<Registered, BadStatement> {
        match Statement::verify(signed, operator, region)? {
            Statement::Epoch(record) => Ok(Registered { record, signed: signed.clone() }),
            _ => Err(BadStatement::Other),
        }
    }

    /// Whether `activation` is the operator's statement that this epoch is active.
    ///
    /// # Errors
    /// [`BadStatement`].
    pub fn activated_by(
        &self,
        activation: &wire::Signed,
        operator: &OperatorVerifier,
        region: &str,
    ) -> Result<(), BadStatement> {
        match Statement::verify(activation, operator, region)? {
            Statement::Active(epoch, _) if epoch == self.record.epoch => Ok(()),
            _ => Err(BadStatement::Other),
        }
    }
}

/// Where both logs ended when an epoch became active, as the statement says. For statements whose signature was looked at.
///
/// # Errors
/// [`BadStatement`] if it says something else.
pub(crate) fn begins(activation: &wire::Signed) -> Result<Position, BadStatement> {
    match Statement::read(activation)? {
        (_, Statement::Active(_, position)) => Ok(position),
        _ => Err(BadStatement::Other),
    }
}

/// What a database is to its region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being filled, or filled and not yet active: serves nothing, confirms nothing.
    Filling,
    /// One of the two.
    Member,
    /// Of an earlier epoch: serves nothing, for good.
    Retired,
    /// The third copy: follows, serves nobody (R18).
    Replica,
}

impl Phase {
    /// The word shown.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Filling => "filling",
            Phase::Member => "member",
            Phase::Retired => "retired",
            Phase::Replica => "replica",
        }
    }
}

/// Who a store is. Durable; changed only together with what it is true of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Region id.
    pub region: String,
    /// Random id of this database.
    pub db_id: DbId,
    /// Head or tail; roles never swap.
    pub head: bool,
    /// What it is to its region.
    pub phase: Phase,
    /// Its epoch.
    pub epoch: Registered,
    /// The statement that made the epoch active, once it is known here (R16).
    pub activation: Option<wire::Signed>,
    /// The fence of the epoch, at its source (R13).
    pub fence: Option<wire::Signed>,
    /// Where each epoch of the log begins, oldest first: (epoch, last position before it).
    pub lineage: Vec<(Epoch, Position)>,
    /// A filled store: where the fill ended.
    pub filled: Option<Position>,
    /// Statements by which it served alone, newest last.
    pub alone: Vec<wire::Signed>,
    /// The statement, committed by the chain in this epoch, that named another witness than the epoch's (R17a).
    pub replaced: Option<Replaced>,
    /// R17: what a witness would know of the last active epoch, at the source of a restore that is not active yet: should the witness
    /// be lost too, the next one begins with this.
    pub before: Option<wire::WitnessState>,
}

impl Identity {
    /// A member of a region's first epoch, as `kms init` makes it.
    pub fn genesis(region: &str, head: bool, epoch: &Registered, activation: &wire::Signed) -> Identity {
        Identity {
            region: region.to_owned(),
            db_id: epoch.record.members[usize::from(!head)],
            head,
            phase: Phase::Member,
            epoch: epoch.clone(),
            activation: Some(activation.clone()),
            fence: None,
            lineage: vec![(epoch.record.epoch, Position::ORIGIN)],
            filled: None,
            alone: Vec::new(),
            replaced: None,
            before: None,
        }
    }

    /// Its epoch's number and id.
    pub fn epoch(&self) -> Epoch {
        self.epoch.record.epoch
    }

    /// Whether the epoch is known active here.
    pub fn active(&self) -> bool {
        self.activation.is_some()
    }

    /// Where both logs ended when the epoch became active, once that is known here.
    pub fn begins(&self) -> Option<Position> {
        begins(self.activation.as_ref()?).ok()
    }

    /// Whether an operator has stated about this very start of the process that it may serve alone (R10).
    pub fn may_serve_alone(&self, start: &[u8]) -> bool {
        let about_this = |signed| {
            matches!(
                Statement::read(signed),
                Ok((_, Statement::Alone { epoch, database, start: named }))
                    if epoch == self.epoch() && database == self.db_id && named == start
            )
        };
        self.phase == Phase::Member && self.alone.iter().any(about_this)
    }

    /// Whether it is the source of its epoch.
    pub fn is_source(&self) -> bool {
        self.epoch.record.source == self.db_id
    }
}

/// To the wire.
pub(crate) fn lineage_out(lineage: &[(Epoch, Position)]) -> Vec<wire::Lineage> {
    let part = |(epoch, after): &(Epoch, Position)| wire::Lineage {
        epoch: Some(epoch.out()),
        after: Some(after.out()),
    };
    lineage.iter().map(part).collect()
}

/// From the wire.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn lineage_in(lineage: &[wire::Lineage]) -> Result<Vec<(Epoch, Position)>, Malformed> {
    lineage
        .iter()
        .map(|part| Ok((Epoch::read(part.epoch.as_ref())?, Position::read(part.after.as_ref())?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> OperatorKey {
        // PKCS #8 v1 of an Ed25519 seed (RFC 8410, 7).
        let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        OperatorKey::from_pkcs8(&[&head[..], &[seed; 32]].concat()).expect("a key")
    }

    fn statements() -> Vec<Statement> {
        let epoch = |no| Epoch { no, id: [no as u8; 16] };
        let record = EpochRecord {
            epoch: epoch(2),
            previous: epoch(1),
            source: DbId([1; 16]),
            target: DbId([2; 16]),
            members: [DbId([1; 16]), DbId([2; 16])],
            witness: [9; 16],
        };
        vec![
            Statement::Epoch(record),
            Statement::Active(epoch(2), Position { seq: 7, hash: [3; 32] }),
            Statement::Fence(epoch(2), vec![(DbId([4; 16]), false), (DbId([5; 16]), true)]),
            Statement::Alone { epoch: epoch(1), database: DbId([1; 16]), start: vec![8; 16] },
            Statement::Witness(Replacement { epoch: epoch(2), from: [9; 16], to: [10; 16] }),
        ]
    }

    #[test]
    fn a_signed_statement_reads_back_and_nothing_else_does() {
        let (mine, other) = (key(1), key(2));
        for statement in statements() {
            let signed = statement.sign(&mine, "eu-west-rbx", 5);
            let read = |signed: &wire::Signed, key: &OperatorKey, region| {
                Statement::verify(signed, &key.verifier(), region)
            };
            assert_eq!(read(&signed, &mine, "eu-west-rbx"), Ok(statement.clone()));
            assert_eq!(read(&signed, &other, "eu-west-rbx"), Err(BadStatement::Signature));
            assert_eq!(read(&signed, &mine, "eu-west-gra"), Err(BadStatement::Region));
            for at in 0..signed.bytes.len() {
                let mut altered = signed.clone();
                altered.bytes[at] ^= 1;
                assert_eq!(read(&altered, &mine, "eu-west-rbx"), Err(BadStatement::Signature));
            }
            let registered = Registered::verify(&signed, &mine.verifier(), "eu-west-rbx");
            assert_eq!(registered.is_ok(), matches!(statement, Statement::Epoch(_)));
        }
    }
}
