//! The lease on a node's name: no two nodes of a cluster may own the same ids.
//!
//! Without Redis a name is random and unleased; it is claimed as soon as Redis is there.

use std::sync::Arc;
use std::time::Duration;

use log::{debug, error, warn};
use serde::{Deserialize, Serialize};

use super::{Renewal, Store};
use crate::model::NodeId;

/// A node that is gone for this long gives its name back.
const LIFETIME: Duration = Duration::from_secs(30);
/// Time between two renewals, or attempts to claim.
const RENEWAL: Duration = Duration::from_secs(10);

/// The key of the lease on a name.
pub fn lease_key(prefix: &str, node: &str) -> String {
    format!("{prefix}:lease:{node}")
}

/// Who holds a name. The whole of it is the value of the lease, for people and `check --live` to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Known to its process only, until it is written.
    pub id: String,
    /// Name of its machine or container, and where it listens there.
    pub place: String,
    /// `app.kind`
    pub app: String,
}

impl Holder {
    /// Reads the value of a lease; `None` if it is none of ours.
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
    /// The claim of `node` in the cluster of `prefix`.
    pub fn new(store: Arc<dyn Store>, prefix: &str, node: NodeId, holder: &Holder) -> Self {
        Self {
            store,
            key: lease_key(prefix, node.as_str()),
            value: serde_json::json!(holder).to_string(),
            node,
        }
    }

    /// Claims the name once: false if somebody else holds it, true also if Redis does not answer.
    pub async fn claim(&self) -> bool {
        match self
            .store
            .acquire_lease(&self.key, &self.value, LIFETIME)
            .await
        {
            Ok(claimed) => claimed,
            Err(error) => {
                debug!(node:% = self.node, error:%; "node name not leased yet");
                true
            }
        }
    }

    /// Renews the claim until somebody else holds the name; then this node must end.
    pub async fn keep(self) {
        let mut failing = false;
        loop {
            tokio::time::sleep(RENEWAL).await;
            let renewed = self.store.renew(&self.key, &self.value, LIFETIME).await;
            if let Err(error) = &renewed
                && !failing
            {
                warn!(node:% = self.node, error:%; "node name not renewed, trying again every 10 s");
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
            "another node has taken the name of this one; this node ends and must be started again"
        );
    }

    /// Does some last work with the name kept as [`Lease::keep`] does, whatever becomes of it meanwhile.
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

    /// Gives the name back.
    pub async fn release(&self) {
        if let Err(error) = self.store.release(&self.key, &self.value).await {
            debug!(node:% = self.node, error:%; "node name not given back");
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
    async fn a_name_has_one_owner_at_a_time() {
        let store = MemoryStore::default();
        let (first, second) = (lease(&store, "1"), lease(&store, "2"));
        assert!(first.claim().await);
        assert!(!second.claim().await);
        first.release().await;
        assert!(second.claim().await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_lost_its_name_to_another_must_end() {
        let store = MemoryStore::default();
        let (first, second) = (lease(&store, "1"), lease(&store, "2"));
        assert!(first.claim().await);
        let mut keeping = Box::pin(first.clone().keep());
        let still = tokio::time::timeout(LIFETIME * 3, &mut keeping).await;
        assert!(still.is_err(), "renewed for as long as it is kept");
        first.release().await;
        assert!(second.claim().await);
        tokio::time::timeout(RENEWAL * 2, keeping).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn last_work_is_done_under_the_name_and_also_without_it() {
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
