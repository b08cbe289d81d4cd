//! The keepers of shares of a simulated region: at each host they do what `kms unseal`, `kms seal` and `kms shares rotate` do, by the same
//! code, over and over: unseal it after each of its starts, now and then with a wrong share among the right ones; seal it and leave it so
//! when they are told to; replace its shares. Before each share a client of their own asks the host, sealed as it is.

use super::{operator::OPERATOR, sim::NODE_DIR};
use crate::{
    dice::Dice,
    history::{Call, Keeping, Outcome, What},
    workload::{Client, Endpoint, Recorder},
    world::World,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use kms::{
    config::{NodeConfig, Role},
    env::Env,
    init::{self, Bundle, ClientIdentity, SHARES_DIR},
    operator::{
        OperatorConfig,
        unseal::{HostSeal, Seals, UnsealShare, new_shares},
    },
    wire::tls::NodeTls,
};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Between two looks at a host, milliseconds: at least and at most.
const PAUSE_MS: (u64, u64) = (150, 900);
/// Whoever does not answer is down.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where the value stands in a share, and where its checksum begins (docs/sealing.md).
const VALUE: std::ops::Range<usize> = 19..51;

/// The keepers of all hosts.
#[derive(Clone)]
pub(super) struct Keepers(Arc<Shared>);

struct Shared {
    world: World,
    env: Env,
    state: Mutex<State>,
}

struct State {
    /// Hosts that are to be sealed.
    held: BTreeSet<String>,
    /// The shares of each set, the one that is to be last.
    sets: Vec<Vec<UnsealShare>>,
}

/// Those of one host.
struct Keeper {
    shared: Arc<Shared>,
    node: String,
    seals: Seals,
    client: Client,
    dice: Dice,
    /// It has said so last.
    unsealed: bool,
}

/// What a host says of itself.
struct Stands {
    sealed: bool,
    set: String,
    needed: u8,
}

/// Its answer, or the lack of one.
enum Heard {
    Stands(Stands),
    Refused,
    Nothing,
}

impl Keepers {
    /// Has the shares that `kms init` made handed out, and each host looked after from now on.
    ///
    /// # Errors
    /// A harness error.
    pub(super) fn hire(
        world: &World,
        bundle: &Bundle,
        (config, tls): (&OperatorConfig, &Arc<NodeTls>),
        endpoint: &dyn Fn(&ClientIdentity, String) -> Endpoint,
    ) -> Result<Keepers, String> {
        let env = world.env(OPERATOR);
        let files = bundle.operator.iter().filter(|file| file.path.starts_with(SHARES_DIR));
        let line = |contents: &[u8]| {
            std::str::from_utf8(contents).map_err(|error| error.to_string()).map(str::to_owned)
        };
        let read = |contents: &[u8]| UnsealShare::parse(&line(contents)?).map_err(|error| error.to_string());
        let first = files.map(|file| read(&file.contents)).collect::<Result<Vec<_>, String>>()?;
        let state = Mutex::new(State { held: BTreeSet::new(), sets: Vec::new() });
        let shared = Arc::new(Shared { world: world.clone(), env: env.clone(), state });
        shared.hand_out(first);
        let identity = bundle.clients.first().ok_or("no client certificate")?;
        for (number, host) in bundle.nodes.iter().filter(|node| node.role == Role::Host).enumerate() {
            let path = Path::new(NODE_DIR).join(init::NODE_FILE);
            let node = NodeConfig::load(&*world.env(&host.node_id).disk, &path);
            let node = node.map_err(|error| error.to_string())?;
            let at =
                |address: Option<String>| address.ok_or_else(|| format!("{} listens nowhere", host.node_id));
            let (admin, rest) = (at(node.admin_listen)?, at(node.rest_listen)?);
            let (clock, needles) = (world.clone(), world.clone());
            let own = Recorder::new(
                Arc::new(move || crate::actions::Actions::now(&clock)),
                Arc::new(move |label, bytes| {
                    needles.needle(label, bytes);
                }),
            );
            let (client, domain) = (endpoint(identity, rest), identity.domain.to_string());
            let keeper = Keeper {
                shared: Arc::clone(&shared),
                seals: Seals::new(&env, config, tls, Some(&admin)).map_err(|error| error.to_string())?,
                client: Client::new(number as u32, env.clone(), domain, client, own)?,
                dice: Dice::named(world.seed(), &format!("keeper-{}", host.node_id)),
                node: host.node_id.clone(),
                unsealed: false,
            };
            drop(env.spawn("keeper", keeper.keep()));
        }
        Ok(Keepers(shared))
    }

    /// Has a host sealed, and left so; or left to itself again.
    pub(super) fn seal(&self, node: String, sealed: bool) {
        let mut state = self.0.state();
        if sealed {
            state.held.insert(node);
        } else {
            state.held.remove(&node);
        }
    }

    /// Has another set of shares put in the place of the one there is.
    pub(super) fn rotate(&self) {
        match new_shares(&self.0.env, 3, 5) {
            Ok(shares) => self.0.hand_out(shares),
            Err(error) => self.0.world.note("keepers", &error.to_string()),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_out(&self, shares: Vec<UnsealShare>) {
        for share in &shares {
            self.world.needle("share", &bytes(share)[VALUE]);
        }
        self.state().sets.push(shares);
    }
}

impl Keeper {
    async fn keep(mut self) {
        loop {
            let pause = self.dice.between(PAUSE_MS.0, PAUSE_MS.1);
            self.shared.env.sleep(Duration::from_millis(pause)).await;
            let Some(stands) = self.look().await else { continue };
            let held = self.shared.state().held.contains(&self.node);
            match (stands.sealed, held) {
                (false, true) => self.seal().await,
                (false, false) => self.rotate(&stands).await,
                (true, true) => {
                    self.ask().await;
                    // Too few, and nobody gives the last one.
                    self.give(&stands, usize::from(stands.needed) - 1).await;
                }
                (true, false) => {
                    self.ask().await;
                    self.give(&stands, usize::from(stands.needed)).await;
                }
            }
        }
    }

    fn happened(&self, step: Keeping) {
        self.shared.world.happened(What::Keepers { node: self.node.clone(), step });
    }

    fn probe(&self, name: &str) {
        self.shared.world.probe(name, &self.node);
    }

    async fn look(&mut self) -> Option<Stands> {
        let heard = self.shared.env.timeout(PATIENCE, self.seals.states()).await;
        match self.heard(heard.unwrap_or_default()) {
            Heard::Stands(stands) => {
                self.happened(Keeping::Wants { set: stands.set.clone() });
                Some(stands)
            }
            Heard::Refused | Heard::Nothing => None,
        }
    }

    /// What the host has said, and what that means.
    fn heard(&mut self, mut said: Vec<HostSeal>) -> Heard {
        let Some(HostSeal { state, .. }) = said.pop() else { return Heard::Nothing };
        let state = match state {
            Ok(state) => state,
            Err(error) if error.status().is_some_and(|status| status < 500) => return Heard::Refused,
            Err(error) => {
                self.shared.world.note("keepers", &format!("{}: {error}", self.node));
                return Heard::Nothing;
            }
        };
        if !state.sealed && !self.unsealed {
            self.happened(Keeping::Unsealed);
            self.probe("host-unsealed");
        }
        self.unsealed = !state.sealed;
        let Some(shares) = state.shares else { return Heard::Nothing };
        Heard::Stands(Stands { sealed: state.sealed, set: shares.set, needed: shares.threshold })
    }

    async fn seal(&mut self) {
        self.happened(Keeping::Sealing);
        // Whether it is, the next look says, whatever becomes of this.
        self.unsealed = false;
        let heard = self.shared.env.timeout(PATIENCE, self.seals.seal()).await;
        if let Heard::Stands(_) = self.heard(heard.unwrap_or_default()) {
            self.happened(Keeping::Sealed);
            self.probe("host-sealed");
            self.ask().await;
        }
    }

    /// Asks the host as a client does, whatever it says of itself.
    async fn ask(&mut self) {
        let asked = crate::actions::Actions::now(&self.shared.world);
        let fine = self.client.seems_unsealed().await;
        let call = match self.dice.below(3) {
            0 => Call::Random { length: 16 },
            1 => Call::List { state: String::new(), token: None, max: 10 },
            _ => Call::CreateUnnamed { name: self.dice.word(24) },
        };
        let op = self.client.send(call).await;
        let served = op.and_then(|op| match op.outcome {
            Outcome::Ok(_) => Some(true),
            Outcome::Unknown => None,
            _ => Some(false),
        });
        self.client.disconnect();
        self.happened(Keeping::Asked { asked, fine, served });
    }

    /// Gives the host so many shares, one by one; sometimes one of them is not right.
    async fn give(&mut self, stands: &Stands, count: usize) {
        let heard = self.shared.env.timeout(PATIENCE, self.seals.forget()).await;
        match self.heard(heard.unwrap_or_default()) {
            Heard::Stands(stands) if stands.sealed => self.happened(Keeping::Forgot),
            _ => return,
        }
        let mut lines = self.lines(&stands.set);
        let wrong = self.dice.chance(1, 4).then(|| self.dice.below(count as u64) as usize);
        for turn in 0..count {
            if lines.is_empty() {
                return;
            }
            let (number, right) = lines.remove(self.dice.below(lines.len() as u64) as usize);
            let is_right = wrong != Some(turn);
            let given = UnsealShare::parse(&if is_right { right } else { forged(&right) });
            let Ok(given) = given else { return self.probe("keeper-without-share") };
            let share = is_right.then_some(number);
            self.happened(Keeping::Gives { set: stands.set.clone(), needed: stands.needed, share });
            let heard = self.shared.env.timeout(PATIENCE, self.seals.unseal(Some(&given))).await;
            let heard = self.heard(heard.unwrap_or_default());
            self.happened(Keeping::Gave);
            match heard {
                Heard::Stands(stands) if stands.sealed => {}
                Heard::Stands(_) => return,
                Heard::Refused => {
                    self.happened(Keeping::Refused);
                    return self.probe("shares-refused");
                }
                Heard::Nothing => return,
            }
            if self.dice.chance(1, 2) {
                self.ask().await;
            }
        }
    }

    /// Lines of the shares of a set.
    fn lines(&self, set: &str) -> Vec<(u8, String)> {
        let state = self.shared.state();
        let shares = state.sets.iter().flatten().filter(|share| share.set().name() == set);
        shares.map(|share| (share.index(), share.line().to_string())).collect()
    }

    /// Puts the newest set in the place of the one that the host wants.
    async fn rotate(&mut self, stands: &Stands) {
        let parse = |lines: Vec<(u8, String)>, count: usize| -> Vec<UnsealShare> {
            lines.iter().take(count).filter_map(|(_, line)| UnsealShare::parse(line).ok()).collect()
        };
        let newest =
            self.shared.state().sets.last().and_then(|set| set.first()).map(|share| share.set().name());
        let Some(newest) = newest.filter(|newest| *newest != stands.set) else { return };
        let needed = usize::from(stands.needed);
        let (old, new) = (parse(self.lines(&stands.set), needed), parse(self.lines(&newest), needed));
        let heard = self.shared.env.timeout(PATIENCE, self.seals.rotate(&old, &new)).await;
        if let Heard::Stands(stands) = self.heard(heard.unwrap_or_default()) {
            self.happened(Keeping::Rotated { set: stands.set });
            self.probe("shares-rotated");
        }
    }
}

/// What a share's line holds.
fn bytes(share: &UnsealShare) -> Vec<u8> {
    STANDARD.decode(share.line().trim().rsplit(' ').next().unwrap_or_default()).unwrap_or_default()
}

/// A share like this one, with another value, that looks well.
fn forged(line: &str) -> String {
    let Some((word, text)) = line.trim().rsplit_once(' ') else { return String::new() };
    let mut bytes = STANDARD.decode(text).unwrap_or_default();
    if let Some(byte) = bytes.get_mut(VALUE.start) {
        *byte ^= 1;
    }
    let sum = ring::digest::digest(&ring::digest::SHA256, bytes.get(..VALUE.end).unwrap_or_default());
    bytes.truncate(VALUE.end);
    bytes.extend_from_slice(&sum.as_ref()[..4]);
    format!("{word} {}", STANDARD.encode(bytes))
}
