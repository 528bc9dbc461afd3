//! The app in front of HTTP backends: connects, events and disconnects of clients are requests to them, and their
//! responses decide what happens. See `docs/webhooks.md`.
//!
//! The events of a socket are handled one at a time, so a backend receives them in the order in which the client sent
//! them, and the disconnect last. A request that was sent is completed even if the session ends meanwhile: its
//! connection stays usable, and the disconnect follows it.

mod actions;
mod authority;
mod disconnects;
mod factory;
mod hook_state;
mod lost;
mod request;
mod response;
mod server_events;
mod socket;

use std::rc::Rc;
use std::sync::Arc;

use super::relay::{self, Relay};
use super::{App, Event, SocketContext, SocketHandler};
use crate::config::{UserRoom, WebhookAppConfig};
use crate::model::SocketEvent;
use crate::store::Tenure;
use crate::webhook::{HookTarget, WebhookClient};
pub use authority::authority_factory;
use disconnects::Disconnects;
pub use factory::WebhookFactory;
pub use lost::LostDisconnects;
use socket::HookedSocket;

/// The app; one instance a worker.
pub struct Webhook {
    client: Rc<WebhookClient>,
    settings: Arc<WebhookAppConfig>,
    /// `app.webhook.headers`.
    headers: Box<[&'static str]>,
    user_room: UserRoom,
    /// Handles `roomwire:*` events, unless they are the backend's.
    relay: Option<Relay>,
    disconnects: Rc<Disconnects>,
    /// The name of the node, if other nodes may announce the disconnects of its sockets.
    tenure: Option<Arc<Tenure>>,
}

impl Webhook {
    fn route(&self, namespace: &str, event: &str) -> Option<Arc<HookTarget>> {
        self.client.node().route(namespace, event).cloned()
    }

    fn relay_for(&self, event: &Event) -> Option<&Relay> {
        let relay = self.relay.as_ref()?;
        relay::is_relay_event(&event.payload).then_some(relay)
    }
}

impl App for Webhook {
    fn open(self: Rc<Self>, context: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        Rc::new(HookedSocket::new(self, context.socket))
    }

    fn handshake_headers(&self) -> Option<&[&'static str]> {
        Some(&self.headers)
    }

    fn identifies(&self) -> bool {
        true
    }

    fn follows_sockets(&self) -> bool {
        self.relay.as_ref().is_some_and(App::follows_sockets)
    }

    fn on_socket_event(&self, event: &SocketEvent) {
        if let Some(relay) = &self.relay {
            relay.on_socket_event(event);
        }
    }
}
