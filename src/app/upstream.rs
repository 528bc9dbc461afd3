//! The app of a node in front of a Socket.IO server: whatever a client says goes over its upstream connection, and comes back.
//!
//! One upstream connection for each socket (`crate::upstream`), opened with the client's own auth: at its connect (`eager`), so that the
//! upstream can refuse it and speak first, or at its first event (`lazy`). Events keep their order on the upstream connection and no
//! event waits for the answer to another; acks, attachments and the namespace pass both ways. With
//! `app.upstream.relay`, `roomwire:*` events are the relay's instead.
//!
//! When an upstream connection is lost in use, its client is told by the end of its own connection (or a `41`), because nobody knows
//! what the upstream still remembers. A lazy upstream connection that was quiet is opened again when needed: whoever lets upstream connections close
//! when idle keeps nothing in them.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytestring::ByteString;
use hashbrown::HashMap;
use log::debug;
use serde_json::json;
use tokio::sync::oneshot;

use super::relay::{self, Relay};
use super::{Action, Actions, Answer, App, Door, Event, Push, Refusal, SocketContext};
use crate::config::{UpstreamConfig, UpstreamConnect, WhenLost};
use crate::model::{Namespace, Network, Payload, Room, SocketId};
use crate::upstream::{
    Ending, Listener, OverLimit, Pool, Purpose, Request, UpstreamConnection, UpstreamEvent,
};

/// The event that tells a client why it is disconnected.
const ERROR_EVENT: &str = "roomwire:error";

/// The app; one a worker.
pub struct Upstream {
    inner: Rc<Inner>,
    /// Answers `roomwire:*` events, if they are ours.
    relay: Option<Relay>,
}

struct Inner {
    pool: Arc<Pool>,
    stays: RefCell<HashMap<SocketId, Stay>>,
}

/// A socket and its upstream.
struct Stay {
    namespace: Namespace,
    auth: ByteString,
    network: Option<Network>,
    door: Door,
    upstream: Option<UpstreamConnection>,
    /// Tells the client's connect, which waits for the upstream connection, how it went.
    connecting: Option<oneshot::Sender<Result<(), Ending>>>,
}

/// Hears a socket's upstream.
struct Ear {
    app: Weak<Inner>,
    socket: SocketId,
}

impl Upstream {
    /// The app with these upstreams; `relay` is asked about `roomwire:*` events.
    pub fn new(pool: Arc<Pool>, relay: Option<Relay>) -> Self {
        let stays = RefCell::default();
        Self {
            inner: Rc::new(Inner { pool, stays }),
            relay,
        }
    }

    fn relay_for(&self, event: &Event) -> Option<&Relay> {
        let relay = self.relay.as_ref()?;
        relay::is_own(&event.payload).then_some(relay)
    }
}

impl App for Upstream {
    fn on_connect(&self, peer: &SocketContext<'_>, auth: &str) -> Answer {
        let stay = Stay {
            namespace: peer.namespace.clone(),
            auth: auth.into(),
            network: peer.network,
            door: peer.doorway.door(),
            upstream: None,
            connecting: None,
        };
        self.inner.stays.borrow_mut().insert(peer.socket, stay);
        if self.inner.pool.settings().connect == UpstreamConnect::Lazy {
            return Answer::nothing();
        }
        let (sender, joined) = oneshot::channel();
        if let Err(over) = self.inner.open(peer.socket, Some(sender)) {
            self.inner.stays.borrow_mut().remove(&peer.socket);
            return [Action::Refuse(over_limit(over))].into();
        }
        let (inner, socket) = (Rc::clone(&self.inner), peer.socket);
        Answer::Later(Box::pin(async move {
            let ending = match joined.await {
                Ok(Ok(())) => return Actions::new(),
                Ok(Err(ending)) => ending,
                // Its stay is over: the client left meanwhile.
                Err(_) => Ending::Closed,
            };
            inner.stays.borrow_mut().remove(&socket);
            match ending {
                Ending::Refused { message, data } => {
                    [Action::Refuse(Refusal { message, data })].into()
                }
                // A refusal would keep stock clients away; this lets them try again.
                _ => [Action::Hangup].into(),
            }
        }))
    }

    fn on_event(&self, peer: &SocketContext<'_>, event: Event) -> Answer {
        if let Some(relay) = self.relay_for(&event) {
            return relay.on_event(peer, event);
        }
        self.inner.delegate(peer.socket, event)
    }

    fn on_joined(&self, peer: &SocketContext<'_>, rooms: &[Room], degraded: bool) -> Answer {
        match &self.relay {
            Some(relay) => relay.on_joined(peer, rooms, degraded),
            None => Answer::nothing(),
        }
    }

    fn on_answer(&self, peer: &SocketContext<'_>, answer: Option<Payload>) -> Answer {
        match &self.relay {
            Some(relay) => relay.on_answer(peer, answer),
            None => Answer::nothing(),
        }
    }

    fn on_reply(&self, peer: &SocketContext<'_>, question: u64, answer: &Payload) {
        let stays = self.inner.stays.borrow();
        if let Some(upstream) = stays
            .get(&peer.socket)
            .and_then(|stay| stay.upstream.as_ref())
        {
            upstream.answer(question, answer);
        }
    }

    fn on_disconnect(&self, peer: &SocketContext<'_>, reason: &str) {
        let stay = self.inner.stays.borrow_mut().remove(&peer.socket);
        if let Some(upstream) = stay.and_then(|stay| stay.upstream) {
            // The upstream sees what we saw.
            upstream.close(reason == "client namespace disconnect");
        }
    }
}

impl Inner {
    /// Opens the socket's upstream.
    fn open(
        self: &Rc<Self>,
        socket: SocketId,
        connecting: Option<oneshot::Sender<Result<(), Ending>>>,
    ) -> Result<(), OverLimit> {
        let mut stays = self.stays.borrow_mut();
        let Some(stay) = stays.get_mut(&socket) else {
            return Ok(());
        };
        let settings = self.pool.settings();
        let request = Request {
            purpose: Purpose {
                namespace: stay.namespace.clone(),
                auth: stay.auth.clone(),
            },
            user: (!stay.auth.is_empty()).then(|| (&*stay.auth).into()),
            network: stay.network,
            greeting: None,
            heartbeat: None,
            idle: settings
                .idle_timeout
                .filter(|_| settings.connect == UpstreamConnect::Lazy),
        };
        let ear = Ear {
            app: Rc::downgrade(self),
            socket,
        };
        stay.upstream = Some(UpstreamConnection::open(&self.pool, request, Rc::new(ear))?);
        stay.connecting = connecting;
        Ok(())
    }

    /// Sends an event over the socket's upstream connection; an upstream connection that is full holds the socket's next events up.
    fn delegate(self: &Rc<Self>, socket: SocketId, event: Event) -> Answer {
        let has_upstream = self
            .stays
            .borrow()
            .get(&socket)
            .is_some_and(Stay::has_upstream);
        if !has_upstream && let Err(over) = self.open(socket, None) {
            let Refusal { message, data } = over_limit(over);
            let told = told(over.code(), &message, data);
            return [Action::Emit(told), Action::Disconnect { close: false }].into();
        }
        let stays = self.stays.borrow();
        let Some(upstream) = stays.get(&socket).and_then(|stay| stay.upstream.as_ref()) else {
            return Answer::nothing();
        };
        upstream.emit(&event.payload, event.ack);
        if !upstream.is_full() {
            return Answer::nothing();
        }
        let room = upstream.room();
        Answer::Later(Box::pin(async move {
            room.await;
            Actions::new()
        }))
    }
}

impl Stay {
    fn has_upstream(&self) -> bool {
        self.upstream
            .as_ref()
            .is_some_and(|upstream| !upstream.has_ended())
    }
}

impl Listener for Ear {
    fn poll_capacity(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(app) = self.app.upgrade() else {
            return Poll::Ready(());
        };
        let stays = app.stays.borrow();
        let stay = stays.get(&self.socket);
        stay.map_or(Poll::Ready(()), |stay| stay.door.poll_capacity(cx))
    }

    fn on_events(&self, news: Vec<UpstreamEvent>) {
        let Some(app) = self.app.upgrade() else {
            return;
        };
        let mut stays = app.stays.borrow_mut();
        let Some(stay) = stays.get_mut(&self.socket) else {
            return;
        };
        let mut pushes = Vec::with_capacity(news.len());
        for piece in news {
            match piece {
                UpstreamEvent::Joined { .. } => {
                    if let Some(connecting) = stay.connecting.take() {
                        // The client may have left; its stay goes by its own way.
                        let _ = connecting.send(Ok(()));
                    }
                }
                UpstreamEvent::Event { payload, question } => pushes.push(match question {
                    None => Push::Emit(payload),
                    Some(question) => Push::Ask { payload, question },
                }),
                UpstreamEvent::Acked { ack, payload } => pushes.push(Push::Reply(ack, payload)),
                UpstreamEvent::Ended(ending) => {
                    // Another one may have taken its place.
                    stay.upstream.take_if(|upstream| upstream.has_ended());
                    match stay.connecting.take() {
                        Some(connecting) => drop(connecting.send(Err(ending))),
                        None => ended(ending, app.pool.settings(), &mut pushes),
                    }
                }
            }
        }
        if !pushes.is_empty() {
            stay.door.push(pushes);
        }
    }
}

/// What the client of an upstream connection that ended is told. An upstream connection that may close when idle may also be lost while it is quiet: it
/// is opened again when needed.
fn ended(ending: Ending, settings: &UpstreamConfig, pushes: &mut Vec<Push>) {
    let resumable = settings.connect == UpstreamConnect::Lazy && settings.idle_timeout.is_some();
    let (code, message) = match ending {
        Ending::Closed | Ending::Idle => return,
        Ending::Lost { quiet: true, .. } if resumable => return,
        Ending::Disconnected => return pushes.push(Push::Disconnect { close: false }),
        Ending::Refused { message, data } => {
            // It would be refused again.
            pushes.push(Push::Emit(told("upstream_refused", &message, data)));
            return pushes.push(Push::Disconnect { close: false });
        }
        Ending::Lost { reason, .. } => {
            debug!(reason:%; "client ends with its upstream connection");
            ("upstream_lost", "the server behind this one was lost")
        }
        Ending::Unavailable(reason) => {
            debug!(reason:%; "client ends without an upstream connection");
            (
                "upstream_unavailable",
                "the server behind this one cannot be reached",
            )
        }
    };
    pushes.push(Push::Emit(told(code, message, None)));
    pushes.push(match settings.when_lost {
        WhenLost::Close => Push::Hangup,
        WhenLost::Disconnect => Push::Disconnect { close: false },
    });
}

/// Why somebody gets no upstream.
fn over_limit(over: OverLimit) -> Refusal {
    Refusal {
        message: over.to_string(),
        data: Some(json!({"code": over.code(), "key": over.key()}).to_string()),
    }
}

/// `["roomwire:error",{code,message,data?}]`; `data` is encoded JSON of the upstream.
fn told(code: &str, message: &str, data: Option<String>) -> Payload {
    let head = json!({"code": code, "message": message}).to_string();
    let argument = match data {
        Some(data) => format!("{},\"data\":{data}}}", &head[..head.len() - 1]),
        None => head,
    };
    Payload::event(ERROR_EVENT, [argument.as_str()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// What the client is told and what is done to it, as text.
    fn outcome(ending: Ending, connect: UpstreamConnect, when_lost: WhenLost) -> String {
        let mut settings = Config::default().app.upstream;
        settings.when_lost = when_lost;
        settings.connect = connect;
        let mut pushes = Vec::new();
        ended(ending, &settings, &mut pushes);
        let words = pushes.into_iter().map(|push| match push {
            Push::Emit(payload) => payload.json.to_string(),
            other => format!("{other:?}"),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_a_client_is_told_of_each_ending() {
        use UpstreamConnect::{Eager, Lazy};
        let lost = |quiet| Ending::Lost {
            reason: "transport close".into(),
            quiet,
        };
        for silent in [Ending::Closed, Ending::Idle, lost(true)] {
            assert_eq!(outcome(silent, Lazy, WhenLost::Close), "");
        }
        let told = r#"["roomwire:error",{"code":"upstream_lost","message":"the server behind this one was lost"}]"#;
        assert_eq!(
            outcome(lost(true), Eager, WhenLost::Close),
            format!("{told} Hangup")
        );
        assert_eq!(
            outcome(lost(false), Lazy, WhenLost::Disconnect),
            format!("{told} Disconnect {{ close: false }}")
        );
        let away = outcome(Ending::Unavailable("secret".into()), Lazy, WhenLost::Close);
        assert!(away.contains("upstream_unavailable") && away.ends_with("Hangup"));
        assert!(!away.contains("secret"), "{away}");
        assert_eq!(
            outcome(Ending::Disconnected, Eager, WhenLost::Close),
            "Disconnect { close: false }"
        );
        let refused = Ending::Refused {
            message: "no }".into(),
            data: Some("[1]".into()),
        };
        assert_eq!(
            outcome(refused, Lazy, WhenLost::Close),
            r#"["roomwire:error",{"code":"upstream_refused","message":"no }","data":[1]}] Disconnect { close: false }"#
        );
    }
}
