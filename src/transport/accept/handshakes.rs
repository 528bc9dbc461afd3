//! The limits of concurrent TLS handshakes of a worker.

use std::cell::RefCell;
use std::sync::Arc;

use hashbrown::HashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::model::Network;

/// Maximum number of concurrent TLS handshakes of a worker; further ones wait. Each holds about 20 kB.
const HANDSHAKES: usize = 1024;
/// Maximum number for one address, so that a client that stalls in its handshake delays only its own address.
const HANDSHAKES_PER_ADDRESS: usize = 64;

/// Limits the concurrent TLS handshakes of a worker, counted from the hello of the client.
#[derive(Debug)]
pub(super) struct HandshakeLimits {
    all: Semaphore,
    of_network: RefCell<HashMap<Network, Arc<Semaphore>>>,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self {
            all: Semaphore::new(HANDSHAKES),
            of_network: RefCell::default(),
        }
    }
}

/// Permits one handshake until dropped.
#[derive(Debug)]
pub(super) struct HandshakePermit<'a> {
    _own: Option<NetworkPermit<'a>>,
    _all: Option<SemaphorePermit<'a>>,
}

/// A handshake among those of its network, or in the queue for a permit.
#[derive(Debug)]
struct NetworkPermit<'a> {
    handshakes: &'a HandshakeLimits,
    network: Network,
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl HandshakeLimits {
    /// Waits for a permit. Without a network, only the limit of the worker applies.
    pub(super) async fn acquire(&self, network: Option<Network>) -> HandshakePermit<'_> {
        let own = match network {
            Some(network) => Some(self.acquire_for(network).await),
            None => None,
        };
        HandshakePermit {
            _own: own,
            // The semaphore is never closed.
            _all: self.all.acquire().await.ok(),
        }
    }

    async fn acquire_for(&self, network: Network) -> NetworkPermit<'_> {
        let semaphore = self
            .of_network
            .borrow_mut()
            .entry(network)
            .or_insert_with(|| Arc::new(Semaphore::new(HANDSHAKES_PER_ADDRESS)))
            .clone();
        let mut own = NetworkPermit {
            handshakes: self,
            network,
            semaphore: Arc::clone(&semaphore),
            permit: None,
        };
        own.permit = semaphore.acquire_owned().await.ok();
        own
    }
}

impl Drop for NetworkPermit<'_> {
    fn drop(&mut self) {
        self.permit = None;
        // Only the map and this value hold the semaphore: no other handshake of this network runs or waits.
        if Arc::strong_count(&self.semaphore) == 2 {
            self.handshakes
                .of_network
                .borrow_mut()
                .remove(&self.network);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn slow_handshakes_delay_only_their_own_address() {
        let handshakes = HandshakeLimits::default();
        let network = |text: &str| Some(Network::of(text.parse().unwrap()));
        let (slow, other) = (network("192.0.2.1"), network("192.0.2.2"));
        let mut under_way = Vec::new();
        for _ in 0..HANDSHAKES_PER_ADDRESS {
            under_way.push(handshakes.acquire(slow).await);
        }
        let mut waiting = Box::pin(handshakes.acquire(slow));
        assert!(waiting.as_mut().now_or_never().is_none());
        let permit = timeout(Duration::from_secs(10), handshakes.acquire(other)).await;
        assert!(permit.is_ok());
        drop(permit);
        under_way.pop();
        drop(waiting.await);
        drop(under_way);
        assert!(handshakes.of_network.borrow().is_empty());
        assert_eq!(handshakes.all.available_permits(), HANDSHAKES);
    }
}
