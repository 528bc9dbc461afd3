//! Composes the services for the users of clients.

use std::sync::Arc;
use std::time::Duration;

use log::warn;

use super::auth::Authentication;
use crate::auth::{
    Announce, EvictSocket, LockParts, RECONNECT_TOPIC, REVOCATION_TOPIC, RevocationParts, Users,
};
use crate::broker::{Directory, Ingress};
use crate::config::Config;
use crate::health::{Health, RevocationState};
use crate::metrics::Metrics;
use crate::metrics::labels::{Origin, SessionConflict};
use crate::model::{Command, Emit, Payload, Selector};
use crate::store::{MemoryStore, Store};

/// How long the start of a node waits for the revocations.
const LOADING_TIME: Duration = Duration::from_secs(1);

/// The services of a node. If its clients have identities (`identifies`), it has loaded the revocations on return, unless
/// the store does not respond. Tokens are verified by `auth`, which takes the revocations from here.
pub(super) async fn users(
    config: &Config,
    directory: &Arc<Directory>,
    store: Option<Arc<dyn Store>>,
    health: &Arc<Health>,
    (identifies, auth): (bool, Option<&Authentication>),
) -> Arc<Users> {
    let ingress = Ingress::new(Arc::clone(directory));
    let announce: Announce = {
        let ingress = ingress.clone();
        Box::new(move |topic, body| ingress.announce(topic, body))
    };
    let parts = RevocationParts {
        store: store
            .clone()
            .unwrap_or_else(|| Arc::new(MemoryStore::default())),
        prefix: config.bus.channel_prefix.clone(),
        announce,
        metrics: Arc::clone(directory.metrics()),
        health: Arc::clone(health),
    };
    let directory_of_peers = Arc::clone(directory);
    let locks = LockParts {
        node: directory.node(),
        store,
        prefix: config.bus.channel_prefix.clone(),
        evict: evict(ingress.clone(), Arc::clone(directory.metrics())),
        is_live: Box::new(move |node| directory_of_peers.peers().contains(&node)),
    };
    let users = Users::new(&config.identity, parts, locks);
    let listeners = Arc::downgrade(&users.revocations);
    let revocations = listeners.clone();
    let revoke = Box::new(move |body: &bytes::Bytes| {
        if let Some(revocations) = revocations.upgrade() {
            revocations.receive(body);
        }
    });
    let reconnect = Box::new(move |body: &bytes::Bytes| {
        if let Some(revocations) = listeners.upgrade() {
            revocations.receive_reconnect(body);
        }
    });
    ingress.listen(REVOCATION_TOPIC, revoke);
    ingress.listen(RECONNECT_TOPIC, reconnect);
    if let Some(auth) = auth {
        auth.verifier.apply_revocations(&users.revocations);
    }
    if identifies {
        health.set_revocations(RevocationState::Loading);
        let loaded = tokio::time::timeout(LOADING_TIME, users.revocations.load()).await;
        if !matches!(loaded, Ok(Ok(()))) {
            warn!("revocations not loaded yet; the node retries until the store responds");
        }
        let connects = directory.watch_connects();
        actix_rt::spawn(Arc::clone(&users.revocations).keep(connects));
        actix_rt::spawn(Arc::clone(&users.locks).keep(directory.watch_connects()));
    }
    users
}

/// Disconnects a socket whose lock a newer one took, on any node, in a way after which stock clients do not connect again.
fn evict(ingress: Ingress, metrics: Arc<Metrics>) -> EvictSocket {
    const REPLACED: &str =
        r#"{"code":"session_replaced","message":"a newer session of this user took its place"}"#;
    Box::new(move |namespace, socket| {
        let conflicts = &metrics.user_session_conflicts_total;
        conflicts.of(SessionConflict::Replaced).increment();
        let selector = Selector::socket(namespace.clone(), socket);
        let notice = Command::Emit(Emit {
            to: selector.clone(),
            payload: Payload::event("roomwire:session_replaced", [REPLACED]),
            volatile: false,
            ack: None,
            conflate: None,
        });
        ingress.dispatch(notice, Origin::Local);
        let close = false;
        ingress.dispatch(Command::Disconnect { selector, close }, Origin::Local);
    })
}
