//! The REST interface: HTTPS, paths and bodies as OVHcloud documents them. Decides nothing about keys.

pub(super) mod body;
mod border;
pub(super) mod call;
mod direct;
mod io;
mod leftover;
mod meter;
mod openapi;
mod paths;
mod rate;
pub(super) mod reply;
mod routes;
mod sealing;
mod secrets;
mod secrets_v1;
mod secrets_v2;
pub(super) mod server;
mod tls;
mod trail;
pub mod transfer;
mod types;

pub use server::{RestServer, ServeError, serve};
pub use tls::TlsError;
#[cfg(fuzzing)]
pub use types::read_every_body;
