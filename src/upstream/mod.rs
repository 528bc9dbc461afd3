//! Upstream connections: Socket.IO client connections of this node to the servers behind it, the upstreams.
//!
//! An app opens a [`UpstreamConnection`] for a client (or for a user), emits on it, and hears by its [`Listener`] what the upstream
//! says. It lives on the worker's thread of whoever opened it: no lock and no other thread is on the way of a message.
//! The [`Pool`], one a node, knows the upstreams: it balances, ejects those that fail, checks their health and
//! bounds upstream connections by node and by user. The protocol is `protocol::client`; what an event means is the app's business.
//!
//! ```text
//! let upstream = UpstreamConnection::open(&pool, request, listener)?;       // an OverLimit is told by name
//! upstream.emit(&payload, Some(ack));                        // its answer comes as UpstreamEvent::Acked { ack, .. }, in order
//! if upstream.is_full() { upstream.room().await; }                // the upstream does not read: hold the client up
//! upstream.answer(question, &payload);                       // for a UpstreamEvent::Event { question: Some(_), .. }
//! upstream.close(true);                                      // or drop it
//! ```
//!
//! Whatever is emitted before the upstream let us in waits, in order. `Request::greeting` is said before all of it and
//! must be acknowledged first; `Request::heartbeat` is said from time to time; `Request::idle` closes an upstream connection that
//! nobody uses. After [`UpstreamEvent::Ended`] nothing more is heard and what is emitted is dropped; open another one.

mod carrier;
mod connect;
mod dial;
mod pool;
mod probe;
mod tally;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::metrics::labels::UpstreamEventKind;
use crate::model::{AckId, Network, Payload};
use crate::protocol::client::Client;
pub use crate::protocol::client::Purpose;
pub use pool::Pool;
pub use probe::{Greeting, Obstacle, probe};
pub use tally::OverLimit;

/// What an upstream connection is for.
#[derive(Debug, Clone)]
pub struct Request {
    pub purpose: Purpose,
    /// Whose upstream connections are counted together, if anybody's.
    pub user: Option<Box<str>>,
    /// Network of the client; the upstream connections of one network are counted together.
    pub network: Option<Network>,
    /// An event the upstream must acknowledge before anything else is sent.
    pub greeting: Option<Payload>,
    /// An event sent in this interval; nobody waits for its answer, and it does not count as use.
    pub heartbeat: Option<(Duration, Payload)>,
    /// The upstream connection closes when nothing was said for so long and no answer is owed.
    pub idle: Option<Duration>,
}

/// What happens on an upstream connection, in order.
#[derive(Debug)]
pub enum UpstreamEvent {
    /// The upstream let us in, and acknowledged the greeting; this is its socket id.
    Joined { sid: Box<str> },
    /// An event that passed the filter; with a number the upstream waits for [`UpstreamConnection::answer`].
    Event {
        payload: Payload,
        question: Option<u64>,
    },
    /// The answer to an emit, under the name it was given.
    Acked { ack: AckId, payload: Payload },
    /// The last word.
    Ended(Ending),
}

impl UpstreamEvent {
    /// Bytes of its payload.
    fn size(&self) -> usize {
        match self {
            Self::Event { payload, .. } | Self::Acked { payload, .. } => payload.size(),
            Self::Joined { .. } | Self::Ended(_) => 0,
        }
    }
}

/// Why an upstream connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its owner closed it.
    Closed,
    /// Nobody used it.
    Idle,
    /// The upstream refused us, in its own words.
    Refused {
        message: String,
        /// Further data, encoded JSON.
        data: Option<String>,
    },
    /// The upstream ended our stay in the namespace.
    Disconnected,
    /// No upstream could be reached, or none let us in, in time.
    Unavailable(String),
    /// The connection was lost. `quiet`: nothing was under way, no packet and no answer in either direction.
    Lost { reason: String, quiet: bool },
}

/// Hears what happens on an upstream connection: everything of one turn at once. It may use the upstream connection, and drop it.
pub trait Listener {
    /// Takes the news, in order.
    fn on_events(&self, news: Vec<UpstreamEvent>);

    /// Ready when it can take more news; otherwise the task is woken then. Meanwhile nothing is read from the upstream,
    /// so TCP applies back-pressure.
    fn poll_capacity(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// The owner's end of an upstream connection; dropping it closes the upstream.
pub struct UpstreamConnection {
    shared: Rc<Shared>,
}

/// What owner and carrier share.
struct Shared {
    state: RefCell<State>,
    queue_limit: usize,
    max_pending_acks: usize,
    pool: Arc<Pool>,
}

struct State {
    client: Client,
    /// Bytes the carrier has taken and not yet written.
    writing: usize,
    /// Answers of the upstream that are awaited, and the names they were given.
    awaited: VecDeque<(u64, AckId)>,
    /// Answers the upstream waits for, by our number.
    asked: VecDeque<(u64, AckId)>,
    last_used: Instant,
    /// Asked to close; whether to leave the namespace first.
    closing: Option<bool>,
    ended: bool,
    carrier: Option<Waker>,
    room: Vec<Waker>,
}

thread_local! {
    static NEXT_QUESTION: Cell<u64> = const { Cell::new(0) };
}

impl UpstreamConnection {
    /// Opens an upstream connection on the current thread, which must run an actix system. Returns at once; what is emitted waits
    /// until the upstream let us in.
    ///
    /// # Errors
    /// The node, or this user, has as many upstream connections as it may.
    pub fn open(
        pool: &Arc<Pool>,
        request: Request,
        listener: Rc<dyn Listener>,
    ) -> Result<Self, OverLimit> {
        let place = pool.take_place(request.user.as_deref(), request.network)?;
        let now = Instant::now();
        let settings = pool.settings();
        let client = Client::new(
            request.purpose.clone(),
            settings.max_message,
            now + settings.connect_timeout,
            Arc::clone(pool.random()),
        );
        let shared = Rc::new(Shared {
            state: RefCell::new(State {
                client,
                writing: 0,
                awaited: VecDeque::new(),
                asked: VecDeque::new(),
                last_used: now,
                closing: None,
                ended: false,
                carrier: None,
                room: Vec::new(),
            }),
            queue_limit: settings.queue_limit,
            max_pending_acks: settings.max_pending_acks,
            pool: Arc::clone(pool),
        });
        actix_rt::spawn(carrier::run(Rc::clone(&shared), request, listener, place));
        Ok(Self { shared })
    }

    /// Emits an event; with a name for it, its answer comes as [`UpstreamEvent::Acked`].
    pub fn emit(&self, payload: &Payload, ack: Option<AckId>) {
        let shared = &self.shared;
        let mut state = shared.state.borrow_mut();
        if state.ended || state.closing.is_some() {
            return;
        }
        let id = state.client.emit(payload, ack.is_some());
        state.awaited.extend(id.zip(ack));
        if state.awaited.len() > shared.max_pending_acks {
            state.awaited.pop_front();
            shared.pool.metrics().acks_dropped_total.increment();
        }
        shared.pool.count(UpstreamEventKind::Sent);
        state.touch();
    }

    /// Answers an event of the upstream. Only the first answer counts.
    pub fn answer(&self, question: u64, payload: &Payload) {
        let mut state = self.shared.state.borrow_mut();
        let position = state.asked.iter().position(|(asked, _)| *asked == question);
        if let Some((_, id)) = position.and_then(|position| state.asked.remove(position)) {
            state.client.answer(&id, payload);
            state.touch();
        }
    }

    /// So much waits for the upstream that its client should be held up.
    pub fn is_full(&self) -> bool {
        let state = self.shared.state.borrow();
        !state.ended && state.queued() > self.shared.queue_limit
    }

    /// Ends when there is room again, or the upstream connection has ended.
    pub fn room(&self) -> impl Future<Output = ()> + use<> {
        let shared = Rc::clone(&self.shared);
        poll_fn(move |cx| {
            let mut state = shared.state.borrow_mut();
            if state.ended || state.queued() <= shared.queue_limit {
                return Poll::Ready(());
            }
            state.room.push(cx.waker().clone());
            Poll::Pending
        })
    }

    /// Whether it has ended, or is about to: what is emitted now reaches nobody.
    pub fn has_ended(&self) -> bool {
        let state = self.shared.state.borrow();
        state.ended || state.closing.is_some()
    }

    /// Closes it once everything is written, also what still waits for the upstream to let us in; `namespace`: the
    /// upstream sees us leave the namespace, else only the end of the connection.
    pub fn close(&self, namespace: bool) {
        let mut state = self.shared.state.borrow_mut();
        state.closing.get_or_insert(namespace);
        state.wake();
    }
}

impl Drop for UpstreamConnection {
    fn drop(&mut self) {
        self.close(false);
    }
}

impl Shared {
    /// Files an event the upstream wants answered; our number for it.
    fn ask(&self, state: &mut State, id: AckId) -> u64 {
        let number = NEXT_QUESTION.replace(NEXT_QUESTION.get() + 1);
        state.asked.push_back((number, id));
        if state.asked.len() > self.max_pending_acks {
            state.asked.pop_front();
            self.pool.metrics().acks_dropped_total.increment();
        }
        number
    }
}

impl State {
    fn queued(&self) -> usize {
        self.client.outgoing_bytes() + self.writing
    }

    /// Nothing is under way.
    fn is_quiet(&self) -> bool {
        self.queued() == 0 && self.awaited.is_empty() && self.asked.is_empty()
    }

    /// It was used: the carrier has something to write, and idleness begins anew.
    fn touch(&mut self) {
        self.last_used = Instant::now();
        self.wake();
    }

    /// Whether it is to close now, and how: asked to, and nothing waits for the upstream to let us in.
    fn closes(&self) -> Option<bool> {
        self.closing.filter(|_| !self.client.holds_back())
    }

    fn wake(&mut self) {
        if let Some(waker) = &self.carrier {
            waker.wake_by_ref();
        }
    }

    fn wake_waiting(&mut self) {
        for waker in self.room.drain(..) {
            waker.wake();
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.awaited.clear();
        self.asked.clear();
        self.wake_waiting();
    }
}
