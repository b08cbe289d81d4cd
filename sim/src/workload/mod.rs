//! The workload: clients of the REST API over [`kms::env::Env`], the same against simulated and real processes.
//! Open loop at a total rate, one outstanding operation per client, no retries unless told: then as the public SDK does, each try an
//! operation of its own. Judges nothing: it writes down what it saw.

mod generate;
mod http;
mod kind;
pub mod read;
mod record;
mod secrets;
pub mod token;
pub mod visitors;
pub mod wire;
pub(crate) mod wire_secrets;

pub use generate::{Board, Generator};
pub use http::{Endpoint, Http, NoReply, Reply};
pub use kind::Kind;
pub use record::{OnNeedle, Recorder, TrueTime};

use crate::{
    history::{Answer, Call, Micros, Op, Outcome},
    plan::{ClientPlan, LoadPlan},
};
use kms::env::Env;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Longest wait for an answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before the second attempt (what `Retry-After` asks for too); twice as long before each further one.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A client: a connection, and where its operations are written down.
pub struct Client {
    /// Its number in the history.
    pub number: u32,
    /// Its world.
    pub env: Env,
    /// The domain of its certificate.
    pub domain: String,
    http: Http,
    recorder: Recorder,
}

impl Client {
    /// A client that is not connected yet.
    ///
    /// # Errors
    /// Its certificates cannot be read: a mistake of the harness.
    pub fn new(
        number: u32,
        env: Env,
        domain: String,
        endpoint: Endpoint,
        recorder: Recorder,
    ) -> Result<Client, String> {
        let http = Http::new(env.clone(), endpoint)?;
        Ok(Client { number, env, domain, http, recorder })
    }

    /// Sends one call and records it. `None` if the call refers to an operation that gave no ciphertext: it
    /// is not sent then.
    pub async fn send(&mut self, call: Call) -> Option<Op> {
        let earlier = |id: u64| self.recorder.op(id).map(|op| op.outcome);
        let request = wire::request(&self.domain, &call, &earlier)?;
        let id = self.recorder.begin(self.number, call.clone());
        let reply = self.http.request(request.method, &request.path, request.body, REQUEST_TIMEOUT).await;
        let outcome = match reply {
            Err(_) => Outcome::Unknown,
            Ok(reply) => {
                if let Some(text) = wire::denial(&reply) {
                    self.recorder.denied(id, reply.status, text);
                }
                let outcome = wire::outcome(&call, &reply).unwrap_or_else(|malformed| {
                    self.recorder.probe(&format!("malformed-answer-{}", malformed.status));
                    Outcome::Rejected { status: malformed.status, code: 0 }
                });
                self.recorder.called(id, reply.request_id);
                outcome
            }
        };
        if let Outcome::Ok(Answer::DataKey { plaintext_hex, .. }) = &outcome
            && let Ok(bytes) = hex::decode(plaintext_hex)
        {
            self.recorder.needle("data key", &bytes);
        }
        self.recorder.end(id, outcome);
        self.recorder.op(id)
    }

    /// What `/healthz` says: (can serve, can write). Not part of the history.
    pub async fn health(&mut self) -> Option<(bool, bool)> {
        let (_, body) = self.says().await?;
        Some((body.get("can_serve")?.as_bool()?, body.get("can_write")?.as_bool()?))
    }

    /// Whether `/healthz` says anything else than that the host is sealed and serves nothing. Not part of the history.
    pub async fn seems_unsealed(&mut self) -> Option<bool> {
        let (status, body) = self.says().await?;
        let is =
            |field: &str, value: bool| body.get(field).and_then(serde_json::Value::as_bool) == Some(value);
        Some(status != 503 || !is("sealed", true) || !is("can_serve", false) || !is("can_write", false))
    }

    async fn says(&mut self) -> Option<(u16, serde_json::Value)> {
        let reply = self.http.request("GET", "/healthz", None, REQUEST_TIMEOUT).await.ok()?;
        Some((reply.status, serde_json::from_slice(&reply.body).ok()?))
    }

    /// Leaves the connection; the next request makes a new one.
    pub fn disconnect(&mut self) {
        self.http.disconnect();
    }

    /// Registers a secret that is about to be sent.
    pub fn needle(&self, label: &str, bytes: &[u8]) {
        self.recorder.needle(label, bytes);
    }

    /// True time.
    pub fn true_time(&self) -> Micros {
        self.recorder.now()
    }
}

/// Tells the clients of a run to stop.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// No further operation is begun.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it is so.
    pub fn stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Where a client's operations come from.
pub trait Source: Send {
    /// The next operation; `secret` is told of each new name, context and plaintext in it.
    fn next(&mut self, secret: &mut dyn FnMut(&str, &str)) -> Call;
    /// Learns from how an operation ended.
    fn learn(&mut self, op: &Op);
}

/// Runs one client's load until told to stop; returns the client for the end checks.
pub async fn run_client(
    client: Client,
    load: LoadPlan,
    plan: ClientPlan,
    board: Board,
    stop: Stop,
) -> Client {
    let Some(interval_us) = load.interval_us() else { return client };
    let generator = Generator::new(client.number, &load, plan.stream, board);
    let pace = Pace { first_us: plan.first_us, interval_us, retries: load.retries };
    run_source(client, pace, generator, stop).await
}

/// How often a client asks for something.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "as in the plan")]
pub struct Pace {
    pub first_us: Micros,
    pub interval_us: Micros,
    pub retries: u32,
}

/// The same with operations from anywhere.
pub async fn run_source(mut client: Client, pace: Pace, mut source: impl Source, stop: Stop) -> Client {
    let interval = Duration::from_micros(pace.interval_us);
    let mut due = client.env.now() + Duration::from_micros(pace.first_us);
    loop {
        client.env.clock.sleep_until(due).await;
        if stop.stopped() {
            return client;
        }
        let recorder = client.recorder.clone();
        let call = source.next(&mut |label, text| recorder.needle(label, text.as_bytes()));
        attempt(&mut client, &mut source, call, pace.retries, &stop).await;
        due = due + interval;
        let now = client.env.now();
        if now > due {
            // One operation at a time: slots missed while waiting for an answer are counted, not made up for.
            client.recorder.probe("slots-missed");
            due = now;
        }
    }
}

async fn attempt(client: &mut Client, source: &mut impl Source, call: Call, retries: u32, stop: &Stop) {
    let mut pause = RETRY_PAUSE;
    for left in (0..=retries).rev() {
        let Some(op) = client.send(call.clone()).await else { return };
        source.learn(&op);
        if left == 0 || !is_tried_again(&op.outcome) {
            return;
        }
        client.recorder.probe("tried-again");
        client.env.sleep(pause).await;
        if stop.stopped() {
            return;
        }
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}

/// After these the public SDK sends a request once more: no answer, 429, and 5xx but 501.
fn is_tried_again(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Ok(_) => false,
        Outcome::Refused | Outcome::SaidUnknown | Outcome::Unknown => true,
        Outcome::Rejected { status, .. } => *status == 429 || *status >= 500 && *status != 501,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_again_is_what_the_sdk_tries_again() {
        let rejected = |status| Outcome::Rejected { status, code: 1 };
        for outcome in
            [Outcome::Refused, Outcome::Unknown, Outcome::SaidUnknown, rejected(500), rejected(429)]
        {
            assert!(is_tried_again(&outcome), "{outcome:?}");
        }
        for outcome in [Outcome::Ok(Answer::Done), rejected(400), rejected(404), rejected(409), rejected(501)]
        {
            assert!(!is_tried_again(&outcome), "{outcome:?}");
        }
    }
}
