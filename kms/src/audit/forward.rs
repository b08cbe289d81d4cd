//! Sends entries on: to a file, or over TCP to a collector of syslog or GELF. Reads the spool, at its own pace, so that a receiver that is
//! slow or away delays no request. At least once: what was sent and not yet noted as sent is sent again after a restart.

use super::{
    event::{Entry, Level},
    segment::{AuditKey, Header, Part},
    spool::{Place, open_or_create},
};
use crate::{
    config::Forward,
    dates,
    env::{Disk, Env, Stream},
};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::io::AsyncWriteExt;

/// Holds the sequence of the newest entry that was sent.
const CURSOR_FILE: &str = "forwarded";
/// Between two looks for new entries.
const LOOK: Duration = Duration::from_millis(500);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest attempt to connect, and to get rid of a part.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sent before it is noted as sent, bytes.
const PART_BYTES: usize = 64 << 10;
/// Facility "log audit" (RFC 5424, 6.2.1).
const FACILITY: u8 = 13;

/// What the task that sends needs.
pub(super) struct Forwarder {
    pub(super) place: Place,
    pub(super) key: Arc<AuditKey>,
    pub(super) to: Forward,
    /// Sequence of the newest entry that was sent.
    pub(super) sent: Arc<AtomicU64>,
    /// Sequence of the newest entry that is durable.
    pub(super) head: Arc<AtomicU64>,
    pub(super) stream: Option<Stream>,
}

impl Forwarder {
    pub(super) async fn run(mut self) {
        let env = self.place.env.clone();
        let mut failing = false;
        while let Err(error) = self.find_cursor().await {
            tracing::warn!(%error, "audit: where forwarding stands cannot be read; trying again");
            env.sleep(PAUSE).await;
        }
        loop {
            if self.head.load(Ordering::Relaxed) <= self.sent.load(Ordering::Relaxed) {
                env.sleep(LOOK).await;
                continue;
            }
            match self.catch_up().await {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("audit: entries are sent on again");
                    }
                    env.sleep(LOOK).await;
                }
                Err(error) => {
                    self.stream = None;
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "audit: entries cannot be sent on; trying again, nothing is lost");
                    }
                    env.sleep(PAUSE).await;
                }
            }
        }
    }

    async fn find_cursor(&mut self) -> io::Result<()> {
        let (env, path) = (self.place.env.clone(), self.place.dir.join(CURSOR_FILE));
        let read = self.place.env.blocking("audit-forward", move || env.disk.read(&path));
        let bytes = read.await.map_err(io::Error::other)??.unwrap_or_default();
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        self.sent.store(text.trim().parse().unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }

    /// Sends all that is in the spool and was not sent.
    async fn catch_up(&mut self) -> io::Result<()> {
        let (place, sent) = (self.place.clone(), self.sent.load(Ordering::Relaxed));
        // What stands behind it may be a write that failed, and other entries may take its numbers.
        let durable = self.head.load(Ordering::Relaxed);
        let key = Arc::clone(&self.key);
        let numbers = self.place.env.blocking("audit-forward", move || from(&place, &key, sent));
        for number in numbers.await.map_err(io::Error::other)?? {
            let (place, key) = (self.place.clone(), Arc::clone(&self.key));
            let sent = self.sent.load(Ordering::Relaxed);
            let (to, host) = (self.to.clone(), key.host().to_owned());
            let read = self.place.env.blocking("audit-forward", move || {
                Ok::<_, io::Error>(parts(&entries(&place, &key, number, (sent, durable))?, &to, &host))
            });
            for (bytes, last) in read.await.map_err(io::Error::other)?? {
                self.send(bytes).await?;
                self.note(last).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let env = self.place.env.clone();
        let address = match &self.to {
            Forward::File(path) => {
                let (path, disk) = (path.clone(), Arc::clone(&env.disk));
                let appended = env.blocking("audit-forward", move || append(&*disk, &path, &bytes));
                return appended.await.map_err(io::Error::other)?;
            }
            Forward::Syslog(address) | Forward::Gelf(address) => address.clone(),
        };
        let work = async {
            let stream = match self.stream.take() {
                Some(stream) => stream,
                None => env.net.connect(&address).await?,
            };
            let stream = self.stream.insert(stream);
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        env.timeout(PATIENCE, work).await.map_err(io::Error::other)?
    }

    /// Notes that all up to `last` was sent.
    async fn note(&mut self, last: u64) -> io::Result<()> {
        let (disk, path) = (Arc::clone(&self.place.env.disk), self.place.dir.join(CURSOR_FILE));
        let noted = self.place.env.blocking("audit-forward", move || {
            disk.write_atomic(&path, format!("{last}\n").as_bytes(), true)
        });
        noted.await.map_err(io::Error::other)??;
        self.sent.store(last, Ordering::Relaxed);
        Ok(())
    }
}

/// The segments from the one on that holds the entry after `sent`.
fn from(place: &Place, key: &AuditKey, sent: u64) -> io::Result<Vec<u64>> {
    let numbers = place.segments()?;
    for (at, number) in numbers.iter().enumerate().rev() {
        let bytes = place.read(*number)?.unwrap_or_default();
        if Header::open(key, &bytes).is_ok_and(|open| open.header.before.sequence <= sent) {
            return Ok(numbers.get(at..).unwrap_or_default().to_vec());
        }
    }
    // Older ones were removed before they were sent.
    Ok(numbers)
}

/// The entries of a segment after `sent` and up to `durable`, with their numbers. What does not open is left to `kms audit verify`.
fn entries(
    place: &Place,
    key: &AuditKey,
    number: u64,
    (sent, durable): (u64, u64),
) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let bytes = place.read(number)?.unwrap_or_default();
    let Ok(header) = Header::open(key, &bytes) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for part in header.parts(&bytes) {
        if let Part::Frame(frame) = part {
            found.extend((frame.before.sequence.saturating_add(1)..).zip(frame.entries));
        }
    }
    found.retain(|(sequence, _)| *sequence > sent && *sequence <= durable);
    Ok(found)
}

/// What goes over, in parts, each with the number of its last entry.
fn parts(entries: &[(u64, Vec<u8>)], to: &Forward, host: &str) -> Vec<(Vec<u8>, u64)> {
    let mut parts: Vec<(Vec<u8>, u64)> = Vec::new();
    for (sequence, json) in entries {
        let message = message(json, to, host);
        match parts.last_mut() {
            Some((bytes, last)) if bytes.len() < PART_BYTES => {
                bytes.extend_from_slice(&message);
                *last = *sequence;
            }
            _ => parts.push((message, *sequence)),
        }
    }
    parts
}

/// An entry as the receiver wants it.
fn message(json: &[u8], to: &Forward, host: &str) -> Vec<u8> {
    let entry = Entry::decode(json);
    let severity = match entry.as_ref().map(|entry| entry.event.log_level) {
        Some(Level::Warn) => 4,
        Some(Level::Error) => 3,
        _ => 6,
    };
    let text = String::from_utf8_lossy(json);
    match to {
        Forward::File(_) => format!("{text}\n").into_bytes(),
        // RFC 5424, with the length in front (RFC 6587, 3.4.1).
        Forward::Syslog(_) => {
            let time = entry.as_ref().map_or("-", |entry| entry.time.as_str());
            let line = format!("<{}>1 {time} {host} kms - audit - {text}", FACILITY * 8 + severity);
            format!("{} {line}", line.len()).into_bytes()
        }
        Forward::Gelf(_) => {
            let mut fields = serde_json::Map::new();
            let line = entry.as_ref().map_or_else(|| text.to_string(), Entry::line);
            fields.insert("version".to_owned(), "1.1".into());
            fields.insert("host".to_owned(), host.into());
            fields.insert("short_message".to_owned(), line.into());
            fields.insert("level".to_owned(), severity.into());
            if let Some(ms) = entry.as_ref().and_then(|entry| dates::unix_ms(&entry.time)) {
                fields.insert("timestamp".to_owned(), (ms as f64 / 1_000.0).into());
            }
            let own: serde_json::Map<_, _> = serde_json::from_slice(json).unwrap_or_default();
            for (name, value) in own {
                // Values are texts or numbers there.
                let value = match value {
                    serde_json::Value::Array(items) => {
                        let items: Vec<_> = items.iter().filter_map(|item| item.as_str()).collect();
                        items.join(",").into()
                    }
                    other => other,
                };
                fields.insert(format!("_{name}"), value);
            }
            let mut bytes = serde_json::Value::Object(fields).to_string().into_bytes();
            bytes.push(0);
            bytes
        }
    }
}

/// Opened anew each time: whoever rotates the file may move it away.
fn append(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = open_or_create(disk, path)?;
    file.write(file.len()?, bytes)?;
    file.sync_data()
}

/// Starts sending.
pub(super) fn start(env: &Env, forwarder: Forwarder) -> crate::env::Task<()> {
    env.spawn("audit-forward", forwarder.run()).abort_on_drop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{event::tests::event, spool::Spool},
        config::AuditConfig,
        vault::RootKey,
    };

    fn json() -> Vec<u8> {
        let mut event = event("r");
        event.log_level = Level::Warn;
        Entry { sequence: 7, time: "1970-01-01T00:00:01.5Z".to_owned(), host: "host-a1".to_owned(), event }
            .encode()
    }

    #[tokio::test]
    async fn what_is_not_known_to_be_durable_is_not_sent() {
        let env = crate::os::env();
        let dir = std::env::temp_dir().join(format!("kms-forward-{}", std::process::id()));
        let key = Arc::new(AuditKey::new(&RootKey::generate(&env).expect("entropy"), "host-a1"));
        let place = Place::new(&env, &dir);
        env.disk.create_dir(&dir).expect("a directory");
        let mut spool = Spool::open(place.clone(), Arc::clone(&key), AuditConfig::default()).expect("opens");
        for _ in 0..3 {
            spool.append(|_| vec![json()]).expect("appends");
        }
        let sent = |from: u64, durable: u64| {
            let number = *place.segments().expect("lists").last().expect("one");
            let found = entries(&place, &key, number, (from, durable)).expect("reads");
            found.into_iter().map(|(sequence, _)| sequence).collect::<Vec<_>>()
        };
        assert_eq!((sent(0, 2), sent(1, 3), sent(3, 3)), (vec![1, 2], vec![2, 3], vec![]));
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn syslog_messages_have_their_length_in_front() {
        let message = message(&json(), &Forward::Syslog(String::new()), "host-a1");
        let text = String::from_utf8(message).expect("text");
        let (length, rest) = text.split_once(' ').expect("a length");
        assert_eq!(length.parse(), Ok(rest.len()));
        assert!(
            rest.starts_with("<108>1 1970-01-01T00:00:01.5Z host-a1 kms - audit - {\"sequence\":7,"),
            "{rest}"
        );
    }

    #[test]
    fn gelf_messages_are_flat_and_end_with_a_zero() {
        let message = message(&json(), &Forward::Gelf(String::new()), "host-a1");
        let (end, text) = message.split_last().expect("bytes");
        assert_eq!(*end, 0);
        let value: serde_json::Value = serde_json::from_slice(text).expect("JSON");
        assert_eq!((value["level"].as_u64(), value["timestamp"].as_f64()), (Some(4), Some(1.5)));
        assert_eq!(
            (value["_iam_identities"].as_str(), value["_sequence"].as_u64()),
            (Some("urn:i"), Some(7))
        );
        assert!(
            value["short_message"]
                .as_str()
                .is_some_and(|line| line.contains("GET /api/d/v1/servicekey/k - 200"))
        );
    }
}
