//! The notices of the node, if any are configured.

use std::rc::Rc;
use std::sync::Arc;

use super::reloadable::ReloadableParts;
use crate::app::App;
use crate::broker::{Directory, Shard};
use crate::config::Config;
use crate::model::Random;
use crate::notices::{Intake, NoticeObserver, NoticeParts, Notices, WatchedApp};
use crate::store::{Store, Tenure};
use crate::webhook::WebhookClient;

/// Starts the notices of `[webhook.notices]`; `None` if there are none.
pub(super) fn start_notices(
    config: &Config,
    (reloadable, directory, random): (&ReloadableParts, &Arc<Directory>, &Arc<dyn Random>),
    store: Option<Arc<dyn Store>>,
    tenure: Option<&Arc<Tenure>>,
) -> Option<Notices> {
    config.webhook.notices.url.as_ref()?;
    let parts = NoticeParts {
        directory: Arc::clone(directory),
        client: WebhookClient::new(Arc::clone(&reloadable.webhooks)),
        store,
        prefix: config.bus.channel_prefix.clone(),
        metrics: Arc::clone(directory.metrics()),
        random: Arc::clone(random),
        tenure: tenure.cloned(),
    };
    Notices::start(&config.webhook.notices, parts)
}

/// Observes the sockets of a worker, and its clients' events if some of them are notices.
pub(super) fn watch(intake: Option<&Arc<Intake>>, shard: &Shard, app: Rc<dyn App>) -> Rc<dyn App> {
    let Some(intake) = intake else {
        return app;
    };
    shard.observe(Rc::new(NoticeObserver::new(Arc::clone(intake))));
    match intake.wants_events() {
        true => WatchedApp::new(app, Arc::clone(intake)),
        false => app,
    }
}
