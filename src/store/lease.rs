//! The lease on a node's name: no two nodes of a cluster may issue the same ids.
//!
//! While Redis is unreachable the random name of a node is not leased; it is claimed as soon as Redis responds.

use std::sync::Arc;
use std::time::Duration;

use log::{debug, error, warn};
use serde::{Deserialize, Serialize};

use tokio::sync::watch;

use super::{Renewal, Store, Tenure};
use crate::clock::now;
use crate::model::NodeId;

/// Number of renewals, and of attempts to claim, in the lifetime of a lease.
const RENEWALS: u32 = 3;

/// Pause before another attempt, once the lease may have expired.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The key of the lease on a name.
pub fn lease_key(prefix: &str, node: &str) -> String {
    format!("{prefix}:lease:{node}")
}

/// The holder of a name. Serialized as the value of the lease, for operators and `check --live`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Random id of the process.
    pub id: String,
    /// Host name of the machine or container, and the listening address there.
    pub place: String,
    /// `app.kind` of the node.
    pub app: String,
}

impl Holder {
    /// Parses the value of a lease; `None` if it has another format.
    pub fn read(value: &str) -> Option<Self> {
        serde_json::from_str(value).ok()
    }
}

/// A node's claim to its name.
#[derive(Clone)]
pub struct Lease {
    store: Arc<dyn Store>,
    key: String,
    value: String,
    node: NodeId,
    lifetime: Duration,
    tenure: Arc<Tenure>,
}

impl Lease {
    /// The claim of `node` in the cluster with this channel prefix. A lease that is not renewed expires after
    /// `lifetime` (`bus.lease`).
    pub fn new(
        store: Arc<dyn Store>,
        prefix: &str,
        (node, holder): (NodeId, &Holder),
        lifetime: Duration,
    ) -> Self {
        Self {
            store,
            key: lease_key(prefix, node.as_str()),
            value: serde_json::json!(holder).to_string(),
            node,
            lifetime,
            tenure: Arc::new(Tenure::new(lifetime)),
        }
    }

    /// Whether the node still holds its name.
    pub fn tenure(&self) -> &Arc<Tenure> {
        &self.tenure
    }

    /// Tries once to claim the name: false if another node holds it. Also true if Redis does not respond, because the
    /// claim is then made by [`Lease::keep`].
    pub async fn claim(&self) -> bool {
        let requested = now();
        let acquired = self
            .store
            .acquire_lease(&self.key, &self.value, self.lifetime);
        match acquired.await {
            Ok(true) => {
                self.tenure.confirm(requested);
                true
            }
            Ok(false) => false,
            Err(error) => {
                debug!(node:% = self.node, error:%; "node name is not leased yet");
                true
            }
        }
    }

    /// Renews the claim at regular intervals, and whenever `connects` changes because the bus delivers again; more often
    /// while it is not certain that this node still holds its name. Returns once another node holds the name; this node must
    /// then close its sessions.
    pub async fn keep(self, mut connects: watch::Receiver<u64>) {
        let mut failing = false;
        let interval = self.lifetime / RENEWALS;
        loop {
            let time = match self.tenure.is_certain() {
                true => interval,
                false => interval.min(RETRY_PAUSE),
            };
            pause(time, &mut connects).await;
            let requested = now();
            let renewed = self
                .store
                .renew(&self.key, &self.value, self.lifetime)
                .await;
            if let Err(error) = &renewed
                && !failing
            {
                warn!(node:% = self.node, error:%; "lease of the node name not renewed, retrying every {interval:?}");
            }
            failing = renewed.is_err();
            match renewed {
                Ok(Renewal::Renewed) => self.tenure.confirm(requested),
                Err(_) => {}
                Ok(Renewal::Lost) => {
                    if !self.claim().await {
                        break;
                    }
                }
                Ok(Renewal::Taken) => break,
            }
        }
        self.tenure.end();
        error!(
            node:% = self.node;
            "this node could not renew its name in time, and another node has taken it; closing all sessions"
        );
    }

    /// Runs `work` while renewing the lease as [`Lease::keep`] does; `work` completes even if the lease is lost.
    pub async fn keep_during(self, connects: watch::Receiver<u64>, work: impl Future<Output = ()>) {
        let kept = async {
            self.keep(connects).await;
            std::future::pending().await
        };
        tokio::select! {
            () = work => {}
            () = kept => {}
        }
    }

    /// Releases the name.
    pub async fn release(&self) {
        if let Err(error) = self.store.release(&self.key, &self.value).await {
            debug!(node:% = self.node, error:%; "lease of the node name not released");
        }
    }
}

/// Waits for the next renewal: for `interval`, or until the bus has begun to deliver.
async fn pause(interval: Duration, connects: &mut watch::Receiver<u64>) {
    let connected = async {
        if connects.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = tokio::time::sleep(interval) => {}
        () = connected => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    const LIFETIME: Duration = Duration::from_secs(30);
    const RENEWAL: Duration = Duration::from_secs(10);

    /// The connects of a bus that stays connected.
    fn never() -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    fn lease(store: &MemoryStore, id: &str) -> Lease {
        let node = NodeId::parse("abcd").unwrap();
        let holder = Holder {
            id: id.to_owned(),
            place: "web-1 0.0.0.0:8080".to_owned(),
            app: "relay".to_owned(),
        };
        Lease::new(
            Arc::new(store.clone()),
            "roomwire:0",
            (node, &holder),
            LIFETIME,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_has_one_holder_at_a_time() {
        let store = MemoryStore::default();
        let (first, second) = (lease(&store, "1"), lease(&store, "2"));
        assert!(first.claim().await);
        assert!(!second.claim().await);
        first.release().await;
        assert!(second.claim().await);
    }

    #[tokio::test(start_paused = true)]
    async fn keep_returns_once_another_node_holds_the_name() {
        let store = MemoryStore::default();
        let (first, second) = (lease(&store, "1"), lease(&store, "2"));
        assert!(first.claim().await);
        let mut keeping = Box::pin(first.clone().keep(never()));
        let still = tokio::time::timeout(LIFETIME * 3, &mut keeping).await;
        assert!(still.is_err(), "keep renews the lease");
        first.release().await;
        assert!(second.claim().await);
        tokio::time::timeout(RENEWAL * 2, keeping).await.unwrap();
        assert!(first.tenure().has_ended() && !second.tenure().has_ended());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_at_once_when_the_bus_delivers_again() {
        let store = MemoryStore::default();
        let (connects, connected) = watch::channel(0);
        let (first, second) = (lease(&store, "1"), lease(&store, "2"));
        assert!(first.claim().await);
        let mut keeping = Box::pin(first.clone().keep(connected));
        let second_of_time = Duration::from_secs(1);
        assert!(
            tokio::time::timeout(second_of_time, &mut keeping)
                .await
                .is_err()
        );
        first.release().await;
        assert!(second.claim().await);
        connects.send_replace(1);
        tokio::time::timeout(second_of_time, keeping).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn keep_during_completes_the_work_with_and_without_the_lease() {
        let store = MemoryStore::default();
        let (first, second) = (lease(&store, "1"), lease(&store, "2"));
        let work = || tokio::time::sleep(LIFETIME * 3);
        assert!(first.claim().await);
        first.clone().keep_during(never(), work()).await;
        assert!(!second.claim().await);
        first.release().await;
        assert!(second.claim().await);
        let start = tokio::time::Instant::now();
        first.keep_during(never(), work()).await;
        assert_eq!(start.elapsed(), LIFETIME * 3);
    }
}
