//! The websockets that a worker holds for sessions of other nodes, so that they can be told to go.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::oneshot;

/// Resolves when a held websocket should go, to how long its session may take to settle what is under way.
pub type DrainSignal = oneshot::Receiver<Duration>;

/// The held websockets of a worker by number.
#[derive(Debug, Default)]
pub struct RemoteWebsockets {
    next: Cell<u64>,
    leaving: RefCell<HashMap<u64, oneshot::Sender<Duration>>>,
}

/// A websocket's place among the held; given back when dropped.
#[derive(Debug)]
pub struct Registration {
    held: Rc<RemoteWebsockets>,
    number: u64,
}

impl RemoteWebsockets {
    /// A place for one more, and what fires when it should go.
    pub fn enter(self: &Rc<Self>) -> (Registration, DrainSignal) {
        let number = self.next.get();
        self.next.set(number + 1);
        let (leaving, told) = oneshot::channel();
        self.leaving.borrow_mut().insert(number, leaving);
        let place = Registration {
            held: Rc::clone(self),
            number,
        };
        (place, told)
    }

    /// Those that were not told to go.
    pub fn numbers(&self) -> Vec<u64> {
        self.leaving.borrow().keys().copied().collect()
    }

    /// Tells one to go.
    pub fn end(&self, number: u64, patience: Duration) {
        if let Some(leaving) = self.leaving.borrow_mut().remove(&number) {
            // It may be gone by itself.
            let _ = leaving.send(patience);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.held.leaving.borrow_mut().remove(&self.number);
    }
}
