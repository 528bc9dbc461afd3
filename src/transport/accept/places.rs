//! The places of a worker: for connections until they are websockets, and for TLS handshakes.

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

/// TLS handshakes of a worker under way at a time; further ones wait for their turn. Each holds some 20 KB.
const HANDSHAKES: usize = 1024;
/// Of those, the ones of one address. A client that stops within its handshake delays its own address alone.
const HANDSHAKES_PER_ADDRESS: usize = 64;

/// The connections of a worker that are no websocket. actix-server stops accepting for a worker that has as many as it
/// may, and is silent about it.
#[derive(Debug)]
pub(super) struct Seats {
    taken: Cell<usize>,
    most: usize,
    metrics: Arc<Metrics>,
}

/// A connection among those of its worker.
#[derive(Debug)]
pub(super) struct Seat(Rc<Seats>);

/// What a connection takes until it ends or is a websocket.
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
                    "a worker accepts nothing until one of its HTTP connections ends: raise the limit of open files (ulimit -n, LimitNOFILE=), or lower limits.http_connections_per_ip if few addresses have most of them"
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

/// The TLS handshakes of a worker whose client has sent its hello.
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

/// A handshake under way.
#[derive(Debug)]
pub(super) struct HandshakePlace<'a> {
    _own: Option<OwnPlace<'a>>,
    _all: Option<SemaphorePermit<'a>>,
}

/// A handshake among those of its network, or waiting to be.
#[derive(Debug)]
struct OwnPlace<'a> {
    handshakes: &'a Handshakes,
    network: Network,
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Handshakes {
    /// Waits for a place. Without a network only those of the worker count.
    pub(super) async fn enter(&self, network: Option<Network>) -> HandshakePlace<'_> {
        let own = match network {
            Some(network) => Some(self.enter_network(network).await),
            None => None,
        };
        HandshakePlace {
            _own: own,
            // Never closed.
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
        // The map's and this one's: nobody else of this network is here or waits.
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
    async fn slow_handshakes_of_one_address_delay_that_address_alone() {
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
