//! Deadlines of an HTTP connection: for the head of a request, its body, the response, and the idle time until the next
//! request.
//!
//! actix-http limits only the time for the first head and for an idle connection. A body or a later head that never
//! ends, or a response that is never read, would hold the connection and its descriptor forever. So [`Deadlines`] are
//! kept below it, beside the socket: `TimedStream` updates them with each read and write, and
//! requests mark when they are served and when they wait for a body.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::dev::Payload;

use crate::config::HttpTimeouts;
use crate::transport::slots::HttpSlot;

/// Extra time before these deadlines act, so that actix-http can close an idle connection, or respond to a late first
/// head with 408, itself.
const MARGIN: Duration = Duration::from_secs(1);

/// The deadlines of one connection, shared by its socket and the requests on it.
pub struct Deadlines {
    timeouts: HttpTimeouts,
    /// Whether the connection carries HTTP: not before it is prepared, nor once it is a websocket.
    active: Cell<bool>,
    /// Number of requests being served.
    serving: Cell<usize>,
    /// When the next request must have started, or its head must be complete.
    next_request: Cell<Option<Instant>>,
    /// Whether a byte of the next request was read.
    head_begun: Cell<bool>,
    /// When more of a body must have arrived.
    body: Cell<Option<Instant>>,
    /// When the peer must have read more of a response.
    write: Cell<Option<Instant>>,
    /// The unread rest of the body of the last request.
    unread: RefCell<Option<Payload>>,
    /// Held while the connection carries HTTP.
    slot: RefCell<Option<HttpSlot>>,
}

/// A request being served; no other one is due until this is dropped.
pub struct Serving(Rc<Deadlines>);

impl Deadlines {
    /// The deadlines of a connection that does not carry HTTP yet, and its slot.
    pub fn new(timeouts: HttpTimeouts, slot: HttpSlot) -> Rc<Self> {
        Self::with_slot(timeouts, Some(slot))
    }

    fn with_slot(timeouts: HttpTimeouts, slot: Option<HttpSlot>) -> Rc<Self> {
        Rc::new(Self {
            timeouts,
            active: Cell::new(false),
            serving: Cell::new(0),
            next_request: Cell::new(None),
            head_begun: Cell::new(false),
            body: Cell::new(None),
            write: Cell::new(None),
            unread: RefCell::new(None),
            slot: RefCell::new(slot),
        })
    }

    /// Notes that the connection carries HTTP now; the head of its first request is due.
    pub fn begin(&self) {
        self.active.set(true);
        self.head_begun.set(true);
        let due = Instant::now() + self.timeouts.header_timeout + MARGIN;
        self.next_request.set(Some(due));
    }

    /// Notes that the connection no longer carries HTTP.
    pub fn end(&self) {
        self.active.set(false);
        self.slot.replace(None);
    }

    /// Notes that a request is being served, until the returned value is dropped.
    pub fn serve(self: &Rc<Self>) -> Serving {
        self.serving.set(self.serving.get() + 1);
        self.next_request.set(None);
        Serving(Rc::clone(self))
    }

    /// Notes that a request waits for its body.
    pub(crate) fn await_body(&self) {
        if self.body.get().is_none() {
            self.body
                .set(Some(Instant::now() + self.timeouts.body_timeout));
        }
    }

    /// Notes that some of the body arrived, or that the request no longer waits for it.
    pub(crate) fn note_body(&self) {
        self.body.set(None);
    }

    /// Stores a body that its request did not read to the end.
    pub(crate) fn leave_unread(&self, body: Payload) {
        *self.unread.borrow_mut() = Some(body);
    }

    /// Takes the unread body, if there is one.
    pub(crate) fn take_unread(&self) -> Option<Payload> {
        self.unread.borrow_mut().take()
    }

    /// Notes bytes read from the peer.
    pub(super) fn note_read(&self) {
        if self.serving.get() == 0 && !self.head_begun.replace(true) {
            let due = Instant::now() + self.timeouts.header_timeout;
            let earlier = self
                .next_request
                .get()
                .map_or(due, |before| before.min(due));
            self.next_request.set(Some(earlier));
        }
    }

    /// Notes that the peer accepted bytes. The time it needs for that does not count as idle.
    pub(super) fn note_written(&self) {
        if self.write.take().is_some() && self.serving.get() == 0 {
            self.await_request();
        }
    }

    /// Notes that the peer accepts no bytes at the moment.
    pub(super) fn note_write_blocked(&self) {
        if self.write.get().is_none() {
            self.write
                .set(Some(Instant::now() + self.timeouts.write_timeout));
        }
    }

    fn await_request(&self) {
        self.head_begun.set(false);
        let due = Instant::now() + self.timeouts.keepalive_timeout + MARGIN;
        self.next_request.set(Some(due));
    }

    /// The next deadline, if any.
    pub(super) fn next(&self) -> Option<Instant> {
        if !self.active.get() {
            return None;
        }
        // While a response is being written, the next request is not due yet.
        let request = match self.write.get() {
            Some(write) => Some(write),
            None => self.next_request.get(),
        };
        [request, self.body.get()].into_iter().flatten().min()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let deadlines = &self.0;
        deadlines.serving.set(deadlines.serving.get() - 1);
        if deadlines.serving.get() == 0 {
            deadlines.body.set(None);
            deadlines.await_request();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: HttpTimeouts = HttpTimeouts {
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(20),
        write_timeout: Duration::from_secs(30),
        keepalive_timeout: Duration::from_secs(75),
    };

    /// Whole seconds until the connection ends.
    fn left(deadlines: &Deadlines) -> Option<u64> {
        let left = deadlines.next()?.duration_since(Instant::now());
        Some(left.as_secs_f64().round() as u64)
    }

    #[test]
    fn each_part_of_a_request_has_its_deadline() {
        let deadlines = Deadlines::with_slot(TIMEOUTS, None);
        assert_eq!(left(&deadlines), None, "no HTTP yet");
        deadlines.begin();
        assert_eq!(left(&deadlines), Some(11), "the first head");
        deadlines.note_read();
        assert_eq!(left(&deadlines), Some(11), "bytes of it change nothing");
        let serving = deadlines.serve();
        deadlines.note_read();
        assert_eq!(left(&deadlines), None, "served");
        deadlines.await_body();
        assert_eq!(left(&deadlines), Some(20), "its body");
        deadlines.note_body();
        drop(serving);
        assert_eq!(left(&deadlines), Some(76), "idle");
        deadlines.note_read();
        assert_eq!(left(&deadlines), Some(10), "the second head");
        let serving = deadlines.serve();
        deadlines.note_write_blocked();
        drop(serving);
        assert_eq!(left(&deadlines), Some(30), "a response that is not read");
        // The response takes longer to write than a connection may be idle.
        deadlines.next_request.set(Some(Instant::now()));
        deadlines.note_written();
        assert_eq!(left(&deadlines), Some(76), "idle again");
        deadlines.end();
        assert_eq!(left(&deadlines), None, "a websocket");
    }
}
