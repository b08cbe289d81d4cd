//! Bare peers: what the same libraries cost without a service behind them. They check nothing of what they
//! are sent.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use kms::{
    env::{BlockFile, Env, OpenMode, Purpose, Task},
    wire::{
        frame::{self, FrameReader},
        hyper_io::HyperIo,
        message::Envelope,
        tls::{Expected, NodeTls, PeerRole},
    },
};
use rustls::ServerConfig;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_rustls::{TlsAcceptor, client::TlsStream};

/// A bare hyper + rustls server: reads a request's body whole and answers a fixed one.
pub struct Echo {
    address: String,
    _accepting: Task<()>,
}

impl Echo {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If there is none.
    pub async fn start(env: &Env, tls: Arc<ServerConfig>, answer: Bytes) -> Echo {
        let mut listener = env.net.bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_address();
        let own = env.clone();
        let accepting = env.spawn("echo", async move {
            let acceptor = TlsAcceptor::from(tls);
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                own.spawn("echo connection", async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request: Request<Incoming>| {
                        let answer = answer.clone();
                        async move {
                            request.into_body().collect().await?;
                            Ok::<_, hyper::Error>(Response::new(Full::new(answer)))
                        }
                    });
                    // Ends with the client's connection.
                    let _ = http1::Builder::new()
                        .auto_date_header(false)
                        .serve_connection(HyperIo::new(stream), service)
                        .await;
                });
            }
        });
        Echo { address, _accepting: accepting.abort_on_drop() }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// A bare node-to-node connection: mutual TLS, framed messages, sent back as they come.
pub struct FrameEcho {
    reader: FrameReader<ReadHalf<TlsStream<kms::env::Stream>>>,
    writer: WriteHalf<TlsStream<kms::env::Stream>>,
    _server: Task<()>,
}

impl FrameEcho {
    /// `server` is a database's identity, `client` a host's.
    ///
    /// # Panics
    /// If they do not accept each other.
    pub async fn start(env: &Env, server: Arc<NodeTls>, client: &NodeTls) -> FrameEcho {
        let mut listener = env.net.bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_address();
        let task = env.spawn("frame echo", async move {
            let Ok((stream, _)) = listener.accept().await else { return };
            let Ok((stream, _)) = server.accept(stream).await else { return };
            let (read, mut write) = tokio::io::split(stream);
            let mut reader = FrameReader::new(read);
            while let Ok(Some(envelope)) = reader.next().await {
                if frame::write(&mut write, &envelope).await.is_err() {
                    return;
                }
            }
        });
        let stream = env.net.connect(&address).await.expect("connect");
        let expected = Expected { role: PeerRole::Database, zone: None };
        let (stream, _) = client.connect(stream, &expected).await.expect("mutual TLS");
        let (read, writer) = tokio::io::split(stream);
        FrameEcho { reader: FrameReader::new(read), writer, _server: task.abort_on_drop() }
    }

    /// There and back.
    ///
    /// # Panics
    /// If the connection breaks.
    pub async fn round_trip(&mut self, envelope: &Envelope) {
        frame::write(&mut self.writer, envelope).await.expect("sent");
        self.reader.next().await.expect("a frame").expect("a frame, not the end");
    }
}

/// Bytes that [`Copier`] moves at a time.
const PIECE_BYTES: usize = 1 << 20;

/// A bare copy of a plain file: read in order, sent over mutual TLS, written, synced once.
pub struct Copier {
    env: Env,
    server: Arc<NodeTls>,
    client: Arc<NodeTls>,
    source: Arc<dyn BlockFile>,
    dir: PathBuf,
    bytes: u64,
}

impl Copier {
    /// Makes a file of at least `bytes` random bytes in `dir`, durable. `server` is a database's identity, `client` a
    /// host's.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(
        env: &Env,
        (server, client): (Arc<NodeTls>, Arc<NodeTls>),
        dir: &Path,
        bytes: u64,
    ) -> io::Result<Copier> {
        let bytes = bytes.next_multiple_of(PIECE_BYTES as u64);
        let source = env.disk.open(&dir.join("copy.source"), OpenMode::CreateNew)?;
        let mut piece = vec![0; PIECE_BYTES];
        for at in (0..bytes).step_by(PIECE_BYTES) {
            env.entropy.fill(Purpose::Public, &mut piece)?;
            source.write(at, &piece)?;
        }
        source.sync_data()?;
        Ok(Copier { env: env.clone(), server, client, source: source.into(), dir: dir.into(), bytes })
    }

    /// Bytes of a copy.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies; answers the time from the connection to the sync. The copy is removed.
    ///
    /// # Panics
    /// If the connection or the disk fails.
    pub async fn copy(&self) -> Duration {
        let path = self.dir.join("copy.target");
        let target: Arc<dyn BlockFile> =
            self.env.disk.open(&path, OpenMode::CreateNew).expect("a file").into();
        let mut listener = self.env.net.bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_address();
        let before = self.env.now();
        let (env, source, server, bytes) =
            (self.env.clone(), self.source.clone(), self.server.clone(), self.bytes);
        let sending = self.env.spawn("copy source", async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let (mut stream, _) = server.accept(stream).await.expect("mutual TLS");
            for at in (0..bytes).step_by(PIECE_BYTES) {
                let source = source.clone();
                let read = move || {
                    let mut piece = vec![0; PIECE_BYTES];
                    source.read(at, &mut piece).map(|()| piece)
                };
                let piece = env.blocking("copy read", read).await.expect("no panic").expect("the disk reads");
                stream.write_all(&piece).await.expect("sent");
            }
            stream.shutdown().await.expect("closed");
        });
        let stream = self.env.net.connect(&address).await.expect("connect");
        let expected = Expected { role: PeerRole::Database, zone: None };
        let (mut stream, _) = self.client.connect(stream, &expected).await.expect("mutual TLS");
        for at in (0..bytes).step_by(PIECE_BYTES) {
            let mut piece = vec![0; PIECE_BYTES];
            stream.read_exact(&mut piece).await.expect("received");
            let target = target.clone();
            let write = move || target.write(at, &piece);
            self.env.blocking("copy write", write).await.expect("no panic").expect("the disk writes");
        }
        let sync = move || target.sync_data();
        self.env.blocking("copy sync", sync).await.expect("no panic").expect("the disk syncs");
        let spent = self.env.now().since(before);
        drop(sending);
        self.env.disk.remove(&path).expect("the copy is removed");
        spent
    }
}
