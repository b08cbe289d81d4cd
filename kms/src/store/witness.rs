//! The witness: two fields, changed by compare-and-set alone (R11, R15). It has no vote on data and keeps none.
//! Who asks is told what stands; only the operator's signed statements change it.

use super::{
    epoch::{BadStatement, Epoch, Registered, Statement},
    exchange::{NoAnswer, exchange},
};
use crate::{
    config::NodeConfig,
    crypto::{OperatorVerifier, equal, sha256},
    env::{Disk, Env, Listener, Stream, Task},
    limits::{CONNECTION_IDLE_MS, ms},
    wire::{
        epoch::{Signed, WitnessState},
        frame::{self, FrameReader},
        message::{Body, ENVELOPE_VERSION, Empty, Envelope},
        silence::Silence,
        tls::{Expected, NodeTls, PeerRole},
    },
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use prost::Message;
use std::{io, path::Path, sync::Arc, time::Duration};
use tokio::sync::{Mutex, watch};

/// Name of the witness' file in its data directory.
pub const WITNESS_FILE: &str = "witness.state";

/// What the witness says, verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Its id.
    pub witness: [u8; 16],
    /// The last active epoch.
    pub active: Registered,
    /// The statement that made it active.
    pub activation: Signed,
    /// The registered epoch that is not active yet.
    pub pending: Option<Registered>,
}

impl Known {
    /// Believes nothing that the operator has not signed.
    ///
    /// # Errors
    /// [`BadStatement`].
    pub fn verify(
        state: &WitnessState,
        operator: &OperatorVerifier,
        region: &str,
    ) -> Result<Known, BadStatement> {
        let active = state.active.as_ref().ok_or(BadStatement::Other)?;
        let active = Registered::verify(active, operator, region)?;
        let activation = state.activation.clone().ok_or(BadStatement::Other)?;
        active.activated_by(&activation, operator, region)?;
        let pending = state.pending.as_ref();
        let pending = pending.map(|signed| Registered::verify(signed, operator, region)).transpose()?;
        Ok(Known { witness: super::codec::id16(&state.witness)?, active, activation, pending })
    }

    /// The epoch registered last.
    pub fn newest(&self) -> &Registered {
        self.pending.as_ref().unwrap_or(&self.active)
    }

    /// R11: what stands if `new` is registered. `Ok(None)`: it stands already.
    ///
    /// # Errors
    /// A sentence for the operator; nothing has changed.
    pub fn register(&self, new: &Registered) -> Result<Option<Known>, String> {
        if self.newest() == new {
            return Ok(None);
        }
        let (record, newest) = (&new.record, self.newest().record.epoch);
        if record.previous != newest {
            return Err(format!(
                "another epoch was registered meanwhile: {newest} stands, not {}",
                record.previous
            ));
        }
        if record.epoch.no != newest.no + 1 {
            return Err(format!("epoch {} does not follow {newest}", record.epoch));
        }
        if record.witness != self.witness {
            return Err("it names another witness".to_owned());
        }
        let members = self.active.record.members;
        let Some(place) = members.iter().position(|member| *member == record.source) else {
            return Err(format!(
                "{} is no member of the last active epoch, {}: it may lack what was acknowledged",
                record.source, self.active.record.epoch
            ));
        };
        let other = members[1 - place];
        let new_store = record.target != record.source && !members.contains(&record.target);
        if record.members[place] != record.source
            || record.members[1 - place] != record.target
            || !new_store && record.target != other
        {
            return Err("the source keeps its role, and the target takes the other one".to_owned());
        }
        Ok(Some(Known { pending: Some(new.clone()), ..self.clone() }))
    }

    /// R15: what stands if the registered epoch becomes active. `Ok(None)`: it is already.
    ///
    /// # Errors
    /// A sentence for the operator; nothing has changed.
    pub fn activate(&self, epoch: Epoch, activation: &Signed) -> Result<Option<Known>, String> {
        if self.active.record.epoch == epoch && self.pending.is_none() {
            return Ok(None);
        }
        match &self.pending {
            Some(pending) if pending.record.epoch == epoch => Ok(Some(Known {
                witness: self.witness,
                active: pending.clone(),
                activation: activation.clone(),
                pending: None,
            })),
            _ => {
                Err(format!("epoch {epoch} is not the one registered: {} stands", self.newest().record.epoch))
            }
        }
    }

    /// To the wire.
    pub fn out(&self, region: &str) -> WitnessState {
        WitnessState {
            region: region.to_owned(),
            witness: self.witness.to_vec(),
            active: Some(self.active.signed.clone()),
            activation: Some(self.activation.clone()),
            pending: self.pending.as_ref().map(|pending| pending.signed.clone()),
        }
    }
}

/// The file of a witness: its state, and a SHA-256 over it that finds accidents.
pub fn encode_file(state: &WitnessState) -> Vec<u8> {
    let mut bytes = state.encode_to_vec();
    let sum = sha256(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

fn decode_file(bytes: &[u8]) -> Option<WitnessState> {
    let (text, sum) = bytes.split_last_chunk::<32>()?;
    equal(&sha256(text), sum).then_some(())?;
    WitnessState::decode(text).ok()
}

fn load(disk: &dyn Disk, data: &Path, operator: &OperatorVerifier, region: &str) -> Result<Known, String> {
    let path = data.join(WITNESS_FILE);
    let bytes = disk.read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let bytes = bytes.ok_or_else(|| format!("{} is missing: this witness knows nothing", path.display()))?;
    let state = decode_file(&bytes).ok_or_else(|| format!("{} is damaged", path.display()))?;
    Known::verify(&state, operator, region).map_err(|error| format!("{}: {error}", path.display()))
}

/// Asks the witness which epoch is current, with the identity of `tls`.
///
/// # Errors
/// [`NoAnswer`].
pub async fn read_epoch(
    env: &Env,
    tls: &NodeTls,
    address: &str,
    operator: &OperatorVerifier,
    limit: Duration,
) -> Result<Known, NoAnswer> {
    change(env, tls, address, operator, Body::ReadEpoch(Empty {}), limit).await
}

/// Tells the witness to register or to activate; answers what stands then.
///
/// # Errors
/// [`NoAnswer`]; after `Silent` or a broken stream it may have happened: say it again.
pub async fn change(
    env: &Env,
    tls: &NodeTls,
    address: &str,
    operator: &OperatorVerifier,
    body: Body,
    limit: Duration,
) -> Result<Known, NoAnswer> {
    let expected = Expected { role: PeerRole::Witness, zone: None };
    match exchange(env, tls, address, &expected, body, limit).await? {
        Body::EpochAnswer(state) => Known::verify(&state, operator, &tls.identity().region)
            .map_err(|error| NoAnswer::Refused(error.to_string())),
        _ => Err(NoAnswer::Closed),
    }
}

/// A running witness. Dropping it ends it.
pub struct WitnessNode {
    address: String,
    stop: watch::Sender<bool>,
    task: Task<()>,
}

struct Desk {
    env: Env,
    config: NodeConfig,
    operator: OperatorVerifier,
    /// `None`: the file is missing or damaged, and nothing is answered.
    known: Mutex<Option<Known>>,
}

impl WitnessNode {
    /// The address really bound.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops listening and answering.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // Every change is durable before it is answered: a panicked task has nothing left to save.
        let _ = self.task.await;
    }

    /// Returns if the witness ends by itself; says why.
    pub async fn stopped(&mut self) -> String {
        let _ = (&mut self.task).await;
        "the witness' task ended".to_owned()
    }
}

/// Starts the witness of `config`. Returns once it listens.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    env: Env,
    config: NodeConfig,
    tls: Arc<NodeTls>,
    operator: OperatorVerifier,
) -> io::Result<WitnessNode> {
    let listener = env.net.bind(config.listen.as_deref().unwrap_or_default()).await?;
    let address = listener.local_address();
    let (disk, data, region) = (env.disk.clone(), config.data_dir.clone(), config.region.clone());
    let known = env.blocking("witness", move || load(&*disk, &data, &operator, &region)).await;
    let known = match known.unwrap_or_else(|_| Err("panicked while loading".to_owned())) {
        Ok(known) => Some(known),
        Err(why) => {
            tracing::error!(%why, "the witness answers nothing; databases that start wait");
            None
        }
    };
    let desk = Arc::new(Desk { env: env.clone(), config, operator, known: Mutex::new(known) });
    let (stop, stopping) = watch::channel(false);
    let task = env.spawn("witness", accept(desk, tls, listener, stopping));
    Ok(WitnessNode { address, stop, task })
}

async fn accept(
    desk: Arc<Desk>,
    tls: Arc<NodeTls>,
    mut listener: Box<dyn Listener>,
    mut stop: watch::Receiver<bool>,
) {
    let mut open: FuturesUnordered<Task<()>> = FuturesUnordered::new();
    loop {
        let full = open.len() >= desk.config.limits.connections_max as usize;
        tokio::select! {
            biased;
            _ = stop.changed() => return,
            Some(_) = open.next(), if !open.is_empty() => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, _)) => {
                    let work = connection(desk.clone(), tls.clone(), stream);
                    open.push(desk.env.spawn("witness-connection", work).abort_on_drop());
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    desk.env.sleep(ms(desk.config.limits.ping_ms)).await;
                }
            },
        }
    }
}

async fn connection(desk: Arc<Desk>, tls: Arc<NodeTls>, stream: Stream) {
    let (stream, peer) = match tls.accept(stream).await {
        Ok(accepted) => accepted,
        Err(error) => return tracing::info!(%error, "handshake failed"),
    };
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = FrameReader::new(read);
    let mut silence = Silence::new(desk.env.clone(), ms(CONNECTION_IDLE_MS));
    loop {
        silence.restart();
        let asked = tokio::select! {
            biased;
            asked = reader.next() => asked,
            () = silence.lasted() => return,
        };
        let Ok(Some(asked)) = asked else { return };
        if asked.version != ENVELOPE_VERSION || asked.region != desk.config.region {
            return;
        }
        let body = desk.answer(peer.role, asked.body).await;
        let answer = Envelope {
            version: ENVELOPE_VERSION,
            region: desk.config.region.clone(),
            call: asked.call,
            body: Some(body),
            ..Envelope::default()
        };
        let patience = ms(desk.config.limits.detection_ms);
        if frame::write_patiently(&desk.env, &mut write, &answer, patience).await.is_err() {
            return;
        }
    }
}

impl Desk {
    async fn answer(&self, role: PeerRole, asked: Option<Body>) -> Body {
        let mut known = self.known.lock().await;
        let Some(stands) = known.as_ref() else {
            return Body::BadRequest("this witness has lost what it knew".to_owned());
        };
        let region = &self.config.region;
        let wanted = match (role, &asked) {
            (_, Some(Body::ReadEpoch(_))) => Ok(None),
            (PeerRole::Operator, Some(Body::Register(signed))) => {
                Registered::verify(signed, &self.operator, region)
                    .map_err(|error| error.to_string())
                    .and_then(|new| stands.register(&new))
            }
            (PeerRole::Operator, Some(Body::Activate(signed))) => {
                match Statement::verify(signed, &self.operator, region) {
                    Ok(Statement::Active(epoch, _)) => stands.activate(epoch, signed),
                    Ok(_) => Err(BadStatement::Other.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
            _ => Err(format!("a {} may not ask this of a witness", role.word())),
        };
        match wanted {
            Ok(None) => Body::EpochAnswer(stands.out(region)),
            Ok(Some(next)) => match self.store(&next).await {
                Ok(()) => {
                    tracing::info!(epoch = %next.newest().record.epoch, pending = next.pending.is_some(), "epoch changed");
                    let answer = Body::EpochAnswer(next.out(region));
                    *known = Some(next);
                    answer
                }
                Err(why) => {
                    // Nobody knows which of the two is on the disk: answer neither until it is read again.
                    tracing::error!(%why, "the witness cannot write");
                    let (disk, data) = (self.env.disk.clone(), self.config.data_dir.clone());
                    let (operator, of) = (self.operator, region.clone());
                    let again =
                        self.env.blocking("witness", move || load(&*disk, &data, &operator, &of)).await;
                    *known = again.ok().and_then(Result::ok);
                    Body::BadRequest(format!("the witness cannot write: {why}; ask again what stands"))
                }
            },
            Err(why) => Body::BadRequest(why),
        }
    }

    async fn store(&self, next: &Known) -> Result<(), String> {
        let file = encode_file(&next.out(&self.config.region));
        let (disk, path) = (self.env.disk.clone(), self.config.data_dir.join(WITNESS_FILE));
        let written = self.env.blocking("witness", move || disk.write_atomic(&path, &file, false)).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("panicked while writing".to_owned()),
        }
    }
}
