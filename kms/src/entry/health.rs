//! Whether hosts can serve, or at least answer, by asking each again and again. Misses in a row make a host
//! lose its standing; one success brings it back.

use super::probe::Probe;
use crate::{
    env::Env,
    limits::{Limits, ms},
    wire::tls::NodeTls,
};
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::sync::watch;

/// All hosts as the entry sees them.
pub(super) struct Hosts {
    addresses: Vec<String>,
    states: watch::Sender<Vec<State>>,
}

#[derive(Clone, Copy)]
struct State {
    standing: Standing,
    /// How often it was given up: a loss is noticed even if the host is back at once.
    losses: u64,
    /// How often its process was seen to be another one than before.
    restarts: u64,
}

/// Why a client leaves its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// The host is given up.
    Lost,
    /// It lives and cannot serve, and another can; or it is not the process any more that the client was passed to.
    ForBetter,
}

/// What a host is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Does not answer.
    Lost,
    /// Answers, and says that it cannot serve: clients hear a refusal from it, which is more than silence.
    Answers,
    /// Serves.
    Serves,
}

impl Hosts {
    /// All are lost until they have answered.
    pub(super) fn new(addresses: &[String]) -> Hosts {
        let states = vec![State { standing: Standing::Lost, losses: 0, restarts: 0 }; addresses.len()];
        Hosts { addresses: addresses.to_vec(), states: watch::Sender::new(states) }
    }

    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }

    pub(super) fn address(&self, host: usize) -> &str {
        &self.addresses[host]
    }

    /// Those that serve; if there is none, those that answer.
    pub(super) fn best(&self) -> Vec<usize> {
        let states = self.states.borrow();
        let best = states.iter().map(|state| state.standing).max().unwrap_or(Standing::Lost);
        if best == Standing::Lost {
            return Vec::new();
        }
        (0..states.len()).filter(|host| states[*host].standing == best).collect()
    }

    /// Done when, after this call, the host is given up, or cannot serve for all of `grace` in which another
    /// can: its clients are better off elsewhere then. Hosts that lose and find a database together do so
    /// within the grace, and keep their clients. Done too when the host's process is another one: without power it ended no
    /// connection, and one on which nothing is sent would seem to stand until the client's next request is lost on it.
    pub(super) fn left(
        &self,
        env: &Env,
        host: usize,
        grace: Duration,
    ) -> impl Future<Output = Left> + Send + use<> {
        let mut states = self.states.subscribe();
        let State { losses, restarts, .. } = states.borrow()[host];
        let env = env.clone();
        async move {
            let lost = move |states: &Vec<State>| states[host].losses != losses;
            let again = move |states: &Vec<State>| states[host].restarts != restarts;
            let better = move |states: &Vec<State>| {
                let elsewhere = states.iter().any(|state| state.standing == Standing::Serves);
                states[host].standing != Standing::Serves && elsewhere
            };
            loop {
                match states.wait_for(|states| lost(states) || again(states) || better(states)).await {
                    Ok(states) if lost(&states) => return Left::Lost,
                    Ok(states) if again(&states) => return Left::ForBetter,
                    _ => {}
                }
                let changed = states.wait_for(|states| lost(states) || !better(states));
                match env.timeout(grace, changed).await {
                    Ok(Ok(states)) if lost(&states) => return Left::Lost,
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => return Left::ForBetter,
                }
            }
        }
    }

    fn restarted(&self, host: usize) {
        self.states.send_modify(|states| states[host].restarts += 1);
    }

    fn set(&self, host: usize, standing: Standing) {
        self.states.send_modify(|states| {
            let state = &mut states[host];
            state.losses += u64::from(standing == Standing::Lost);
            state.standing = standing;
        });
    }
}

/// The rule by which answers and misses make a standing.
struct Judge {
    standing: Standing,
    /// In a row, without one that serves.
    not_serving: u32,
    /// In a row, without any answer.
    silent: u32,
    /// How many in a row are believed.
    misses: u32,
}

impl Judge {
    fn new(misses: u32) -> Judge {
        Judge { standing: Standing::Lost, not_serving: 0, silent: 0, misses }
    }

    /// Takes the result of one question; the new standing if it changed.
    fn heard(&mut self, heard: Standing) -> Option<Standing> {
        self.not_serving = if heard == Standing::Serves { 0 } else { self.not_serving.saturating_add(1) };
        self.silent = if heard == Standing::Lost { self.silent.saturating_add(1) } else { 0 };
        let standing = if self.silent >= self.misses {
            Standing::Lost
        } else if self.not_serving >= self.misses {
            self.standing.min(Standing::Answers).max(heard)
        } else {
            self.standing.max(heard)
        };
        let changed = standing != self.standing;
        self.standing = standing;
        changed.then_some(standing)
    }
}

/// Checks a host for ever.
pub(super) async fn watch(env: Env, hosts: Arc<Hosts>, host: usize, tls: Arc<NodeTls>, limits: Limits) {
    let span = ms(limits.entry_check_ms);
    let address = hosts.address(host).to_owned();
    let mut probe = Probe::new(env.clone(), tls, address.clone());
    let mut judge = Judge::new(limits.entry_misses);
    let mut start = 0;
    loop {
        let begin = env.now();
        let answer = env.timeout(span, probe.ask()).await;
        let answer = answer.unwrap_or_else(|_| Err(io::Error::other("no answer in time")));
        if let Ok(health) = answer {
            let before = std::mem::replace(&mut start, health.start);
            if before != 0 && before != start {
                tracing::info!(host = address, "host was started again");
                hosts.restarted(host);
            }
        }
        let (heard, reason) = match answer {
            Ok(health) if health.can_serve => (Standing::Serves, "it serves".to_owned()),
            Ok(_) => (Standing::Answers, "it says it cannot serve".to_owned()),
            Err(error) => (Standing::Lost, error.to_string()),
        };
        match judge.heard(heard) {
            Some(Standing::Serves) => {
                tracing::info!(host = address, "host is healthy");
                hosts.set(host, Standing::Serves);
            }
            Some(standing) => {
                tracing::warn!(host = address, reason, ?standing, "host is not healthy");
                hosts.set(host, standing);
            }
            None => {}
        }
        env.clock.sleep_until(begin + span).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Answers, Lost, Serves};

    #[test]
    fn two_misses_lower_the_standing_and_one_success_raises_it() {
        let mut judge = Judge::new(2);
        let mut heard = |what| {
            judge.heard(what);
            judge.standing
        };
        assert_eq!(heard(Answers), Answers);
        assert_eq!(heard(Serves), Serves);
        assert_eq!(heard(Lost), Serves);
        assert_eq!(heard(Serves), Serves);
        assert_eq!(heard(Answers), Serves);
        assert_eq!(heard(Answers), Answers);
        assert_eq!(heard(Lost), Answers);
        assert_eq!(heard(Lost), Lost);
        assert_eq!(heard(Answers), Answers);
        assert_eq!(heard(Serves), Serves);
        // Silent once and unable once: no longer trusted to serve, still answers.
        assert_eq!(heard(Lost), Serves);
        assert_eq!(heard(Answers), Answers);
        // The other way round.
        assert_eq!(heard(Serves), Serves);
        assert_eq!(heard(Answers), Serves);
        assert_eq!(heard(Lost), Answers);
    }

    #[tokio::test]
    async fn clients_of_a_process_that_is_gone_leave_and_those_of_the_next_stay() {
        use futures_util::FutureExt;
        let env = crate::os::env();
        let hosts = Hosts::new(&["one".to_owned(), "two".to_owned()]);
        hosts.set(0, Serves);
        let (before, other) = (hosts.left(&env, 0, Duration::ZERO), hosts.left(&env, 1, Duration::ZERO));
        hosts.restarted(0);
        let after = hosts.left(&env, 0, Duration::ZERO);
        assert_eq!(before.now_or_never(), Some(Left::ForBetter));
        assert_eq!(after.now_or_never(), None);
        assert_eq!(other.now_or_never(), None);
    }

    #[test]
    fn the_best_are_those_that_serve_else_those_that_answer() {
        let hosts = Hosts::new(&["one".to_owned(), "two".to_owned(), "three".to_owned()]);
        assert_eq!(hosts.best(), Vec::<usize>::new());
        hosts.set(0, Answers);
        hosts.set(2, Answers);
        assert_eq!(hosts.best(), [0, 2]);
        hosts.set(1, Serves);
        assert_eq!(hosts.best(), [1]);
    }
}
