//! The host role over real TLS on 127.0.0.1, with a store in memory whose two copies, doubts, refusals and
//! silences the tests choose. Does not test the real store.

mod audit;
mod bad_inputs;
mod client;
mod disk;
mod doubt;
mod http2;
mod keys;
mod logs;
mod metrics;
mod pages;
mod patience;
mod rates;
mod region;
mod secrets;
mod spool;
mod store;
mod walk;
