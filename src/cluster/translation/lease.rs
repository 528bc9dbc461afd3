//! The lease of the node that translates.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Message, Recipient};
use log::debug;
use tokio::sync::{Notify, watch};

use crate::clock::now;
use crate::store::Store;

/// After a node has died, another one acquires the lease within this time and [`INTERVAL`].
const LIFETIME: Duration = Duration::from_secs(2);
/// Time between two attempts to acquire or renew it.
const INTERVAL: Duration = Duration::from_millis(500);

/// To the bridge: this node holds the lease.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(in crate::cluster) struct HoldsLease {
    /// When it was requested.
    pub(super) requested: Instant,
}

/// To the bridge: another node holds the lease.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(in crate::cluster) struct LeaseIsTaken;

/// The claim of a node to translate.
pub(in crate::cluster) struct TranslationLease {
    pub(in crate::cluster) store: Arc<dyn Store>,
    pub(in crate::cluster) key: String,
    /// Identifies the process.
    pub(in crate::cluster) value: String,
    /// Changes whenever the bus begins to deliver.
    pub(in crate::cluster) connects: watch::Receiver<u64>,
    /// Notified when the node stops.
    pub(in crate::cluster) resign: Arc<Notify>,
}

impl TranslationLease {
    /// Acquires and renews the lease until the node stops, and then releases it. After each attempt notifies the bridge by
    /// one of the recipients.
    pub(in crate::cluster) async fn keep(
        mut self,
        (held, taken): (Recipient<HoldsLease>, Recipient<LeaseIsTaken>),
    ) {
        loop {
            let requested = now();
            let acquired = self.store.acquire_lease(&self.key, &self.value, LIFETIME);
            match acquired.await {
                Ok(true) => held.do_send(HoldsLease { requested }),
                Ok(false) => taken.do_send(LeaseIsTaken),
                Err(error) => debug!(error:%; "lease of the translating node not requested"),
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                Ok(()) = self.connects.changed() => {}
                () = self.resign.notified() => break,
            }
        }
        if let Err(error) = self.store.release(&self.key, &self.value).await {
            debug!(error:%; "lease of the translating node not released");
        }
    }
}
