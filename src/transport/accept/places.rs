//! The limits of a worker: connections that are not websockets, and concurrent TLS handshakes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use log::warn;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::limits::HttpConnection;
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::model::Network;

/// Concurrent TLS handshakes of a worker; further ones wait. Each holds about 20 KB.
const HANDSHAKES: usize = 1024;
/// Of those, handshakes of one address, so that a client that stalls within its handshake delays its own address alone.
const HANDSHAKES_PER_ADDRESS: usize = 64;

/// Counts the connections of a worker that are not websockets. actix-server stops accepting for a worker that has
/// reached its limit, without a log line.
#[derive(Debug)]
pub(super) struct Seats {
    taken: Cell<usize>,
    most: usize,
    metrics: Arc<Metrics>,
}

/// One connection of a worker.
#[derive(Debug)]
pub(super) struct Seat(Rc<Seats>);

/// What a connection occupies until it ends or becomes a websocket.
#[derive(Debug)]
pub struct Place {
    pub(super) _seat: Seat,
    pub(super) _counted: HttpConnection,
}

impl Seats {
    pub(super) fn new(most: usize, metrics: Arc<Metrics>) -> Rc<Self> {
        Rc::new(Self {
            taken: Cell::new(0),
            most,
            metrics,
        })
    }

    pub(super) fn take(self: &Rc<Self>) -> Seat {
        static BURST: Burst = Burst::new();
        self.taken.set(self.taken.get() + 1);
        if self.taken.get() == self.most {
            self.metrics.accept_pauses_total.increment();
            if let Some(others) = BURST.note() {
                warn!(
                    connections = self.most, others;
                    "a worker has reached its limit of HTTP connections and accepts no more until one ends: raise the limit of open files (ulimit -n, LimitNOFILE=), or lower limits.http_connections_per_ip if a few addresses hold most of them"
                );
            }
        }
        Seat(Rc::clone(self))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.set(self.0.taken.get() - 1);
    }
}

/// Limits the concurrent TLS handshakes of a worker, counted from the hello of the client.
#[derive(Debug)]
pub(super) struct Handshakes {
    all: Semaphore,
    of_network: RefCell<HashMap<Network, Arc<Semaphore>>>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            all: Semaphore::new(HANDSHAKES),
            of_network: RefCell::default(),
        }
    }
}

/// The place of a handshake, freed when dropped.
#[derive(Debug)]
pub(super) struct HandshakePlace<'a> {
    _own: Option<OwnPlace<'a>>,
    _all: Option<SemaphorePermit<'a>>,
}

/// The place of a handshake among those of its network, or in the queue for one.
#[derive(Debug)]
struct OwnPlace<'a> {
    handshakes: &'a Handshakes,
    network: Network,
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Handshakes {
    /// Waits for a place. Without a network, only the limit of the worker applies.
    pub(super) async fn enter(&self, network: Option<Network>) -> HandshakePlace<'_> {
        let own = match network {
            Some(network) => Some(self.enter_network(network).await),
            None => None,
        };
        HandshakePlace {
            _own: own,
            // The semaphore is never closed.
            _all: self.all.acquire().await.ok(),
        }
    }

    async fn enter_network(&self, network: Network) -> OwnPlace<'_> {
        let semaphore = self
            .of_network
            .borrow_mut()
            .entry(network)
            .or_insert_with(|| Arc::new(Semaphore::new(HANDSHAKES_PER_ADDRESS)))
            .clone();
        let mut place = OwnPlace {
            handshakes: self,
            network,
            semaphore: Arc::clone(&semaphore),
            permit: None,
        };
        place.permit = semaphore.acquire_owned().await.ok();
        place
    }
}

impl Drop for OwnPlace<'_> {
    fn drop(&mut self) {
        self.permit = None;
        // Only the map and this place hold it: no other handshake of this network runs or waits.
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
        let handshakes = Handshakes::default();
        let network = |text: &str| Some(Network::of(text.parse().unwrap()));
        let (slow, other) = (network("192.0.2.1"), network("192.0.2.2"));
        let mut under_way = Vec::new();
        for _ in 0..HANDSHAKES_PER_ADDRESS {
            under_way.push(handshakes.enter(slow).await);
        }
        let mut waiting = Box::pin(handshakes.enter(slow));
        assert!(waiting.as_mut().now_or_never().is_none());
        let place = timeout(Duration::from_secs(10), handshakes.enter(other)).await;
        assert!(place.is_ok());
        drop(place);
        under_way.pop();
        drop(waiting.await);
        drop(under_way);
        assert!(handshakes.of_network.borrow().is_empty());
        assert_eq!(handshakes.all.available_permits(), HANDSHAKES);
    }

    #[test]
    fn a_worker_that_stops_accepting_is_counted() {
        let metrics = Arc::new(Metrics::default());
        let seats = Seats::new(2, Arc::clone(&metrics));
        let _first = seats.take();
        assert_eq!(metrics.accept_pauses_total.get(), 0);
        drop(seats.take());
        let _second = seats.take();
        assert_eq!(metrics.accept_pauses_total.get(), 2);
    }
}
