//! The seam on this machine: what the service relies on and clippy cannot check.

use crate::common::Scratch;
use kms::{
    env::{Elapsed, Mono, OpenMode, Panicked, Purpose},
    os,
};
use std::{
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn streams_carry_bytes_both_ways_and_close_by_half() {
    let env = os::env();
    let mut listener = env.net.bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_address();
    let server = env.spawn("server", async move {
        let (mut stream, peer) = listener.accept().await.expect("accepts");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("reads to the half-close");
        stream.write_all(&all).await.expect("writes after it");
        stream.shutdown().await.expect("closes");
        peer
    });
    let mut stream = env.net.connect(&address).await.expect("connects");
    stream.write_all(b"ping").await.expect("writes");
    stream.shutdown().await.expect("half-closes");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.expect("reads");
    assert_eq!(all, b"ping");
    assert!(server.await.expect("ends").starts_with("127.0.0.1:"));
    let refused = env.net.connect(&address).await.err().expect("nobody listens any more");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn clocks_advance_and_deadlines_pass() {
    let env = os::env();
    let begin = env.now();
    env.sleep(Duration::from_millis(20)).await;
    assert!(env.now().since(begin) >= Duration::from_millis(20));
    assert!(env.clock.wall() > Duration::from_secs(1_700_000_000));
    env.clock.sleep_until(begin).await;
    let never = env.clock.sleep_until(Mono(Duration::MAX));
    assert_eq!(env.timeout(Duration::from_millis(10), never).await, Err(Elapsed));
}

#[tokio::test]
async fn tasks_end_when_aborted_and_run_on_when_dropped() {
    let env = os::env();
    let task = env.spawn("for ever", std::future::pending::<()>());
    task.abort();
    task.abort();
    assert_eq!(task.await, Err(Panicked));
    let done = Arc::new(AtomicBool::new(false));
    let flag = done.clone();
    let clock = env.clone();
    drop(env.spawn("detached", async move {
        clock.sleep(Duration::from_millis(5)).await;
        flag.store(true, Ordering::SeqCst);
    }));
    env.sleep(Duration::from_millis(200)).await;
    assert!(done.load(Ordering::SeqCst));
    assert_eq!(env.blocking("sum", || 1 + 1).await, Ok(2));
    assert_eq!(env.blocking("panic", || assert_eq!(1, 2, "planned")).await, Err(Panicked));
}

#[tokio::test]
async fn entropy_does_not_repeat() {
    let env = os::env();
    let one: [u8; 32] = env.random(Purpose::Secret).expect("random");
    assert_ne!(one, env.random(Purpose::Public).expect("random"));
}

#[tokio::test]
async fn block_files_are_exclusive_and_exact() {
    let env = os::env();
    let scratch = Scratch::new("os-block");
    let path = scratch.path("store");
    let kind = |mode| env.disk.open(&path, mode).err().expect("refused").kind();
    assert_eq!(kind(OpenMode::Existing), ErrorKind::NotFound);
    let file = env.disk.open(&path, OpenMode::CreateNew).expect("creates");
    assert_eq!(kind(OpenMode::CreateNew), ErrorKind::AlreadyExists);
    assert_eq!(kind(OpenMode::Existing), ErrorKind::WouldBlock);
    assert!(file.is_empty().expect("a length"));
    file.set_len(16).expect("grows");
    file.write(4, b"abcd").expect("writes");
    file.sync_data().expect("syncs");
    let mut all = [1; 16];
    file.read(0, &mut all).expect("reads");
    assert_eq!(&all, b"\0\0\0\0abcd\0\0\0\0\0\0\0\0");
    assert_eq!(file.read(9, &mut [0; 8]).expect_err("past the end").kind(), ErrorKind::UnexpectedEof);
    drop(file);
    let file = env.disk.open(&path, OpenMode::Existing).expect("opens once the other is gone");
    assert_eq!(file.len().expect("a length"), 16);
}

#[tokio::test]
async fn small_files_are_replaced_whole() {
    let env = os::env();
    let scratch = Scratch::new("os-small");
    let dir = scratch.path("deep/er");
    assert_eq!(env.disk.list(&dir).expect("lists nothing"), Vec::<PathBuf>::new());
    env.disk.create_dir(&dir).expect("creates");
    env.disk.create_dir(&dir).expect("fine twice");
    let (b, a) = (dir.join("b"), dir.join("a"));
    assert_eq!(env.disk.read(&b).expect("reads"), None);
    env.disk.write_atomic(&b, b"old", false).expect("writes");
    env.disk.write_atomic(&b, b"new", true).expect("replaces");
    env.disk.write_atomic(&a, b"", false).expect("writes");
    assert_eq!(env.disk.read(&b).expect("reads"), Some(b"new".to_vec()));
    let mode = std::fs::metadata(&b).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(env.disk.list(&dir).expect("lists"), [PathBuf::from("a"), PathBuf::from("b")]);
    env.disk.rename(&a, &dir.join("c")).expect("renames");
    env.disk.remove(&b).expect("removes");
    assert_eq!(env.disk.remove(&b).expect_err("gone").kind(), ErrorKind::NotFound);
    env.disk.sync_dir(&dir).expect("syncs");
    env.disk.sync_dir(Path::new("")).expect("the working directory");
    assert_eq!(env.disk.list(&dir).expect("lists"), [PathBuf::from("c")]);
}
