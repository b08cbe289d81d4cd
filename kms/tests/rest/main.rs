//! The host role over real TLS on 127.0.0.1, with a store in memory whose two copies, doubts, refusals and
//! silences the tests choose. Does not test the real store.

mod bad_inputs;
mod client;
mod doubt;
mod http2;
mod keys;
mod logs;
mod pages;
mod patience;
mod region;
mod secret_bodies;
mod secrets;
mod store;
mod walk;
