//! The lease on a node's name: no two nodes of a cluster may issue the same ids.
//!
//! While Redis is unreachable the random name of a node is not leased; it is claimed as soon as Redis responds.

use std::sync::Arc;
use std::time::Duration;

use log::{debug, error, warn};
use serde::{Deserialize, Serialize};

use super::{Renewal, Store};
use crate::model::NodeId;

/// The lease of a node that stops renewing it expires after this time.
const LIFETIME: Duration = Duration::from_secs(30);
/// Interval of renewals and of attempts to claim.
const RENEWAL: Duration = Duration::from_secs(10);

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
}

impl Lease {
    /// The claim of `node` in the cluster with this channel prefix.
    pub fn new(store: Arc<dyn Store>, prefix: &str, node: NodeId, holder: &Holder) -> Self {
        Self {
            store,
            key: lease_key(prefix, node.as_str()),
            value: serde_json::json!(holder).to_string(),
            node,
        }
    }

    /// Tries once to claim the name: false if another node holds it. Also true if Redis does not respond, because the
    /// claim is then made by [`Lease::keep`].
    pub async fn claim(&self) -> bool {
        match self
            .store
            .acquire_lease(&self.key, &self.value, LIFETIME)
            .await
        {
            Ok(claimed) => claimed,
            Err(error) => {
                debug!(node:% = self.node, error:%; "node name is not leased yet");
                true
            }
        }
    }

    /// Renews the claim. Returns once another node holds the name; this node must then shut down.
    pub async fn keep(self) {
        let mut failing = false;
        loop {
            tokio::time::sleep(RENEWAL).await;
            let renewed = self.store.renew(&self.key, &self.value, LIFETIME).await;
            if let Err(error) = &renewed
                && !failing
            {
                warn!(node:% = self.node, error:%; "lease of the node name not renewed, retrying every 10 s");
            }
            failing = renewed.is_err();
            match renewed {
                Ok(Renewal::Renewed) | Err(_) => {}
                Ok(Renewal::Lost) => {
                    if !self.claim().await {
                        break;
                    }
                }
                Ok(Renewal::Taken) => break,
            }
        }
        error!(
            node:% = self.node;
            "another node holds the name of this node; shutting down, restart this node"
        );
    }

    /// Runs `work` while renewing the lease as [`Lease::keep`] does; `work` completes even if the lease is lost.
    pub async fn keep_during(self, work: impl Future<Output = ()>) {
        let kept = async {
            self.keep().await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn lease(store: &MemoryStore, id: &str) -> Lease {
        let node = NodeId::parse("abcd").unwrap();
        let holder = Holder {
            id: id.to_owned(),
            place: "web-1 0.0.0.0:8080".to_owned(),
            app: "relay".to_owned(),
        };
        Lease::new(Arc::new(store.clone()), "roomwire:0", node, &holder)
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
        let mut keeping = Box::pin(first.clone().keep());
        let still = tokio::time::timeout(LIFETIME * 3, &mut keeping).await;
        assert!(still.is_err(), "keep renews the lease");
        first.release().await;
        assert!(second.claim().await);
        tokio::time::timeout(RENEWAL * 2, keeping).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn keep_during_completes_the_work_with_and_without_the_lease() {
        let store = MemoryStore::default();
        let (first, second) = (lease(&store, "1"), lease(&store, "2"));
        let work = || tokio::time::sleep(LIFETIME * 3);
        assert!(first.claim().await);
        first.clone().keep_during(work()).await;
        assert!(!second.claim().await);
        first.release().await;
        assert!(second.claim().await);
        let start = tokio::time::Instant::now();
        first.keep_during(work()).await;
        assert_eq!(start.elapsed(), LIFETIME * 3);
    }
}
