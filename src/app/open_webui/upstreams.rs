//! What only a backend can do goes to one: over an upstream connection, a Socket.IO connection with the user's own token.
//!
//! Documents and private channels are tied to the socket that the backend sees, so each of our sockets has an upstream connection of its
//! own for them, which stays while they are open. Everything else (what was read, events of another time) takes a
//! passing upstream connection, which closes when it is not used. Upstream connections are opened with the first event that needs them; what the backend
//! says to rooms comes over the bus, so of an upstream connection only what is meant for its socket is passed on.

use std::collections::BTreeSet;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use log::{debug, warn};
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::sockets::{Login, Socket, Sockets};
use super::token::Token;
use super::{done, later};
use crate::app::{Action, Actions, Answer, Event, Push};
use crate::logging::Burst;
use crate::model::{Namespace, Payload, SocketId};
use crate::upstream::{
    Ending, Listener, OverLimit, Purpose, Request, UpstreamConnection, UpstreamEvent,
};

/// A passing upstream connection closes when it was not used for so long.
const PASSING_IDLE: Duration = Duration::from_secs(60);
/// A staying upstream connection without anything open does, too; looked at from time to time.
const STAYING_IDLE: Duration = Duration::from_secs(60);
/// Time between two heartbeats on an upstream connection: backends take who says nothing for two minutes for dead.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Documents remembered as open; backends allow 20.
const MOST_DOCUMENTS: usize = 64;
/// Bytes of a document's id; the backends' own have some 40.
const LONGEST_DOCUMENT: usize = 256;
/// After which a client tries again whose upstream connection could not be opened.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The upstream connections of one socket.
#[derive(Default)]
pub(super) struct Upstreams {
    passing: Option<UpstreamConnection>,
    staying: Option<UpstreamConnection>,
    /// Documents that are open on the staying upstream.
    documents: BTreeSet<String>,
    /// In a private channel.
    private: bool,
    used: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Passing,
    Staying,
}

/// Hears an upstream connection.
struct Ear {
    sockets: Weak<Sockets>,
    socket: SocketId,
    kind: Kind,
}

#[derive(Deserialize)]
struct Document {
    document_id: String,
}

impl Upstreams {
    fn slot(&mut self, kind: Kind) -> &mut Option<UpstreamConnection> {
        match kind {
            Kind::Passing => &mut self.passing,
            Kind::Staying => &mut self.staying,
        }
    }

    /// Notes what an event opens or closes at the backend.
    fn note(&mut self, name: &str, argument: Option<&str>) {
        let document = || {
            let argument = argument?;
            let document = serde_json::from_str::<Document>(argument).ok()?;
            (document.document_id.len() <= LONGEST_DOCUMENT).then_some(document.document_id)
        };
        match name {
            "ydoc:document:join" if self.documents.len() < MOST_DOCUMENTS => {
                self.documents.extend(document());
            }
            "ydoc:document:leave" => {
                if let Some(document) = document() {
                    self.documents.remove(&document);
                }
            }
            "encryption:leave" => self.private = false,
            "encryption:status" => {}
            _ => self.private |= name.starts_with("encryption:"),
        }
    }

    /// Whether the backend would forget something with the staying upstream.
    fn has_open(&self) -> bool {
        !self.documents.is_empty() || self.private
    }

    fn forget_open(&mut self) {
        self.documents.clear();
        self.private = false;
    }

    /// Closes what nobody needs.
    pub(super) fn close_unused(&mut self, now: Instant) {
        let is_unused = self
            .used
            .is_none_or(|used| now.duration_since(used) >= STAYING_IDLE);
        if is_unused && !self.has_open() {
            self.staying = None;
        }
    }

    /// The user's channels have changed: the backend is to look at them again for this upstream.
    pub(super) fn join_channels(&self, token: &Token) {
        if let Some(upstream) = &self.passing {
            upstream.emit(&with_auth("join-channels", token), None);
        }
    }
}

impl Sockets {
    /// Sends an event to a backend; its ack is passed on when it comes, and the socket's next event does not wait for
    /// it. A backend that does not read holds the socket up.
    pub(super) fn delegate(
        self: &Rc<Self>,
        socket: SocketId,
        login: &Login,
        event: Event,
    ) -> Answer {
        let elements = event.payload.elements();
        let name = elements.first().copied().unwrap_or_default();
        let name: String = serde_json::from_str(name).unwrap_or_default();
        let kind = match name.split(':').next() {
            Some("ydoc" | "encryption") => Kind::Staying,
            _ => Kind::Passing,
        };
        let mut sockets = self.sockets.borrow_mut();
        let Some(state) = sockets.get_mut(&socket) else {
            return Answer::nothing();
        };
        let has_upstream = |upstream: &Option<UpstreamConnection>| {
            upstream
                .as_ref()
                .is_some_and(|upstream| !upstream.has_ended())
        };
        if !has_upstream(state.upstreams.slot(kind)) {
            match self.open_upstream(socket, login, kind) {
                Ok(upstream) => *state.upstreams.slot(kind) = Some(upstream),
                Err(over) => return refused(&over),
            }
        }
        state.upstreams.note(&name, elements.get(1).copied());
        state.upstreams.used = Some(Instant::now());
        let Some(upstream) = state.upstreams.slot(kind) else {
            return Answer::nothing();
        };
        upstream.emit(&event.payload, event.ack);
        if !upstream.is_full() {
            return Answer::nothing();
        }
        let room = upstream.room();
        later(async move {
            room.await;
            Actions::new()
        })
    }

    fn open_upstream(
        self: &Rc<Self>,
        socket: SocketId,
        login: &Login,
        kind: Kind,
    ) -> Result<UpstreamConnection, OverLimit> {
        let auth = json!({"token": &**login.token.expose()});
        let request = Request {
            purpose: Purpose {
                namespace: Namespace::main(),
                auth: auth.to_string().into(),
            },
            // The user is verified by a backend, so `user` cannot be forged to evade the limit.
            user: Some(login.user.id.as_str().into()),
            network: None,
            // Puts the upstream connection into the rooms that the backend's own checks look at.
            greeting: Some(with_auth("user-join", &login.token)),
            heartbeat: Some((HEARTBEAT, Payload::event("heartbeat", ["{}"]))),
            idle: (kind == Kind::Passing).then_some(PASSING_IDLE),
        };
        let ear = Ear {
            sockets: Rc::downgrade(self),
            socket,
            kind,
        };
        debug!(socket:%, kind:?; "upstream opened");
        UpstreamConnection::open(&self.upstreams, request, Rc::new(ear))
    }

    /// Closes the upstream connections that nobody needs any more.
    pub(super) fn close_unused_upstreams(&self) {
        let now = Instant::now();
        let mut sockets = self.sockets.borrow_mut();
        sockets
            .values_mut()
            .for_each(|state| state.upstreams.close_unused(now));
    }
}

impl Listener for Ear {
    fn poll_capacity(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sockets) = self.sockets.upgrade() else {
            return Poll::Ready(());
        };
        let all = sockets.sockets.borrow();
        let state = all.get(&self.socket);
        state.map_or(Poll::Ready(()), |state| state.door.poll_capacity(cx))
    }

    fn on_events(&self, news: Vec<UpstreamEvent>) {
        let Some(sockets) = self.sockets.upgrade() else {
            return;
        };
        let mut all = sockets.sockets.borrow_mut();
        let Some(state) = all.get_mut(&self.socket) else {
            return;
        };
        let mut pushes = Vec::with_capacity(news.len());
        for piece in news {
            match piece {
                UpstreamEvent::Joined { .. } => {}
                // Backends ask nothing by these events.
                UpstreamEvent::Event { payload, .. } => pushes.push(Push::Emit(payload)),
                UpstreamEvent::Acked { ack, payload } => pushes.push(Push::Reply(ack, payload)),
                UpstreamEvent::Ended(ending) => self.on_end(&ending, state, &mut pushes),
            }
        }
        if !pushes.is_empty() {
            state.door.push(pushes);
        }
    }
}

impl Ear {
    /// With something open the client is sent away to come back, as browsers do: they open it anew.
    fn on_end(&self, ending: &Ending, state: &mut Socket, pushes: &mut Vec<Push>) {
        let upstreams = &mut state.upstreams;
        let ended = upstreams
            .slot(self.kind)
            .take_if(|upstream| upstream.has_ended());
        // Given up before, for whatever is in its place now.
        if ended.is_none() {
            return;
        }
        debug!(socket:% = self.socket, ending:?; "upstream ended");
        if self.kind != Kind::Staying || !upstreams.has_open() {
            return;
        }
        match pause_after(ending) {
            None => pushes.push(Push::Disconnect { close: false }),
            Some(pause) => {
                // Sent away once, whatever else the client tries meanwhile.
                upstreams.forget_open();
                let door = state.door.clone();
                actix_rt::spawn(async move {
                    sleep(pause).await;
                    door.push(vec![Push::Disconnect { close: false }]);
                });
            }
        }
    }
}

/// How long a client waits before it tries again. No upstream connection could be opened: it comes back within milliseconds and would
/// fail again, at two questions to a backend each time.
fn pause_after(ending: &Ending) -> Option<Duration> {
    matches!(ending, Ending::Refused { .. } | Ending::Unavailable(_)).then_some(RETRY_PAUSE)
}

/// `[name,{"auth":{"token":…}}]`
fn with_auth(name: &str, token: &Token) -> Payload {
    let argument = json!({"auth": {"token": &**token.expose()}});
    Payload::event(name, [argument.to_string().as_str()])
}

/// The node, or the user, has as many upstream connections as it may.
fn refused(over: &OverLimit) -> Answer {
    static BURST: Burst = Burst::new();
    if let Some(others) = BURST.note() {
        warn!(others; "event not passed to a backend: {over}");
    }
    let error = json!({"message": "The server is busy. Please try again later."});
    let told = Payload::event("error", [error.to_string().as_str()]);
    [Action::Emit(told), done()].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legs_stay_while_something_is_open() {
        let mut upstreams = Upstreams::default();
        let document = Some(r#"{"document_id":"note:n"}"#);
        assert!(!upstreams.has_open());
        let cases = [
            ("ydoc:document:join", document, true),
            ("ydoc:document:update", document, true),
            ("ydoc:document:leave", document, false),
            ("encryption:status", None, false),
            ("encryption:start", None, true),
            ("encryption:ping", None, true),
            ("encryption:leave", None, false),
        ];
        for (name, argument, open) in cases {
            upstreams.note(name, argument);
            assert_eq!(upstreams.has_open(), open, "{name}");
        }
        let endless = format!(
            r#"{{"document_id":"{}"}}"#,
            "n".repeat(LONGEST_DOCUMENT + 1)
        );
        upstreams.note("ydoc:document:join", Some(&endless));
        assert!(!upstreams.has_open(), "no backend has such a document");
    }

    #[test]
    fn who_gets_no_leg_tries_again_later() {
        let lost = Ending::Lost {
            reason: String::new(),
            quiet: true,
        };
        let refused = Ending::Refused {
            message: String::new(),
            data: None,
        };
        let away = Ending::Unavailable(String::new());
        for at_once in [lost, Ending::Disconnected] {
            assert_eq!(pause_after(&at_once), None);
        }
        for later in [refused, away] {
            assert_eq!(pause_after(&later), Some(RETRY_PAUSE));
        }
    }
}
