//! A node that is asked one question at a time on each connection, and answers it: the witness, the replica. Listens until it is
//! told to stop; knows nothing of the questions.

use crate::{
    env::{Env, Listener, Stream, Task},
    limits::{Limits, ms},
    wire::{
        frame::{self, FrameReader},
        message::{Body, ENVELOPE_VERSION, Envelope},
        silence::Silence,
        tls::{NodeTls, Peer, PeerRole},
    },
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{future::Future, sync::Arc};
use tokio::{io::AsyncWrite, sync::watch};

/// Who answers.
pub trait Desk: Send + Sync + 'static {
    /// Name of the task of one connection.
    const CONNECTION: &'static str;

    /// Its world.
    fn env(&self) -> &Env;
    /// Its bounds.
    fn limits(&self) -> &Limits;
    /// The region it is of: nobody else is answered.
    fn region(&self) -> &str;
    /// The answer to somebody of that role.
    fn answer(&self, role: PeerRole, asked: Option<Body>) -> impl Future<Output = Body> + Send;
    /// Takes the connection over for what one answer does not end; answers why it ended. `None`: it is answered as usual.
    fn take_over<W: AsyncWrite + Unpin + Send>(
        &self,
        _peer: &Peer,
        _asked: &Envelope,
        _write: &mut W,
    ) -> impl Future<Output = Option<String>> + Send {
        async { None }
    }
}

/// Takes connections and answers on each until `stop` changes.
pub async fn listen<D: Desk>(
    desk: Arc<D>,
    tls: Arc<NodeTls>,
    mut listener: Box<dyn Listener>,
    mut stop: watch::Receiver<bool>,
) {
    let mut open: FuturesUnordered<Task<()>> = FuturesUnordered::new();
    loop {
        let full = open.len() >= desk.limits().connections_max as usize;
        tokio::select! {
            biased;
            _ = stop.changed() => return,
            Some(_) = open.next(), if !open.is_empty() => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, _)) => {
                    let work = connection(desk.clone(), tls.clone(), stream);
                    open.push(desk.env().spawn(D::CONNECTION, work).abort_on_drop());
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    desk.env().sleep(ms(desk.limits().ping_ms)).await;
                }
            },
        }
    }
}

async fn connection<D: Desk>(desk: Arc<D>, tls: Arc<NodeTls>, stream: Stream) {
    let (stream, peer) = match tls.accept(stream).await {
        Ok(accepted) => accepted,
        Err(error) => return tracing::info!(%error, "handshake failed"),
    };
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = FrameReader::new(read);
    let mut silence = Silence::new(desk.env().clone(), desk.limits().connection_idle());
    loop {
        silence.restart();
        let asked = tokio::select! {
            biased;
            asked = reader.next() => asked,
            () = silence.lasted() => return,
        };
        let Ok(Some(asked)) = asked else { return };
        if asked.version != ENVELOPE_VERSION || asked.region != desk.region() {
            return;
        }
        if let Some(why) = desk.take_over(&peer, &asked, &mut write).await {
            return tracing::info!(%why, "a connection ended");
        }
        let answer = Envelope {
            version: ENVELOPE_VERSION,
            region: desk.region().to_owned(),
            call: asked.call,
            body: Some(desk.answer(peer.role, asked.body).await),
            ..Envelope::default()
        };
        let patience = ms(desk.limits().detection_ms);
        if frame::write_patiently(desk.env(), &mut write, &answer, patience).await.is_err() {
            return;
        }
    }
}
