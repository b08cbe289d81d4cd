//! The REST interface: HTTPS, paths and bodies as OVHcloud documents them. Decides nothing about keys.

mod body;
mod border;
mod call;
mod io;
mod leftover;
mod meter;
mod rate;
mod reply;
mod routes;
mod secrets;
mod secrets_v1;
mod secrets_v2;
mod server;
mod tls;
mod trail;
mod types;

pub use server::{RestServer, ServeError, serve};
pub use tls::TlsError;
#[cfg(fuzzing)]
pub use types::read_every_body;
