//! The app of a node in front of Socket.IO servers: what a client emits goes over its upstream connection, and what the
//! upstream emits comes back. See `docs/upstream.md`.
//!
//! Each socket has one upstream connection (`crate::upstream`), opened with the client's own auth: at its CONNECT
//! (`eager`), so that the upstream can reject the client and emit first, or at its first event (`lazy`). Events keep
//! their order on the connection, and none waits for the ack of another; acks, attachments and the namespace pass in
//! both directions. With `app.upstream.relay`, `roomwire:*` events are handled by the relay instead.
//!
//! A client whose upstream connection is lost in use is disconnected, because the state that the upstream kept for it is
//! unknown. A lazy connection that was lost while it was quiet is opened again when needed: with `idle_timeout`, nothing
//! depends on it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytestring::ByteString;
use log::debug;
use serde_json::json;
use tokio::sync::oneshot;

use super::relay::{self, Relay, RelayParts, RoomPermissions};
use super::{
    App, AppFactory, CommandSender, ConnectRejection, Effect, Effects, Event, Outcome,
    SocketContext, SocketHandle, SocketHandler,
};
use crate::config::{UpstreamConfig, UpstreamConnect, WhenLost};
use crate::model::{Namespace, Network, Payload, SocketEvent};
use crate::upstream::{
    AckRequest, ConnectRequest, ConnectionOptions, Ending, OverLimit, Pool, UpstreamConnection,
    UpstreamEvent, UpstreamListener,
};

/// The event that gives a client the reason why it is disconnected.
const ERROR_EVENT: &str = "roomwire:error";

/// The app; one instance a worker.
pub struct Upstream {
    pool: Arc<Pool>,
    /// Handles `roomwire:*` events, unless they are the upstream's.
    relay: Option<Relay>,
}

impl Upstream {
    /// The app with these upstreams; with `relay`, it handles `roomwire:*` events.
    pub fn new(pool: Arc<Pool>, relay: Option<Relay>) -> Self {
        Self { pool, relay }
    }

    fn relay_for(&self, event: &Event) -> Option<&Relay> {
        let relay = self.relay.as_ref()?;
        relay::is_relay_event(&event.payload).then_some(relay)
    }
}

impl App for Upstream {
    fn open(self: Rc<Self>, context: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        Rc::new_cyclic(|this| ProxiedSocket {
            this: Weak::clone(this),
            namespace: context.namespace.clone(),
            network: context.network,
            handle: context.access.handle(),
            permissions: self
                .relay
                .as_ref()
                .and_then(|relay| relay.new_permissions(context.socket)),
            app: self,
            state: RefCell::default(),
        })
    }

    fn follows_sockets(&self) -> bool {
        self.relay.as_ref().is_some_and(App::follows_sockets)
    }

    fn on_socket_event(&self, event: &SocketEvent) {
        if let Some(relay) = &self.relay {
            relay.on_socket_event(event);
        }
    }
}

/// A socket and its upstream connection.
struct ProxiedSocket {
    this: Weak<Self>,
    app: Rc<Upstream>,
    namespace: Namespace,
    network: Option<Network>,
    handle: SocketHandle,
    /// Of the relay, if there are room tokens.
    permissions: Option<RoomPermissions>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    auth: ByteString,
    connection: Option<UpstreamConnection>,
    /// Completes the client's CONNECT, which waits for the upstream connection.
    connecting: Option<oneshot::Sender<Result<(), Ending>>>,
    /// Acks that the upstream requested and the client has not sent.
    client_acks: Vec<Rc<ClientAck>>,
}

/// An ack that the upstream requested of the client.
struct ClientAck {
    request: AckRequest,
    /// `None` once the ack is passed on, or will not come.
    receiver: RefCell<Option<oneshot::Receiver<Payload>>>,
}

impl ClientAck {
    /// Waits for the ack; `None` if it is passed on already, or will not come.
    async fn received(&self) -> Option<Payload> {
        poll_fn(|cx| {
            let mut receiver = self.receiver.borrow_mut();
            let Some(pending) = receiver.as_mut() else {
                return Poll::Ready(None);
            };
            let ack = ready!(Pin::new(pending).poll(cx));
            *receiver = None;
            Poll::Ready(ack.ok())
        })
        .await
    }

    /// The ack, if the client has sent it.
    fn take(&self) -> Option<Payload> {
        let mut receiver = self.receiver.borrow_mut();
        let ack = receiver.as_mut()?.try_recv().ok()?;
        *receiver = None;
        Some(ack)
    }
}

impl State {
    /// Passes on the acks that the client has sent, so that none is overtaken by what the client sent later.
    fn pass_acks(&mut self) {
        let connection = self.connection.as_ref();
        self.client_acks.retain(|pending| {
            let Some(ack) = pending.take() else {
                return true;
            };
            if let Some(connection) = connection {
                connection.ack(pending.request, &ack);
            }
            false
        });
    }

    /// Ends the wait for an ack, and passes the ack on if it has come.
    fn finish_ack(&mut self, finished: &Rc<ClientAck>, ack: Option<Payload>) {
        self.client_acks
            .retain(|pending| !Rc::ptr_eq(pending, finished));
        if let (Some(connection), Some(ack)) = (&self.connection, ack) {
            connection.ack(finished.request, &ack);
        }
    }
}

impl SocketHandler for ProxiedSocket {
    fn on_connect(&self, _context: &SocketContext<'_>, auth: &str) -> Outcome {
        self.state.borrow_mut().auth = auth.into();
        if self.app.pool.settings().connect == UpstreamConnect::Lazy {
            return Outcome::none();
        }
        let (sender, connected) = oneshot::channel();
        if let Err(over) = self.connect(Some(sender)) {
            return [Effect::Reject(over_limit(over))].into();
        }
        Outcome::later(async move {
            match connected.await {
                Ok(Ok(())) => Effects::new(),
                Ok(Err(Ending::Rejected { message, data })) => {
                    [Effect::Reject(ConnectRejection { message, data })].into()
                }
                // Not a rejection, after which stock clients do not reconnect. The sender is dropped if the client left
                // meanwhile.
                Ok(Err(_)) | Err(_) => [Effect::Hangup].into(),
            }
        })
    }

    fn on_event(&self, context: &SocketContext<'_>, event: Event) -> Outcome {
        match self.app.relay_for(&event) {
            Some(relay) => relay.handle(context, &event, self.permissions.as_ref()),
            None => self.forward(&event),
        }
    }

    fn on_disconnect(&self, _context: &SocketContext<'_>, reason: &str) {
        let mut state = self.state.borrow_mut();
        state.pass_acks();
        state.connecting = None;
        if let Some(connection) = state.connection.take() {
            // The upstream sees the kind of end that this node saw.
            connection.close(reason == "client namespace disconnect");
        }
    }
}

impl ProxiedSocket {
    /// Opens the upstream connection.
    fn connect(
        &self,
        connecting: Option<oneshot::Sender<Result<(), Ending>>>,
    ) -> Result<(), OverLimit> {
        let mut state = self.state.borrow_mut();
        let settings = self.app.pool.settings();
        let options = ConnectionOptions {
            connect: ConnectRequest {
                namespace: self.namespace.clone(),
                auth: state.auth.clone(),
            },
            user: (!state.auth.is_empty()).then(|| (&*state.auth).into()),
            network: self.network,
            first_event: None,
            heartbeat: None,
            idle_timeout: settings
                .idle_timeout
                .filter(|_| settings.connect == UpstreamConnect::Lazy),
        };
        let listener = Rc::new(ProxiedListener(Weak::clone(&self.this)));
        let connection = UpstreamConnection::open(&self.app.pool, options, listener)?;
        state.connection = Some(connection);
        state.connecting = connecting;
        Ok(())
    }

    /// Emits an event to the upstream. While the upstream connection is full, the next events of the socket wait.
    fn forward(&self, event: &Event) -> Outcome {
        if !self.is_connected()
            && let Err(over) = self.connect(None)
        {
            let ConnectRejection { message, data } = over_limit(over);
            let error = error_event(over.code(), &message, data);
            return [Effect::Emit(error), Effect::Disconnect { close: false }].into();
        }
        let mut state = self.state.borrow_mut();
        state.pass_acks();
        let Some(connection) = &state.connection else {
            return Outcome::none();
        };
        connection.emit(&event.payload, event.ack.clone());
        if !connection.is_full() {
            return Outcome::none();
        }
        let writable = connection.writable();
        Outcome::later(async move {
            writable.await;
            Effects::new()
        })
    }

    fn is_connected(&self) -> bool {
        let state = self.state.borrow();
        let connection = state.connection.as_ref();
        connection.is_some_and(|connection| !connection.has_ended())
    }

    fn on_upstream_events(&self, events: Vec<UpstreamEvent>) {
        let mut effects = Effects::new();
        for event in events {
            match event {
                UpstreamEvent::Connected { .. } => {
                    if let Some(connecting) = self.state.borrow_mut().connecting.take() {
                        // The receiver is dropped if the client left meanwhile.
                        let _ = connecting.send(Ok(()));
                    }
                }
                UpstreamEvent::Event {
                    payload,
                    ack_request: None,
                } => effects.push(Effect::Emit(payload)),
                UpstreamEvent::Event {
                    payload,
                    ack_request: Some(request),
                } => {
                    self.apply(std::mem::take(&mut effects));
                    self.emit_with_ack(payload, request);
                }
                UpstreamEvent::Ack { ack, payload } => {
                    effects.push(Effect::LateAck(ack, payload));
                }
                UpstreamEvent::Ended(ending) => self.on_end(ending, &mut effects),
            }
        }
        self.apply(effects);
    }

    fn apply(&self, effects: Effects) {
        if !effects.is_empty() {
            self.handle.apply(effects);
        }
    }

    /// Passes on an event for which the upstream requests an ack. The upstream sets the deadline, if any.
    fn emit_with_ack(&self, payload: Payload, request: AckRequest) {
        let pending = Rc::new(ClientAck {
            request,
            receiver: RefCell::new(Some(self.handle.request_ack(payload))),
        });
        let client_acks = &mut self.state.borrow_mut().client_acks;
        client_acks.push(Rc::clone(&pending));
        let this = Weak::clone(&self.this);
        actix_rt::spawn(async move {
            let ack = pending.received().await;
            if let Some(this) = this.upgrade() {
                this.state.borrow_mut().finish_ack(&pending, ack);
            }
        });
    }

    fn on_end(&self, ending: Ending, effects: &mut Effects) {
        let mut state = self.state.borrow_mut();
        // A new connection may have been opened already.
        state
            .connection
            .take_if(|connection| connection.has_ended());
        match state.connecting.take() {
            Some(connecting) => drop(connecting.send(Err(ending))),
            None => disconnect_client(ending, self.app.pool.settings(), effects),
        }
    }
}

/// Receives the events of a socket's upstream connection.
struct ProxiedListener(Weak<ProxiedSocket>);

impl UpstreamListener for ProxiedListener {
    fn poll_capacity(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.upgrade() {
            Some(socket) => socket.handle.poll_capacity(cx),
            None => Poll::Ready(()),
        }
    }

    fn on_events(&self, events: Vec<UpstreamEvent>) {
        if let Some(socket) = self.0.upgrade() {
            socket.on_upstream_events(events);
        }
    }
}

/// The effects for a client whose upstream connection ended. A connection that may close when idle may also be lost while
/// it is quiet: it is opened again when needed.
fn disconnect_client(ending: Ending, settings: &UpstreamConfig, effects: &mut Effects) {
    let resumable = settings.connect == UpstreamConnect::Lazy && settings.idle_timeout.is_some();
    let (code, message) = match ending {
        Ending::Closed | Ending::IdleTimeout => return,
        Ending::Lost {
            was_quiet: true, ..
        } if resumable => return,
        Ending::Disconnected => return effects.push(Effect::Disconnect { close: false }),
        Ending::Rejected { message, data } => {
            // It would be rejected again.
            effects.push(Effect::Emit(error_event(
                "upstream_rejected",
                &message,
                data,
            )));
            return effects.push(Effect::Disconnect { close: false });
        }
        Ending::Lost { reason, .. } => {
            debug!(reason:%; "upstream connection lost, client is disconnected");
            ("upstream_lost", "the server behind this one was lost")
        }
        Ending::Unavailable(reason) => {
            debug!(reason:%; "no upstream connection, client is disconnected");
            (
                "upstream_unavailable",
                "the server behind this one cannot be reached",
            )
        }
    };
    effects.push(Effect::Emit(error_event(code, message, None)));
    effects.push(match settings.when_lost {
        WhenLost::Close => Effect::Hangup,
        WhenLost::Disconnect => Effect::Disconnect { close: false },
    });
}

/// Why a client gets no upstream connection.
fn over_limit(over: OverLimit) -> ConnectRejection {
    ConnectRejection {
        message: over.to_string(),
        data: Some(json!({"code": over.code(), "key": over.key()}).to_string()),
    }
}

/// `["roomwire:error",{code,message,data?}]`; `data` is encoded JSON of the upstream.
fn error_event(code: &str, message: &str, data: Option<String>) -> Payload {
    let head = json!({"code": code, "message": message}).to_string();
    let argument = match data {
        Some(data) => format!("{},\"data\":{data}}}", &head[..head.len() - 1]),
        None => head,
    };
    Payload::event(ERROR_EVENT, [argument.as_str()])
}

/// Makes apps that share a pool of upstreams.
pub struct UpstreamFactory {
    pool: Arc<Pool>,
    relay: Option<RelayParts>,
}

impl UpstreamFactory {
    /// Over `pool`; with `relay`, what the node itself needs to handle `roomwire:*` events.
    pub fn new(pool: Arc<Pool>, relay: Option<RelayParts>) -> Self {
        Self { pool, relay }
    }
}

impl AppFactory for UpstreamFactory {
    fn build(&self, _commands: CommandSender) -> Rc<dyn App> {
        let relay = self.relay.clone().map(Relay::new);
        Rc::new(Upstream::new(Arc::clone(&self.pool), relay))
    }

    fn has_upstreams(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// The effects for the client, as text.
    fn effects_of(ending: Ending, connect: UpstreamConnect, when_lost: WhenLost) -> String {
        let mut settings = Config::default().app.upstream;
        settings.when_lost = when_lost;
        settings.connect = connect;
        let mut effects = Effects::new();
        disconnect_client(ending, &settings, &mut effects);
        let texts = effects.into_iter().map(|effect| match effect {
            Effect::Emit(payload) => payload.json().to_owned(),
            other => format!("{other:?}"),
        });
        texts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_ending_disconnects_the_client_with_its_own_error() {
        use UpstreamConnect::{Eager, Lazy};
        let lost = |quiet| Ending::Lost {
            reason: "transport close".into(),
            was_quiet: quiet,
        };
        for silent in [Ending::Closed, Ending::IdleTimeout, lost(true)] {
            assert_eq!(effects_of(silent, Lazy, WhenLost::Close), "");
        }
        let error = r#"["roomwire:error",{"code":"upstream_lost","message":"the server behind this one was lost"}]"#;
        assert_eq!(
            effects_of(lost(true), Eager, WhenLost::Close),
            format!("{error} Hangup")
        );
        assert_eq!(
            effects_of(lost(false), Lazy, WhenLost::Disconnect),
            format!("{error} Disconnect {{ close: false }}")
        );
        let unavailable = effects_of(Ending::Unavailable("secret".into()), Lazy, WhenLost::Close);
        assert!(unavailable.contains("upstream_unavailable") && unavailable.ends_with("Hangup"));
        assert!(!unavailable.contains("secret"), "{unavailable}");
        assert_eq!(
            effects_of(Ending::Disconnected, Eager, WhenLost::Close),
            "Disconnect { close: false }"
        );
        let rejected = Ending::Rejected {
            message: "no }".into(),
            data: Some("[1]".into()),
        };
        assert_eq!(
            effects_of(rejected, Lazy, WhenLost::Close),
            r#"["roomwire:error",{"code":"upstream_rejected","message":"no }","data":[1]}] Disconnect { close: false }"#
        );
    }
}
