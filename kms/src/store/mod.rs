//! The replicated store of sealed records: two databases in a chain, the head orders, the tail's durable
//! commit is the commit. The rules (R1, R2, ...) are those of `docs/protocol.md`.

pub mod api;
pub mod backoff;
pub mod client;
pub(crate) mod codec;
pub mod desk;
pub mod engine;
pub mod epoch;
pub mod exchange;
pub(crate) mod giving;
pub mod held;
pub mod log;
pub mod replacement;
pub mod row;
pub mod server;
pub mod termination;
pub mod witness;
