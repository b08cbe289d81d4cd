//! A client's side of HTTP/1.1 over a stream that is open: one request at a time, and its whole answer. Sets no deadline.

use super::hyper_io::HyperIo;
use crate::env::{Env, Task};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{
    Request, StatusCode,
    body::Body,
    client::conn::http1::{self, SendRequest},
};
use std::{error::Error, io};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection to ask over.
pub struct Asking<B> {
    requests: SendRequest<B>,
    /// Drives the connection; ends with this value.
    _driver: Task<()>,
}

impl<B> Asking<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Begins on a stream; `name` is that of the task that drives it.
    ///
    /// # Errors
    /// The stream's.
    pub async fn over<S>(env: &Env, name: &'static str, stream: S) -> io::Result<Asking<B>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (requests, driver) = http1::handshake(HyperIo::new(stream)).await.map_err(io::Error::other)?;
        let task = env.spawn(name, async move {
            // An error shows at the request that met it.
            let _ = driver.await;
        });
        Ok(Asking { requests, _driver: task.abort_on_drop() })
    }

    /// Whether it can be asked over no more.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Sends a request, and takes an answer of at most so many bytes.
    ///
    /// # Errors
    /// The connection's; or the answer is larger. The request may have been carried out.
    pub async fn ask(&mut self, request: Request<B>, max: usize) -> io::Result<(StatusCode, Bytes)> {
        self.requests.ready().await.map_err(io::Error::other)?;
        let answer = self.requests.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), max).collect().await;
        Ok((status, body.map_err(io::Error::other)?.to_bytes()))
    }
}
