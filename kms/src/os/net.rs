//! TCP. Nagle's algorithm is off: every message of the service is written whole.

use crate::env::{Accepted, BoxFuture, Listener, Net, Stream};
use std::{io, net::SocketAddr};
use tokio::net::{TcpListener, TcpStream};

pub(super) struct OsNet;

impl Net for OsNet {
    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let local = listener.local_addr()?;
            Ok(Box::new(OsListener { listener, local }) as Box<dyn Listener>)
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the seam's production side")]
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Stream)
        })
    }
}

struct OsListener {
    listener: TcpListener,
    local: SocketAddr,
}

impl Listener for OsListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Stream, peer.to_string()))
        })
    }

    fn local_address(&self) -> String {
        self.local.to_string()
    }
}
