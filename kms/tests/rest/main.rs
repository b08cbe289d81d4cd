//! The host role over real TLS on 127.0.0.1, with a store in memory whose two copies, doubts, refusals and
//! silences the tests choose. Does not test the real store.

mod access;
mod admin;
mod audit;
mod bad_inputs;
mod client;
mod direct;
mod disk;
mod doubt;
mod http2;
mod keys;
mod known_answers;
mod logs;
mod metrics;
mod openapi;
mod pages;
mod patience;
mod rates;
mod region;
mod rotation;
mod sealing;
mod secret_bodies;
mod secrets;
mod semantics;
mod spool;
mod store;
mod tokens;
mod transfer;
mod transfer_once;
mod transfer_rights;
#[path = "../vectors/reader.rs"]
#[expect(dead_code, reason = "the other test takes all of it")]
mod vectors;
mod walk;
