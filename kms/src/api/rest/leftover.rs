//! What of a request's body nobody read. On HTTP/2 an answer before the end of the body is followed by a
//! reset of the stream, which is allowed (RFC 9113, 8.1) and yet makes some clients (curl 7.88) drop the
//! answer; on HTTP/1.1 the connection is closed, and a client that is still sending may lose the answer with it (RFC 9112, 9.6): so the
//! rest is read first, within bounds. Keeps nothing of what it reads.

use crate::limits::IMPORT_BODY_MAX_BYTES;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

/// Most of a leftover that is read, bytes: clients that sent more may miss the answer.
const DRAIN_MAX_BYTES: usize = IMPORT_BODY_MAX_BYTES;

/// Where a body is put back when its reader lets it go.
#[derive(Clone, Default)]
pub(super) struct Leftover(Arc<Mutex<Option<Incoming>>>);

/// A request's body that comes back to its [`Leftover`].
pub(super) struct Lent {
    body: Option<Incoming>,
    home: Leftover,
}

impl Leftover {
    fn swap(&self, with: Option<Incoming>) -> Option<Incoming> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), with)
    }

    /// Lends the body of a request.
    pub(super) fn lend(&self, request: Request<Incoming>) -> Request<Lent> {
        request.map(|body| Lent { body: Some(body), home: self.clone() })
    }

    /// Whether anything came back.
    pub(super) fn is_some(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Reads what came back, to the end or to the bound.
    pub(super) async fn drain(&self) {
        let Some(mut body) = self.swap(None) else {
            return;
        };
        let mut read = 0;
        while read <= DRAIN_MAX_BYTES {
            match body.frame().await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => return,
            }
        }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            self.home.swap(Some(body));
        }
    }
}
