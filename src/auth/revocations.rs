//! The revocations of the cluster: enforced on every node by an announcement, and remembered in the store.
//!
//! The announcement reaches the nodes that are connected to the bus. The others, and those that start later, load all
//! revocations from the store. Each node also adds to the store the revocations that the store lacks, so that those
//! accepted while Redis was away, or before Redis lost its data, are remembered again.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use actix::Recipient;
use bytes::Bytes;
use log::{debug, info, warn};
use serde_json::json;
use smallvec::SmallVec;
use tokio::sync::watch;

use super::known::{Inserted, RevocationSet};
use super::order::Order;
use super::revocation::{Revocation, Subject, seconds};
use crate::config::{IdentityConfig, MAX_LEEWAY};
use crate::health::{Health, RevocationState};
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::model::{Identity, Namespace, Room, Selector, SocketId};
use crate::store::{Store, StoreError};

/// The topic of announced revocations.
pub const REVOCATION_TOPIC: &str = "revocation";
/// The topic of announced reconnects.
pub const RECONNECT_TOPIC: &str = "reconnect";

/// Time until the store is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Revocations in one announcement.
const ANNOUNCED_TOGETHER: usize = 200;
/// Interval at which revocations that have ended are removed.
const PRUNING: Duration = Duration::from_secs(60);

/// How long a revocation is enforced after its end, in seconds: an expired token is accepted for `auth.leeway`, which is at
/// most that long.
const TOLERATED: u64 = MAX_LEEWAY.as_secs();

/// Announces a body under a topic on every node, this one included.
pub type Announce = Box<dyn Fn(&'static str, Bytes) + Send + Sync>;

/// Why a revocation is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    #[error("the limit auth.revocation_limit is reached")]
    TooMany,
}

/// Where a revocation is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remembered {
    /// In the store, for all nodes.
    InStore,
    /// By the connected nodes, which add it to the store when the store is back.
    ByNodes,
}

/// What the service needs from its node.
pub struct RevocationParts {
    pub store: Arc<dyn Store>,
    /// `bus.prefix`, before the name of the key.
    pub prefix: String,
    pub announce: Announce,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
}

/// Revocations that ended by this time are no longer enforced, in Unix seconds.
fn end_of_enforcement() -> u64 {
    seconds(SystemTime::now()).saturating_sub(TOLERATED)
}

/// The revocations of the cluster.
pub struct Revocations {
    known: RwLock<RevocationSet>,
    /// Whether there is any.
    any: AtomicBool,
    ttl: Duration,
    key: String,
    parts: RevocationParts,
    workers: Mutex<Vec<Recipient<Order>>>,
}

impl Revocations {
    /// A service without revocations.
    pub fn new(settings: &IdentityConfig, parts: RevocationParts) -> Self {
        Self {
            known: RwLock::new(RevocationSet::new(settings.revocation_limit)),
            any: AtomicBool::new(false),
            ttl: settings.revocation_ttl,
            key: format!("{}:revocations", parts.prefix),
            parts,
            workers: Mutex::default(),
        }
    }

    /// Adds a worker that enforces what is revoked.
    pub fn enforce_on(&self, worker: Recipient<Order>) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(worker);
    }

    /// Whether an identity is revoked.
    pub fn covers(&self, identity: &Identity) -> bool {
        self.any.load(Ordering::Acquire) && self.known().covers(identity)
    }

    /// Revokes tokens on the whole cluster. `until` is when the last of them expires; without it, the revocation is
    /// remembered for `auth.revocation_ttl`. The future completes when it is remembered; it takes effect even if the
    /// future is dropped.
    ///
    /// # Errors
    /// The limit `auth.revocation_limit` is reached on this node.
    pub fn revoke(
        &self,
        subject: Subject,
        until: Option<SystemTime>,
    ) -> impl Future<Output = Result<Remembered, RevocationError>> + Send + use<> {
        let until = until.unwrap_or_else(|| SystemTime::now() + self.ttl);
        let revocation = Revocation {
            subject,
            until: seconds(until) + 1,
        };
        let field = revocation.encode();
        let full = self.is_full_for(&revocation);
        let mut saved = None;
        if !full {
            self.announce(&[&field]);
            if socket_of(&revocation).is_none() {
                let fields = vec![(field, Bytes::from_static(b"1"))];
                saved = Some(self.parts.store.hash_set(&self.key, fields));
            }
        }
        async move {
            if full {
                return Err(RevocationError::TooMany);
            }
            let Some(saved) = saved else {
                return Ok(Remembered::InStore);
            };
            Ok(match saved.await {
                Ok(()) => Remembered::InStore,
                Err(error) => {
                    warn!(error:%; "revocation not stored yet; the connected nodes enforce it");
                    Remembered::ByNodes
                }
            })
        }
    }

    /// Closes the sessions of the selected sockets on every node. Stock clients connect again, and authenticate.
    pub fn force_reconnect(&self, selector: &Selector) {
        let names =
            |rooms: &[Room]| -> Vec<String> { rooms.iter().map(ToString::to_string).collect() };
        let body = json!({
            "namespace": selector.namespace.as_str(),
            "rooms": names(&selector.rooms),
            "except": names(&selector.except),
        });
        (self.parts.announce)(RECONNECT_TOPIC, Bytes::from(body.to_string()));
    }

    /// Announces encoded revocations, as a JSON array.
    fn announce(&self, fields: &[&String]) {
        for fields in fields.chunks(ANNOUNCED_TOGETHER) {
            let body = json!(fields).to_string();
            (self.parts.announce)(REVOCATION_TOPIC, Bytes::from(body));
        }
    }

    /// Handles announced revocations.
    pub fn receive(&self, body: &[u8]) {
        let announced: Vec<String> = serde_json::from_slice(body).unwrap_or_default();
        for text in &announced {
            match Revocation::decode(text) {
                Some(revocation) => self.apply(revocation),
                None => debug!("revocation of an unknown kind ignored"),
            }
        }
    }

    /// Handles an announced reconnect.
    pub fn receive_reconnect(&self, body: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Selected<'a> {
            #[serde(borrow)]
            namespace: std::borrow::Cow<'a, str>,
            rooms: Vec<String>,
            except: Vec<String>,
        }
        let Ok(selected) = serde_json::from_slice::<Selected<'_>>(body) else {
            return debug!("malformed reconnect ignored");
        };
        let rooms = |names: Vec<String>| -> SmallVec<[Room; 1]> {
            names.into_iter().map(Room::from).collect()
        };
        self.order(&Order::Reconnect(Arc::new(Selector {
            namespace: Namespace::from(&*selected.namespace),
            rooms: rooms(selected.rooms),
            except: rooms(selected.except),
        })));
    }

    /// Loads the revocations of the store, and adds those that the store lacks.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn load(&self) -> Result<(), StoreError> {
        let store = &self.parts.store;
        let (mut loaded, mut ended) = (RevocationSet::new(usize::MAX), Vec::new());
        let ended_at = end_of_enforcement();
        for (field, _) in store.hash_scan(&self.key).await? {
            match Revocation::decode(&field) {
                Some(revocation) if revocation.until > ended_at => {
                    loaded.insert(&revocation);
                }
                // The clock of this node may be ahead of that of another one, which may still need it.
                Some(revocation) if revocation.until > ended_at.saturating_sub(TOLERATED) => {}
                Some(_) => ended.push(field),
                None => debug!("stored revocation of an unknown kind ignored"),
            }
        }
        let unsaved: Vec<_> = {
            let known = self.known();
            let unsaved = known.iter().filter(|known| !loaded.contains(known));
            unsaved
                .map(|revocation| (revocation.encode(), Bytes::from_static(b"1")))
                .collect()
        };
        for revocation in loaded.iter() {
            self.apply(revocation);
        }
        if !unsaved.is_empty() {
            store.hash_set(&self.key, unsaved.clone()).await?;
            // A node that loaded from the store meanwhile may lack them.
            let fields: Vec<&String> = unsaved.iter().map(|(field, _)| field).collect();
            self.announce(&fields);
        }
        if !ended.is_empty() {
            store.hash_delete(&self.key, ended).await?;
        }
        self.parts.health.set_revocations(RevocationState::Loaded);
        Ok(())
    }

    /// Loads again after each change of `reconnects`, and forgets what has ended. Never returns.
    pub async fn keep(self: Arc<Self>, mut reconnects: watch::Receiver<u64>) {
        let mut current = self.parts.health.revocations() == RevocationState::Loaded;
        loop {
            if !current {
                match self.load().await {
                    Ok(()) => {
                        current = true;
                        info!(known = self.known().len(); "revocations loaded");
                    }
                    Err(error) => debug!(error:%; "revocations not loaded yet"),
                }
            }
            let pause = if current { PRUNING } else { RETRY };
            tokio::select! {
                changed = reconnects.changed() => match changed {
                    Ok(()) => current = false,
                    // The node stops.
                    Err(_) => return,
                },
                () = tokio::time::sleep(pause) => self.prune(),
            }
        }
    }

    fn prune(&self) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.prune(end_of_enforcement());
        self.count(&known);
    }

    fn known(&self) -> std::sync::RwLockReadGuard<'_, RevocationSet> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full_for(&self, revocation: &Revocation) -> bool {
        let known = self.known();
        socket_of(revocation).is_none() && !known.has_room_for(revocation)
    }

    /// Remembers a revocation, and enforces it on this node.
    fn apply(&self, revocation: Revocation) {
        if socket_of(&revocation).is_none() {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            let inserted = known.insert(&revocation);
            self.count(&known);
            drop(known);
            match inserted {
                Inserted::New => {}
                Inserted::Known => return,
                Inserted::Full => {
                    static BURST: Burst = Burst::new();
                    if let Some(others) = BURST.note() {
                        warn!(others; "revocation not remembered: auth.revocation_limit is reached");
                    }
                }
            }
        }
        self.order(&Order::Revoke(Arc::new(revocation)));
    }

    fn count(&self, known: &RevocationSet) {
        self.any.store(known.len() > 0, Ordering::Release);
        self.parts.metrics.revocations.set(known.len() as i64);
    }

    fn order(&self, order: &Order) {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in &*workers {
            worker.do_send(order.clone());
        }
    }
}

/// The socket whose token is revoked, if the revocation names one. Its node revokes the token itself.
fn socket_of(revocation: &Revocation) -> Option<SocketId> {
    match &revocation.subject {
        Subject::Session(session) => SocketId::parse(session),
        Subject::Token(_) | Subject::User { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::health::BusState;
    use crate::store::MemoryStore;

    fn service(store: &MemoryStore) -> Revocations {
        let parts = RevocationParts {
            store: Arc::new(store.clone()),
            prefix: "p".to_owned(),
            announce: Box::new(|_topic, _body| {}),
            metrics: Arc::default(),
            health: Arc::new(Health::new(BusState::Up, false)),
        };
        Revocations::new(&Config::default().identity, parts)
    }

    /// A token and the encoded revocation of it, which ended so many seconds ago.
    fn ended(token: &str, ago: u64) -> (Identity, String) {
        let identity = Identity {
            token: Some(token.into()),
            ..Identity::default()
        };
        let until = seconds(SystemTime::now()) - ago;
        (identity, format!("t:{until}:{token}"))
    }

    /// With `auth.leeway`, a token is accepted after it has expired, when its revocation has ended.
    #[actix_rt::test]
    async fn expired_tokens_stay_revoked_while_they_may_be_accepted() {
        let (recent, old) = (ended("recent", 200), ended("old", 400));
        let service = service(&MemoryStore::default());
        service.receive(json!([recent.1, old.1]).to_string().as_bytes());
        service.prune();
        assert!(service.covers(&recent.0) && !service.covers(&old.0));
    }

    #[actix_rt::test]
    async fn a_node_whose_clock_is_ahead_removes_nothing_that_others_need() {
        let all = [ended("recent", 200), ended("old", 400), ended("gone", 700)];
        let store = MemoryStore::default();
        let fields = all.iter().map(|(_, field)| (field.clone(), Bytes::new()));
        store
            .hash_set("p:revocations", fields.collect())
            .await
            .unwrap();
        let service = service(&store);
        service.load().await.unwrap();
        assert!(service.covers(&all[0].0) && !service.covers(&all[1].0));
        let left = store.hash_scan("p:revocations").await.unwrap();
        let mut left: Vec<String> = left.into_iter().map(|(field, _)| field).collect();
        left.sort();
        assert_eq!(left, [all[1].1.clone(), all[0].1.clone()]);
    }
}
