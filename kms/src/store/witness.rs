//! The witness: two fields, changed by compare-and-set alone (R11, R15). It has no vote on data and keeps none.
//! Who asks is told what stands; only the operator's signed statements change it. One without a file is blank: it answers
//! nothing before it is installed in the place of another one (R17a).

use super::{
    desk,
    epoch::{BadStatement, DbId, Epoch, Registered, Statement},
    exchange::{NoAnswer, ORDER_AGAIN, exchange},
    replacement::Replaced,
};
use crate::{
    config::NodeConfig,
    crypto::{OperatorVerifier, equal, sha256},
    env::{Disk, Env, Task},
    limits::{Limits, ms},
    wire::{
        epoch::{Signed, WitnessState},
        message::{Body, Empty},
        tls::{Expected, NodeTls, PeerRole},
    },
};
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
    /// What made it the witness of the active epoch, if that epoch's record names another one (R17a).
    pub replaced: Option<Replaced>,
}

/// A blank witness says so in these words.
const BLANK: &str = "this witness is blank: it knows nothing yet";

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
        let replaced = state.replacement.as_ref();
        let replaced = replaced.map(|signed| Replaced::verify(signed, operator, region)).transpose()?;
        let witness = super::codec::id16(&state.witness)?;
        let named = match &replaced {
            Some(replaced) if replaced.record.epoch == active.record.epoch => replaced.record.to,
            Some(_) => return Err(BadStatement::Other),
            None => active.record.witness,
        };
        // R17: a restore may begin with a new witness. It knows the epoch before from a replica or a backup.
        let begins =
            pending.as_ref().is_some_and(|new| new.record.is_restore() && new.record.witness == witness);
        if named != witness && !begins {
            return Err(BadStatement::Other);
        }
        Ok(Known { witness, active, activation, pending, replaced })
    }

    /// The epoch registered last.
    pub fn newest(&self) -> &Registered {
        self.pending.as_ref().unwrap_or(&self.active)
    }

    /// R11, R17: what stands if this is registered. `Ok(None)`: it stands already.
    ///
    /// # Errors
    /// A sentence for the operator; nothing has changed.
    pub fn register(&self, registered: &Registered) -> Result<Option<Known>, String> {
        if self.newest() == registered {
            return Ok(None);
        }
        let (record, newest) = (&registered.record, self.newest().record.epoch);
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
        if record.is_restore() {
            // R17. What the source has is the operator's to judge: nobody here knows.
            let new = |id: &DbId| *id != record.source && !members.contains(id);
            if record.members[0] == record.members[1]
                || !record.members.iter().all(new)
                || record.target != record.members[0]
                || members.contains(&record.source)
            {
                return Err("a restore makes two new databases, from a source that is no member".to_owned());
            }
            return Ok(Some(Known { pending: Some(registered.clone()), ..self.clone() }));
        }
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
        Ok(Some(Known { pending: Some(registered.clone()), ..self.clone() }))
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
                // It was registered here: its own record names this witness.
                replaced: None,
            })),
            _ => {
                Err(format!("epoch {epoch} is not the one registered: {} stands", self.newest().record.epoch))
            }
        }
    }

    /// R17: whether this is the beginning of a witness that a restore names, in the place of one that is lost.
    pub(crate) fn begins_with_restore(&self) -> bool {
        let pending = self.pending.as_ref().map(|pending| &pending.record);
        pending.is_some_and(|new| {
            new.is_restore()
                && new.witness == self.witness
                && self.active.record.witness != self.witness
                && new.previous == self.active.record.epoch
                && new.epoch.no > self.active.record.epoch.no
        })
    }

    /// R17a: whether a witness that knows `stands` (`None`: it is blank) may begin with this. One that knows something may only if the
    /// chain has replaced that very witness by this one in the epoch it knows as the last: nobody listens to its old id any
    /// more, and nothing is registered there. `Ok(false)`: it stands already.
    ///
    /// # Errors
    /// A sentence for the operator; nothing has changed.
    pub fn install(&self, stands: Option<&Known>) -> Result<bool, String> {
        if self.begins_with_restore() {
            // R17: the witness before is lost, and the region with it.
            return match stands {
                None => Ok(true),
                Some(stands) if stands.witness == self.witness => Ok(false),
                Some(_) => Err("a witness is here already: register the restore at it".to_owned()),
            };
        }
        let Some(replaced) = self.replaced.as_ref().filter(|_| self.pending.is_none()) else {
            return Err("no committed replacement is shown: a witness is made by `kms init` alone".to_owned());
        };
        match stands {
            None => Ok(true),
            Some(stands) if stands.witness == self.witness => Ok(false),
            Some(stands)
                if stands.witness == replaced.record.from
                    && stands.active == self.active
                    && stands.pending.is_none() =>
            {
                Ok(true)
            }
            Some(stands) => Err(format!(
                "this is witness {} already, with epoch {}: a witness that takes another one's place begins with an \
                 empty data directory",
                hex::encode(stands.witness),
                stands.newest().record.epoch
            )),
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
            replacement: self.replaced.as_ref().map(|replaced| replaced.signed.clone()),
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

/// `None`: there is no file.
fn load(
    disk: &dyn Disk,
    data: &Path,
    operator: &OperatorVerifier,
    region: &str,
) -> Result<Option<Known>, String> {
    let path = data.join(WITNESS_FILE);
    let bytes = disk.read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let state = decode_file(&bytes).ok_or_else(|| format!("{} is damaged", path.display()))?;
    Known::verify(&state, operator, region).map(Some).map_err(|error| format!("{}: {error}", path.display()))
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

/// What the witness knows, if `epoch` is what was registered there last: a statement can be signed and yet not be registered, as another
/// operator was faster.
///
/// # Errors
/// Why nothing is done, for the operator to read.
pub async fn read_registered(
    (env, tls): (&Env, &NodeTls),
    config: &NodeConfig,
    operator: &OperatorVerifier,
    epoch: &Registered,
) -> Result<Known, String> {
    let address = config.peers.witness.as_deref().ok_or("no peers.witness in node.toml")?;
    let known = read_epoch(env, tls, address, operator, ms(config.limits.connect_ms)).await;
    let known = known.map_err(|error| {
        let again = if error.may_pass() { format!(": {ORDER_AGAIN}") } else { String::new() };
        format!("the witness, {address}: {error}; nothing was changed{again}")
    })?;
    if known.newest() == epoch {
        Ok(known)
    } else {
        let stands = known.newest().record.epoch;
        Err(format!("the witness knows epoch {stands} and not {}", epoch.record.epoch))
    }
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

/// Asks what the node at `address` knows, which may be a blank witness: `None`.
///
/// # Errors
/// [`NoAnswer`].
pub async fn read_if_any(
    env: &Env,
    tls: &NodeTls,
    address: &str,
    operator: &OperatorVerifier,
    limit: Duration,
) -> Result<Option<Known>, NoAnswer> {
    match read_epoch(env, tls, address, operator, limit).await {
        Ok(known) => Ok(Some(known)),
        Err(NoAnswer::Refused(why)) if why == BLANK => Ok(None),
        Err(error) => Err(error),
    }
}

/// A running witness. Dropping it ends it.
pub struct WitnessNode {
    address: String,
    stop: watch::Sender<bool>,
    task: Task<()>,
}

/// What a witness has.
enum State {
    /// This.
    Known(Box<Known>),
    /// This was read from a file of which nobody knows whether it lasts: a write has failed, or the process before this one may have been
    /// killed in one. It is written anew before anybody hears of it.
    Unwritten(Box<Known>),
    /// No file: nobody has made it a witness yet, or its disk was lost.
    Blank,
    /// A file that cannot be read, or whose last change is in doubt: nothing is answered.
    Lost,
}

struct Desk {
    env: Env,
    config: NodeConfig,
    operator: OperatorVerifier,
    state: Mutex<State>,
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
    let state = match known.unwrap_or_else(|_| Err("panicked while loading".to_owned())) {
        Ok(Some(known)) => State::Unwritten(Box::new(known)),
        Ok(None) => {
            tracing::error!("blank: this witness answers nothing (see `kms witness replace`)");
            State::Blank
        }
        Err(why) => {
            tracing::error!(%why, "the witness answers nothing; databases that start wait");
            State::Lost
        }
    };
    let desk = Arc::new(Desk { env: env.clone(), config, operator, state: Mutex::new(state) });
    let (stop, stopping) = watch::channel(false);
    let task = env.spawn("witness", desk::listen(desk, tls, listener, stopping));
    Ok(WitnessNode { address, stop, task })
}

impl desk::Desk for Desk {
    const CONNECTION: &'static str = "witness-connection";

    fn env(&self) -> &Env {
        &self.env
    }

    fn limits(&self) -> &Limits {
        &self.config.limits
    }

    fn region(&self) -> &str {
        &self.config.region
    }

    async fn answer(&self, role: PeerRole, asked: Option<Body>) -> Body {
        let mut state = self.state.lock().await;
        let region = &self.config.region;
        if let State::Unwritten(known) = &*state {
            let known = known.clone();
            if let Err(why) = self.store(&known).await {
                return Body::BadRequest(format!("the witness cannot write: {why}"));
            }
            *state = State::Known(known);
        }
        if let (PeerRole::Operator, Some(Body::Install(begin))) = (role, &asked) {
            return self.install(&mut state, begin).await;
        }
        let stands = match &*state {
            State::Known(known) => known,
            State::Blank => return Body::BadRequest(BLANK.to_owned()),
            State::Unwritten(_) | State::Lost => {
                return Body::BadRequest("this witness has lost what it knew".to_owned());
            }
        };
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
            Ok(Some(next)) => self.change(&mut state, next).await,
            Err(why) => Body::BadRequest(why),
        }
    }
}

impl Desk {
    /// R17a: takes the place of the witness that the chain has replaced.
    async fn install(&self, state: &mut State, begin: &WitnessState) -> Body {
        let region = &self.config.region;
        let stands = match &*state {
            State::Known(known) => Some(&**known),
            State::Blank => None,
            State::Unwritten(_) | State::Lost => {
                return Body::BadRequest(
                    "this witness has lost what it knew: empty its data directory".to_owned(),
                );
            }
        };
        let begin = Known::verify(begin, &self.operator, region).map_err(|error| error.to_string());
        match begin.and_then(|begin| begin.install(stands).map(|new| new.then_some(begin))) {
            Ok(Some(next)) => self.change(state, next).await,
            Ok(None) => match stands {
                Some(stands) => Body::EpochAnswer(stands.out(region)),
                None => Body::BadRequest(BLANK.to_owned()),
            },
            Err(why) => Body::BadRequest(why),
        }
    }

    /// Durable, then answered.
    async fn change(&self, state: &mut State, next: Known) -> Body {
        let region = &self.config.region;
        match self.store(&next).await {
            Ok(()) => {
                tracing::info!(epoch = %next.newest().record.epoch, pending = next.pending.is_some(), "epoch changed");
                let answer = Body::EpochAnswer(next.out(region));
                *state = State::Known(Box::new(next));
                answer
            }
            Err(why) => {
                // Nobody knows which of the two is on the disk, and what is read now may be gone with the power: neither is answered until
                // what was read is written anew.
                tracing::error!(%why, "the witness cannot write");
                let (disk, data) = (self.env.disk.clone(), self.config.data_dir.clone());
                let (operator, of) = (self.operator, region.clone());
                let again = self.env.blocking("witness", move || load(&*disk, &data, &operator, &of)).await;
                *state = match again {
                    Ok(Ok(Some(known))) => State::Unwritten(Box::new(known)),
                    Ok(Ok(None)) => State::Blank,
                    _ => State::Lost,
                };
                Body::BadRequest(format!("the witness cannot write: {why}; ask again what stands"))
            }
        }
    }

    async fn store(&self, next: &Known) -> Result<(), String> {
        let file = encode_file(&next.out(&self.config.region));
        let (disk, path) = (self.env.disk.clone(), self.config.data_dir.join(WITNESS_FILE));
        let data = self.config.data_dir.clone();
        let written = self.env.blocking("witness", move || {
            // A new machine may have the node's directory alone.
            disk.create_dir(&data)?;
            disk.write_atomic(&path, &file, false)?;
            disk.sync_dir(data.parent().unwrap_or(&data))
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("panicked while writing".to_owned()),
        }
    }
}
