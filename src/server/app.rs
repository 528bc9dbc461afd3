//! The apps of a node as configured: the only module that depends on all of them.

use std::cell::OnceCell;
use std::sync::Arc;

use super::BusHandles;
use super::auth::Authentication;
use super::reloadable::ReloadableParts;
use super::reports::ReportPlan;
use crate::app::AppFactory;
use crate::app::echo::EchoFactory;
use crate::app::echo_server::{EchoServerFactory, EchoServerParts};
use crate::app::open_webui::{Node, OpenWebuiFactory};
use crate::app::relay::{RelayFactory, RelayParts};
use crate::app::router::RouterFactory;
use crate::app::upstream::UpstreamFactory;
use crate::app::webhook::{WebhookFactory, authority_factory};
use crate::config::{AppKind, Config, UpstreamConfig};
use crate::metrics::Metrics;
use crate::model::{NodeId, Random, ViaMark};
use crate::store::{MemoryStore, Store};
use crate::upstream::{Pool, check_health};

/// The app of `app.kind`, behind a router where `app.routes` names more.
pub(super) fn apps(
    config: &Config,
    bus: Option<&BusHandles>,
    node: NodeId,
    (reloadable, auth, metrics, random): SharedParts<'_>,
    plan: &ReportPlan,
) -> Box<dyn AppFactory> {
    let parts = AppParts {
        config,
        bus,
        node,
        reloadable,
        auth,
        metrics,
        random,
        plan,
        upstreams: OnceCell::new(),
    };
    let default = parts.app(config.app.kind);
    if config.app.routes.is_empty() {
        return default;
    }
    let routes = config.app.routes.iter();
    let routes = routes.map(|route| (route.namespace.clone(), parts.app(route.app)));
    Box::new(RouterFactory::new(routes, default))
}

/// What the apps share with the rest of the node.
type SharedParts<'a> = (
    &'a ReloadableParts,
    Option<&'a Authentication>,
    &'a Arc<Metrics>,
    &'a Arc<dyn Random>,
);

/// What the apps of a node are built from.
struct AppParts<'a> {
    config: &'a Config,
    bus: Option<&'a BusHandles>,
    node: NodeId,
    reloadable: &'a ReloadableParts,
    auth: Option<&'a Authentication>,
    metrics: &'a Arc<Metrics>,
    random: &'a Arc<dyn Random>,
    plan: &'a ReportPlan,
    /// Shared by all routes to the app `upstream`, so that its limits apply to the node.
    upstreams: OnceCell<Arc<Pool>>,
}

impl AppParts<'_> {
    fn app(&self, kind: AppKind) -> Box<dyn AppFactory> {
        let app = &self.config.app;
        match kind {
            AppKind::Relay => Box::new(RelayFactory::new(self.relay())),
            AppKind::Echo => Box::new(EchoFactory),
            AppKind::EchoServer => {
                let parts = EchoServerParts {
                    webhooks: Arc::clone(&self.reloadable.webhooks),
                    presence: self.plan.presence.clone(),
                    metrics: Arc::clone(self.metrics),
                };
                Box::new(EchoServerFactory::new(&app.echo_server, parts))
            }
            AppKind::Upstream => {
                let relay = app.upstream.relay.then(|| self.relay());
                let pool = self.upstreams.get_or_init(|| self.pool(&app.upstream));
                Box::new(UpstreamFactory::new(Arc::clone(pool), relay))
            }
            AppKind::Webhook => {
                let relay = app.webhook.relay.then(|| self.relay());
                let user_room = self.config.identity.user_room.clone();
                let webhooks = Arc::clone(&self.reloadable.webhooks);
                Box::new(WebhookFactory::new(
                    webhooks,
                    &app.webhook,
                    user_room,
                    relay,
                    self.plan.tenure().cloned(),
                ))
            }
            AppKind::OpenWebui => {
                let store: Arc<dyn Store> = match self.bus {
                    Some(bus) => Arc::clone(&bus.store),
                    None => Arc::new(MemoryStore::default()),
                };
                let node = Node::new(app.open_webui.clone(), store, Arc::clone(self.metrics));
                let pool = self.pool(&app.open_webui.connections(&app.upstream));
                Box::new(OpenWebuiFactory::new(node, pool))
            }
        }
    }

    /// What relays need. The rates of rooms apply to each app on its own: apps have no rooms in common.
    fn relay(&self) -> RelayParts {
        let webhooks = &self.reloadable.webhooks;
        let has_backend = webhooks.has_routes();
        RelayParts {
            authority: has_backend.then(|| authority_factory(Arc::clone(webhooks), self.node)),
            room_tokens: self.auth.map(Authentication::room_tokens),
            presence: self.plan.presence.clone(),
            ..RelayParts::new(Arc::clone(&self.reloadable.rules), Arc::clone(self.metrics))
        }
    }

    /// A pool of upstreams whose health is checked for as long as the pool is in use.
    fn pool(&self, settings: &UpstreamConfig) -> Arc<Pool> {
        let (metrics, random) = (Arc::clone(self.metrics), Arc::clone(self.random));
        let mark = ViaMark::new(&self.config.bus.channel_prefix, self.node);
        let pool = Pool::new(settings.clone(), mark, metrics, random);
        actix_rt::spawn(check_health(Arc::downgrade(&pool)));
        pool
    }
}
