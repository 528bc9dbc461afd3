//! One socket: its subscriptions, and the events that it sends to others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::EchoServer;
use super::answer::{listed, quoted};
use super::auth::AuthRequest;
use super::channel::{EchoChannelKind, is_available, is_client_event};
use super::request::{ChannelRequest, ClientEvent, with_argument};
use crate::app::{
    Effect, Effects, Event, Join, JoinedRooms, Outcome, SocketContext, SocketHandle, SocketHandler,
    error_ack,
};
use crate::metrics::labels::EchoSubscriptionResult;
use crate::model::{
    Command, Emit, Namespace, Payload, Room, Selector, SocketChange, SocketEvent, SocketId,
};
use crate::presence::{PresenceRooms, echo_member};

/// The status of a channel that no client can subscribe to.
const FORBIDDEN: u16 = 403;
/// The status of a channel beyond `socket.max_rooms`.
const TOO_MANY: u16 = 429;
/// Pause before the members of a channel are read again, if the store is away.
const RETRY: Duration = Duration::from_secs(1);

/// The handler of one socket.
pub(super) struct EchoSocket {
    app: Rc<EchoServer>,
    pending: Rc<PendingSubscriptions>,
}

/// Subscriptions that are pending, each with its own number.
#[derive(Default)]
struct PendingSubscriptions {
    next: Cell<u64>,
    channels: RefCell<Vec<(Room, u64)>>,
}

impl PendingSubscriptions {
    fn contains(&self, channel: &str) -> bool {
        let channels = self.channels.borrow();
        channels.iter().any(|(pending, _)| &**pending == channel)
    }

    fn begin(&self, channel: Room) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        self.channels.borrow_mut().push((channel, number));
        number
    }

    fn remove(&self, channel: &str) {
        let mut channels = self.channels.borrow_mut();
        channels.retain(|(pending, _)| &**pending != channel);
    }

    fn is_current(&self, number: u64) -> bool {
        let channels = self.channels.borrow();
        channels.iter().any(|(_, pending)| *pending == number)
    }

    fn end(&self, number: u64) {
        let mut channels = self.channels.borrow_mut();
        channels.retain(|(_, pending)| *pending != number);
    }
}

/// A subscription whose request to the backend is under way.
struct Subscription {
    app: Rc<EchoServer>,
    pending: Rc<PendingSubscriptions>,
    number: u64,
    handle: SocketHandle,
    namespace: Namespace,
    socket: SocketId,
    channel: Room,
}

impl EchoSocket {
    pub(super) fn new(app: Rc<EchoServer>) -> Self {
        Self {
            app,
            pending: Rc::default(),
        }
    }

    fn subscribe(&self, context: &SocketContext<'_>, request: &ChannelRequest<'_>) -> Outcome {
        let name = &*request.channel;
        if self.pending.contains(name) {
            return Outcome::none();
        }
        if !is_available(context, name) {
            return self.rejected(name, FORBIDDEN).into();
        }
        let (channel, kind) = (Room::from(name), EchoChannelKind::of(name));
        let is_member = context.access.is_in(&channel);
        match kind {
            EchoChannelKind::Public if is_member => return Outcome::none(),
            EchoChannelKind::Public => return self.join(context, channel),
            EchoChannelKind::Private if is_member => return Outcome::none(),
            EchoChannelKind::Private => {}
            EchoChannelKind::Presence => {
                if let Some(user) = self.app.memberships.user(context.socket, name) {
                    return self.list_again(context, channel, user);
                }
            }
        }
        let app = &self.app;
        let chosen = request.headers(&app.settings.client_headers);
        let authorizer = &app.authorizer;
        let sent = authorizer.request(context, (name, kind), &chosen, &app.headers);
        let request = match sent {
            Ok(request) => request,
            Err(status) => return self.rejected(name, status).into(),
        };
        let subscription = Subscription {
            app: Rc::clone(&self.app),
            pending: Rc::clone(&self.pending),
            number: self.pending.begin(channel.clone()),
            handle: context.access.handle(),
            namespace: context.namespace.clone(),
            socket: context.socket,
            channel,
        };
        Outcome::concurrent(subscription.complete(request))
    }

    /// Joins a public channel. The events of the channel that other nodes emit arrive once the bus delivers to it.
    fn join(&self, context: &SocketContext<'_>, channel: Room) -> Outcome {
        let app = Rc::clone(&self.app);
        match context.access.join(vec![channel.clone()]) {
            Join::Complete(joined) => app.joined(&channel, &joined).into(),
            Join::Pending(joined) => {
                Outcome::later(async move { app.joined(&channel, &joined.await) })
            }
        }
    }

    /// Lists the members of a presence channel for a member that subscribes again.
    fn list_again(&self, context: &SocketContext<'_>, channel: Room, user: String) -> Outcome {
        let Some(presence) = self.app.memberships.presence() else {
            return Outcome::none();
        };
        let limit = self.app.settings.max_members;
        let namespace = context.namespace.clone();
        Outcome::concurrent(
            async move { subscribed(&presence, namespace, channel, user, limit).await },
        )
    }

    fn rejected(&self, channel: &str, status: u16) -> Effects {
        self.app.rejected(channel, status)
    }

    fn unsubscribe(&self, context: &SocketContext<'_>, request: &ChannelRequest<'_>) -> Outcome {
        let name = &*request.channel;
        self.pending.remove(name);
        match context.access.is_in(name) && is_available(context, name) {
            true => [Effect::Leave(vec![Room::from(name)])].into(),
            false => Outcome::none(),
        }
    }

    /// Sends an event to the other members of a channel.
    fn client_event(
        &self,
        context: &SocketContext<'_>,
        event: &ClientEvent<'_>,
        payload: &Payload,
    ) -> Outcome {
        let channel = &*event.channel;
        let is_permitted = self.app.settings.client_events
            && is_client_event(&event.event)
            && EchoChannelKind::of(channel) != EchoChannelKind::Public
            && context.access.is_in(channel);
        let data = event.data.map_or("null", |data| data.get());
        let emitted = Payload::event(&event.event, [&*quoted(channel), data]);
        let emitted = emitted.with_attachments(payload.attachments());
        let checked = emitted.check_event(self.app.settings.max_depth);
        if !is_permitted || checked.is_err() {
            self.app
                .metrics
                .echo_client_events_rejected_total
                .increment();
            return Outcome::none();
        }
        let sender = Room::from(context.socket.as_str());
        let to = Selector::room(context.namespace.clone(), Room::from(channel)).except(sender);
        [Effect::dispatch(Command::Emit(Emit {
            to,
            payload: emitted,
            volatile: false,
            ack: None,
            conflate: None,
        }))]
        .into()
    }
}

impl EchoServer {
    fn rejected(&self, channel: &str, status: u16) -> Effects {
        self.count(match status {
            0 => EchoSubscriptionResult::Unreachable,
            _ => EchoSubscriptionResult::Rejected,
        });
        let arguments = [quoted(channel), status.to_string()];
        let arguments = arguments.iter().map(String::as_str);
        [Effect::Emit(Payload::event(
            "subscription_error",
            arguments,
        ))]
        .into()
    }

    /// The effects of a join that ends a subscription.
    fn joined(&self, channel: &Room, joined: &JoinedRooms) -> Effects {
        if !joined.rooms.contains(channel) {
            return self.rejected(channel, TOO_MANY);
        }
        self.count(EchoSubscriptionResult::Accepted);
        Effects::new()
    }

    fn count(&self, result: EchoSubscriptionResult) {
        let subscriptions = &self.metrics.echo_subscriptions_total;
        subscriptions.of(result).increment();
    }
}

impl Subscription {
    /// Waits for the decision, and joins the channel. The client may have unsubscribed meanwhile.
    async fn complete(self, request: AuthRequest) -> Effects {
        let decided = Rc::clone(&self.app.authorizer).send(request).await;
        let member = match decided {
            Err(status) => return self.reject(status),
            Ok(_) if !self.pending.is_current(self.number) => return Effects::new(),
            Ok(member) => member,
        };
        let user = member.as_ref().map(|member| member.user.clone());
        let memberships = &self.app.memberships;
        if let Some(member) = member {
            memberships.admit(self.socket, &self.channel, member);
        }
        let joined = self.handle.join(vec![self.channel.clone()]).await;
        let is_wanted = self.pending.is_current(self.number);
        self.pending.end(self.number);
        if !is_wanted && !self.pending.contains(&self.channel) {
            memberships.withdraw(self.socket, &self.channel);
            return [Effect::Leave(vec![self.channel.clone()])].into();
        }
        let effects = match &joined {
            Some(joined) => self.app.joined(&self.channel, joined),
            None => Effects::new(),
        };
        if joined.is_none_or(|joined| !joined.rooms.contains(&self.channel)) {
            memberships.withdraw(self.socket, &self.channel);
            return effects;
        }
        let (Some(user), Some(presence)) = (user, memberships.presence()) else {
            return effects;
        };
        self.enter();
        let limit = self.app.settings.max_members;
        subscribed(&presence, self.namespace, self.channel, user, limit).await
    }

    /// A rejection also ends a membership that an earlier subscription began.
    fn reject(self, status: u16) -> Effects {
        let is_current = self.pending.is_current(self.number);
        self.pending.end(self.number);
        if !is_current {
            return Effects::new();
        }
        let mut effects = self.app.rejected(&self.channel, status);
        effects.push(Effect::Leave(vec![self.channel]));
        effects
    }

    /// The user is present, even if the socket was in the room before the backend decided.
    fn enter(&self) {
        let event = SocketEvent {
            namespace: self.namespace.clone(),
            socket: self.socket,
            is_catching_up: false,
            change: SocketChange::Joined(self.channel.clone()),
        };
        self.app.memberships.on_event(&event);
    }
}

/// `presence:subscribed` with the members of a channel, once the store has the user.
async fn subscribed(
    presence: &PresenceRooms,
    namespace: Namespace,
    channel: Room,
    user: String,
    limit: u64,
) -> Effects {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = loop {
        let settled = presence.settled(namespace.clone(), channel.clone(), user.clone());
        settled.await;
        presence.completed().await;
        match presence.page(&namespace, &channel, None, limit).await {
            Ok(page) => break page,
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    };
    let members = page.users.iter();
    let members = listed(members.map(|(user, data)| echo_member(user, data.as_deref())));
    let arguments = [&*quoted(&channel), &*members];
    [Effect::Emit(Payload::event(
        "presence:subscribed",
        arguments,
    ))]
    .into()
}

impl SocketHandler for EchoSocket {
    fn on_connect(&self, context: &SocketContext<'_>, _auth: &str) -> Outcome {
        // Clients of revision 3 emit the event by themselves.
        let emits_itself = |revision| revision < 4;
        let revision = context.handshake.map(|handshake| handshake.revision);
        if !self.app.settings.emit_reconnect || revision.is_some_and(emits_itself) {
            return Outcome::none();
        }
        [Effect::Emit(Payload::text(r#"["reconnect"]"#))].into()
    }

    fn on_event(&self, context: &SocketContext<'_>, event: Event) -> Outcome {
        let payload = &event.payload;
        let argument = payload.elements().nth(1).unwrap_or_default();
        let mut text = String::new();
        let name = payload.event_name().unwrap_or_default();
        let handled = match &*name {
            "subscribe" => {
                with_argument(argument, &mut text).map(|request| self.subscribe(context, &request))
            }
            "unsubscribe" => with_argument(argument, &mut text)
                .map(|request| self.unsubscribe(context, &request)),
            "client event" => with_argument(argument, &mut text)
                .map(|event| self.client_event(context, &event, payload)),
            _ => None,
        };
        handled.unwrap_or_else(|| {
            let message = "Laravel Echo sends `subscribe`, `unsubscribe` and `client event`, each with an object";
            [Effect::Ack(error_ack("unknown_event", message, None))].into()
        })
    }

    fn rejection(&self, code: &str, message: &str) -> Option<Payload> {
        Some(error_ack(code, message, None))
    }

    fn on_disconnect(&self, _context: &SocketContext<'_>, _reason: &str) {
        self.pending.channels.borrow_mut().clear();
    }
}
