//! Events that only a backend can handle, sent over Socket.IO connections that are opened with the token of the user.
//!
//! Backends tie documents and private channels to the socket they see, so each client socket has a connection of its
//! own for them, which is kept while any is open (`ConnectionKind::Documents`). All other events share a second
//! connection, which closes when it is idle (`ConnectionKind::General`). A connection is opened by the first event that
//! requires it. What backends emit to rooms arrives over the bus, so only events for the socket itself are passed on
//! from a connection.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use log::{debug, warn};
use serde_json::json;
use tokio::time::sleep;

use super::documents::OpenDocuments;
use super::outcomes::empty_ack;
use super::token::Token;
use super::user::Login;
use crate::app::{Effect, Effects, Event, Outcome, SocketHandle};
use crate::clock::now;
use crate::logging::Burst;
use crate::model::elements::decode_string;
use crate::model::{Namespace, Payload, SocketId};
use crate::upstream::{
    ConnectRequest, ConnectionOptions, Ending, OverLimit, Pool, UpstreamConnection, UpstreamEvent,
    UpstreamListener,
};

/// Idle time after which a connection closes. That of a documents connection counts only while nothing is open, and
/// is checked periodically.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval of heartbeats on a connection: backends consider a session dead after two minutes of silence.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Pause before a client whose connection could not be opened is disconnected. It reconnects within milliseconds and
/// would fail again, at the cost of two requests to a backend each time.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The upstream connections of the sockets of one worker that have opened any.
pub(super) struct Upstreams {
    pool: Arc<Pool>,
    sockets: RefCell<HashMap<SocketId, BackendConnections>>,
}

/// The connections of one socket. Backends associate them with its user.
struct BackendConnections {
    handle: SocketHandle,
    general: Option<UpstreamConnection>,
    documents: Option<UpstreamConnection>,
    /// What is open on the documents connection.
    open: OpenDocuments,
    last_used: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionKind {
    General,
    Documents,
}

/// Receives the events of an upstream connection.
struct BackendListener {
    upstreams: Weak<Upstreams>,
    socket: SocketId,
    kind: ConnectionKind,
}

impl BackendConnections {
    fn new(handle: SocketHandle) -> Self {
        Self {
            handle,
            general: None,
            documents: None,
            open: OpenDocuments::default(),
            last_used: None,
        }
    }

    fn slot(&mut self, kind: ConnectionKind) -> &mut Option<UpstreamConnection> {
        match kind {
            ConnectionKind::General => &mut self.general,
            ConnectionKind::Documents => &mut self.documents,
        }
    }

    fn close_unused(&mut self, now: Instant) {
        let is_idle = self
            .last_used
            .is_none_or(|used| now.duration_since(used) >= IDLE_TIMEOUT);
        if is_idle && self.open.is_empty() {
            self.documents = None;
        }
    }
}

impl Upstreams {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            sockets: RefCell::default(),
        }
    }

    /// Closes the connections of a socket that disconnects or changes its user.
    pub(super) fn close(&self, socket: SocketId) {
        self.sockets.borrow_mut().remove(&socket);
    }

    /// Makes the backend of the general connection, if there is one, look up the channels of the user again.
    pub(super) fn join_channels(&self, socket: SocketId, token: &Token) {
        if let Some(state) = self.sockets.borrow().get(&socket)
            && let Some(connection) = &state.general
        {
            connection.emit(&with_auth("join-channels", token), None);
        }
    }

    /// Closes documents connections on which nothing is open.
    pub(super) fn close_unused(&self, now: Instant) {
        let mut sockets = self.sockets.borrow_mut();
        sockets
            .values_mut()
            .for_each(|state| state.close_unused(now));
    }

    /// Sends an event to a backend. The next event of the socket does not wait for its ack, which is passed on when it
    /// arrives, but it waits for a backend that does not read.
    pub(super) fn delegate(
        self: &Rc<Self>,
        socket: SocketId,
        handle: &SocketHandle,
        login: &Login,
        event: Event,
    ) -> Outcome {
        let mut elements = event.payload.elements();
        let name = elements.next().and_then(decode_string).unwrap_or_default();
        let kind = if OpenDocuments::concerns(&name) {
            ConnectionKind::Documents
        } else {
            ConnectionKind::General
        };
        let mut sockets = self.sockets.borrow_mut();
        let state = sockets
            .entry(socket)
            .or_insert_with(|| BackendConnections::new(handle.clone()));
        state
            .slot(kind)
            .take_if(|connection| connection.has_ended());
        if state.slot(kind).is_none() {
            match self.open(socket, login, kind) {
                Ok(connection) => *state.slot(kind) = Some(connection),
                Err(over) => return over_limit(over),
            }
        }
        state.open.track(&name, elements.next());
        state.last_used = Some(now());
        let Some(connection) = state.slot(kind) else {
            return Outcome::none();
        };
        connection.emit(&event.payload, event.ack);
        if !connection.is_full() {
            return Outcome::none();
        }
        let writable = connection.writable();
        Outcome::later(async move {
            writable.await;
            Effects::new()
        })
    }

    fn open(
        self: &Rc<Self>,
        socket: SocketId,
        login: &Login,
        kind: ConnectionKind,
    ) -> Result<UpstreamConnection, OverLimit> {
        let auth = json!({"token": &**login.token.expose()});
        let options = ConnectionOptions {
            connect: ConnectRequest {
                namespace: Namespace::main(),
                auth: auth.to_string().into(),
            },
            // A backend has verified the user, so a client cannot forge it to evade the limit per user.
            user: Some(login.user.id.as_str().into()),
            network: None,
            // Puts the connection into the rooms that the backend checks later.
            first_event: Some(with_auth("user-join", &login.token)),
            heartbeat: Some((HEARTBEAT, Payload::event("heartbeat", ["{}"]))),
            idle_timeout: (kind == ConnectionKind::General).then_some(IDLE_TIMEOUT),
        };
        let listener = BackendListener {
            upstreams: Rc::downgrade(self),
            socket,
            kind,
        };
        debug!(socket = socket.log_name(), kind:?; "upstream connection opened");
        UpstreamConnection::open(&self.pool, options, Rc::new(listener))
    }
}

impl UpstreamListener for BackendListener {
    fn poll_capacity(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(upstreams) = self.upstreams.upgrade() else {
            return Poll::Ready(());
        };
        let sockets = upstreams.sockets.borrow();
        let state = sockets.get(&self.socket);
        state.map_or(Poll::Ready(()), |state| state.handle.poll_capacity(cx))
    }

    fn on_events(&self, events: Vec<UpstreamEvent>) {
        let Some(upstreams) = self.upstreams.upgrade() else {
            return;
        };
        let mut sockets = upstreams.sockets.borrow_mut();
        let Some(state) = sockets.get_mut(&self.socket) else {
            return;
        };
        let mut effects = Effects::new();
        for event in events {
            match event {
                UpstreamEvent::Connected { .. } => {}
                // Backends request no ack for these events.
                UpstreamEvent::Event { payload, .. } => effects.push(Effect::Emit(payload)),
                UpstreamEvent::Ack { ack, payload } => effects.push(Effect::LateAck(ack, payload)),
                UpstreamEvent::Ended(ending) => self.on_end(&ending, state, &mut effects),
            }
        }
        if !effects.is_empty() {
            state.handle.apply(effects);
        }
    }
}

impl BackendListener {
    /// If something was open on the connection the client is disconnected: browsers reconnect and open it again.
    fn on_end(&self, ending: &Ending, state: &mut BackendConnections, effects: &mut Effects) {
        let ended = state
            .slot(self.kind)
            .take_if(|connection| connection.has_ended());
        if ended.is_none() {
            // The connection was closed and may have been replaced already.
            return;
        }
        debug!(socket = self.socket.log_name(), ending:?; "upstream connection ended");
        if self.kind != ConnectionKind::Documents || state.open.is_empty() {
            return;
        }
        match pause_after(ending) {
            None => effects.push(Effect::Disconnect { close: false }),
            Some(pause) => {
                // Further failures within the pause must not disconnect the client again.
                state.open = OpenDocuments::default();
                let handle = state.handle.clone();
                actix_rt::spawn(async move {
                    sleep(pause).await;
                    handle.apply([Effect::Disconnect { close: false }]);
                });
            }
        }
    }
}

fn pause_after(ending: &Ending) -> Option<Duration> {
    matches!(ending, Ending::Rejected { .. } | Ending::Unavailable(_)).then_some(RETRY_PAUSE)
}

/// `[name,{"auth":{"token":…}}]`
fn with_auth(name: &str, token: &Token) -> Payload {
    let argument = json!({"auth": {"token": &**token.expose()}});
    Payload::event(name, [argument.to_string().as_str()])
}

fn over_limit(over: OverLimit) -> Outcome {
    static BURST: Burst = Burst::new();
    if let Some(others) = BURST.note() {
        warn!(key = over.key(), others; "event not sent to a backend: {over}");
    }
    let error = json!({"message": "The server is busy. Please try again later."});
    let event = Payload::event("error", [error.to_string().as_str()]);
    [Effect::Emit(event), empty_ack()].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_whose_connection_could_not_be_opened_is_disconnected_after_a_pause() {
        let lost = Ending::Lost {
            reason: String::new(),
            was_quiet: true,
        };
        let rejected = Ending::Rejected {
            message: String::new(),
            data: None,
        };
        let unavailable = Ending::Unavailable(String::new());
        for at_once in [lost, Ending::Disconnected] {
            assert_eq!(pause_after(&at_once), None);
        }
        for delayed in [rejected, unavailable] {
            assert_eq!(pause_after(&delayed), Some(RETRY_PAUSE));
        }
    }
}
