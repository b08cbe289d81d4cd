//! The audit spool on a disk that fails: what was told durable is there, in its place, and whatever is done to it is found.

use crate::disk::MemoryDisk;
use kms::{
    audit::{self, Audit, AuditKey, Event, Kind, Level, Link, State, Verified},
    config::{AuditConfig, Forward},
    env::{BoxFuture, Clock, Env, Mono},
    vault::RootKey,
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const DATA: &str = "data";

/// A clock whose wall time is set by hand.
struct Wall(Arc<dyn Clock>, AtomicU64);

impl Clock for Wall {
    fn now(&self) -> Mono {
        self.0.now()
    }
    fn wall(&self) -> Duration {
        Duration::from_millis(self.1.load(Ordering::Relaxed))
    }
    fn sleep_until(&self, at: Mono) -> BoxFuture<'static, ()> {
        self.0.sleep_until(at)
    }
}

struct World {
    env: Env,
    disk: Arc<MemoryDisk>,
    wall: Arc<Wall>,
    root: RootKey,
}

fn small() -> AuditConfig {
    AuditConfig { segment_bytes: 4_096, max_bytes: 4 << 20, keep_days: 10_000, ..AuditConfig::default() }
}

fn event(id: u64) -> Event {
    Event {
        kind: Kind::Admin,
        log_level: Level::Info,
        domain_id: String::new(),
        request_id: id.to_string(),
        client_ip: String::new(),
        tls_cert_id: String::new(),
        res_urn: "urn".to_owned(),
        region: "eu-west-rbx".to_owned(),
        iam_operation: "okms:apikms:serviceKey/get".to_owned(),
        iam_identities: vec!["urn:someone".to_owned()],
        http_path: String::new(),
        http_status: 200,
        http_method: "GET".to_owned(),
        err_category: String::new(),
    }
}

impl World {
    fn new() -> World {
        let real = kms::os::env();
        let disk = MemoryDisk::new([]);
        let wall = Arc::new(Wall(Arc::clone(&real.clock), AtomicU64::new(1_000_000_000_000)));
        let env = Env { disk: Arc::clone(&disk) as _, clock: Arc::clone(&wall) as _, ..real };
        let root = RootKey::generate(&env).expect("entropy");
        World { env, disk, wall, root }
    }

    fn key(&self) -> AuditKey {
        AuditKey::new(&self.root, "host-a1")
    }

    async fn start(&self, config: AuditConfig) -> Audit {
        let pen = std::sync::Arc::<tokio::sync::Mutex<()>>::default().lock_owned().await;
        Audit::start(&self.env, Path::new(DATA), self.key(), config, pen).await
    }

    async fn fill(&self, entries: u64) {
        let audit = self.start(small()).await;
        for id in 0..entries {
            audit.record(event(id)).await.expect("recorded");
        }
        self.stopped(audit).await;
    }

    /// Until the writer has closed its files.
    async fn stopped(&self, audit: Audit) {
        drop(audit);
        let last = self.segments().pop().expect("a segment");
        for _ in 0..1_000 {
            match kms::env::Disk::open(&*self.disk, &last, kms::env::OpenMode::Existing) {
                Ok(_) => return,
                Err(_) => self.env.sleep(Duration::from_millis(1)).await,
            }
        }
        panic!("the writer does not end");
    }

    fn segments(&self) -> Vec<PathBuf> {
        self.disk.names(".seg")
    }

    fn read_expecting(&self, expect: Option<Link>) -> (Verified, Vec<String>) {
        let mut ids = Vec::new();
        let done = audit::read(&self.env, Path::new(DATA), &self.key(), expect, |read| {
            ids.push(read.entry.as_ref().expect("an entry of this build").event.request_id.clone());
            Ok(())
        });
        (done.expect("a disk that reads"), ids)
    }

    fn read(&self) -> (Verified, Vec<String>) {
        self.read_expecting(None)
    }

    /// Found to be whole, with these entries at its end.
    fn is_whole(&self, last: &[&str]) -> Link {
        let (done, ids) = self.read();
        assert_eq!(done.findings, []);
        assert!(ids.ends_with(&last.iter().map(ToString::to_string).collect::<Vec<_>>()), "{ids:?}");
        done.head
    }

    fn day(&self, days: u64) {
        self.wall.1.fetch_add(days * 86_400_000, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn entries_are_in_order_chained_and_sealed() {
    let world = World::new();
    world.fill(40).await;
    let (done, ids) = world.read();
    assert!(done.is_whole() && done.torn.is_none(), "{done:?}");
    assert_eq!((done.entries, done.head.sequence), (40, 40));
    assert_eq!(ids, (0..40).map(|id: u64| id.to_string()).collect::<Vec<_>>());
    assert!(world.segments().len() > 3, "they rotate by size");
    for path in world.segments() {
        let bytes = world.disk.contents(&path);
        assert!(!bytes.windows(7).any(|part| part == b"someone" || part == b"okms:ap"), "in clear");
    }
    // Whoever has the exported lines can check the chain without a key.
    let mut link = Link::default();
    audit::read(&world.env, Path::new(DATA), &world.key(), None, |read| {
        let line = read.line();
        let (entry, hash) = line.rsplit_once(",\"hash\":\"").expect("a hash");
        link = link.next(format!("{entry}}}").as_bytes());
        assert_eq!(hash.strip_suffix("\"}"), Some(hex::encode(link.hash).as_str()));
        assert_eq!(link, read.link);
        Ok(())
    })
    .expect("reads");
    let other = AuditKey::new(&world.root, "host-b1");
    let other = audit::read(&world.env, Path::new(DATA), &other, None, |_| Ok(())).expect("reads");
    assert!(!other.is_whole() && other.entries == 0, "another host's key opens nothing");
}

#[tokio::test]
async fn every_altered_byte_is_found() {
    let world = World::new();
    world.fill(12).await;
    let (whole, _) = world.read();
    let segments = world.segments();
    assert!(segments.len() >= 2);
    let last = segments.len() - 1;
    for (index, path) in segments.iter().enumerate() {
        let bytes = world.disk.contents(path);
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            world.disk.put(path, altered);
            let (done, _) = world.read_expecting(Some(whole.head));
            assert!(!done.is_whole(), "byte {at} of segment {index}");
            if index < last {
                assert!(!done.findings.is_empty(), "found without a head: byte {at} of segment {index}");
            }
        }
        for at in (0..bytes.len()).step_by(7) {
            world.disk.put(path, bytes[..at].to_vec());
            assert!(!world.read_expecting(Some(whole.head)).0.is_whole(), "cut at {at} of segment {index}");
        }
        world.disk.put(path, bytes);
    }
    assert!(world.read_expecting(Some(whole.head)).0.is_whole());
}

#[tokio::test]
async fn removed_swapped_and_replayed_segments_are_found() {
    let world = World::new();
    world.fill(40).await;
    let (whole, _) = world.read();
    let segments = world.segments();
    let says = |words: &str| {
        let (done, _) = world.read_expecting(Some(whole.head));
        let text = done.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.contains(words), "{words:?} in {text:?}");
    };
    let second = world.disk.take(&segments[1]);
    says("segment 2 is missing");
    says("are missing before this");
    world.disk.put(&segments[1], second.clone());
    let first = world.disk.take(&segments[0]);
    says("segment 1 is missing");
    world.disk.put(&segments[0], second.clone());
    world.disk.put(&segments[1], first.clone());
    says("under another name");
    world.disk.put(&segments[0], first);
    world.disk.put(&segments[1], second);
    let last = segments.last().expect("segments");
    let cut = world.disk.take(last);
    let (done, _) = world.read();
    assert!(done.is_whole(), "the end alone cannot be missed without a head");
    assert!(!world.read_expecting(Some(whole.head)).0.is_whole());
    world.disk.put(last, cut);
    assert!(world.read_expecting(Some(whole.head)).0.is_whole());
}

#[tokio::test]
async fn a_broken_write_and_a_power_cut_leave_what_was_told() {
    let world = World::new();
    world.fill(3).await;
    let noted = world.is_whole(&["0", "1", "2"]);
    let last = world.segments().pop().expect("a segment");
    let mut torn = world.disk.contents(&last);
    let frame = torn.clone();
    torn.extend_from_slice(&frame[116..216]);
    world.disk.put(&last, torn);
    assert!(world.read().0.torn.is_some(), "said, and no damage");
    world.is_whole(&["2"]);
    let audit = world.start(small()).await;
    assert_eq!(audit.standing().head, noted, "goes on from what was told");
    audit.record(event(3)).await.expect("recorded");
    world.stopped(audit).await;
    world.is_whole(&["0", "1", "2", "3"]);
    world.disk.cut_power();
    world.is_whole(&["0", "1", "2", "3"]);
    assert!(world.read_expecting(Some(noted)).0.is_whole(), "an older head stands in the chain");
}

#[tokio::test]
async fn a_failed_write_or_sync_records_nothing_until_one_works_again() {
    let world = World::new();
    let audit = world.start(small()).await;
    audit.record(event(0)).await.expect("recorded");
    for fail in [MemoryDisk::fail_syncs, MemoryDisk::fail_writes] {
        fail(&world.disk, 1);
        assert!(audit.record(event(100)).await.is_err());
        assert_eq!(audit.state(), State::Failed);
        assert!(audit.record(event(101)).await.is_err(), "nothing until it was opened again");
        until(&world, &audit, |audit| audit.state() == State::Recording).await;
        audit.record(event(1)).await.expect("recorded");
    }
    world.disk.fill(true);
    assert!(audit.record(event(102)).await.is_err());
    let segments = world.segments().len();
    world.env.sleep(Duration::from_millis(2_500)).await;
    assert_eq!(audit.state(), State::Failed);
    assert!(world.segments().len() <= segments + 1, "a full disk is not filled with segments");
    world.disk.fill(false);
    until(&world, &audit, |audit| audit.state() == State::Recording).await;
    audit.record(event(2)).await.expect("recorded");
    world.stopped(audit).await;
    let (done, ids) = world.read();
    assert_eq!(done.findings, []);
    let told: Vec<_> = ids.iter().filter(|id| id.len() < 3).collect();
    assert_eq!(told, ["0", "1", "1", "2"]);
}

async fn until(world: &World, audit: &Audit, is: impl Fn(&Audit) -> bool) {
    for _ in 0..500 {
        if is(audit) {
            return;
        }
        world.env.sleep(Duration::from_millis(20)).await;
    }
    panic!("still {:?}", audit.standing());
}

/// Records events, so many at a time, as long as the audit is so; how many.
async fn fill_while(world: &World, audit: &Audit, together: u64, is: impl Fn(&Audit) -> bool) -> u64 {
    let mut id = 0;
    while is(audit) {
        let all = (0..together).map(|n| audit.record(event(id + n)));
        for recorded in futures_util::future::join_all(all).await {
            recorded.expect("those under way are recorded");
        }
        id += together;
        world.wall.1.fetch_add(60_000, Ordering::Relaxed);
        assert!(id < 100_000, "it never fills");
    }
    id
}

#[tokio::test]
async fn a_full_spool_records_nothing_until_it_is_pruned() {
    let world = World::new();
    let config = AuditConfig { segment_bytes: 256 << 10, ..small() };
    let audit = Arc::new(world.start(config).await);
    let id = fill_while(&world, &audit, 200, |audit| audit.state() == State::Recording).await;
    assert_eq!(audit.state(), State::Full);
    let (bytes, segments) = (audit.standing().bytes, world.segments().len());
    assert!(bytes <= 4 << 20, "{bytes}");
    let now = world.wall.1.load(Ordering::Relaxed);
    let gone = audit::prune(&world.env, Path::new(DATA), &world.key(), now).expect("prunes beside the host");
    assert_eq!(gone as usize, segments - 1, "never the last");
    until(&world, &audit, |audit| audit.state() == State::Recording).await;
    audit.record(event(id)).await.expect("recorded");
    let (done, _) = world.read();
    assert!(done.is_whole(), "{done:?}");
    assert!(done.begins_after.sequence > 0 && done.head.sequence == id + 1);
}

#[tokio::test]
async fn a_spool_that_is_nearly_full_says_so_until_it_is_pruned() {
    let world = World::new();
    let config = AuditConfig { segment_bytes: 256 << 10, ..small() };
    let audit = Arc::new(world.start(config).await);
    fill_while(&world, &audit, 50, |audit| {
        assert_eq!(audit.state(), State::Recording, "not before it is full");
        !audit.is_crowded()
    })
    .await;
    let taken = audit.standing().bytes as f64 / f64::from((4 << 20) - (1 << 20));
    assert!((0.9..0.92).contains(&taken), "{taken}");
    assert_eq!(audit.state(), State::Recording);
    let now = world.wall.1.load(Ordering::Relaxed);
    audit::prune(&world.env, Path::new(DATA), &world.key(), now).expect("prunes beside the host");
    until(&world, &audit, |audit| !audit.is_crowded()).await;
}

#[tokio::test]
async fn old_segments_go_and_the_chain_goes_on_from_the_anchor() {
    let world = World::new();
    world.fill(20).await;
    world.day(400);
    let before = world.segments();
    let audit = world.start(small()).await;
    audit.record(event(20)).await.expect("recorded");
    world.stopped(audit).await;
    let limit = world.wall.1.load(Ordering::Relaxed) - 86_400_000;
    let gone = audit::prune(&world.env, Path::new(DATA), &world.key(), limit).expect("prunes");
    assert_eq!(gone as usize, before.len() - 1, "the newest of the old ones ends when the next begins");
    let (done, ids) = world.read();
    assert!(done.is_whole(), "{done:?}");
    assert_eq!(ids.last().map(String::as_str), Some("20"));
    let anchor = world.disk.names("anchor").pop().expect("an anchor");
    let sealed = world.disk.contents(&anchor);
    for at in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        world.disk.put(&anchor, altered);
        assert!(!world.read().0.is_whole(), "byte {at}");
    }
    world.disk.take(&anchor);
    assert!(!world.read().0.is_whole(), "an anchor that is gone");
    world.disk.put(&anchor, sealed);
    world.disk.take(&world.segments()[0]);
    assert!(!world.read().0.is_whole(), "more was removed than the anchor says");
}

#[tokio::test]
async fn requests_that_wait_share_one_sync() {
    let world = World::new();
    let audit = Arc::new(world.start(AuditConfig::default()).await);
    world.disk.hold_syncs(true);
    let first = world.env.spawn("first", {
        let audit = Arc::clone(&audit);
        async move { audit.record(event(0)).await }
    });
    world.env.sleep(Duration::from_millis(50)).await;
    let others = world.env.spawn("others", {
        let audit = Arc::clone(&audit);
        async move { futures_util::future::join_all((1..=100).map(|id| audit.record(event(id)))).await }
    });
    world.env.sleep(Duration::from_millis(50)).await;
    let before = world.disk.syncs();
    world.disk.hold_syncs(false);
    first.await.expect("runs").expect("recorded");
    for recorded in others.await.expect("runs") {
        recorded.expect("recorded");
    }
    assert_eq!(world.disk.syncs() - before, 2, "one for the first, one for the hundred that waited");
    world.is_whole(&["99", "100"]);
}

/// Lines that were sent on to a file, until there are so many.
async fn sent_on(world: &World, count: usize) -> Vec<String> {
    for _ in 0..500 {
        let there =
            world.disk.names("out.jsonl").pop().map(|path| world.disk.contents(&path)).unwrap_or_default();
        let text = String::from_utf8(there).expect("text");
        if text.lines().count() >= count {
            return text.lines().map(str::to_owned).collect();
        }
        world.env.sleep(Duration::from_millis(20)).await;
    }
    panic!("not sent on");
}

#[tokio::test]
async fn entries_are_sent_on_in_order_and_go_on_after_a_restart() {
    let world = World::new();
    let config = AuditConfig { forward: Some(Forward::File("out.jsonl".into())), ..small() };
    for start in 0..2 {
        let audit = world.start(config.clone()).await;
        for id in start * 20..start * 20 + 20 {
            audit.record(event(id)).await.expect("recorded");
        }
        let lines = sent_on(&world, (start as usize + 1) * 20).await;
        for (at, line) in lines.iter().enumerate() {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(value["sequence"], at as u64 + 1, "in order, none twice where nothing broke");
        }
        // How far it is must be noted before the next start.
        world.env.sleep(Duration::from_millis(200)).await;
        world.stopped(audit).await;
    }
}

#[tokio::test]
async fn a_receiver_that_is_away_delays_nothing_and_gets_everything_when_it_is_back() {
    use tokio::io::AsyncReadExt;
    let world = World::new();
    let listener = world.env.net.bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_address();
    drop(listener);
    let config = AuditConfig { forward: Some(Forward::Syslog(address.clone())), ..small() };
    let audit = world.start(config).await;
    for id in 0..30 {
        audit.record(event(id)).await.expect("recorded");
    }
    assert_eq!(audit.standing().forwarded, Some(0));
    let mut listener = world.env.net.bind(&address).await.expect("binds again");
    let (mut stream, _) = listener.accept().await.expect("it comes");
    let mut text = String::new();
    while !text.contains("\"sequence\":30,") {
        let mut part = [0; 4_096];
        let got = stream.read(&mut part).await.expect("reads");
        assert!(got > 0, "it ended");
        text.push_str(std::str::from_utf8(&part[..got]).expect("text"));
    }
    assert!(text.contains("<110>1 ") && text.contains(" host-a1 kms - audit - {\"sequence\":1,"), "{text}");
}

#[tokio::test]
async fn a_host_removes_what_is_older_than_it_keeps() {
    let world = World::new();
    world.fill(20).await;
    let before = world.segments().len();
    assert!(before > 2);
    world.day(400);
    let audit = world.start(AuditConfig { keep_days: 365, ..small() }).await;
    for _ in 0..500 {
        if world.segments().len() == 2 {
            break;
        }
        world.env.sleep(Duration::from_millis(20)).await;
    }
    // The last of the old ones ends when the new one begins, which is now.
    assert_eq!(world.segments().len(), 2);
    audit.record(event(20)).await.expect("recorded");
    let (done, _) = world.read();
    assert!(done.is_whole() && done.begins_after.sequence > 0, "{done:?}");
}
