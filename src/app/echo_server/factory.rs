//! The part of the app that a node has once.

use std::rc::Rc;
use std::sync::Arc;

use super::EchoServer;
use super::auth::Authorizer;
use super::memberships::Memberships;
use crate::app::{App, AppFactory, CommandSender};
use crate::config::EchoServerConfig;
use crate::metrics::Metrics;
use crate::presence::PresenceRooms;
use crate::webhook::{WebhookClient, Webhooks};

/// Headers of the handshake that select one of several backends.
const SELECTING: [&str; 2] = ["referer", "origin"];

/// What the app of a node is built from.
pub struct EchoServerParts {
    /// With the URLs of the backends.
    pub webhooks: Arc<Webhooks>,
    /// Where the users of presence channels are kept; never `None` with a configuration that uses the app.
    pub presence: Option<Arc<PresenceRooms>>,
    pub metrics: Arc<Metrics>,
}

/// Makes the app of each worker.
pub struct EchoServerFactory {
    settings: Arc<EchoServerConfig>,
    headers: Box<[&'static str]>,
    parts: EchoServerParts,
}

impl EchoServerFactory {
    /// The factory of apps with these settings.
    pub fn new(settings: &EchoServerConfig, parts: EchoServerParts) -> Self {
        // Sessions keep headers by static names; the names of a configuration live as long as the process.
        let headers = settings.headers.iter();
        let headers = headers.map(|name| &*Box::leak(name.clone().into_boxed_str()));
        Self {
            headers: headers.collect(),
            settings: Arc::new(settings.clone()),
            parts,
        }
    }
}

impl AppFactory for EchoServerFactory {
    fn build(&self, _commands: CommandSender) -> Rc<dyn App> {
        let EchoServerParts {
            webhooks,
            presence,
            metrics,
        } = &self.parts;
        let client = WebhookClient::new(Arc::clone(webhooks));
        let several = self.settings.auth_urls.len() > 1;
        let selecting = SELECTING.iter().filter(|_| several);
        let mut kept: Vec<&str> = self.headers.iter().chain(selecting).copied().collect();
        kept.sort_unstable();
        kept.dedup();
        Rc::new(EchoServer {
            headers: self.headers.clone(),
            kept_headers: kept.into(),
            authorizer: Rc::new(Authorizer::new(client, &self.settings)),
            memberships: Rc::new(Memberships::new(presence.clone())),
            metrics: Arc::clone(metrics),
            settings: Arc::clone(&self.settings),
        })
    }
}
