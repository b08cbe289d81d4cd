//! Administration of a host: JSON over HTTP, with mutual TLS under the node CA, for the region's operator alone. A router of its own:
//! none of these paths uses a key, or shows one, or a secret; shares of the root key go in, and never come out. Whatever a client may do is done elsewhere, with a client's certificate.

mod call;
mod routes;
mod seal;
pub mod types;

use super::rest::{
    RestServer, ServeError,
    server::{Door, Endpoint},
};
use crate::wire::tls::NodeTls;
use std::sync::Arc;

/// The administration of a host. Dropping it stops it.
pub struct AdminServer(Endpoint);

/// Starts the administration of the host that serves `rest`; returns once it listens.
///
/// # Errors
/// [`ServeError::Bind`] when the address is not usable.
pub async fn serve(address: &str, tls: Arc<NodeTls>, rest: &RestServer) -> Result<AdminServer, ServeError> {
    let router = routes::router(call::Admin::new(Arc::clone(rest.app()), tls.identity()));
    Endpoint::start("admin-accept", address, rest.app(), router, Door::Operator(tls)).await.map(AdminServer)
}

impl AdminServer {
    /// The address really bound.
    pub fn address(&self) -> &str {
        self.0.address()
    }

    /// Returns if it ends by itself, which it should not; says why.
    pub async fn stopped(&mut self) -> String {
        self.0.stopped().await;
        "the listening task of the administration ended".to_owned()
    }

    /// Stops accepting and waits for requests in flight, within bounds.
    pub async fn shutdown(self) {
        self.0.shutdown().await;
    }
}
