//! What a replica begins with when the region and its third copy are lost (R17): a backup, read from one store, taken into a store of its
//! own beside whatever is there, under the id that the registered epoch names as its source.

use super::{
    Backups, Node,
    kept::{Closing, Kept, Trouble, keep_keyring},
    overlay,
    seed::{complete, put_in_place},
    status::SeedStatus,
};
use crate::{
    backup::{Backup, BackupPlace, Found, KEYRING, Lineage, Name, ReadError, domain_of, ended_of},
    env::{ObjectError, ObjectName},
    store::{
        engine::{Engine, EngineError, FILLING_DIR, Filler},
        epoch::{Identity, Phase, Registered},
        held::Held,
        replacement::Replaced,
        termination::{Ended, check_row, domain_of as domain_of_record, verify_blob},
        witness::Known,
    },
    wire::{
        epoch::FillRow,
        message::Body,
        restore::{BackupName, BackupSeen, BackupWanted},
    },
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Entries that are taken at a time.
const ENTRIES: usize = 256;

/// The stores that the configuration names; why there is none.
fn configured(node: &Node) -> Result<&Backups, String> {
    let none = "node.toml names no [[backups]] and no backup_key: this replica reads no backups";
    node.backups.as_ref().ok_or_else(|| none.to_owned())
}

/// Whose backup it is, as a witness would know it; verified.
fn known(node: &Node, lineage: &Lineage) -> Result<Known, String> {
    let (operator, region) = (&node.operator, node.config.region.as_str());
    let text = |error: crate::store::epoch::BadStatement| format!("the epoch of the backup: {error}");
    let active = Registered::verify(&lineage.epoch, operator, region).map_err(text)?;
    let activation = lineage.activation.clone().ok_or("the backup does not say that its epoch was active")?;
    active.activated_by(&activation, operator, region).map_err(text)?;
    let replaced = lineage.witness.as_ref();
    let replaced = replaced.map(|signed| Replaced::verify(signed, operator, region)).transpose();
    let replaced = replaced.map_err(text)?;
    let witness = replaced.as_ref().map_or(active.record.witness, |replaced| replaced.record.to);
    Ok(Known { witness, active, activation, pending: None, replaced })
}

/// The newest backup that is wanted and whose manifests can be read, of all stores asked.
pub(super) async fn look(node: &Node, wanted: &BackupWanted) -> Body {
    match seen(node, wanted).await {
        Ok(seen) => Body::BackupSeen(seen),
        Err(why) => Body::BadRequest(why),
    }
}

/// As [`look`]; why there is none.
pub(super) async fn seen(node: &Node, wanted: &BackupWanted) -> Result<BackupSeen, String> {
    let mut best: Option<(Known, Backup, String, bool)> = None;
    let (stores, mut unusable) = (configured(node)?, Vec::new());
    let places = match wanted.store.as_str() {
        "" => overlay::stores(node, &mut unusable).await,
        store => stores.places(store).await?,
    };
    let mut unread: Vec<Unread> = unusable.into_iter().map(|why| (None, why)).collect();
    // A newer epoch may begin before the end of an older one, if the region was restored.
    let ends = |known: &Known, of: &Backup| (known.active.record.epoch.no, of.manifest().position.seq);
    for place in places {
        let newest = newest_readable(&place, wanted.at_ms, &mut unread).await;
        let Some((backup, older)) = newest else { continue };
        match known(node, &backup.manifest().lineage) {
            Ok(known) => {
                let newer = best.as_ref().is_none_or(|(of, best, ..)| ends(of, best) < ends(&known, &backup));
                if newer {
                    best = Some((known, backup, place.place().to_owned(), older));
                }
            }
            Err(why) => {
                unread.push((Some(backup.manifest().found.made_ms), format!("{}: {why}", place.place())));
            }
        }
    }
    for (_, trouble) in &unread {
        tracing::warn!(%trouble, "a backup cannot be restored");
    }
    let Some((known, backup, store, older)) = best else {
        return Err(unread.into_iter().map(|(_, why)| why).collect::<Vec<_>>().join("; "));
    };
    let manifest = backup.manifest();
    unread.retain(|(made_ms, _)| made_ms.is_none_or(|made_ms| made_ms > manifest.found.made_ms));
    let beyond = overlay::newest_beyond(node, manifest).await;
    let (anchor_epoch_no, anchor_seq, anchor_ms) =
        beyond.map_or((0, 0, 0), |anchor| (anchor.epoch.no, anchor.position.seq, anchor.at_ms));
    Ok(BackupSeen {
        backup: Some(BackupName { store, name: Name::Manifest(manifest.found).object().as_str().to_owned() }),
        made_ms: manifest.found.made_ms,
        newest_ms: manifest.newest_ms,
        position: Some(manifest.position.out()),
        known: Some(known.out(&node.config.region)),
        older,
        anchor_seq,
        anchor_ms,
        anchor_epoch_no,
        unread: unread.into_iter().map(|(_, why)| why).collect(),
    })
}

/// When what could not be read was made, if that is known, Unix milliseconds; and why it could not be read.
type Unread = (Option<u64>, String);

/// The newest backup, or one before it if that is damaged; and whether a time was asked for, and there is a newer one. What could not be
/// read is told of in `unread`.
async fn newest_readable(
    place: &BackupPlace,
    at_ms: Option<u64>,
    unread: &mut Vec<Unread>,
) -> Option<(Backup, bool)> {
    let mut found = match place.backups().await {
        Ok(found) => found,
        Err(error) => {
            unread.push((None, error.to_string()));
            return None;
        }
    };
    let newest = found.last().copied();
    found.retain(|found| at_ms.is_none_or(|at_ms| found.made_ms <= at_ms));
    if found.is_empty() {
        // It answers, and has none: there is nothing newer in it.
        unread.push((Some(0), ReadError::None(place.place().to_owned()).to_string()));
    }
    for found in found.into_iter().rev() {
        match place.open(found).await {
            Ok(backup) => return Some((backup, at_ms.is_some() && Some(found) != newest)),
            Err(error) if error.is_of_backup() => unread.push((Some(found.made_ms), error.to_string())),
            Err(error) => {
                unread.push((None, error.to_string()));
                return None;
            }
        }
    }
    None
}

/// Takes a backup whole. What was there is put aside, and kept.
pub(super) async fn load(
    node: &Node,
    (kept, closing): (&mut Option<Kept>, &mut Closing),
    epoch: &Registered,
    backup: &BackupName,
) -> Result<(), Trouble> {
    tracing::warn!(store = backup.store, name = backup.name, "the replica begins with a backup");
    node.desk.note(|status| {
        status.seed = Some(SeedStatus::default());
        status.trouble = None;
    });
    let done = take(node, (kept, closing), epoch, backup).await;
    node.desk.note(|status| status.seed = None);
    done
}

fn of_backup(error: impl std::fmt::Display) -> Trouble {
    Trouble::Source(format!("the backup: {error}"))
}

/// As [`load`], and tells nobody before or after.
pub(super) async fn take(
    node: &Node,
    (kept, closing): (&mut Option<Kept>, &mut Closing),
    epoch: &Registered,
    wanted: &BackupName,
) -> Result<(), Trouble> {
    let env = &node.env;
    let stores = configured(node).map_err(Trouble::Source)?;
    let place = stores.places(&wanted.store).await.map_err(Trouble::Source)?.remove(0);
    let name = ObjectName::new(wanted.name.clone()).ok().and_then(|name| Name::read(&name));
    let Some(Name::Manifest(found)) = name else {
        return Err(Trouble::Source(format!("{} is no backup", wanted.name)));
    };
    let backup = open(&place, found).await?;
    let manifest = backup.manifest();
    let known = known(node, &manifest.lineage).map_err(Trouble::Source)?;
    node.desk.note(|status| {
        status.seed = Some(SeedStatus { rows_total: backup.snapshot().rows, ..SeedStatus::default() });
    });
    let mut identity = Identity {
        region: node.config.region.clone(),
        db_id: epoch.record.source,
        head: false,
        phase: Phase::Filling,
        epoch: epoch.clone(),
        activation: None,
        fence: None,
        lineage: manifest.lineage.epochs.clone(),
        filled: None,
        alone: Vec::new(),
        replaced: None,
        before: Some(known.out(&node.config.region)),
    };
    // A fill that broke off may still be at it.
    closing.others().await;
    let (disk, data, keep) =
        (env.disk.clone(), node.config.data_dir.clone(), node.config.limits.log_keep_entries);
    let made = identity.clone();
    let created =
        closing.blocking(env, "load", move || Engine::create_filling(&*disk, &data, &made, keep)).await;
    let (held, closed) = Held::new(created?);
    let at = closing.other(closed);
    let mut domains = BTreeSet::new();
    take_rows(node, &backup, &held, &mut domains).await?;
    take_entries(node, &backup, &held, &mut domains).await?;
    let mut tombstones = overlay::put_tombstones(node, (&place, manifest), &held).await?;
    let ended = ended(node, &place, &mut tombstones.unread).await?;
    let terminated = held.run(env, "load", move |engine| overlay::put_ends(engine, ended)).await?;
    let ended: BTreeSet<Uuid> = terminated.iter().map(|end| end.domain).collect();
    domains.retain(|domain| !ended.contains(domain));
    tombstones.keyless = take_keyring(node, &place, domains, &ended).await?;
    let position = manifest.position;
    identity.filled = Some(position);
    identity.phase = Phase::Replica;
    let stored = identity.clone();
    let (disk, dir) = (env.disk.clone(), node.config.data_dir.join(FILLING_DIR));
    let filled = held.run(env, "load", move |engine| {
        Filler(engine).begin_log(position)?;
        complete(engine, (&*disk, &dir), &stored)
    });
    let terminated = filled.await?;
    put_in_place(node, (kept, closing), (held, at), (identity, position, terminated), true).await?;
    node.desk.note(|status| status.tombstones = Some(tombstones));
    Ok(())
}

async fn open(place: &BackupPlace, found: Found) -> Result<Backup, Trouble> {
    place.open(found).await.map_err(of_backup)
}

async fn take_rows(
    node: &Node,
    backup: &Backup,
    held: &Held,
    domains: &mut BTreeSet<Uuid>,
) -> Result<(), Trouble> {
    let mut rows = backup.rows();
    loop {
        let page = rows.next().await.map_err(of_backup)?;
        if page.is_empty() {
            break;
        }
        for (key, row) in &page {
            domains.extend(domain_of_record(key));
            check_row(key, row, &node.operator, &node.config.region).map_err(of_backup)?;
        }
        let (count, bytes) =
            (page.len() as u64, page.iter().map(|(key, row)| (key.len() + row.len()) as u64).sum::<u64>());
        held.run(&node.env, "load", move |engine| Filler(engine).rows(&page)).await?;
        node.desk.note(|status| {
            if let Some(seed) = &mut status.seed {
                seed.rows += count;
                seed.bytes += bytes;
            }
        });
    }
    let digest = backup.snapshot().digest;
    let read_back = held.run(&node.env, "load", move |engine| {
        // Read back before entries change it.
        if engine.digest()? == digest { Ok(()) } else { Err(EngineError::Damaged) }
    });
    Ok(read_back.await?)
}

async fn take_entries(
    node: &Node,
    backup: &Backup,
    held: &Held,
    domains: &mut BTreeSet<Uuid>,
) -> Result<(), Trouble> {
    let (mut entries, mut batch, mut bytes) = (backup.entries(), Vec::new(), 0);
    loop {
        let entry = entries.next().await.map_err(of_backup)?;
        let ended = entry.is_none();
        if let Some(entry) = entry {
            entry.check(&node.operator, &node.config.region).map_err(of_backup)?;
            let put = entry.batch.iter().flat_map(|attempt| &attempt.transaction.put);
            domains.extend(put.filter_map(|(key, _)| domain_of_record(&key.0)));
            bytes += entry.bytes.len();
            batch.push(entry);
        }
        if ended || batch.len() >= ENTRIES || bytes >= crate::limits::BATCH_MAX_BYTES {
            let taken = std::mem::take(&mut batch);
            bytes = 0;
            held.run(&node.env, "load", move |engine| Filler(engine).changes(&taken)).await?;
        }
        if ended {
            return Ok(());
        }
    }
}

/// The operator's statements beside the backups about domains whose service has ended, in whichever of the stores; verified. One that was
/// away since may have a key still: it is not taken. The store that the backup is from must answer.
async fn ended(
    node: &Node,
    chosen: &BackupPlace,
    unread: &mut Vec<String>,
) -> Result<BTreeMap<Uuid, Vec<u8>>, Trouble> {
    let mut all: BTreeMap<_, _> = ended_in(node, chosen).await.map_err(of_backup)?.into_iter().collect();
    let mut troubles = Vec::new();
    for place in overlay::others(node, chosen, &mut troubles).await {
        match ended_in(node, &place).await {
            Ok(ended) => all.extend(ended),
            Err(error) => troubles.push(format!("the ends of domains in {}: {error}", place.place())),
        }
    }
    for trouble in troubles {
        tracing::warn!(%trouble, "a backup store does not say which domains' service has ended: one that ended while the other \
            store was away has its key there still, and would have it again");
        // A store that cannot be used was told of with the anchors.
        if !unread.contains(&trouble) {
            unread.push(trouble);
        }
    }
    Ok(all)
}

async fn ended_in(node: &Node, place: &BackupPlace) -> Result<Vec<(Uuid, Vec<u8>)>, ObjectError> {
    let mut all = Vec::new();
    for listed in place.list(KEYRING).await? {
        let Some(domain) = ended_of(&listed.name) else { continue };
        let statement = place.object(&listed.name).await?.unwrap_or_default();
        match verify_blob(domain, &statement, &node.operator, &node.config.region) {
            Ok(()) => all.push((domain, statement)),
            Err(error) => {
                tracing::warn!(%domain, store = place.place(), %error, "not the operator's word that its service has ended");
            }
        }
    }
    Ok(all)
}

/// The sealed domain keys lie beside the backups: those that are there now, and not those that were when the backup was made. What was
/// erased stays erased, also if one of the stores does not know yet. What the backup's own store has lost the other one may have. Answers
/// which of the domains `of` have no key in any store.
async fn take_keyring(
    node: &Node,
    place: &BackupPlace,
    of: BTreeSet<Uuid>,
    ended: &BTreeSet<Uuid>,
) -> Result<Vec<Uuid>, Trouble> {
    let mut keys = keys_in(place, ended).await.map_err(of_backup)?;
    for other in overlay::others(node, place, &mut Vec::new()).await {
        match keys_in(&other, ended).await {
            Ok(found) => found.into_iter().for_each(|(domain, sealed)| {
                keys.entry(domain).or_insert(sealed);
            }),
            Err(error) => {
                tracing::warn!(store = other.place(), %error, "a backup store does not say which domain keys it has");
            }
        }
    }
    let keyless: Vec<Uuid> = of.into_iter().filter(|domain| !keys.contains_key(domain)).collect();
    for domain in &keyless {
        tracing::error!(%domain, "no backup store has the key of a domain: nothing will open its records");
    }
    let object =
        |(domain, sealed): (Uuid, Vec<u8>)| FillRow { key: domain.into_bytes().to_vec(), value: sealed };
    let objects = keys.into_iter().map(object).collect();
    keep_keyring(node, (&node.config.data_dir.join(FILLING_DIR), &Ended::default()), objects).await?;
    Ok(keyless)
}

/// The sealed domain keys in a store, but for those of domains whose service has `ended`.
async fn keys_in(
    place: &BackupPlace,
    ended: &BTreeSet<Uuid>,
) -> Result<BTreeMap<Uuid, Vec<u8>>, ObjectError> {
    let mut keys = BTreeMap::new();
    for listed in place.list(KEYRING).await? {
        let Some(domain) = domain_of(&listed.name) else { continue };
        if ended.contains(&domain) {
            tracing::warn!(%domain, store = place.place(), "the service of a domain has ended: its key is not taken");
            continue;
        }
        if let Some(sealed) = place.object(&listed.name).await? {
            keys.insert(domain, sealed);
        }
    }
    Ok(keys)
}
