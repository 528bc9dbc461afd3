//! The websockets that a worker holds for sessions of other nodes, so that a drain can end them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::oneshot;

/// Fires when a websocket must end, with the time that its session may take to settle pending acks and events.
pub type DrainSignal = oneshot::Receiver<Duration>;

/// The websockets of a worker, by number.
#[derive(Debug, Default)]
pub struct RemoteWebsockets {
    next: Cell<u64>,
    drains: RefCell<HashMap<u64, oneshot::Sender<Duration>>>,
}

/// Registers a websocket until this is dropped.
#[derive(Debug)]
pub struct Registration {
    websockets: Rc<RemoteWebsockets>,
    number: u64,
}

impl RemoteWebsockets {
    /// Registers a websocket; the signal fires when it must end.
    pub fn register(self: &Rc<Self>) -> (Registration, DrainSignal) {
        let number = self.next.get();
        self.next.set(number + 1);
        let (drain, signal) = oneshot::channel();
        self.drains.borrow_mut().insert(number, drain);
        let registration = Registration {
            websockets: Rc::clone(self),
            number,
        };
        (registration, signal)
    }

    /// The websockets that have not been ended.
    pub fn numbers(&self) -> Vec<u64> {
        self.drains.borrow().keys().copied().collect()
    }

    /// Ends a websocket, after `ack_timeout` at the latest.
    pub fn end(&self, number: u64, ack_timeout: Duration) {
        if let Some(drain) = self.drains.borrow_mut().remove(&number) {
            // The websocket may have ended already.
            let _ = drain.send(ack_timeout);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.websockets.drains.borrow_mut().remove(&self.number);
    }
}
