//! Asks one host `GET /healthz` over one kept connection. Opens a new one when the old one is gone; sets no
//! deadline of its own.

use crate::{
    env::Env,
    wire::{
        asking::Asking,
        tls::{Expected, NodeTls, PeerRole},
    },
};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use std::{io, sync::Arc};

/// Largest answer read.
const ANSWER_MAX_BYTES: usize = 1 << 10;

/// What a host says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Health {
    /// Whether requests on existing keys would be answered.
    pub can_serve: bool,
    /// Whether key writes would be accepted.
    #[serde(default)]
    pub can_write: bool,
    /// Whether it waits for operators to unseal it.
    #[serde(default)]
    pub sealed: bool,
    /// Names this start of the host's process; 0 if it does not say.
    #[serde(default)]
    pub start: u32,
}

/// The asker.
pub struct Probe {
    env: Env,
    tls: Arc<NodeTls>,
    address: String,
    connection: Option<Asking<Empty<Bytes>>>,
}

impl Probe {
    /// Nothing is connected yet.
    pub fn new(env: Env, tls: Arc<NodeTls>, address: String) -> Probe {
        Probe { env, tls, address, connection: None }
    }

    /// Asks once.
    ///
    /// # Errors
    /// Whatever kept the answer from coming.
    pub async fn ask(&mut self) -> io::Result<Health> {
        // Out of its place while asking: an answer that fails, or is not waited for, ends the connection.
        let mut connection = match self.connection.take() {
            Some(kept) if !kept.is_closed() => kept,
            _ => self.connect().await?,
        };
        let request = Request::get("/healthz")
            .header("host", self.address.as_str())
            .body(Empty::new())
            .map_err(io::Error::other)?;
        let (status, body) = connection.ask(request, ANSWER_MAX_BYTES).await?;
        self.connection = Some(connection);
        // An answer without a report is one of a host that cannot serve.
        let mut health: Health = serde_json::from_slice(&body).unwrap_or_default();
        health.can_serve &= status == StatusCode::OK;
        Ok(health)
    }

    async fn connect(&self) -> io::Result<Asking<Empty<Bytes>>> {
        let stream = self.env.net.connect(&self.address).await?;
        let expect = Expected { role: PeerRole::Host, zone: None };
        let (stream, _) = self.tls.connect_public(stream, &expect).await?;
        Asking::over(&self.env, "health connection", stream).await
    }
}
