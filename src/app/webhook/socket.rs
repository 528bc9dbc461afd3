//! One socket: its requests to the backend, and what their responses do.

use std::rc::Rc;

use awc::http::header::HeaderMap;
use tokio::sync::oneshot;

use super::Webhook;
use super::actions::{AnswerRules, Decided, HookAction};
use super::disconnects::Departure;
use super::hook_state::HookState;
use super::request::{self, HookSubject, transport_headers};
use super::response::{connect_rejection, failed_ack, rejected_ack};
use crate::app::relay::RoomPermissions;
use crate::app::{
    Effect, Effects, Event, Join, Outcome, SocketContext, SocketHandle, SocketHandler,
};
use crate::metrics::labels::HookResult;
use crate::model::{Payload, SocketId};
use crate::webhook::{HookFailure, HookQueue, HookRequest, disconnect_id};

/// The names by which routes match the connect and the disconnect of a socket.
const CONNECT: &str = "connect";
pub(super) const DISCONNECT: &str = "disconnect";
/// The reason of a disconnect if the response to the connect was missing or could not be used.
const UNANSWERED: &str = "connect failed";

/// The handler of one socket.
pub(super) struct HookedSocket {
    app: Rc<Webhook>,
    state: Rc<HookState>,
    /// Of the relay, if there are room tokens.
    permissions: Option<RoomPermissions>,
}

impl HookedSocket {
    pub(super) fn new(app: Rc<Webhook>, socket: SocketId) -> Self {
        let relay = app.relay.as_ref();
        Self {
            permissions: relay.and_then(|relay| relay.new_permissions(socket)),
            app,
            state: Rc::default(),
        }
    }

    fn rules(&self) -> AnswerRules {
        AnswerRules {
            user_room: self.app.user_room.clone(),
            max_depth: self.app.settings.max_depth,
            session_limit: self.app.settings.session_limit,
        }
    }
}

impl Webhook {
    /// Notifies the backend that a socket is gone, if a route leads to one.
    fn disconnected(
        &self,
        state: &Rc<HookState>,
        subject: &HookSubject,
        headers: HeaderMap,
        reason: &str,
    ) {
        let Some(target) = self.route(&subject.namespace, DISCONNECT) else {
            return;
        };
        let id = disconnect_id("msg_", subject.socket);
        let session = state.session.borrow();
        let tenure = self.tenure.as_ref();
        self.disconnects.push(Departure {
            target,
            body: request::disconnect(subject, session.as_deref(), reason, &id),
            id,
            headers,
            state: Rc::clone(state),
            after: state.pending.take(),
            in_doubt: tenure.filter(|tenure| !tenure.is_certain()).cloned(),
        });
    }
}

impl SocketHandler for HookedSocket {
    fn on_connect(&self, context: &SocketContext<'_>, auth: &str) -> Outcome {
        let Some(target) = self.app.route(context.namespace, CONNECT) else {
            self.state.known_to_backend.set(true);
            return Outcome::none();
        };
        let (client, settings) = (Rc::clone(&self.app.client), &self.app.settings);
        let subject = HookSubject::of(context);
        let id = client.new_id();
        let request = HookRequest {
            body: request::connect(&subject, context, auth, settings, &id),
            headers: transport_headers(context, settings),
            lane: HookQueue::Connect,
            id,
        };
        let (state, rules) = (Rc::clone(&self.state), self.rules());
        let (app, headers) = (Rc::clone(&self.app), request.headers.clone());
        let done = self.state.begin();
        let (mut reply, decided) = oneshot::channel();
        actix_rt::spawn(async move {
            let read = |body: &[u8]| rules.read(&subject, body);
            // A client that has left does not keep its place in the queue.
            let sent = client.send_unless(&target, request, reply.closed(), read);
            let mut result = sent.await;
            match &mut result {
                Ok(decided) => state.keep(decided),
                Err(failure) => log::debug!(
                    socket = subject.socket.log_name(), code:% = failure.code; "connect rejected"
                ),
            }
            let is_unanswered = |failure: &HookFailure| {
                matches!(failure.result, HookResult::Timeout | HookResult::BadAnswer)
            };
            state.known_to_backend.set(match &result {
                Ok(_) => true,
                Err(failure) => is_unanswered(failure),
            });
            let is_rejected = result.is_err();
            let has_left = reply.send(result).is_err();
            drop(done);
            // The backend may consider the socket connected. If the client has left, its own disconnect follows.
            if is_rejected && !has_left && state.known_to_backend.get() {
                app.disconnected(&state, &subject, headers, UNANSWERED);
            }
        });
        let state = Rc::clone(&self.state);
        Outcome::later(async move {
            match decided.await {
                Ok(Ok(decided)) => connected(decided, &state),
                Ok(Err(failure)) => [Effect::Reject(connect_rejection(&failure))].into(),
                // The task ends only after its reply.
                Err(_) => [Effect::Hangup].into(),
            }
        })
    }

    fn on_connected(&self, context: &SocketContext<'_>) -> Outcome {
        let rooms = self.state.joined.take();
        if rooms.is_empty() {
            return Outcome::none();
        }
        // The client's events wait until the bus delivers to the rooms.
        match context.access.join(rooms) {
            Join::Complete(_) => Outcome::none(),
            Join::Pending(joined) => Outcome::later(async move {
                joined.await;
                Effects::new()
            }),
        }
    }

    fn on_event(&self, context: &SocketContext<'_>, event: Event) -> Outcome {
        if let Some(relay) = self.app.relay_for(&event) {
            return relay.handle(context, &event, self.permissions.as_ref());
        }
        let name = event.payload.event_name().unwrap_or_default();
        let Some(target) = self.app.route(context.namespace, &name) else {
            let metrics = self.app.client.node().metrics();
            metrics.webhook_unrouted_events_total.increment();
            let keys = match name.starts_with("roomwire:") {
                true => "app.webhook.relay, webhook.events or webhook.routes",
                false => "webhook.events or webhook.routes",
            };
            let message = format!("no backend receives `{name}`: see {keys}");
            return [Effect::Ack(rejected_ack("unknown_event", &message))].into();
        };
        let (client, settings) = (Rc::clone(&self.app.client), &self.app.settings);
        let subject = HookSubject::of(context);
        let id = client.new_id();
        let session = self.state.session.borrow();
        let request = HookRequest {
            body: request::event(&subject, session.as_deref(), &event, &id),
            headers: transport_headers(context, settings),
            lane: HookQueue::Event,
            id,
        };
        let (state, rules) = (Rc::clone(&self.state), self.rules());
        let done = self.state.begin();
        let (reply, decided) = oneshot::channel();
        actix_rt::spawn(async move {
            let read = |body: &[u8]| rules.read(&subject, body);
            let mut result = client.send(&target, request, read).await;
            if let Ok(decided) = &mut result {
                state.keep(decided);
            }
            // The session may have ended meanwhile.
            let _ = reply.send(result);
            drop(done);
        });
        let handle = context.access.handle();
        Outcome::later(async move {
            match decided.await {
                Ok(Ok(decided)) => handled(decided, &handle).await,
                Ok(Err(failure)) => [Effect::Ack(failed_ack(&failure))].into(),
                // The task ends only after its reply.
                Err(_) => Effects::new(),
            }
        })
    }

    fn rejection(&self, code: &str, message: &str) -> Option<Payload> {
        Some(rejected_ack(code, message))
    }

    fn on_disconnect(&self, context: &SocketContext<'_>, reason: &str) {
        let headers = transport_headers(context, &self.app.settings);
        let subject = HookSubject::of(context);
        self.app
            .disconnected(&self.state, &subject, headers, reason);
    }
}

/// The effects of a response that accepts a connect, applied after the CONNECT response.
fn connected(decided: Decided, state: &HookState) -> Effects {
    let mut effects = Effects::new();
    if let Some(identity) = decided.identity {
        effects.push(Effect::Identify(identity));
    }
    for action in decided.actions {
        effects.push(match action {
            HookAction::Join(rooms) => {
                state.joined.borrow_mut().extend(rooms.iter().cloned());
                Effect::Join(rooms)
            }
            HookAction::Other(effect) => effect,
        });
    }
    effects
}

/// Applies a response to an event. What follows a join waits until the bus delivers to the rooms.
async fn handled(decided: Decided, handle: &SocketHandle) -> Effects {
    let mut effects = Effects::new();
    if let Some(identity) = decided.identity {
        effects.push(Effect::Identify(identity));
    }
    for action in decided.actions {
        match action {
            HookAction::Join(rooms) => {
                handle.apply(std::mem::take(&mut effects));
                handle.join(rooms).await;
            }
            HookAction::Other(effect) => effects.push(effect),
        }
    }
    let ack = decided.ack.unwrap_or_else(|| Payload::text("[]"));
    effects.push(Effect::Ack(ack));
    effects
}
