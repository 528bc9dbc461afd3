//! The app for Laravel Echo: channels of a Laravel backend, as laravel-echo-server serves them (`docs/echo.md`).
//!
//! A channel is a room of the same name. Everybody joins public channels; the backend decides about the others
//! (`auth.rs`). The users of presence channels are kept for the cluster: `memberships.rs` enters them as the backend
//! admits them, and the module `presence` emits the events. What the backend broadcasts arrives over the bus or the
//! HTTP routes of `echo_api`, as events to rooms like any other.

pub mod answer;
mod auth;
mod channel;
mod factory;
mod memberships;
pub mod request;
mod socket;

use std::rc::Rc;
use std::sync::Arc;

use super::{App, SocketContext, SocketHandler};
use crate::config::EchoServerConfig;
use crate::metrics::Metrics;
use crate::model::SocketEvent;
use auth::Authorizer;
pub use factory::{EchoServerFactory, EchoServerParts};
use memberships::Memberships;
use socket::EchoSocket;

/// The app; one instance a worker.
pub struct EchoServer {
    settings: Arc<EchoServerConfig>,
    /// Headers of the handshake that requests to the backend contain.
    headers: Box<[&'static str]>,
    /// The same, and those that select the backend.
    kept_headers: Box<[&'static str]>,
    authorizer: Rc<Authorizer>,
    memberships: Rc<Memberships>,
    metrics: Arc<Metrics>,
}

impl App for EchoServer {
    fn open(self: Rc<Self>, _context: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        Rc::new(EchoSocket::new(self))
    }

    fn handshake_headers(&self) -> Option<&[&'static str]> {
        Some(&self.kept_headers)
    }

    fn follows_sockets(&self) -> bool {
        true
    }

    fn on_socket_event(&self, event: &SocketEvent) {
        self.memberships.on_event(event);
    }
}
