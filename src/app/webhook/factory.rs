//! The part of the app that a node has once.

use std::rc::Rc;
use std::sync::Arc;

use super::Webhook;
use super::disconnects::{Disconnects, QueuedDisconnects};
use super::server_events;
use crate::app::relay::{Relay, RelayParts};
use crate::app::{App, AppFactory, CommandSender};
use crate::config::{UserRoom, WebhookAppConfig};
use crate::model::{NodeId, ServerSideEventHandler};
use crate::store::Tenure;
use crate::webhook::{WebhookClient, Webhooks};

/// Makes the app of each worker, over the same backends.
pub struct WebhookFactory {
    webhooks: Arc<Webhooks>,
    settings: Arc<WebhookAppConfig>,
    headers: Box<[&'static str]>,
    user_room: UserRoom,
    relay: Option<RelayParts>,
    queued: Arc<QueuedDisconnects>,
    tenure: Option<Arc<Tenure>>,
}

impl WebhookFactory {
    /// Over these backends; with `relay`, what the node itself needs to handle `roomwire:*` events, and with `tenure` the
    /// name of a node whose disconnects other nodes may announce.
    pub fn new(
        webhooks: Arc<Webhooks>,
        settings: &WebhookAppConfig,
        user_room: UserRoom,
        relay: Option<RelayParts>,
        tenure: Option<Arc<Tenure>>,
    ) -> Self {
        // Sessions keep headers by static names; the names of a configuration live as long as the process.
        let headers = settings.headers.iter();
        let headers = headers.map(|name| &*Box::leak(name.clone().into_boxed_str()));
        Self {
            webhooks,
            headers: headers.collect(),
            settings: Arc::new(settings.clone()),
            user_room,
            relay,
            queued: Arc::default(),
            tenure,
        }
    }
}

impl AppFactory for WebhookFactory {
    fn build(&self, _commands: CommandSender) -> Rc<dyn App> {
        let client = Rc::new(WebhookClient::new(Arc::clone(&self.webhooks)));
        let queued = Arc::clone(&self.queued);
        Rc::new(Webhook {
            disconnects: Disconnects::new(Rc::clone(&client), queued, &self.settings),
            client,
            settings: Arc::clone(&self.settings),
            headers: self.headers.clone(),
            user_room: self.user_room.clone(),
            relay: self.relay.clone().map(Relay::new),
            tenure: self.tenure.clone(),
        })
    }

    fn is_settled(&self) -> bool {
        self.queued.is_empty()
    }

    fn server_events(&self, node: NodeId) -> Option<ServerSideEventHandler> {
        Some(server_events::handler(Arc::clone(&self.webhooks), node))
    }

    fn identifies(&self) -> bool {
        true
    }
}
