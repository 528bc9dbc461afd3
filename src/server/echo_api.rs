//! The HTTP routes of the app `echo_server`.

use std::rc::Rc;
use std::sync::Arc;

use super::worker::Blueprint;
use crate::broker::Ingress;
use crate::echo_api::{EchoApi, EchoApiParts};

/// The routes of a worker; `None` if the app is not used.
pub(super) fn echo_api(blueprint: &Blueprint) -> Option<Rc<EchoApi>> {
    let app = &blueprint.config.app;
    app.uses_echo_server().then(|| {
        let parts = EchoApiParts {
            ingress: Ingress::new(Arc::clone(&blueprint.directory)),
            presence: blueprint.reports.presence.clone(),
            limits: Arc::clone(&blueprint.limits),
            metrics: Arc::clone(blueprint.directory.metrics()),
        };
        Rc::new(EchoApi::new(&app.echo_server, parts))
    })
}
