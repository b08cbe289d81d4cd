//! What is given of a store to one that is filled from it: the sealed domain keys, then the rows of a snapshot, part after part, no
//! faster than is allowed. Whose store it is does not matter here.

use super::{
    engine::{BEGUN, Engine, EngineError, FillRow, RowDigest, Snapshot, keyring_objects},
    epoch::Epoch,
};
use crate::{
    env::Env,
    limits::{CONNECTION_IDLE_MS, FILL_PART_BYTES, FILL_PART_MIN_BYTES, FILL_PARTS_PER_S, Limits, ms},
    wire::{
        epoch as wire, frame,
        message::{Body, Envelope},
    },
};
use futures_util::future::join;
use std::{future::Future, path::PathBuf, time::Duration};
use tokio::io::AsyncWrite;

/// Longest wait for the other side of a fill.
pub const PATIENCE: Duration = ms(CONNECTION_IDLE_MS);

/// Whose store it is.
pub trait Giver: Sync {
    /// Its world.
    fn env(&self) -> &Env;
    /// Its bounds.
    fn limits(&self) -> &Limits;
    /// The directory of the store.
    fn store_dir(&self) -> PathBuf;
    /// The epoch it is in: what is given in one does not go on in another.
    fn epoch(&self) -> Epoch;
    /// A message of this store.
    fn envelope(&self, call: u64, body: Body) -> Envelope;
    /// Runs work on the open store where it may block.
    fn work<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Engine) -> Result<T, EngineError> + Send + 'static,
    ) -> impl Future<Output = Result<T, EngineError>> + Send;
}

/// Says one thing to who is filled.
///
/// # Errors
/// Why not, in words.
pub async fn say<G: Giver, W: AsyncWrite + Unpin>(
    giver: &G,
    write: &mut W,
    body: Body,
) -> Result<(), String> {
    let envelope = giver.envelope(0, body);
    let written = frame::write_patiently(giver.env(), write, &envelope, PATIENCE).await;
    written.map_err(|error| error.to_string())
}

/// Which sealed domain keys are given (R23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Those of domains that are there: the other database has them too.
    OfDomains,
    /// Those that are begun as well, to what becomes the other database.
    BegunToo,
}

/// Gives the sealed domain keys, all in one part.
///
/// # Errors
/// Why not, in words.
pub async fn give_keyring<G: Giver, W: AsyncWrite + Unpin>(
    giver: &G,
    write: &mut W,
    which: Keys,
) -> Result<(), String> {
    let (disk, dir) = (giver.env().disk.clone(), giver.store_dir());
    let objects = giver.env().blocking("fill", move || keyring_objects(&*disk, &dir)).await;
    let objects = objects.map_err(|_| "storage panicked".to_owned())?.map_err(|error| error.to_string())?;
    let mut part = wire::FillPart::default();
    for (name, value) in objects {
        let name = name.to_str().unwrap_or_default();
        let name = name.strip_suffix(BEGUN).filter(|_| which == Keys::BegunToo).unwrap_or(name);
        if let Ok(domain) = uuid::Uuid::parse_str(name) {
            part.keyring.push(wire::FillRow { key: domain.as_bytes().to_vec(), value });
        }
    }
    say(giver, write, Body::FillPart(part)).await
}

/// Gives the rows of a snapshot as long as the epoch is the same; answers their digest.
///
/// # Errors
/// Why not, in words.
pub async fn give_rows<G: Giver, W: AsyncWrite + Unpin>(
    giver: &G,
    write: &mut W,
    snapshot: Snapshot,
) -> Result<[u8; 32], String> {
    let epoch = giver.epoch();
    let rate = giver.limits().fill_bytes_per_s;
    let bytes = part_bytes(rate);
    let first = Page { snapshot, rows: Vec::new(), after: None, digest: RowDigest::default(), bytes };
    let mut page = first.next(giver).await?;
    loop {
        if giver.epoch() != epoch {
            return Err("another epoch was registered".to_owned());
        }
        let begun = giver.env().now();
        if page.rows.is_empty() {
            return Ok(page.digest.finish());
        }
        let rows = std::mem::take(&mut page.rows);
        page.after = rows.last().map(|(key, _)| key.clone());
        let bytes: usize = rows.iter().map(|(key, row): &FillRow| key.len() + row.len()).sum();
        let rows = rows.into_iter().map(|(key, value)| wire::FillRow { key, value }).collect();
        let part = Body::FillPart(wire::FillPart { rows, ..Default::default() });
        // The next page is read meanwhile.
        let (sent, read) = join(say(giver, write, part), page.next(giver)).await;
        sent?;
        page = read?;
        if let Some(ns) = (bytes as u64).saturating_mul(1_000_000_000).checked_div(rate) {
            let span = Duration::from_nanos(ns);
            giver.env().clock.sleep_until(begun + span).await;
        }
    }
}

/// How large the parts are at a rate in bytes per second; 0 = not held back.
fn part_bytes(rate: u64) -> usize {
    match rate {
        0 => FILL_PART_BYTES,
        _ => usize::try_from(rate / FILL_PARTS_PER_S)
            .unwrap_or(FILL_PART_BYTES)
            .clamp(FILL_PART_MIN_BYTES, FILL_PART_BYTES),
    }
}

/// Where the reading of a snapshot has come to.
struct Page {
    snapshot: Snapshot,
    /// Those read last.
    rows: Vec<FillRow>,
    /// The last key of those before.
    after: Option<Vec<u8>>,
    /// Over all rows read.
    digest: RowDigest,
    /// How many bytes of rows make a part.
    bytes: usize,
}

impl Page {
    /// The rows after those read, as many as make a part; none at the end.
    async fn next<G: Giver>(mut self, giver: &G) -> Result<Page, String> {
        let read = giver.work("fill", move |_| {
            self.rows = self.snapshot.rows_after(self.after.as_deref(), self.bytes)?;
            for (key, row) in &self.rows {
                self.digest.add(key, row);
            }
            Ok(self)
        });
        read.await.map_err(|error| format!("own disk: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_goes_in_small_parts() {
        assert_eq!(part_bytes(0), FILL_PART_BYTES, "nothing holds it back");
        assert_eq!(part_bytes(8_000_000), 40_000, "a two-hundredth of a second");
        assert_eq!(part_bytes(1), FILL_PART_MIN_BYTES);
        assert_eq!(part_bytes(u64::MAX), FILL_PART_BYTES);
    }
}
