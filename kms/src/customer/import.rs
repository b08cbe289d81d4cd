//! Brings a container into a domain in three passes over the file: all of it is verified; then the service says of every key and secret whether
//! something is in its way; then, and only then, anything is written. Whatever is there already as it would come in is passed over, so an
//! import that was broken off is finished by running it again.

use super::{Customer, CustomerError, Progress};
use crate::{
    api::rest::transfer::ImportAnswer,
    container::{BadContainer, ContentKey, Counts, Head, Reader, Record, Secret, VersionEntry},
    crypto::asymmetric::PrivateKey,
    env::{BlockFile, Env},
    limits::{IMPORT_BODY_MAX_BYTES, IMPORT_RECORDS_MAX},
};
use bytes::Bytes;
use std::collections::BTreeSet;
use uuid::Uuid;
use zeroize::Zeroizing;

const AGAIN: &str = "Run the same command again: what is in already is passed over";
/// Records after which a request is sent, bytes: the largest one fits behind them.
const FULL_BYTES: usize = IMPORT_BODY_MAX_BYTES / 4;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mode {
    /// Nothing is written.
    pub dry_run: bool,
    /// What is in the way stays, and the rest comes in.
    pub skip_existing: bool,
}

/// What became of records of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// They came in, or would.
    pub new: u64,
    /// They were there already.
    pub present: u64,
    /// Something else is in their place.
    pub conflict: u64,
}

/// What became of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Service keys.
    pub keys: Tally,
    /// Secrets.
    pub secrets: Tally,
    /// The data of versions; nothing is said of it by a dry run.
    pub versions: Tally,
    /// What is set for all secrets.
    pub configs: Tally,
}

/// A sort of record, and its id.
type Id = (u8, [u8; 16]);

fn secret_id(hexadecimal: &str) -> Option<Id> {
    let mut id = [0; 16];
    hex::decode_to_slice(hexadecimal, &mut id).ok().map(|()| (1, id))
}

/// What a record in a request is.
enum Sent {
    Key(Uuid),
    Secret { id: String, path: String },
    Version { number: u32, path: String },
    Config,
}

impl Sent {
    /// What it is told apart by within a container.
    fn id(&self) -> Option<Id> {
        match self {
            Sent::Key(id) => Some((0, id.into_bytes())),
            Sent::Secret { id, .. } => secret_id(id),
            Sent::Config => Some((2, [0; 16])),
            Sent::Version { .. } => None,
        }
    }

    fn for_people(&self) -> String {
        match self {
            Sent::Key(id) => format!("key {id}"),
            Sent::Secret { path, .. } => format!("secret {path}"),
            Sent::Version { number, path } => format!("version {number} of secret {path}"),
            Sent::Config => "the configuration of secrets".to_owned(),
        }
    }
}

impl Imported {
    fn of(&mut self, sent: &Sent) -> &mut Tally {
        match sent {
            Sent::Key(_) => &mut self.keys,
            Sent::Secret { .. } => &mut self.secrets,
            Sent::Version { .. } => &mut self.versions,
            Sent::Config => &mut self.configs,
        }
    }

    fn conflicts(&self) -> u64 {
        [self.keys, self.secrets, self.versions, self.configs].iter().map(|tally| tally.conflict).sum()
    }
}

/// Reads a container to its end: whether it is whole, for this key, and in order. Shows each record.
///
/// # Errors
/// [`BadContainer`].
pub fn verify(
    env: &Env,
    file: &dyn BlockFile,
    with: &PrivateKey,
    mut each: impl FnMut(&Record),
) -> Result<(Head, Counts), BadContainer> {
    let mut reader = Reader::open(file)?;
    let key = reader.head().content_key(env, with)?;
    let mut whole = Whole::default();
    let mut frame = 0;
    while let Some(sheet) = reader.next(&key)? {
        for (at, record) in sheet.records.iter().enumerate() {
            whole.check(record).map_err(|why| BadContainer::Record { frame, line: at + 1, why })?;
            each(record);
        }
        frame += 1;
    }
    Ok((reader.head().clone(), *reader.counts()))
}

/// That data of versions follows its secret, in order.
#[derive(Default)]
struct Whole(Option<(String, std::ops::Range<u32>)>);

impl Whole {
    fn check(&mut self, record: &Record) -> Result<(), &'static str> {
        match record {
            Record::Secret(secret) => {
                let many = u32::try_from(secret.versions.len()).unwrap_or(u32::MAX);
                let end = secret.first_version.saturating_add(many);
                self.0 = Some((secret.id.clone(), secret.first_version..end));
                Ok(())
            }
            Record::SecretVersion(version) => match &mut self.0 {
                Some((id, left)) if *id == version.secret && left.contains(&version.number) => {
                    left.start = version.number + 1;
                    Ok(())
                }
                _ => Err("the data of a version does not follow its secret"),
            },
            _ => {
                self.0 = None;
                Ok(())
            }
        }
    }
}

/// A request that is being filled: wiped on drop, and never grown in another buffer.
struct Batch {
    dry: bool,
    body: Zeroizing<Vec<u8>>,
    sent: Vec<Sent>,
}

impl Batch {
    fn new(dry: bool) -> Batch {
        let mut body = Zeroizing::new(Vec::with_capacity(IMPORT_BODY_MAX_BYTES));
        body.extend_from_slice(format!("{{\"dryRun\":{dry},\"records\":[").as_bytes());
        Batch { dry, body, sent: Vec::new() }
    }

    fn add(&mut self, record: &Record, what: Sent) -> Result<(), CustomerError> {
        if !self.sent.is_empty() {
            self.body.push(b',');
        }
        serde_json::to_writer(&mut *self.body, record)
            .map_err(|error| CustomerError::Strange(error.to_string()))?;
        self.sent.push(what);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.body.len() >= FULL_BYTES || self.sent.len() >= IMPORT_RECORDS_MAX
    }
}

/// One pass in which the service is asked.
struct Pass<'a> {
    customer: &'a mut Customer,
    progress: &'a mut dyn Progress,
    batch: Batch,
    told: Imported,
    /// What is there already, or has something in its way: not to be sent.
    settled: BTreeSet<Id>,
    /// The secret whose versions are being read, and which of them have data.
    open: Option<(Box<Secret>, BTreeSet<u32>)>,
}

impl Pass<'_> {
    fn is_settled(&self, id: Option<Id>) -> bool {
        id.is_some_and(|id| self.settled.contains(&id))
    }

    async fn take(&mut self, record: Record) -> Result<(), CustomerError> {
        match record {
            Record::SecretVersion(version) => {
                // None: its secret does not come in.
                let Some((secret, found)) = self.open.as_mut() else { return Ok(()) };
                let entry = secret.version(version.number).map(|entry| entry.2);
                if self.batch.dry || entry.is_none_or(|flags| flags & VersionEntry::GONE != 0) {
                    return Ok(());
                }
                found.insert(version.number);
                let what = Sent::Version { number: version.number, path: secret.path.clone() };
                self.add(&Record::SecretVersion(version), what).await
            }
            other => {
                self.close().await?;
                match other {
                    Record::Secret(secret) => {
                        if !self.is_settled(secret_id(&secret.id)) {
                            self.open = Some((secret, BTreeSet::new()));
                        }
                        Ok(())
                    }
                    Record::Key(key) => {
                        let what = Sent::Key(key.id);
                        self.add(&Record::Key(key), what).await
                    }
                    Record::SecretConfig(config) => {
                        self.add(&Record::SecretConfig(config), Sent::Config).await
                    }
                    // Who may do what in the new domain is for those who administer it.
                    Record::Policy(_)
                    | Record::Group(_)
                    | Record::Issuer(_)
                    | Record::Credential(_)
                    | Record::End(_)
                    | Record::SecretVersion(_) => Ok(()),
                }
            }
        }
    }

    /// Sends the secret whose versions have all been read. What came without data was destroyed while the export was made.
    async fn close(&mut self) -> Result<(), CustomerError> {
        let Some((mut secret, found)) = self.open.take() else { return Ok(()) };
        if !self.batch.dry {
            let first = secret.first_version;
            for (number, entry) in (first..).zip(&mut secret.versions) {
                if !found.contains(&number) {
                    entry.2 |= VersionEntry::GONE;
                }
            }
        }
        let what = Sent::Secret { id: secret.id.clone(), path: secret.path.clone() };
        self.add(&Record::Secret(secret), what).await
    }

    async fn add(&mut self, record: &Record, what: Sent) -> Result<(), CustomerError> {
        if self.is_settled(what.id()) {
            return Ok(());
        }
        self.batch.add(record, what)?;
        if self.batch.is_full() { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> Result<(), CustomerError> {
        let dry = self.batch.dry;
        let Batch { mut body, sent, .. } = std::mem::replace(&mut self.batch, Batch::new(dry));
        if sent.is_empty() {
            return Ok(());
        }
        body.extend_from_slice(b"]}");
        let body = Bytes::from_owner(body);
        let answer: ImportAnswer<String> = self.customer.ask("import", body, AGAIN).await?;
        if answer.outcomes.len() != sent.len() {
            return Err(CustomerError::Strange("outcomes for other records than were sent".to_owned()));
        }
        for (what, outcome) in sent.into_iter().zip(answer.outcomes) {
            let tally = self.told.of(&what);
            match outcome.as_str() {
                "new" => tally.new += 1,
                "present" => {
                    tally.present += 1;
                    self.settled.extend(what.id());
                }
                "conflict" => {
                    tally.conflict += 1;
                    self.progress.conflict(&what.for_people());
                    self.settled.extend(what.id());
                }
                other => return Err(CustomerError::Strange(format!("outcome {other}"))),
            }
        }
        Ok(())
    }
}

/// Reads the whole container once more and has the service take it, or say what would become of it.
async fn pass(
    (reader, key): (&mut Reader<'_>, &ContentKey),
    customer: &mut Customer,
    dry: bool,
    settled: BTreeSet<Id>,
    progress: &mut dyn Progress,
) -> Result<(Imported, BTreeSet<Id>), CustomerError> {
    reader.rewind();
    let (batch, told) = (Batch::new(dry), Imported::default());
    let mut pass = Pass { customer, progress, batch, told, settled, open: None };
    while let Some(sheet) = reader.next(key)? {
        for record in sheet.records {
            pass.take(record).await?;
        }
        let what = if dry { "compared" } else { "imported" };
        pass.progress.done(what, reader.counts(), sheet.read);
    }
    pass.send().await?;
    Ok((pass.told, pass.settled))
}

/// Brings a container into the customer's domain.
///
/// # Errors
/// [`CustomerError`]: nothing was changed unless it is [`CustomerError::Late`], or says that the service could not be asked any more.
pub async fn import(
    customer: &mut Customer,
    file: &dyn BlockFile,
    with: &PrivateKey,
    mode: Mode,
    progress: &mut dyn Progress,
) -> Result<Imported, CustomerError> {
    let env = customer.env().clone();
    let (_, counts) = verify(&env, file, with, |_| {})?;
    progress.done("verified", &counts, file.len().map_err(BadContainer::Disk)?);
    let mut reader = Reader::open(file)?;
    let key = reader.head().content_key(&env, with)?;
    let whole = (&mut reader, &key);
    let (told, settled) = pass(whole, customer, true, BTreeSet::new(), progress).await?;
    match told.conflicts() {
        0 => {}
        many if !mode.skip_existing && !mode.dry_run => return Err(CustomerError::Conflicts(many)),
        _ => {}
    }
    if mode.dry_run {
        return Ok(told);
    }
    let (mut done, _) = pass((&mut reader, &key), customer, false, settled, progress).await?;
    match done.conflicts() {
        0 => {}
        late => return Err(CustomerError::Late(late)),
    }
    // Those were not even sent.
    for (done, told) in
        [(&mut done.keys, told.keys), (&mut done.secrets, told.secrets), (&mut done.configs, told.configs)]
    {
        (done.present, done.conflict) = (done.present + told.present, told.conflict);
    }
    Ok(done)
}
