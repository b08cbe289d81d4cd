//! What an operator asks a database, over a connection of its own.

use crate::{
    env::Env,
    limits::ms,
    store::server::DatabaseStatus,
    wire::{
        frame::{self, FrameError, FrameReader},
        message::{Body, ENVELOPE_VERSION, Empty, Envelope},
        tls::{Expected, NodeTls, PeerRole},
    },
};

/// Why a database gave no status.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// No answer in time.
    #[error("no answer within 3 s")]
    Silent,
    /// The stream broke.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// Something else was answered.
    #[error("refused: {0}")]
    Refused(String),
}

/// Asks the database at `address` for its status, with the operator's certificate.
///
/// # Errors
/// [`AdminError`].
pub async fn admin_status(env: &Env, tls: &NodeTls, address: &str) -> Result<DatabaseStatus, AdminError> {
    env.timeout(ms(3_000), ask(env, tls, address)).await.map_err(|_| AdminError::Silent)?
}

async fn ask(env: &Env, tls: &NodeTls, address: &str) -> Result<DatabaseStatus, AdminError> {
    let stream = env.net.connect(address).await?;
    let expected = Expected { role: PeerRole::Database, zone: None };
    let (stream, _peer) = tls.connect(stream, &expected).await?;
    let (read, mut write) = tokio::io::split(stream);
    let envelope = Envelope {
        version: ENVELOPE_VERSION,
        region: tls.identity().region.clone(),
        call: 1,
        body: Some(Body::Status(Empty {})),
        ..Envelope::default()
    };
    frame::write(&mut write, &envelope).await?;
    match FrameReader::new(read).next().await?.and_then(|answer| answer.body) {
        Some(Body::StatusAnswer(json)) => serde_json::from_str(&json)
            .map_err(|error| AdminError::Refused(format!("an answer that does not parse: {error}"))),
        Some(Body::BadRequest(why)) => Err(AdminError::Refused(why)),
        _ => Err(AdminError::Refused("the connection was closed".to_owned())),
    }
}
