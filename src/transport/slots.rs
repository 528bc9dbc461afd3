//! The connections of a worker that are not websockets, up to the limit at which actix-server pauses accepting.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use log::warn;

use crate::limits::HttpConnection;
use crate::logging::Burst;
use crate::metrics::Metrics;

/// Counts the connections of a worker that are not websockets. actix-server stops accepting for a worker that has
/// reached its limit, without a log line.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    used: Cell<usize>,
    limit: usize,
    metrics: Arc<Metrics>,
}

/// One connection of a worker, counted until this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot(Rc<ConnectionSlots>);

/// What a connection occupies until it ends or becomes a websocket: a slot of its worker, and a place in the count of
/// its address.
#[derive(Debug)]
pub struct HttpSlot {
    pub(super) _slot: ConnectionSlot,
    pub(super) _counted: HttpConnection,
}

impl ConnectionSlots {
    pub(super) fn new(limit: usize, metrics: Arc<Metrics>) -> Rc<Self> {
        Rc::new(Self {
            used: Cell::new(0),
            limit,
            metrics,
        })
    }

    pub(super) fn take(self: &Rc<Self>) -> ConnectionSlot {
        static BURST: Burst = Burst::new();
        self.used.set(self.used.get() + 1);
        if self.used.get() == self.limit {
            self.metrics.accept_pauses_total.increment();
            if let Some(others) = BURST.note() {
                warn!(
                    connections = self.limit, others;
                    "a worker has reached its limit of HTTP connections and accepts no more until one ends: raise the limit of open files (ulimit -n, LimitNOFILE=), or lower limits.http_connections_per_ip if a few addresses hold most of them"
                );
            }
        }
        ConnectionSlot(Rc::clone(self))
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        debug_assert!(self.0.used.get() > 0);
        self.0.used.set(self.0.used.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_reaches_its_limit_is_counted() {
        let metrics = Arc::new(Metrics::default());
        let slots = ConnectionSlots::new(2, Arc::clone(&metrics));
        let _first = slots.take();
        assert_eq!(metrics.accept_pauses_total.get(), 0);
        drop(slots.take());
        let _second = slots.take();
        assert_eq!(metrics.accept_pauses_total.get(), 2);
    }
}
