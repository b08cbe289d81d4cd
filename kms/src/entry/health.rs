//! Whether a host can serve, by asking it again and again. Misses in a row make it lost; one success brings
//! it back.

use super::probe::Probe;
use crate::{
    env::Env,
    limits::{Limits, ms},
    wire::tls::NodeTls,
};
use std::{future::Future, sync::Arc};
use tokio::sync::watch;

/// A host as the entry sees it.
pub(super) struct Host {
    address: String,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy)]
struct State {
    healthy: bool,
    /// How often it was given up: a loss is noticed even if the host is back at once.
    losses: u64,
}

impl Host {
    /// Not healthy until it has said so.
    pub(super) fn new(address: &str) -> Host {
        Host { address: address.to_owned(), state: watch::Sender::new(State { healthy: false, losses: 0 }) }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn healthy(&self) -> bool {
        self.state.borrow().healthy
    }

    /// Done when the host is given up, counted from this call.
    pub(super) fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut state = self.state.subscribe();
        let losses = state.borrow().losses;
        async move {
            let _ = state.wait_for(|state| state.losses != losses).await;
        }
    }
}

/// Checks a host for ever.
pub(super) async fn watch(env: Env, host: Arc<Host>, tls: Arc<NodeTls>, limits: Limits) {
    let span = ms(limits.entry_check_ms);
    let mut probe = Probe::new(env.clone(), tls, host.address().to_owned());
    let mut misses = 0;
    loop {
        let begin = env.now();
        let reason = match env.timeout(span, probe.ask()).await {
            Ok(Ok(health)) if health.can_serve => None,
            Ok(Ok(_)) => Some("it says it cannot serve".to_owned()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        match reason {
            None => {
                misses = 0;
                if !host.healthy() {
                    tracing::info!(host = host.address(), "host is healthy");
                    host.state.send_modify(|state| state.healthy = true);
                }
            }
            Some(reason) => {
                misses += 1;
                if misses >= limits.entry_misses && host.healthy() {
                    tracing::warn!(host = host.address(), reason, misses, "host given up");
                    host.state.send_modify(|state| {
                        state.healthy = false;
                        state.losses += 1;
                    });
                }
            }
        }
        env.clock.sleep_until(begin + span).await;
    }
}
