//! One question and its answer over a connection of its own: what operators ask, and what is asked of the
//! witness. Keeps nothing, tries once.

use crate::{
    env::Env,
    wire::{
        frame::{self, FrameError, FrameReader},
        message::{Body, ENVELOPE_VERSION, Envelope},
        tls::{Expected, NodeTls},
    },
};
use std::time::Duration;

/// What is refused for the moment only ends with these words.
pub const ORDER_AGAIN: &str = "order it once more";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// The stream broke.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The other side closed instead.
    #[error("the connection was closed")]
    Closed,
    /// It will not do that.
    #[error("{0}")]
    Refused(String),
}

impl NoAnswer {
    /// Whether the same question may get another answer in a moment.
    pub fn may_pass(&self) -> bool {
        !matches!(self, NoAnswer::Refused(why) if !why.ends_with(ORDER_AGAIN))
    }
}

/// Asks the node at `address`, which must be what is expected.
///
/// # Errors
/// [`NoAnswer`]. Unless it is `Connect`, the question may have been heard.
pub async fn exchange(
    env: &Env,
    tls: &NodeTls,
    address: &str,
    expected: &Expected,
    body: Body,
    limit: Duration,
) -> Result<Body, NoAnswer> {
    env.timeout(limit, ask(env, tls, address, expected, body)).await.map_err(|_| NoAnswer::Silent(limit))?
}

async fn ask(
    env: &Env,
    tls: &NodeTls,
    address: &str,
    expected: &Expected,
    body: Body,
) -> Result<Body, NoAnswer> {
    let stream = env.net.connect(address).await?;
    let (stream, _peer) = tls.connect(stream, expected).await?;
    let (read, mut write) = tokio::io::split(stream);
    let envelope = Envelope {
        version: ENVELOPE_VERSION,
        region: tls.identity().region.clone(),
        call: 1,
        body: Some(body),
        ..Envelope::default()
    };
    frame::write(&mut write, &envelope).await?;
    match FrameReader::new(read).next().await?.and_then(|answer| answer.body) {
        Some(Body::BadRequest(why)) => Err(NoAnswer::Refused(why)),
        Some(body) => Ok(body),
        None => Err(NoAnswer::Closed),
    }
}
