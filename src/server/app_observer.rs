//! Passes what happens to the sockets of a worker on to its app.

use std::rc::{Rc, Weak};

use crate::app::App;
use crate::broker::{Observer, Shard};
use crate::model::SocketEvent;

/// The observer of an app that follows sockets.
pub(super) struct AppObserver(Weak<dyn App>);

impl AppObserver {
    /// Observes the sockets of a worker for its app, if the app follows them.
    pub(super) fn observe(shard: &Shard, app: &Rc<dyn App>) {
        if app.follows_sockets() {
            // The app refers to the shard.
            shard.observe(Rc::new(Self(Rc::downgrade(app))));
        }
    }
}

impl Observer for AppObserver {
    fn on_event(&self, event: &SocketEvent) {
        if let Some(app) = self.0.upgrade() {
            app.on_socket_event(event);
        }
    }
}
