//! The bridge: one actor per node between the broker and the bus.
//!
//! Outgoing: a command of this node is encoded in each dialect spoken and published. Incoming: a message is
//! decoded, own ones are dropped, and the command goes to the shards it concerns as `Origin::Peer`, so that it is
//! never published again. Nothing local waits for the bus.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler};
use smallvec::SmallVec;

use super::dialect::native::{NativeChannels, encode_forward};
use super::dialect::python::{Fleet, PythonChannels};
use super::messages::{Forward, Leave, Overhear, RouterAddresses};
use super::subscriptions::{Outcome, RoomSubscriptions};
use crate::broker::Directory;
use crate::broker::messages::weight;
use crate::broker::messages::{
    Dispatch, Interest, InterestChange, Presence, Publish, PublishReply, RoomsReady,
};
use crate::bus::link::{Channel, Link, LinkEvent, LinkEvents, Outgoing};
use crate::health::{BusState, Health};
use crate::metrics::labels::BusDrop;
use crate::model::{Namespace, Room, WorkerIndex, Workers};

/// Events handled before other work of the thread gets its turn.
const EVENTS_PER_TURN: usize = 256;
/// How long the bus is left alone while the shards catch up.
const CONGESTION_PAUSE: Duration = Duration::from_millis(5);

/// What a bridge is made of.
pub struct BridgeParts {
    pub directory: Arc<Directory>,
    pub link: Arc<dyn Link>,
    pub events: LinkEvents,
    pub native: NativeChannels,
    pub python: Option<PythonSide>,
    /// Bytes of the largest message published.
    pub message_limit: usize,
    /// Maximum depth of arrays and objects in the JSON of an emit.
    pub max_depth: usize,
    pub health: Arc<Health>,
    pub ports: RouterAddresses,
    pub overhear: Option<Overhear>,
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
    pub(super) directory: Arc<Directory>,
    pub(super) link: Arc<dyn Link>,
    pub(super) events: Option<LinkEvents>,
    pub(super) native: NativeChannels,
    pub(super) python: Option<PythonSide>,
    pub(super) message_limit: usize,
    pub(super) max_depth: usize,
    pub(super) health: Arc<Health>,
    pub(super) ports: RouterAddresses,
    pub(super) overhear: Option<Overhear>,
    pub(super) wanted: RoomSubscriptions,
    /// Joins of peers on their way through the shards: until each has told of its rooms, `wanted` may lack some.
    pub(super) peer_joins: usize,
    /// Commands for the shards, by worker, until the events at hand are handled.
    pub(super) outgoing: Vec<Vec<Dispatch>>,
    /// When the first of them was heard.
    pub(super) heard: Option<Instant>,
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
            max_depth: parts.max_depth,
            health: parts.health,
            ports: parts.ports,
            overhear: parts.overhear,
            wanted: RoomSubscriptions::default(),
            peer_joins: 0,
            outgoing: Vec::new(),
            heard: None,
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

    fn change_interest(
        &mut self,
        worker: WorkerIndex,
        change: InterestChange,
        total: &mut Outcome,
    ) -> Option<(Namespace, Room)> {
        let (outcome, ready) = match change {
            InterestChange::Wanted(namespace, room) => {
                let channels = self.room_channels(&namespace, &room);
                let name = (namespace, room);
                let outcome = self.wanted.want(name.clone(), worker, channels);
                let ready = outcome.ready.then_some(name);
                (outcome, ready)
            }
            InterestChange::Unwanted(namespace, room) => {
                (self.wanted.unwant(&(namespace, room), worker), None)
            }
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
            InterestChange::PeerJoined => {
                self.peer_joins -= 1;
                return None;
            }
        };
        total.subscribe.extend(outcome.subscribe);
        total.unsubscribe.extend(outcome.unsubscribe);
        ready
    }

    fn tell_ready(&self, rooms: Vec<((Namespace, Room), Workers)>, degraded: bool) {
        for (index, shard) in self.directory.shards().iter().enumerate() {
            let rooms: Vec<_> = rooms
                .iter()
                .filter(|(_, w)| w.contains(index))
                .map(|(name, _)| name.clone())
                .collect();
            if !rooms.is_empty() {
                shard.do_send(RoomsReady { rooms, degraded });
            }
        }
    }

    fn on_event(&mut self, event: LinkEvent) {
        let metrics = self.directory.metrics();
        match event {
            LinkEvent::Up => {
                self.health.set_bus(BusState::Up);
                self.directory.set_cut_off(false);
            }
            LinkEvent::Hearing => self.health.set_bus(BusState::Up),
            LinkEvent::Deaf => {
                metrics.bus_deafened_total.increment();
                self.health.set_bus(BusState::Deaf);
            }
            LinkEvent::Down { .. } => {
                metrics.bus_lost_total.increment();
                self.health.set_bus(BusState::Down);
                self.directory.set_cut_off(true);
                let waiting = self.wanted.give_up_waiting();
                self.tell_ready(waiting, true);
            }
            LinkEvent::Unreachable { reason } => self.health.set_bus_trouble(reason),
            LinkEvent::Echo { after } => metrics.bus_lag_seconds.observe(after),
            LinkEvent::Missed { during } => metrics.bus_gap_seconds.observe(during),
            LinkEvent::Skipped { bytes } => self.report_skipped(bytes),
            LinkEvent::SpoolDropped { messages, .. } => {
                metrics.bus_dropped_total.of(BusDrop::Spool).add(messages)
            }
            LinkEvent::Subscribed(channels) => {
                let complete: Vec<_> = channels
                    .iter()
                    .flat_map(|channel| self.wanted.confirm(channel))
                    .collect();
                self.tell_ready(complete, false);
            }
            LinkEvent::Message { channel, payload } => {
                metrics.bus_received_total.increment();
                self.on_message(&channel, &payload);
            }
        }
    }
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
        let outcome = self.take_events(bridge, cx);
        bridge.send_dispatches();
        outcome
    }
}

impl Hearing {
    fn take_events(&mut self, bridge: &mut Bridge, cx: &mut TaskContext<'_>) -> Poll<()> {
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
        self.directory
            .backlog_shrank(self.directory.bridge_index(), weight(&command));
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
        let subscriptions = self.wanted.channel_count() as i64;
        let metrics = self.directory.metrics();
        metrics.bus_subscriptions.set(subscriptions);
        let degraded = self.health.bus() == BusState::Down;
        let worker = Workers::only(interest.worker);
        self.tell_ready(
            ready.into_iter().map(|name| (name, worker)).collect(),
            degraded,
        );
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
            Ok(payload) if self.takes(payload.len()) => payload,
            Ok(_) => return forward.give_up(),
            Err(error) => {
                self.refuse_oversized(&error.to_string());
                return forward.give_up();
            }
        };
        self.directory.metrics().bus_published_total.increment();
        let Some(unreachable) = forward.unreachable else {
            self.link.publish(vec![Outgoing {
                channel,
                payload,
                volatile: true,
                translation: None,
            }]);
            return;
        };
        let receivers = self.link.publish_counted(Outgoing {
            channel,
            payload,
            volatile: true,
            translation: None,
        });
        actix_rt::spawn(async move {
            if !receivers.await.is_ok_and(|receivers| receivers > 0) {
                // Whoever asked may have given up.
                let _ = unreachable.send(());
            }
        });
    }
}

impl Handler<Leave> for Bridge {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
