//! Streams between processes. An address is `host:port`; what a host name means is the world's business.

use super::BoxFuture;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};

/// A reliable, ordered byte stream with half-close, as TCP offers it.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A boxed [`Io`].
pub type Stream = Box<dyn Io>;

/// An accepted connection and the peer's address (for logs and rate limits only).
pub type Accepted = (Stream, String);

/// The network of one node.
pub trait Net: Send + Sync {
    /// Listens on `address`. Port 0 lets the world choose.
    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;
    /// Connects to `address`; waits as long as the world lets it, so callers set a deadline.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Stream>>;
}

/// A listening socket. Dropping it stops listening.
pub trait Listener: Send {
    /// The next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>>;
    /// The address really bound, with the port chosen.
    fn local_address(&self) -> String;
}
