//! The bridge: one actor per node between the broker and the bus.
//!
//! Outgoing: a command of this node is encoded in each dialect spoken and published. Incoming: a message is
//! decoded, own ones are dropped, and the command goes to the shards it concerns as `Origin::Peer`, so that it is
//! never published again. Nothing local waits for the bus.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFuture, AsyncContext, Context, Handler};
use bytes::Bytes;
use log::{debug, warn};
use smallvec::SmallVec;

use super::dialect::native::{NativeChannels, NativeMessage, encode_command, encode_forward, encode_reply, sender_of};
use super::dialect::python::{DecodeError as PythonError, Decoded, Fleet, PythonChannels};
use super::interest::{Outcome, RoomsWanted, Workers};
use super::link::{Channel, Link, LinkEvent, LinkEvents, Outgoing};
use super::messages::{Forward, Forwarded, Ports};
use crate::broker::Directory;
use crate::broker::messages::{Dispatch, Interest, InterestChange, Presence, Publish, PublishReply, Resolve, RoomsReady};
use crate::broker::shard::{question_worker, weight};
use crate::health::{BusState, Health};
use crate::model::{AckReply, Asker, Command, Emit, Namespace, Origin, Room, WorkerIndex};

/// Events handled before other work of the thread gets its turn.
const EVENTS_PER_TURN: usize = 256;
/// How long the bus is left alone while the shards catch up.
const CONGESTION_PAUSE: Duration = Duration::from_millis(5);
/// One warning per kind of trouble in this time.
const WARNING_PAUSE: Duration = Duration::from_secs(30);

/// What a bridge is made of.
pub struct BridgeParts {
    pub directory: Arc<Directory>,
    pub link: Arc<dyn Link>,
    pub events: LinkEvents,
    pub native: NativeChannels,
    pub python: Option<PythonSide>,
    /// Bytes of the largest message published.
    pub message_limit: usize,
    pub health: Arc<Health>,
    pub ports: Ports,
}

/// How the node talks with python-socketio processes.
pub struct PythonSide {
    pub fleet: Fleet,
    pub channels: PythonChannels,
    /// Whether their emits to a room are also heard on that room's own channel.
    pub room_channels: bool,
}

/// The actor.
pub struct Bridge {
    directory: Arc<Directory>,
    link: Arc<dyn Link>,
    events: Option<LinkEvents>,
    native: NativeChannels,
    python: Option<PythonSide>,
    message_limit: usize,
    health: Arc<Health>,
    ports: Ports,
    wanted: RoomsWanted,
    pickle_warned: Option<Instant>,
    unreadable_warned: Option<Instant>,
}

impl Bridge {
    /// A bridge that starts to listen when its actor starts.
    pub fn new(parts: BridgeParts) -> Self {
        Self {
            directory: parts.directory,
            link: parts.link,
            events: Some(parts.events),
            native: parts.native,
            python: parts.python,
            message_limit: parts.message_limit,
            health: parts.health,
            ports: parts.ports,
            wanted: RoomsWanted::default(),
            pickle_warned: None,
            unreadable_warned: None,
        }
    }

    fn publish(&self, channel: Channel, payload: Bytes, volatile: bool) {
        let metrics = self.directory.metrics();
        if payload.len() > self.message_limit {
            metrics.bus_oversized_total.increment();
            warn!("message not published: {} bytes are over bus.message_limit={}", payload.len(), self.message_limit);
            return;
        }
        metrics.bus_published_total.increment();
        self.link.publish(vec![Outgoing { channel, payload, volatile }]);
    }

    fn publish_command(&self, command: &Command) {
        let volatile = matches!(command, Command::Emit(Emit { volatile: true, .. }));
        match encode_command(self.directory.node(), command) {
            Ok(payload) => {
                for channel in self.native.of(command) {
                    self.publish(channel, payload.clone(), volatile);
                }
            }
            Err(error) => {
                self.directory.metrics().bus_oversized_total.increment();
                warn!("command not published error=\"{error}\"");
            }
        }
        let Some(python) = &self.python else { return };
        match python.fleet.encode(command) {
            Ok(messages) => {
                for payload in messages {
                    self.publish(Channel::from(python.channels.all()), payload, volatile);
                }
            }
            Err(unsupported) => debug!("not told to python processes reason=\"{unsupported}\""),
        }
    }

    fn publish_reply(&self, reply: &AckReply) {
        match &reply.token.asker {
            Asker::Node(node) => match encode_reply(self.directory.node(), reply) {
                Ok(payload) => self.publish(self.native.node(*node), payload, false),
                Err(error) => warn!("answer not published error=\"{error}\""),
            },
            Asker::Python { .. } => {
                let Some(python) = &self.python else { return };
                match Fleet::encode_reply(reply) {
                    Ok(payload) => self.publish(Channel::from(python.channels.all()), payload, false),
                    Err(unsupported) => warn!("answer not published error=\"{unsupported}\""),
                }
            }
        }
    }

    /// The channels on which a room is heard.
    fn room_channels(&self, namespace: &Namespace, room: &Room) -> SmallVec<[Channel; 2]> {
        let mut channels = SmallVec::new();
        if NativeChannels::has_channel(room, self.directory.node()) {
            channels.push(self.native.room(namespace, room));
        }
        if let Some(python) = self.python.as_ref().filter(|python| python.room_channels) {
            channels.push(Channel::from(python.channels.room(namespace, room)));
        }
        channels
    }

    fn change_interest(&mut self, worker: WorkerIndex, change: InterestChange, total: &mut Outcome) -> Option<(Namespace, Room)> {
        let (outcome, ready) = match change {
            InterestChange::Wanted(namespace, room) => {
                let channels = self.room_channels(&namespace, &room);
                let name = (namespace, room);
                let outcome = self.wanted.want(name.clone(), worker, channels);
                let ready = outcome.ready.then_some(name);
                (outcome, ready)
            }
            InterestChange::Unwanted(namespace, room) => (self.wanted.unwant(&(namespace, room), worker), None),
            InterestChange::Socket(namespace, id, presence) => {
                let name = (namespace, Room::from(id.as_str()));
                let outcome = match presence {
                    Presence::Came => {
                        let channels = self.room_channels(&name.0, &name.1);
                        self.wanted.want(name, worker, channels)
                    }
                    Presence::Went => self.wanted.unwant(&name, worker),
                };
                (outcome, None)
            }
        };
        total.subscribe.extend(outcome.subscribe);
        total.unsubscribe.extend(outcome.unsubscribe);
        ready
    }

    fn tell_ready(&self, rooms: Vec<((Namespace, Room), Workers)>, degraded: bool) {
        for (index, shard) in self.directory.shards().iter().enumerate() {
            let rooms: Vec<_> = rooms.iter().filter(|(_, w)| w.contains(index)).map(|(name, _)| name.clone()).collect();
            if !rooms.is_empty() {
                shard.do_send(RoomsReady { rooms, degraded });
            }
        }
    }

    fn on_event(&mut self, event: LinkEvent) {
        let metrics = self.directory.metrics();
        match event {
            LinkEvent::Up => self.health.set_bus(BusState::Up),
            LinkEvent::Hearing => self.health.set_bus(BusState::Up),
            LinkEvent::Deaf => {
                metrics.bus_deaf_total.increment();
                self.health.set_bus(BusState::Deaf);
            }
            LinkEvent::Down { .. } => {
                metrics.bus_lost_total.increment();
                self.health.set_bus(BusState::Down);
                let waiting = self.wanted.give_up_waiting();
                self.tell_ready(waiting, true);
            }
            LinkEvent::SpoolDropped { messages, .. } => metrics.bus_spool_dropped_total.add(messages),
            LinkEvent::Subscribed(channels) => {
                let complete: Vec<_> = channels.iter().flat_map(|channel| self.wanted.confirm(channel)).collect();
                self.tell_ready(complete, false);
            }
            LinkEvent::Message { channel, payload } => {
                metrics.bus_received_total.increment();
                self.on_message(&channel, &payload);
            }
        }
    }

    fn on_message(&mut self, channel: &Channel, payload: &Bytes) {
        if let Some(python) = self.python.as_ref().filter(|python| python.channels.contains(channel.as_str())) {
            match python.fleet.decode(payload) {
                Ok(Decoded::Command(command)) => self.dispatch(command),
                Ok(Decoded::AckReply(reply)) => self.resolve(reply),
                Ok(Decoded::Own | Decoded::Ignored(_)) => {}
                Err(PythonError::Pickle) => self.refuse_pickle(),
                Err(error) => self.report_unreadable(channel, &error.to_string()),
            }
            return;
        }
        if sender_of(payload) == Ok(self.directory.node()) {
            return;
        }
        match NativeMessage::decode(payload) {
            Ok((_, NativeMessage::Command(command))) => self.dispatch(command),
            Ok((_, NativeMessage::AckReply(reply))) => self.resolve(reply),
            Ok((from, NativeMessage::Forward(body))) => {
                let port = body.first().and_then(|worker| self.ports.get()?.get(usize::from(*worker)));
                if let Some(port) = port {
                    port.do_send(Forwarded { from, body });
                }
            }
            Err(error) => self.report_unreadable(channel, &error.to_string()),
        }
    }

    fn refuse_pickle(&mut self) {
        self.directory.metrics().bus_pickle_refused_total.increment();
        if is_due(&mut self.pickle_warned) {
            warn!(
                "pickle on the bus refused: a python-socketio older than 5.14 publishes there; update it, or it is not heard"
            );
        }
    }

    fn report_unreadable(&mut self, channel: &Channel, error: &str) {
        self.directory.metrics().bus_unreadable_total.increment();
        if is_due(&mut self.unreadable_warned) {
            warn!("message on the bus cannot be read channel={channel} error=\"{error}\"");
        }
    }

    /// Hands a command of somebody else to the shards it may concern.
    fn dispatch(&self, command: Command) {
        let ack_id = match &command {
            Command::Emit(Emit { ack: Some(_), .. }) => Some(self.directory.next_ack_id()),
            _ => None,
        };
        let targets = self.targets(&command);
        let weight = weight(&command);
        let dispatch = Dispatch { command: Arc::new(command), origin: Origin::Peer, ack_id };
        for (index, shard) in self.directory.shards().iter().enumerate() {
            if targets.is_none_or(|workers| workers.contains(index)) {
                self.directory.backlog_grew(index, weight);
                shard.do_send(dispatch.clone());
            }
        }
    }

    /// The workers a command may concern; `None`: every one.
    fn targets(&self, command: &Command) -> Option<Workers> {
        let selector = match command {
            Command::Emit(emit) => &emit.to,
            Command::Join { selector, .. } | Command::Leave { selector, .. } | Command::Disconnect { selector, .. } => selector,
            Command::CloseRoom { namespace, room } => {
                return Some(self.wanted.workers(&(namespace.clone(), room.clone())));
            }
        };
        let [room] = selector.rooms.as_slice() else { return None };
        match selector.single_socket().filter(|socket| socket.node() == self.directory.node()) {
            Some(socket) => Some(Workers::only(socket.worker())),
            None => Some(self.wanted.workers(&(selector.namespace.clone(), room.clone()))),
        }
    }

    fn resolve(&self, reply: AckReply) {
        if reply.token.asker != Asker::Node(self.directory.node()) {
            return;
        }
        if let Some(shard) = self.directory.shards().get(question_worker(reply.token.id)) {
            shard.do_send(Resolve(reply));
        }
    }
}

fn is_due(last: &mut Option<Instant>) -> bool {
    let due = last.is_none_or(|last| last.elapsed() > WARNING_PAUSE);
    if due {
        *last = Some(Instant::now());
    }
    due
}

impl Actor for Bridge {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let mut channels = vec![self.native.all(), self.native.node(self.directory.node())];
        if let Some(python) = &self.python {
            channels.push(Channel::from(python.channels.all()));
        }
        self.link.subscribe(channels);
        if let Some(events) = self.events.take() {
            ctx.spawn(Hearing { events });
        }
    }
}

/// Takes events from the link, as fast as the shards can.
struct Hearing {
    events: LinkEvents,
}

impl ActorFuture<Bridge> for Hearing {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        bridge: &mut Bridge,
        _ctx: &mut Context<Bridge>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        for _ in 0..EVENTS_PER_TURN {
            if bridge.directory.congested() {
                let waker = cx.waker().clone();
                actix_rt::spawn(async move {
                    tokio::time::sleep(CONGESTION_PAUSE).await;
                    waker.wake();
                });
                return Poll::Pending;
            }
            match futures_util::Stream::poll_next(Pin::new(&mut self.events), cx) {
                Poll::Ready(Some(event)) => bridge.on_event(event),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Handler<Publish> for Bridge {
    type Result = ();

    fn handle(&mut self, Publish(command): Publish, _ctx: &mut Self::Context) {
        self.publish_command(&command);
    }
}

impl Handler<PublishReply> for Bridge {
    type Result = ();

    fn handle(&mut self, PublishReply(reply): PublishReply, _ctx: &mut Self::Context) {
        self.publish_reply(&reply);
    }
}

impl Handler<Interest> for Bridge {
    type Result = ();

    fn handle(&mut self, interest: Interest, _ctx: &mut Self::Context) {
        let mut total = Outcome::default();
        let mut ready = Vec::new();
        for change in interest.changes {
            ready.extend(self.change_interest(interest.worker, change, &mut total));
        }
        if !total.unsubscribe.is_empty() {
            self.link.unsubscribe(total.unsubscribe);
        }
        if !total.subscribe.is_empty() {
            self.link.subscribe(total.subscribe);
        }
        let degraded = self.health.bus() == BusState::Down;
        let worker = Workers::only(interest.worker);
        self.tell_ready(ready.into_iter().map(|name| (name, worker)).collect(), degraded);
        if degraded {
            let waiting = self.wanted.give_up_waiting();
            self.tell_ready(waiting, true);
        }
    }
}

impl Handler<Forward> for Bridge {
    type Result = ();

    fn handle(&mut self, forward: Forward, _ctx: &mut Self::Context) {
        let channel = self.native.node(forward.to);
        let payload = match encode_forward(self.directory.node(), &forward.body) {
            Ok(payload) if payload.len() <= self.message_limit => payload,
            _ => {
                self.directory.metrics().bus_oversized_total.increment();
                return;
            }
        };
        self.directory.metrics().bus_published_total.increment();
        let Some(unreachable) = forward.unreachable else {
            self.link.publish(vec![Outgoing { channel, payload, volatile: true }]);
            return;
        };
        let receivers = self.link.publish_counted(Outgoing { channel, payload, volatile: true });
        actix_rt::spawn(async move {
            if !receivers.await.is_ok_and(|receivers| receivers > 0) {
                // Whoever asked may have given up.
                let _ = unreachable.send(());
            }
        });
    }
}
