//! Every bound of the service in one place. All spans are in the unit their name ends with.
//!
//! `[limits]` of `node.toml` may override the fields of [`Limits`]; the constants are fixed by the wire
//! formats. Loosening a default needs a line in ARCHITECTURE.md with the measurement behind it.

pub use crate::env::{OBJECT_LIST_MAX, OBJECT_MAX_BYTES, OBJECT_NAME_MAX_BYTES};

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Largest frame between nodes, bytes.
pub const FRAME_MAX_BYTES: usize = 8 << 20;
/// Largest record key, bytes.
pub const RECORD_KEY_MAX_BYTES: usize = 256;
/// Largest sealed record, bytes.
pub const RECORD_MAX_BYTES: usize = 256 << 10;
/// Largest transaction, records expected, put and deleted together.
pub const TRANSACTION_MAX_RECORDS: usize = 64;
/// Largest batch: transactions in one log entry.
pub const BATCH_MAX_TRANSACTIONS: usize = 256;
/// Largest transaction, bytes of its blobs together.
pub const TRANSACTION_MAX_BYTES: usize = 512 << 10;
/// Largest batch, bytes of its attempts. A batch must cross the chain link well within the stall limit.
pub const BATCH_MAX_BYTES: usize = 1 << 20;
/// Largest page of a scan, bytes of its blobs; the page ends early then. Two pages (a write in doubt) fit in
/// a frame.
pub const SCAN_MAX_BYTES: usize = 1 << 20;
/// A peer that takes less than this within the detection bound is not there, bytes.
pub const PROGRESS_BYTES: usize = 64 << 10;
/// Requests of one host that a database works on at a time; more wait in the connection.
pub const HOST_REQUESTS_MAX: usize = 1_024;
/// Clients of a host that is lost, or cut off from every database while another is not, are at another one within this: the redirect window.
pub const REDIRECT_MS: u64 = 3_000;
/// What questions and answers spend on their way within a region, at most.
const ON_THE_WAY_MS: u64 = 50;
/// Longest silence on a connection to a database, the witness or the replica, unless a link may be silent for longer.
pub const CONNECTION_IDLE_MS: u64 = 10_000;
/// Largest page of a scan, records.
pub const SCAN_MAX_RECORDS: usize = 100;
/// Largest REST request body, bytes.
pub const BODY_MAX_BYTES: usize = 64 << 10;
/// Largest data of a version of a secret, bytes of its compact JSON.
pub const SECRET_DATA_MAX_BYTES: usize = 64 << 10;
/// Largest body of a request about secrets, bytes: data with spaces and escapes, and what comes with it.
pub const SECRET_BODY_MAX_BYTES: usize = 160 << 10;
/// Largest REST request head, bytes.
pub const HEAD_MAX_BYTES: usize = 16 << 10;
/// How much a bearer token's dates may be off, seconds.
pub const TOKEN_LEEWAY_S: u64 = 30;
/// Most policies, groups and issuers of a domain together.
pub const ACCESS_PARTS_MAX: u32 = 2_500;
/// Largest policy, group, issuer or credential, bytes as it is kept.
pub const ACCESS_PART_MAX_BYTES: usize = 32 << 10;
/// Largest access document of a domain, bytes of its parts together.
pub const ACCESS_BYTES_MAX: u64 = 4 << 20;
/// Most domains of a region: their sealed keys travel in one frame.
pub const DOMAINS_MAX: usize = 50_000;
/// Largest sealed key of a domain.
pub const DOMAIN_KEY_MAX_BYTES: usize = 128;
/// Domains whose access documents a host keeps.
pub const ACCESS_DOMAINS_MAX: usize = 256;
/// Access documents that a host keeps, bytes of their parts together.
pub const ACCESS_KEPT_MAX_BYTES: u64 = 64 << 20;
/// Credentials of a domain that a host keeps.
pub const ACCESS_CREDENTIALS_MAX: usize = 4_096;
/// How long requests in flight may take to end when a host is asked to stop.
pub const DRAIN_MS: u64 = 5_000;
/// How long a request waits for its audit entry to be durable before it is answered that it was not.
pub const AUDIT_PATIENCE_MS: u64 = 5_000;
/// A write of audit entries that takes longer makes the host unable to serve until it ends.
pub const AUDIT_STALL_MS: u64 = 1_000;
/// Fewest entries that leave the log at a time: dropping them costs a commit some milliseconds.
pub const LOG_TRUNCATE_STEP: u64 = 1_024;
/// Part of a fill, bytes of its rows, unless it is held back.
pub const FILL_PART_BYTES: usize = 1 << 20;
/// Parts of a fill that is held back, per second: whatever a part costs is in the way of others in one piece.
pub const FILL_PARTS_PER_S: u64 = 200;
/// Least part of a fill that is held back, bytes of its rows.
pub const FILL_PART_MIN_BYTES: usize = 16 << 10;
/// Part of a replica's feed, bytes of its entries, before the one that goes over it.
pub const FEED_PART_BYTES: usize = 256 << 10;
/// What a replica is sent before it has taken what was sent earlier, bytes.
pub const FEED_AHEAD_BYTES: usize = 1 << 20;
/// Page cache of a database, bytes.
pub const STORE_CACHE_BYTES: usize = 16 << 20;
/// Journal of a store, bytes; a whole number of blocks of 4,096. When it is full, redb syncs what it has.
pub const STORE_JOURNAL_BYTES: usize = 1 << 20;
/// Clear text that is sealed in one piece in an object of a backup, bytes.
pub const BACKUP_CHUNK_BYTES: usize = 64 << 10;
/// Clear text after which an object of a backup is closed, bytes. What writes or reads a backup holds a few objects at a time.
pub const BACKUP_PART_BYTES: usize = 4 << 20;
/// Largest row or log entry in a backup, bytes.
pub const BACKUP_ITEM_MAX_BYTES: usize = BATCH_MAX_BYTES * 2;
/// Backups that stand on one full snapshot; then there is a new one, although the day is not over.
pub const BACKUP_RUN_MAX: u64 = 4_096;
/// How often a backup asks an object store that does not answer, and the pause after the first time.
pub const BACKUP_TRIES: u32 = 3;
/// See [`BACKUP_TRIES`]; twice as long after the second time.
pub const BACKUP_PAUSE_MS: u64 = 500;
/// Text of a frame of an export after which it is closed, bytes.
pub const EXPORT_PAGE_BYTES: usize = 512 << 10;
/// Largest text of a frame of an export, bytes: what one more scan brings, as base64, fits behind a full page.
pub const EXPORT_TEXT_MAX_BYTES: usize = 4 << 20;
/// Scans for one page of an export, at most.
pub const EXPORT_SCANS_MAX: u32 = 64;
/// Most records in one request of an import.
pub const IMPORT_RECORDS_MAX: usize = 256;
/// Largest body of a request of an import, bytes: the largest record fits, a secret with 24,000 versions.
pub const IMPORT_BODY_MAX_BYTES: usize = 2 << 20;
/// Records of one import request that are written at the same time.
pub const IMPORT_AT_ONCE: usize = 32;
/// How long a backup is kept.
pub const BACKUP_KEEP_MS: u64 = 30 * 86_400_000;

const _: () = assert!(BATCH_MAX_BYTES * 2 <= FRAME_MAX_BYTES);
const _: () = assert!(DOMAINS_MAX * (DOMAIN_KEY_MAX_BYTES + 32) <= FRAME_MAX_BYTES);
const _: () = assert!((FILL_PART_BYTES + RECORD_MAX_BYTES) * 2 <= FRAME_MAX_BYTES);
const _: () = assert!(FEED_PART_BYTES + BATCH_MAX_BYTES * 2 <= FRAME_MAX_BYTES);
const _: () = assert!(RECORD_MAX_BYTES <= TRANSACTION_MAX_BYTES);
const _: () = assert!(EXPORT_PAGE_BYTES + (SCAN_MAX_BYTES + RECORD_MAX_BYTES) * 2 <= EXPORT_TEXT_MAX_BYTES);
const _: () = assert!(RECORD_KEY_MAX_BYTES + RECORD_MAX_BYTES + 1_024 <= BACKUP_ITEM_MAX_BYTES);
// A part, the item that went over its end, and the tags of all chunks.
const _: () = assert!(BACKUP_PART_BYTES + BACKUP_ITEM_MAX_BYTES + (64 << 10) <= OBJECT_MAX_BYTES);
// Keys and versions of a full transaction come on top of its blobs: it always fits in a batch.
const _: () = assert!(
    TRANSACTION_MAX_BYTES + TRANSACTION_MAX_RECORDS * 2 * (RECORD_KEY_MAX_BYTES + 64) <= BATCH_MAX_BYTES
);
const _: () = assert!((SCAN_MAX_BYTES + RECORD_MAX_BYTES) * 2 + (64 << 10) <= FRAME_MAX_BYTES);
const _: () = assert!(SCAN_MAX_RECORDS * 4 <= BATCH_MAX_TRANSACTIONS * TRANSACTION_MAX_RECORDS);

/// Most keys that a host holds a lease on (R21), and most bytes of them.
pub const LEASED_KEYS_MAX: usize = 4_096;
/// See [`LEASED_KEYS_MAX`].
pub const LEASED_KEYS_MAX_BYTES: usize = 16 << 20;
/// Longest lease that may be configured, milliseconds: an operator waits for its end before an epoch is activated.
pub const LEASE_MAX_MS: u64 = 250;
/// How long after the fence of the databases of before an epoch may be activated (R15): no host uses a lease of theirs any more.
pub const LEASES_OVER: Duration = ms(LEASE_MAX_MS + LEASE_MAX_MS / 10);
/// How much faster or slower than true time a monotonic clock may run, percent. Leases (R21) rely on it.
pub const DRIFT_PERCENT: u64 = 4;

/// Bounds that a deployment, or a scenario, may set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Interval of pings on the chain link and from hosts to the head.
    pub ping_ms: u64,
    /// Detection bound D: without a pong of an own ping for this long, a link is down.
    pub detection_ms: u64,
    /// Stall limit S: a batch unconfirmed for longer makes the head refuse.
    pub stall_ms: u64,
    /// Wait W of a read at the head for the confirmation of an in-doubt record.
    pub read_wait_ms: u64,
    /// Longest time a write waits in the head's queue before it is refused.
    pub queue_ms: u64,
    /// A host's deadline for a write, resolve included.
    pub write_deadline_ms: u64,
    /// A host's wait for one answer to a read before it asks the other database.
    pub read_attempt_ms: u64,
    /// How long a host may use a record that it was granted a lease on (R21), by its own clock; 0: none are granted, nor asked for. Relies on
    /// clocks that never stand still: 0 on virtual machines that are stopped and moved while they run.
    pub lease_ms: u64,
    /// Largest pause between attempts to reconnect.
    pub backoff_max_ms: u64,
    /// Longest attempt to connect to another node, handshake included.
    pub connect_ms: u64,
    /// Pongs in a row for a link to count as up.
    pub pongs_for_up: u32,
    /// Interval of the entry's health checks.
    pub entry_check_ms: u64,
    /// Health checks missed in a row before the entry gives a host up.
    pub entry_misses: u32,
    /// Longest time a client may take to send its request head or body (slow-loris).
    pub client_idle_ms: u64,
    /// How long a client's connection may rest between two requests.
    pub keep_alive_ms: u64,
    /// Longest TLS handshake.
    pub handshake_ms: u64,
    /// Connections a node accepts at a time.
    pub connections_max: u32,
    /// Service keys that a domain may have, destroyed ones among them: those are kept too; 0 = any number. The head goes by it. More are answered 429.
    pub domain_keys_max: u64,
    /// Secrets that a domain may have, deleted ones among them; 0 = any number. The head goes by it. More are answered 429.
    pub domain_secrets_max: u64,
    /// Confirmed entries that a database keeps in its log: how much its peer may forget and still be helped.
    pub log_keep_entries: u64,
    /// How fast a database sends its records to one that is filled, bytes per second; 0 = as fast as it can.
    pub fill_bytes_per_s: u64,
    /// How long a database gathers committed entries before it sends them to the replica.
    pub feed_ms: u64,
    /// How long a host goes by what it knows of a domain's policies and credentials before it asks whether they have changed.
    pub access_fresh_ms: u64,
    /// From the start of one backup to the start of the next. It, the time that a backup takes and the replica's lag must stay
    /// within 5 minutes together.
    pub backup_interval_ms: u64,
    /// RSA and elliptic-curve keys that a host keeps ready for use; 0 = none.
    pub parsed_keys_max: u32,
    /// What they may take, bytes.
    pub parsed_keys_max_bytes: u64,
    /// How long one of them may lie idle.
    pub parsed_key_idle_ms: u64,
    /// Requests about one domain that a host takes per second; 0 = any number. More are answered 429.
    pub domain_requests_per_s: u32,
    /// Requests about one domain that a host takes at once, after it had fewer than those per second.
    pub domain_burst: u32,
    /// Requests without an access certificate of a domain that a host takes per second, and at once; 0 = any number.
    pub stranger_requests_per_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            ping_ms: 100,
            detection_ms: 500,
            stall_ms: 250,
            read_wait_ms: 200,
            queue_ms: 250,
            write_deadline_ms: 2_000,
            read_attempt_ms: 500,
            lease_ms: 100,
            backoff_max_ms: 500,
            connect_ms: 700,
            pongs_for_up: 3,
            entry_check_ms: 250,
            entry_misses: 2,
            client_idle_ms: 10_000,
            keep_alive_ms: 75_000,
            handshake_ms: 5_000,
            connections_max: 1_024,
            domain_keys_max: 2_000_000,
            domain_secrets_max: 2_000_000,
            log_keep_entries: 65_536,
            fill_bytes_per_s: 0,
            feed_ms: 50,
            access_fresh_ms: 1_000,
            backup_interval_ms: 240_000,
            parsed_keys_max: 4_096,
            parsed_keys_max_bytes: 16 << 20,
            parsed_key_idle_ms: 60_000,
            domain_requests_per_s: 20_000,
            domain_burst: 40_000,
            stranger_requests_per_s: 200,
        }
    }
}

/// A bound that makes no sense beside another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("[limits] {0}")]
pub struct BadLimits(&'static str);

impl Limits {
    /// Checks the relations between the bounds.
    ///
    /// # Errors
    /// [`BadLimits`] names the first relation that does not hold.
    pub fn check(&self) -> Result<(), BadLimits> {
        let rules = [
            (self.ping_ms > 0, "ping_ms must be positive"),
            (
                self.ping_ms * u64::from(self.pongs_for_up) <= self.detection_ms,
                "ping_ms x pongs_for_up must fit in detection_ms",
            ),
            (self.read_wait_ms < self.read_attempt_ms, "read_wait_ms must be below read_attempt_ms"),
            (self.queue_ms < self.write_deadline_ms, "queue_ms must be below write_deadline_ms"),
            (self.lease_ms <= LEASE_MAX_MS, "lease_ms must be at most 250"),
            // Else a write to a record that is in use is refused for want of time.
            (self.lease_hold() * 2 <= ms(self.queue_ms), "lease_ms must be below 45 % of queue_ms"),
            (self.stall_ms < self.write_deadline_ms, "stall_ms must be below write_deadline_ms"),
            (self.pongs_for_up > 0, "pongs_for_up must be positive"),
            (self.entry_misses > 0, "entry_misses must be positive"),
            (self.entry_check_ms > 0, "entry_check_ms must be positive"),
            (self.connect_ms > 0, "connect_ms must be positive"),
            (
                self.keep_alive_ms > 0,
                "keep_alive_ms must be positive: with 0 every connection would end after one request",
            ),
            (self.connections_max > 0, "connections_max must be positive"),
            (self.log_keep_entries > 0, "log_keep_entries must be positive"),
            (
                self.domain_requests_per_s == 0 || self.domain_burst > 0,
                "domain_burst must be positive: with 0 every request would be answered 429",
            ),
            (self.backup_interval_ms >= 1_000, "backup_interval_ms must be at least 1000"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(BadLimits(rule)),
            None => Ok(()),
        }
    }
}

impl Limits {
    /// How long the head waits for the end of a lease, by its clock. Of two monotonic clocks one may run up to [`DRIFT_PERCENT`] too fast
    /// and the other as much too slow: 100/96 x 104/100 is less than the tenth that is added.
    pub fn lease_hold(&self) -> Duration {
        Duration::from_micros(self.lease_ms.saturating_mul(1_100))
    }

    /// Longest silence on a connection between nodes before it is closed: never so short that a quiet link would be.
    pub fn connection_idle(&self) -> Duration {
        ms(CONNECTION_IDLE_MS.max(self.detection_ms.saturating_mul(4)))
    }

    /// Longest time in which a node finds another that has come back, and the entry hears of it: one attempt
    /// to connect, one pause, one health check, and one more of each small thing.
    pub const fn reunion(&self) -> Duration {
        ms(self.reunion_ms())
    }

    const fn reunion_ms(&self) -> u64 {
        self.connect_ms
            .saturating_add(self.backoff_max_ms)
            .saturating_add(self.entry_check_ms.saturating_mul(2))
    }

    /// How long the clients of a host that cannot serve stay, while another can: the reunion, if that leaves the redirect window what
    /// goes before and comes after it. That is the detection, the health checks that are believed, and one more for a client to rest in.
    pub const fn parting(&self) -> Duration {
        let checks = self.entry_check_ms.saturating_mul(self.entry_misses as u64 + 1);
        let others = self.detection_ms.saturating_add(checks).saturating_add(ON_THE_WAY_MS);
        match REDIRECT_MS.checked_sub(others) {
            Some(left) if left < self.reunion_ms() => ms(left),
            _ => self.reunion(),
        }
    }
}

/// Milliseconds as a span.
pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_over_at_the_slowest_host_before_it_is_at_the_fastest_head() {
        let limits = Limits::default();
        let used = ms(limits.lease_ms) * 100 / (100 - DRIFT_PERCENT as u32);
        let held = limits.lease_hold() * 100 / (100 + DRIFT_PERCENT as u32);
        assert!(used < held, "{used:?} of true time, and {held:?}");
        assert!(Limits { lease_ms: 120, ..limits }.check().is_err(), "writes would be refused");
    }

    #[test]
    fn clients_leave_within_the_redirect_window_and_not_before_hosts_have_found_a_database() {
        let limits = Limits::default();
        assert_eq!(limits.parting(), limits.reunion(), "both hold with the defaults");
        let slower = Limits { connect_ms: 1_000, ..Limits::default() };
        assert_eq!((slower.reunion(), slower.parting()), (ms(2_000), ms(1_700)), "the window goes first");
        let hopeless = Limits { detection_ms: 100_000, ..Limits::default() };
        assert_eq!(hopeless.parting(), hopeless.reunion(), "there is no window to keep to");
    }
}
