//! The manifest of a backup: what it holds, where that lies, and which backup came before. Encoded with prost as messages are;
//! fields are never renumbered. Sealed like everything else, under its own name.

use super::{
    Malformed,
    names::{Found, Name},
};
use crate::{
    crypto::sha256,
    env::ObjectName,
    store::{epoch::Epoch, log::Position},
    wire::{epoch as wire, message},
};
use prost::Message;

/// The one format of manifests so far.
const FORMAT: u32 = 1;

/// Which region's log a backup is of, and who vouches for it. The same for every store.
#[derive(Debug, Clone, PartialEq)]
pub struct Lineage {
    /// The epoch as the operator registered it.
    pub epoch: wire::Signed,
    /// The statement that made it active, where it is known.
    pub activation: Option<wire::Signed>,
    /// The statement that named another witness than the epoch's.
    pub witness: Option<wire::Signed>,
    /// Where each epoch of the log begins, oldest first: (epoch, last position before it).
    pub epochs: Vec<(Epoch, Position)>,
}

/// An object that a manifest names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: Name,
    /// Its size, bytes.
    pub bytes: u64,
    /// SHA-256 of the object as it is stored.
    pub sha256: [u8; 32],
}

impl Part {
    /// Of an object as it is stored.
    pub fn of(name: Name, object: &[u8]) -> Part {
        Part { name, bytes: object.len() as u64, sha256: sha256(object) }
    }
}

/// The backup before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    /// Its manifest's name, which tells its number.
    pub found: Found,
    /// SHA-256 of its manifest as it is stored.
    pub sha256: [u8; 32],
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Region.
    pub region: String,
    /// Day, number, time and attempt: what its name says too.
    pub found: Found,
    /// Region of the process that made it.
    pub place: String,
    /// Epochs and statements.
    pub lineage: Lineage,
    /// The backup holds the log up to here.
    pub position: Position,
    /// Wall time of the newest entry that it holds, by the head's clock, Unix milliseconds; 0 if there is none or it is not known.
    pub newest_ms: u64,
    /// Backups since its full snapshot was made, itself not counted: 0 for the one that made it.
    pub run: u64,
    /// The list of the parts of the full snapshot that it stands on.
    pub full: Part,
    /// What the snapshot shows.
    pub full_position: Position,
    /// Where its own part of the log begins.
    pub log_from: Position,
    /// Its own part of the log, in order.
    pub log: Vec<Part>,
    /// The backup before it in this store; `None` for the first, or if that one could not be read.
    pub previous: Option<Previous>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PartMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    bytes: u64,
    #[prost(bytes = "vec", tag = "3")]
    sha256: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ManifestMessage {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(string, tag = "2")]
    region: String,
    #[prost(uint64, tag = "3")]
    number: u64,
    #[prost(uint64, tag = "4")]
    made_ms: u64,
    #[prost(string, tag = "5")]
    place: String,
    #[prost(message, optional, tag = "6")]
    epoch: Option<wire::Signed>,
    #[prost(message, optional, tag = "7")]
    activation: Option<wire::Signed>,
    #[prost(message, optional, tag = "8")]
    witness: Option<wire::Signed>,
    #[prost(message, repeated, tag = "9")]
    lineage: Vec<wire::Lineage>,
    #[prost(message, optional, tag = "10")]
    position: Option<message::Position>,
    #[prost(uint64, tag = "11")]
    newest_ms: u64,
    #[prost(uint64, tag = "12")]
    run: u64,
    #[prost(message, optional, tag = "13")]
    full: Option<PartMessage>,
    #[prost(message, optional, tag = "14")]
    full_position: Option<message::Position>,
    #[prost(message, optional, tag = "15")]
    log_from: Option<message::Position>,
    #[prost(message, repeated, tag = "16")]
    log: Vec<PartMessage>,
    #[prost(message, optional, tag = "17")]
    previous: Option<PartMessage>,
}

fn part_out(name: Name, bytes: u64, sha256: [u8; 32]) -> PartMessage {
    PartMessage { name: name.object().as_str().to_owned(), bytes, sha256: sha256.to_vec() }
}

fn part_in(part: &PartMessage) -> Result<Part, Malformed> {
    const BAD: Malformed = Malformed("a manifest names an object that can be none");
    let name = ObjectName::new(part.name.as_str()).map_err(|_| BAD)?;
    let name = Name::read(&name).ok_or(BAD)?;
    let sha256 = part.sha256.as_slice().try_into().map_err(|_| BAD)?;
    Ok(Part { name, bytes: part.bytes, sha256 })
}

fn position_in(position: Option<&message::Position>) -> Result<Position, Malformed> {
    Position::read(position).map_err(|_| Malformed("a position in a manifest is none"))
}

impl Manifest {
    /// The text to seal.
    pub fn text(&self) -> Vec<u8> {
        let epoch = |(epoch, after): &(Epoch, Position)| wire::Lineage {
            epoch: Some(epoch.out()),
            after: Some(after.out()),
        };
        let part = |part: &Part| part_out(part.name, part.bytes, part.sha256);
        let message = ManifestMessage {
            format: FORMAT,
            region: self.region.clone(),
            number: self.found.number,
            made_ms: self.found.made_ms,
            place: self.place.clone(),
            epoch: Some(self.lineage.epoch.clone()),
            activation: self.lineage.activation.clone(),
            witness: self.lineage.witness.clone(),
            lineage: self.lineage.epochs.iter().map(epoch).collect(),
            position: Some(self.position.out()),
            newest_ms: self.newest_ms,
            run: self.run,
            full: Some(part(&self.full)),
            full_position: Some(self.full_position.out()),
            log_from: Some(self.log_from.out()),
            log: self.log.iter().map(part).collect(),
            previous: self.previous.map(|before| part_out(Name::Manifest(before.found), 0, before.sha256)),
        };
        message.encode_to_vec()
    }

    /// Reads the manifest of a backup of `region` that is called `found`.
    ///
    /// # Errors
    /// [`Malformed`] if it does not decode, is another one's, or contradicts itself.
    pub fn read(text: &[u8], region: &str, found: Found) -> Result<Manifest, Malformed> {
        let message = ManifestMessage::decode(text).map_err(|_| Malformed("a manifest does not decode"))?;
        if message.format != FORMAT {
            return Err(Malformed("a manifest of a later build: use that build"));
        }
        if message.region != region {
            return Err(Malformed("a manifest of another region"));
        }
        if message.number != found.number || message.made_ms != found.made_ms {
            return Err(Malformed("a manifest says otherwise than its name"));
        }
        let epoch = |part: &wire::Lineage| {
            let epoch = Epoch::read(part.epoch.as_ref()).map_err(|_| Malformed("an epoch is none"))?;
            Ok((epoch, position_in(part.after.as_ref())?))
        };
        let previous = message.previous.as_ref().map(part_in).transpose()?;
        let previous = previous.map(|part| match part.name {
            Name::Manifest(found) => Ok(Previous { found, sha256: part.sha256 }),
            _ => Err(Malformed("the backup before is no manifest")),
        });
        let manifest = Manifest {
            found,
            place: message.place,
            lineage: Lineage {
                epoch: message.epoch.ok_or(Malformed("a manifest without an epoch"))?,
                activation: message.activation,
                witness: message.witness,
                epochs: message.lineage.iter().map(epoch).collect::<Result<_, Malformed>>()?,
            },
            position: position_in(message.position.as_ref())?,
            newest_ms: message.newest_ms,
            run: message.run,
            full: part_in(message.full.as_ref().ok_or(Malformed("a manifest without a snapshot"))?)?,
            full_position: position_in(message.full_position.as_ref())?,
            log_from: position_in(message.log_from.as_ref())?,
            log: message.log.iter().map(part_in).collect::<Result<_, Malformed>>()?,
            previous: previous.transpose()?,
            region: message.region,
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// What must hold within one manifest.
    ///
    /// # Errors
    /// [`Malformed`] names the first thing that does not.
    pub fn check(&self) -> Result<(), Malformed> {
        let Name::FullIndex(day, seq, _) = self.full.name else {
            return Err(Malformed("the snapshot of a manifest is none"));
        };
        let mut next = self.log_from.seq;
        for part in &self.log {
            match part.name {
                Name::Log(of, first, last, _)
                    if of == day && first.checked_sub(1) == Some(next) && last >= first =>
                {
                    next = last;
                }
                _ => return Err(Malformed("the log of a manifest has a hole or is another day's")),
            }
        }
        let starts = self.run == 0;
        let rules = [
            (day == self.found.day, "a manifest stands on another day's snapshot"),
            (seq == self.full_position.seq, "a snapshot is of another position"),
            (next == self.position.seq, "the log of a manifest does not lead to its position"),
            (self.log_from.seq >= self.full_position.seq, "the log of a manifest begins before its snapshot"),
            (!self.log.is_empty() || self.position == self.log_from, "a position comes from nowhere"),
            (!starts || self.log_from == self.full_position, "a first backup begins elsewhere"),
            (!starts || self.log.is_empty(), "a first backup has a log"),
            (starts || self.previous.is_some(), "a backup stands on one that it does not name"),
            (
                self.previous.is_none_or(|before| before.found.number < self.found.number),
                "a backup comes before the one before it",
            ),
            (self.epoch_stated(), "the statement of a manifest is about another epoch or region"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Malformed(rule)),
            None => Ok(()),
        }
    }

    /// Whether the operator's statement is about the newest epoch of the log, and this region. Its signature is for whoever
    /// holds the operator's certificate to look at.
    fn epoch_stated(&self) -> bool {
        let stated = wire::Statements::decode(self.lineage.epoch.bytes.as_slice()).ok();
        let Some(wire::Statement::Epoch(stated)) = stated.and_then(|stated| stated.statement) else {
            return false;
        };
        let newest = self.lineage.epochs.last().map(|(epoch, _)| epoch.out());
        stated.region == self.region && newest.is_some() && stated.epoch == newest
    }

    /// Whether `before` is the backup that this one goes on from, within one run.
    ///
    /// # Errors
    /// [`Malformed`] if it is not.
    pub fn goes_on_from(&self, before: &Manifest) -> Result<(), Malformed> {
        let holds = self.found.number.checked_sub(1) == Some(before.found.number)
            && self.run.checked_sub(1) == Some(before.run)
            && self.full == before.full
            && self.full_position == before.full_position
            && self.log_from == before.position
            && self.lineage.epochs == before.lineage.epochs;
        if holds { Ok(()) } else { Err(Malformed("a backup does not go on from the one before it")) }
    }
}
