//! The HTTP routes of the app `echo_server`.

use std::rc::Rc;
use std::sync::Arc;

use crate::broker::{Directory, Ingress};
use crate::config::AppConfig;
use crate::echo_api::{EchoApi, EchoApiParts};
use crate::limits::Limits;
use crate::presence::PresenceRooms;

/// The routes of a worker; `None` if the app is not used.
pub(super) fn echo_api(
    app: &AppConfig,
    directory: &Arc<Directory>,
    presence: Option<&Arc<PresenceRooms>>,
    limits: &Arc<Limits>,
) -> Option<Rc<EchoApi>> {
    app.uses_echo_server().then(|| {
        let parts = EchoApiParts {
            ingress: Ingress::new(Arc::clone(directory)),
            presence: presence.cloned(),
            limits: Arc::clone(limits),
            metrics: Arc::clone(directory.metrics()),
        };
        Rc::new(EchoApi::new(&app.echo_server, parts))
    })
}
