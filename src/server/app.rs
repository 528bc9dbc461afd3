//! The app of a node: what the apps of its workers share, started once, and each worker's own, built on its thread.

use std::rc::Rc;
use std::sync::Arc;

use super::BusHandles;
use super::reload::ReloadableParts;
use crate::app::echo::{Echo, EngineEcho};
use crate::app::open_webui::{self, OpenWebui};
use crate::app::relay::Relay;
use crate::app::upstream::Upstream;
use crate::app::{App, CommandSender, EngineApp};
use crate::broker::Shard;
use crate::cluster::messages::CommandObserver;
use crate::config::{AppKind, Config, UpstreamConfig};
use crate::metrics::Metrics;
use crate::model::{NodeId, Random, ViaMark};
use crate::store::{MemoryStore, Store};
use crate::upstream::{Pool, check_health};

/// What the workers' apps share.
pub(super) enum NodeApp {
    Relay,
    Echo,
    Upstream(Arc<Pool>),
    OpenWebui {
        node: Arc<open_webui::Node>,
        upstreams: Arc<Pool>,
    },
}

impl NodeApp {
    /// The app that the configuration names.
    pub(super) fn start(
        config: &Config,
        outside: Option<&BusHandles>,
        node: NodeId,
        metrics: &Arc<Metrics>,
        random: &Arc<dyn Random>,
    ) -> Self {
        let app = &config.app;
        // Their health is checked for as long as somebody has the pool.
        let pool = |settings: &UpstreamConfig| {
            let (metrics, random) = (Arc::clone(metrics), Arc::clone(random));
            let mark = ViaMark::new(&config.bus.channel_prefix, node);
            let pool = Pool::new(settings.clone(), mark, metrics, random);
            actix_rt::spawn(check_health(Arc::downgrade(&pool)));
            pool
        };
        match app.kind {
            AppKind::Relay => Self::Relay,
            AppKind::Echo => Self::Echo,
            AppKind::Upstream => Self::Upstream(pool(&app.upstream)),
            AppKind::OpenWebui => {
                let store: Arc<dyn Store> = match outside {
                    Some(outside) => Arc::clone(&outside.store),
                    None => Arc::new(MemoryStore::default()),
                };
                Self::OpenWebui {
                    node: Arc::new(open_webui::Node::new(
                        app.open_webui.clone(),
                        store,
                        Arc::clone(metrics),
                    )),
                    upstreams: pool(&app.open_webui.connections(&app.upstream)),
                }
            }
        }
    }

    /// The app of one worker, on its thread.
    pub(super) fn of_worker(
        &self,
        config: &Config,
        reloadable: &ReloadableParts,
        shard: &Rc<Shard>,
    ) -> Rc<dyn App> {
        let relay = || Relay::new(Arc::clone(&reloadable.rules));
        match self {
            Self::Relay => Rc::new(relay()),
            Self::Echo => Rc::new(Echo),
            Self::Upstream(pool) => {
                let relay = config.app.upstream.relay.then(relay);
                Rc::new(Upstream::new(Arc::clone(pool), relay))
            }
            Self::OpenWebui { node, upstreams } => {
                let shard = Rc::clone(shard);
                let outlet = CommandSender::new(move |command| shard.dispatch(command));
                Rc::new(OpenWebui::start(node, Arc::clone(upstreams), outlet))
            }
        }
    }

    /// The app of bare Engine.IO sessions, if the node has one.
    pub(super) fn engine_app(&self) -> Option<Rc<dyn EngineApp>> {
        match self {
            Self::Echo => Some(Rc::new(EngineEcho)),
            Self::Relay | Self::Upstream(_) | Self::OpenWebui { .. } => None,
        }
    }

    /// Whether nothing is left to be done for sockets that are gone.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::OpenWebui { node, .. } => node.is_settled(),
            Self::Relay | Self::Echo | Self::Upstream(_) => true,
        }
    }

    /// What the app observes of the commands of other members of the bus.
    pub(super) fn command_observers(&self) -> Vec<CommandObserver> {
        match self {
            Self::OpenWebui { node, .. } => vec![Box::new(node.command_observer())],
            Self::Relay | Self::Echo | Self::Upstream(_) => Vec::new(),
        }
    }
}
