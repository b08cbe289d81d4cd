//! How a store's identity is kept. Fields are never renumbered.

use super::{Engine, EngineError, META, redb_error};
use crate::{
    store::{
        codec::Malformed,
        epoch::{DbId, Identity, Phase, Registered, Statement, lineage_in, lineage_out},
        log::{Entry, Position},
        replacement::Replaced,
    },
    wire::{epoch as wire, message},
};
use prost::Message;
use redb::{ReadableTable, WriteTransaction};

/// Its key in the table `meta`.
pub(super) const KEY: &str = "identity";
const FORMAT: u32 = 3;

#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(string, tag = "2")]
    region: String,
    #[prost(bytes = "vec", tag = "3")]
    db_id: Vec<u8>,
    #[prost(bool, tag = "4")]
    head: bool,
    /// 1 filling, 2 member, 3 retired, 4 replica.
    #[prost(uint32, tag = "5")]
    phase: u32,
    #[prost(message, optional, tag = "6")]
    epoch: Option<wire::Signed>,
    #[prost(message, optional, tag = "7")]
    activation: Option<wire::Signed>,
    #[prost(message, optional, tag = "8")]
    fence: Option<wire::Signed>,
    #[prost(message, repeated, tag = "9")]
    lineage: Vec<wire::Lineage>,
    #[prost(message, optional, tag = "10")]
    filled: Option<message::Position>,
    #[prost(message, repeated, tag = "11")]
    alone: Vec<wire::Signed>,
    #[prost(message, optional, tag = "12")]
    replaced: Option<wire::Signed>,
    #[prost(message, optional, tag = "13")]
    before: Option<wire::WitnessState>,
}

/// As stored.
pub(super) fn encode(identity: &Identity) -> Vec<u8> {
    Stored {
        format: FORMAT,
        region: identity.region.clone(),
        db_id: identity.db_id.0.to_vec(),
        head: identity.head,
        phase: match identity.phase {
            Phase::Filling => 1,
            Phase::Member => 2,
            Phase::Retired => 3,
            Phase::Replica => 4,
        },
        epoch: Some(identity.epoch.signed.clone()),
        activation: identity.activation.clone(),
        fence: identity.fence.clone(),
        lineage: lineage_out(&identity.lineage),
        filled: identity.filled.map(Position::out),
        alone: identity.alone.clone(),
        replaced: identity.replaced.as_ref().map(|replaced| replaced.signed.clone()),
        before: identity.before.clone(),
    }
    .encode_to_vec()
}

/// Why what is stored is not an identity.
fn decode(bytes: &[u8]) -> Result<Identity, String> {
    let stored = Stored::decode(bytes).map_err(|_| "identity".to_owned())?;
    if stored.format != FORMAT {
        return Err(format!("format {} is not known here", stored.format));
    }
    let read = || -> Result<Identity, Malformed> {
        let signed = stored.epoch.clone().ok_or(Malformed("no epoch"))?;
        let (_, Statement::Epoch(record)) = Statement::read(&signed)? else {
            return Err(Malformed("another statement than that of an epoch"));
        };
        Ok(Identity {
            region: stored.region.clone(),
            db_id: DbId::read(&stored.db_id)?,
            head: stored.head,
            phase: match stored.phase {
                1 => Phase::Filling,
                2 => Phase::Member,
                3 => Phase::Retired,
                4 => Phase::Replica,
                _ => return Err(Malformed("a phase that is not known here")),
            },
            epoch: Registered { record, signed },
            activation: stored.activation.clone(),
            fence: stored.fence.clone(),
            lineage: lineage_in(&stored.lineage)?,
            filled: stored.filled.as_ref().map(|position| Position::read(Some(position))).transpose()?,
            alone: stored.alone.clone(),
            replaced: stored.replaced.clone().map(Replaced::read).transpose()?,
            before: stored.before.clone(),
        })
    };
    read().map_err(|error| error.to_string())
}

impl Engine {
    /// Who this store is.
    ///
    /// # Errors
    /// Storage errors; [`EngineError::Corrupt`].
    pub fn identity(&self) -> Result<Identity, EngineError> {
        let read = self.read()?;
        let meta = read.open_table(META).map_err(redb_error)?;
        let stored = meta.get(KEY).map_err(redb_error)?.ok_or_else(|| self.corrupt("no identity"))?;
        decode(stored.value()).map_err(|what| self.corrupt(what))
    }

    /// R17a: whom the store listens to changes in the very commit that applies the entry.
    pub(super) fn put_witness(&self, write: &WriteTransaction, entry: &Entry) -> Result<(), EngineError> {
        if entry.witness.is_none() {
            return Ok(());
        }
        let mut meta = write.open_table(META).map_err(redb_error)?;
        let stored = {
            let stored = meta.get(KEY).map_err(redb_error)?.ok_or_else(|| self.corrupt("no identity"))?;
            decode(stored.value()).map_err(|what| self.corrupt(what))?
        };
        if let Some(identity) = stored.after(entry) {
            meta.insert(KEY, encode(&identity).as_slice()).map_err(redb_error)?;
        }
        Ok(())
    }

    /// Makes a changed identity durable.
    ///
    /// # Errors
    /// Storage errors: after reopening it may be the old one or the new one.
    pub fn set_identity(&self, identity: &Identity) -> Result<(), EngineError> {
        self.write(|write| {
            let mut meta = write.open_table(META).map_err(redb_error)?;
            meta.insert(KEY, encode(identity).as_slice()).map_err(redb_error)?;
            Ok(())
        })
    }
}
