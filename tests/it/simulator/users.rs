//! The services for users of a simulated node, as `server` composes them.

use std::sync::Arc;

use roomwire::auth::{LockParts, RECONNECT_TOPIC, REVOCATION_TOPIC, RevocationParts, Users};
use roomwire::broker::{Directory, Ingress};
use roomwire::config::Config;
use roomwire::health::Health;
use roomwire::metrics::labels::Origin;
use roomwire::model::{Command, Selector};
use roomwire::store::Store;

/// The services of a node.
pub fn start(
    config: &Config,
    directory: &Arc<Directory>,
    store: &Arc<dyn Store>,
    health: &Arc<Health>,
) -> Arc<Users> {
    let prefix = &config.bus.channel_prefix;
    let ingress = Ingress::new(Arc::clone(directory));
    let announcing = ingress.clone();
    let revocations = RevocationParts {
        store: Arc::clone(store),
        prefix: prefix.clone(),
        announce: Box::new(move |topic, body| announcing.announce(topic, body)),
        metrics: Arc::clone(directory.metrics()),
        health: Arc::clone(health),
    };
    let (evicting, peers) = (ingress.clone(), ingress.clone());
    let locks = LockParts {
        node: directory.node(),
        store: Some(Arc::clone(store)),
        prefix: prefix.clone(),
        evict: Box::new(move |namespace, socket| {
            let selector = Selector::socket(namespace.clone(), socket);
            let close = false;
            evicting.dispatch(Command::Disconnect { selector, close }, Origin::Local);
        }),
        is_live: Box::new(move |node| peers.peers().contains(&node)),
    };
    let users = Users::new(&config.identity, revocations, locks);
    let listener = Arc::clone(&users.revocations);
    ingress.listen(
        REVOCATION_TOPIC,
        Box::new(move |body| listener.receive(body)),
    );
    let listener = Arc::clone(&users.revocations);
    ingress.listen(
        RECONNECT_TOPIC,
        Box::new(move |body| listener.receive_reconnect(body)),
    );
    let connects = directory.watch_connects();
    actix_rt::spawn(Arc::clone(&users.revocations).keep(connects));
    actix_rt::spawn(Arc::clone(&users.locks).keep(directory.watch_connects()));
    users
}
