//! The registry of a node, if something needs to know of the sessions of other nodes, and what it announces.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::reloadable::ReloadableParts;
use crate::app::webhook::LostDisconnects;
use crate::broker::Directory;
use crate::config::{AppConfig, Config};
use crate::notices::{LostNotices, Notices};
use crate::presence::Presence;
use crate::registry::{LostNodeListener, LostSocket, Registry, RegistryParts, RegistryTable};
use crate::store::{Store, Tenure};

/// Reason of the disconnects of a lost node, as backends receive it (docs/protocol.md#3-reasons-and-selection).
const NODE_LOST: &str = "node lost";
/// Maximum number of disconnects of lost nodes that are sent at once.
const CONCURRENT: usize = 16;

/// What the registry of a node is built from.
pub(super) struct RegistryPlan {
    pub(super) tenure: Arc<Tenure>,
    pub(super) table: Arc<RegistryTable>,
}

impl RegistryPlan {
    /// `None` if nothing needs the registry.
    pub(super) fn of(config: &Config, tenure: &Arc<Tenure>) -> Option<Self> {
        config.needs_registry().then(|| Self {
            tenure: Arc::clone(tenure),
            table: Arc::new(RegistryTable::new(config.server.workers)),
        })
    }

    /// Starts it.
    pub(super) fn start(
        &self,
        config: &Config,
        reloadable: &ReloadableParts,
        directory: &Arc<Directory>,
        store: Arc<dyn Store>,
        (notices, presence): (Option<&Notices>, Option<&Presence>),
    ) -> Registry {
        let mut listeners: Vec<Rc<dyn LostNodeListener>> = Vec::new();
        if let Some(notices) = notices {
            listeners.push(Rc::new(NoticeListener(notices.lost())));
        }
        if config.app.uses_webhook() {
            let webhooks = Arc::clone(&reloadable.webhooks);
            let disconnects = LostDisconnects::new(webhooks, &config.app.webhook, directory.node());
            listeners.push(Rc::new(WebhookListener {
                disconnects,
                app: config.app.clone(),
            }));
        }
        if let Some(presence) = presence {
            listeners.push(Rc::new(presence.lost()));
        }
        Registry::start(RegistryParts {
            directory: Arc::clone(directory),
            store,
            prefix: config.bus.channel_prefix.clone(),
            tenure: Arc::clone(&self.tenure),
            table: Arc::clone(&self.table),
            listeners,
        })
    }
}

/// Announces lost sockets by notices.
struct NoticeListener(LostNotices);

impl LostNodeListener for NoticeListener {
    fn sockets_lost<'a>(
        &'a self,
        sockets: &'a [LostSocket],
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        for LostSocket { id, entry } in sockets {
            let user = entry.user.as_deref();
            self.0.disconnected(*id, &entry.namespace, user, NODE_LOST);
        }
        Box::pin(self.0.shed())
    }
}

/// Announces lost sockets to the backends of the app `webhook`.
struct WebhookListener {
    disconnects: LostDisconnects,
    app: AppConfig,
}

impl LostNodeListener for WebhookListener {
    fn sockets_lost<'a>(
        &'a self,
        sockets: &'a [LostSocket],
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        let is_webhook = |socket: &&LostSocket| self.app.is_webhook(&socket.entry.namespace);
        let sockets = sockets.iter().filter(is_webhook);
        let sent = stream::iter(sockets).for_each_concurrent(CONCURRENT, |socket| {
            let LostSocket { id, entry } = socket;
            let user = entry.user.as_deref();
            self.disconnects
                .send(*id, &entry.namespace, user, NODE_LOST)
        });
        Box::pin(sent)
    }
}
