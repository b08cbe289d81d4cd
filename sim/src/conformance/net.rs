//! Network semantics: streams end to end. Says nothing of latency or faults.

use super::{Failed, expect};
use kms::env::{Env, Stream};
use std::{io, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs every case. `listen` is an address with port 0 that `env` may bind.
///
/// # Errors
/// The first expectation that did not hold.
pub async fn all(env: &Env, listen: &str) -> Result<(), Failed> {
    half_close(env, listen).await?;
    refused(env).await?;
    ordered_and_large(env, listen).await?;
    backpressure(env, listen).await?;
    dropped_peer(env, listen).await?;
    listener_ends(env, listen).await
}

async fn pair(env: &Env, listen: &str) -> Result<(Stream, Stream), Failed> {
    let mut listener = env.net.bind(listen).await?;
    let address = listener.local_address();
    expect(!address.ends_with(":0"), "local_address names the port chosen")?;
    let connecting = env.clone();
    let client = env.spawn("connect", async move { connecting.net.connect(&address).await }).abort_on_drop();
    let (server, peer) = env.timeout(PATIENCE, listener.accept()).await??;
    expect(peer.contains(':'), "accept names the peer")?;
    Ok((client.await??, server))
}

async fn half_close(env: &Env, listen: &str) -> Result<(), Failed> {
    let (mut client, mut server) = pair(env, listen).await?;
    client.write_all(b"question").await?;
    client.shutdown().await?;
    expect(client.write(b"x").await.is_err(), "a write after shutdown fails")?;
    let mut got = Vec::new();
    env.timeout(PATIENCE, server.read_to_end(&mut got)).await??;
    expect(got == b"question", "bytes before the end arrive, then the end")?;
    expect(server.read(&mut [0; 4]).await? == 0, "the end stays the end")?;
    server.write_all(b"answer").await?;
    server.shutdown().await?;
    let mut got = Vec::new();
    env.timeout(PATIENCE, client.read_to_end(&mut got)).await??;
    expect(got == b"answer", "the other direction outlives a half-close")
}

async fn refused(env: &Env) -> Result<(), Failed> {
    let answer = env.timeout(PATIENCE, env.net.connect("127.0.0.1:1")).await?;
    let kind = answer.err().map(|error| error.kind());
    expect(kind == Some(io::ErrorKind::ConnectionRefused), "connecting to nobody is refused")
}

fn pattern(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8
}

async fn ordered_and_large(env: &Env, listen: &str) -> Result<(), Failed> {
    const BYTES: usize = 3 << 20;
    let (mut client, mut server) = pair(env, listen).await?;
    let writer = env
        .spawn("write", async move {
            let bytes: Vec<u8> = (0..BYTES).map(pattern).collect();
            let mut sizes = [1, 7, 1_000, 70_000, 16_384].into_iter().cycle();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
                client.write_all(now).await?;
                rest = later;
            }
            client.shutdown().await?;
            io::Result::Ok(client)
        })
        .abort_on_drop();
    let mut at = 0;
    let mut buffer = vec![0; 9_001];
    loop {
        let count = env.timeout(PATIENCE, server.read(&mut buffer)).await??;
        if count == 0 {
            break;
        }
        let right = buffer[..count].iter().enumerate().all(|(index, byte)| *byte == pattern(at + index));
        expect(right, "bytes arrive in order and unchanged")?;
        at += count;
    }
    drop(writer.await??);
    expect(at == BYTES, "all bytes arrive")
}

async fn backpressure(env: &Env, listen: &str) -> Result<(), Failed> {
    let (mut client, mut server) = pair(env, listen).await?;
    let chunk = vec![7; 1 << 20];
    let mut sent = 0usize;
    let stuck = loop {
        if sent > 256 << 20 {
            break false;
        }
        match env.timeout(Duration::from_millis(500), client.write(&chunk)).await {
            Ok(count) => sent += count?,
            Err(_) => break true,
        }
    };
    expect(stuck, "a writer waits for a reader that does not read")?;
    let reader = env
        .spawn("read", async move {
            let mut got = 0;
            let mut buffer = vec![0; 1 << 16];
            loop {
                match server.read(&mut buffer).await? {
                    0 => return io::Result::Ok(got),
                    count => got += count,
                }
            }
        })
        .abort_on_drop();
    env.timeout(PATIENCE, client.write_all(b"more")).await??;
    client.shutdown().await?;
    let got = env.timeout(PATIENCE, reader).await???;
    expect(got == sent + 4, "what was taken arrives, once the reader reads")
}

async fn dropped_peer(env: &Env, listen: &str) -> Result<(), Failed> {
    let (client, mut server) = pair(env, listen).await?;
    drop(client);
    let count = env.timeout(PATIENCE, server.read(&mut [0; 8])).await??;
    expect(count == 0, "a dropped stream is the end for its peer")?;
    let writes = async {
        for _ in 0..100 {
            if server.write_all(&[1; 4_096]).await.is_err() {
                return true;
            }
            env.sleep(Duration::from_millis(20)).await;
        }
        false
    };
    expect(env.timeout(PATIENCE, writes).await?, "writing to a dropped peer fails sooner or later")
}

async fn listener_ends(env: &Env, listen: &str) -> Result<(), Failed> {
    let listener = env.net.bind(listen).await?;
    let address = listener.local_address();
    expect(env.net.bind(&address).await.is_err(), "an address is bound once")?;
    drop(listener);
    let answer = env.timeout(PATIENCE, env.net.connect(&address)).await?;
    expect(answer.is_err(), "a dropped listener listens no more")
}
