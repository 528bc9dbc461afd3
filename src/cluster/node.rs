//! The bridge: one actor per node between the broker and the bus.
//!
//! A command of this node is encoded in each dialect and published. A message of the bus is decoded, dropped if this
//! node published it, and otherwise dispatched to the shards it concerns, which never publish it again. Nothing local
//! waits for the bus, except logged events: this node too delivers them when the bus does (`catch_up`).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::dialect::{Dialect, MemberState};
use super::entry_numbers::EntryNumbers;
use super::membership::{Consequences, HEARTBEAT_INTERVAL, Membership};
use super::messages::{Forward, RouterAddresses};
use super::pending_queries::PendingQueries;
use super::publish::Publisher;
use super::reached::ReachCounts;
use super::receive::{ForBridge, Receiver};
use super::sequencer::Sequencer;
use super::stream_gate::StreamGate;
use super::subscriber::Subscriber;
use super::subscriptions::RoomName;
use super::translation::{Translator, TranslatorParts};
use crate::broker::messages::weight;
use crate::broker::messages::{
    ForgetAcks, Interest, InterestChange, NamespaceReady, Publish, PublishAnnouncement, RoomsReady,
};
use crate::broker::{Directory, PendingDispatches};
use crate::bus::link::{Channel, Link, LinkEvent, LinkEvents};
use crate::bus::spool::SpoolLimits;
use crate::health::{BusState, Health};
use crate::metrics::labels::BusDrop;
use crate::model::random::OsRandom;
use crate::model::{CommandObserver, Namespace, NodeId, Random, ServerSideEventHandler, Workers};
use crate::store::Store;
use crate::store::lease::lease_key;

/// Number of logs that are read at the same time.
const CONCURRENT_READS: usize = 8;
/// Time between two measurements of the logs.
const MEASUREMENT_INTERVAL: Duration = Duration::from_secs(10);
/// A namespace without sockets stays subscribed for several of these, so that requests which count this node are
/// responded to.
const NAMESPACE_ROUND: Duration = Duration::from_secs(10);

/// The parts of a bridge.
pub struct BridgeParts {
    pub directory: Arc<Directory>,
    pub link: Arc<dyn Link>,
    pub events: LinkEvents,
    /// The first one connects the nodes of the cluster.
    pub dialects: Vec<Arc<dyn Dialect>>,
    /// `bus.message_limit`: bytes of the largest message that is published.
    pub message_limit: usize,
    /// The limits of messages that are held during an outage.
    pub spool: SpoolLimits,
    /// `socket.max_depth`: greatest depth of arrays and objects in the JSON of an emit.
    pub max_depth: usize,
    pub health: Arc<Health>,
    pub routers: RouterAddresses,
    pub command_observers: Vec<CommandObserver>,
    pub server_events: Option<ServerSideEventHandler>,
    /// With `bus.translate`: how long after the end of the turn of another node this one begins to translate.
    pub translation_pause: Option<Duration>,
    /// Whether the bus delivers messages that arrive by name and by a pattern in one order.
    pub is_ordered: bool,
    /// The namespaces that the configuration names.
    pub known_namespaces: Vec<Namespace>,
    pub store: Arc<dyn Store>,
    /// The prefix of keys in the store.
    pub key_prefix: String,
}

/// The actor.
pub struct Bridge {
    pub(super) directory: Arc<Directory>,
    pub(super) health: Arc<Health>,
    /// Whether messages of this node were dropped since Redis became unreachable.
    pub(super) has_dropped: bool,
    pub(super) events: Option<LinkEvents>,
    pub(super) publisher: Publisher,
    pub(super) receiver: Receiver,
    pub(super) subscriber: Subscriber,
    /// The order of logged events.
    pub(super) sequencer: Sequencer,
    fence_channel: Option<Channel>,
    /// Limits the logs that are read at the same time.
    pub(super) log_reads: Arc<Semaphore>,
    pub(super) membership: Membership,
    pub(super) translator: Option<Translator>,
    /// The store with the lease of the node that translates.
    pub(super) store: Arc<dyn Store>,
    /// The key of that lease.
    pub(super) translation_key: String,
    /// Queries that wait until the channels on which servers respond are subscribed.
    pub(super) pending_queries: PendingQueries,
}

impl Bridge {
    /// A bridge that receives the events of the link once its actor has started.
    pub fn new(parts: BridgeParts) -> Self {
        let dialects: Arc<[_]> = parts.dialects.into();
        let published = dialects.iter().filter(|dialect| !dialect.is_receive_only());
        let publisher = Publisher {
            directory: Arc::clone(&parts.directory),
            link: Arc::clone(&parts.link),
            dialects: published.cloned().collect(),
            health: Arc::clone(&parts.health),
            message_limit: parts.message_limit,
            sender: random_number(),
            sequence: Arc::default(),
            stream_gate: Rc::new(RefCell::new(StreamGate::new(
                dialects.iter().skip(1).map(|dialect| &**dialect),
                parts.spool,
            ))),
        };
        let translator = parts.translation_pause.map(|pause| {
            Translator::new(TranslatorParts {
                node: parts.directory.node(),
                link: Arc::clone(&parts.link),
                dialects: Arc::clone(&dialects),
                max_depth: parts.max_depth,
                namespaces: parts.known_namespaces,
                is_ordered: parts.is_ordered,
                random: random_number(),
                pause,
            })
        });
        Self {
            translator: translator.flatten(),
            translation_key: lease_key(&parts.key_prefix, "translator"),
            store: parts.store,
            pending_queries: PendingQueries::default(),
            subscriber: Subscriber::new(parts.link, &dialects),
            fence_channel: publisher.fence_channel(),
            publisher,
            receiver: Receiver {
                directory: Arc::clone(&parts.directory),
                dialects,
                max_depth: parts.max_depth,
                routers: parts.routers,
                command_observers: parts.command_observers,
                server_events: parts.server_events,
                reach: ReachCounts::default(),
                entry_numbers: EntryNumbers::default(),
                pending_joins: 0,
                pending_dispatches: PendingDispatches::default(),
                since: None,
            },
            sequencer: Sequencer::default(),
            log_reads: Arc::new(Semaphore::new(CONCURRENT_READS)),
            membership: Membership::new(parts.directory.node()),
            directory: parts.directory,
            health: parts.health,
            has_dropped: false,
            events: Some(parts.events),
        }
    }

    /// Notifies the workers that wait for rooms.
    fn notify_ready(&self, rooms: Vec<(RoomName, Workers)>, degraded: bool) {
        for (index, shard) in self.directory.shards().iter().enumerate() {
            let of_worker = rooms.iter().filter(|(_, workers)| workers.contains(index));
            let rooms: Vec<RoomName> = of_worker.map(|(name, _)| name.clone()).collect();
            if !rooms.is_empty() {
                shard.do_send(RoomsReady { rooms, degraded });
            }
        }
    }

    /// Notifies the workers that wait for a namespace.
    fn notify_namespace(&self, namespace: &Namespace, workers: Workers) {
        for (index, shard) in self.directory.shards().iter().enumerate() {
            if workers.contains(index) {
                shard.do_send(NamespaceReady(namespace.clone()));
            }
        }
    }

    /// Ends all waits for subscriptions, because the bus is down.
    fn stop_waiting(&mut self) {
        let waiting = self.subscriber.rooms.stop_waiting();
        self.notify_ready(waiting, true);
        for (namespace, workers) in self.subscriber.namespaces.stop_waiting() {
            self.notify_namespace(&namespace, workers);
        }
    }

    /// Handles a heartbeat of this or another node.
    fn on_heartbeat(&mut self, from: NodeId, state: MemberState, ctx: &mut Context<Self>) {
        let Consequences {
            changed,
            respond,
            probe,
        } = self.membership.received(from, state);
        if changed {
            self.directory.set_peers(self.membership.peers());
        }
        if respond {
            // Sent to that node only: heartbeats for all nodes are the clock of this node.
            self.publisher
                .publish_heartbeat(Some(from), MemberState::Alive);
        }
        for node in probe {
            let Some(receivers) = self.publisher.probe(node) else {
                continue;
            };
            let removal = receivers
                .into_actor(self)
                .map(move |receivers, bridge, _ctx| {
                    if receivers == Ok(0) && bridge.membership.remove(node) {
                        bridge.directory.set_peers(bridge.membership.peers());
                    }
                });
            ctx.spawn(removal);
        }
    }

    pub(super) fn on_event(&mut self, event: LinkEvent, ctx: &mut Context<Self>) {
        if let Some(translator) = &mut self.translator {
            translator.on_event(&event, &self.publisher);
        }
        let metrics = self.directory.metrics();
        match event {
            LinkEvent::Up => {
                self.health.set_bus(BusState::Up);
                // First, so that nothing takes the bus for one that has delivered all the time.
                self.directory.note_connect();
                self.directory.set_cut_off(false);
                self.publisher.publish_heartbeat(None, MemberState::Joined);
                self.report_dropped();
                self.check_logs(ctx);
            }
            LinkEvent::EchoRestored => {
                self.health.set_bus(BusState::Up);
                self.directory.note_connect();
                self.check_logs(ctx);
            }
            LinkEvent::Deaf => {
                metrics.bus_deaf_detections_total.increment();
                self.health.set_bus(BusState::Deaf);
                self.sequencer.suspend(false);
            }
            LinkEvent::Down { .. } => self.on_down(),
            LinkEvent::Unreachable { reason } => self.health.set_bus_trouble(reason),
            LinkEvent::Echo { after } => metrics.bus_lag_seconds.observe(after),
            LinkEvent::Missed { during } => {
                metrics.bus_gap_seconds.observe(during);
                self.directory.note_connect();
                self.check_logs(ctx);
            }
            LinkEvent::Skipped { bytes } => {
                let limit = self.publisher.message_limit;
                self.receiver.report_skipped(bytes, limit);
            }
            LinkEvent::EntriesLost { entries } => {
                metrics.bus_dropped_total.of(BusDrop::Trimmed).add(entries);
                log::warn!(entries; "entries of a stream were removed before this node read them");
                self.report_unread_entries();
            }
            LinkEvent::EventsLost(logs) => self.report_lost_events(logs),
            LinkEvent::SpoolDropped { messages, .. } => {
                metrics.bus_dropped_total.of(BusDrop::Spool).add(messages);
                self.note_dropped();
            }
            LinkEvent::Subscribed(channels) => self.on_subscribed(&channels, ctx),
            LinkEvent::Message { channel, payload } => self.on_message(&channel, &payload, ctx),
            // For the translator.
            LinkEvent::PatternsSubscribed(_) | LinkEvent::Matched { .. } => {}
        }
        self.follow_translator();
    }

    fn on_subscribed(&mut self, channels: &[Channel], ctx: &mut Context<Self>) {
        if self.publisher.publish_waiting(channels) {
            self.note_dropped();
        }
        let rooms = &mut self.subscriber.rooms;
        let complete = channels.iter().flat_map(|channel| rooms.confirm(channel));
        let complete = complete.collect();
        self.follow_channels(channels, ctx);
        self.notify_ready(complete, false);
        for channel in channels {
            if let Some((name, workers)) = self.subscriber.namespaces.confirm(channel) {
                self.notify_namespace(&name, workers);
            }
        }
        self.publish_ready_queries();
    }

    fn on_down(&mut self) {
        let metrics = self.directory.metrics();
        metrics.bus_disconnects_total.increment();
        self.health.set_bus(BusState::Down);
        self.directory.set_cut_off(true);
        self.sequencer.suspend(true);
        self.stop_waiting();
        self.publish_pending_queries();
    }

    fn on_message(&mut self, channel: &Channel, payload: &Bytes, ctx: &mut Context<Self>) {
        let rooms = &self.subscriber.rooms;
        let received = self.receiver.receive(
            (channel, payload),
            rooms,
            &self.publisher,
            self.translator.as_mut(),
        );
        match received {
            Some(ForBridge::Heartbeat(from, _))
                if from == self.directory.node()
                    && self.fence_channel.as_ref() == Some(channel) =>
            {
                self.fence_arrived(ctx);
            }
            Some(ForBridge::Heartbeat(from, state)) => self.on_heartbeat(from, state, ctx),
            Some(ForBridge::Logged(logged)) => self.receive_logged(*logged, ctx),
            Some(ForBridge::ForgetAcks {
                ack_id,
                after,
                held,
            }) => {
                if let Some(token) = held {
                    self.await_held_count(token, after, ctx);
                }
                ctx.run_later(after, move |bridge, _ctx| {
                    for shard in bridge.directory.shards() {
                        shard.do_send(ForgetAcks { ack_id });
                    }
                });
            }
            Some(ForBridge::Marker {
                announcement,
                is_own,
            }) => self.on_marker(&announcement, is_own),
            None => {}
        }
    }
}

impl Actor for Bridge {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.subscriber.subscribe_always();
        self.start_events(ctx);
        self.start_sequencer(ctx);
        self.start_translation(ctx);
        ctx.run_interval(HEARTBEAT_INTERVAL, |bridge, _ctx| {
            bridge.publisher.publish_heartbeat(None, MemberState::Alive);
        });
        ctx.run_interval(MEASUREMENT_INTERVAL, |bridge, ctx| bridge.measure_logs(ctx));
        ctx.run_interval(NAMESPACE_ROUND, |bridge, _ctx| {
            bridge.subscriber.release_namespaces();
        });
    }
}

/// A random number.
pub(super) fn random_number() -> u64 {
    let mut bytes = [0; 8];
    OsRandom.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

impl Handler<Publish> for Bridge {
    type Result = ();

    fn handle(&mut self, publish: Publish, _ctx: &mut Self::Context) {
        let Publish { command, logs } = publish;
        self.directory
            .backlog_shrank(self.directory.bridge_index(), weight(&command));
        if command.ack_token().is_some() {
            self.subscriber.hold_namespace(command.namespace());
        }
        self.publisher.publish_command(&command, logs);
    }
}

impl Handler<PublishAnnouncement> for Bridge {
    type Result = ();

    fn handle(&mut self, message: PublishAnnouncement, _ctx: &mut Self::Context) {
        let PublishAnnouncement(announcement) = message;
        self.publisher.publish_announcement(&announcement);
    }
}

impl Handler<Interest> for Bridge {
    type Result = ();

    fn handle(&mut self, interest: Interest, ctx: &mut Self::Context) {
        let joined = |change: &&InterestChange| **change == InterestChange::JoinApplied;
        self.receiver.pending_joins -= interest.changes.iter().filter(joined).count();
        let vanished = self.vanished_logs(&interest.changes);
        let delivered = self.subscriber.follow(interest.worker, interest.changes);
        self.forget_logs(vanished);
        self.follow_logs(&delivered.rooms, ctx);
        let subscriptions = self.subscriber.rooms.channel_count() as i64;
        let metrics = self.directory.metrics();
        metrics.bus_subscriptions.set(subscriptions);
        let degraded = self.health.bus() == BusState::Down;
        let worker = Workers::only(interest.worker);
        let ready = delivered.rooms.into_iter().map(|name| (name, worker));
        self.notify_ready(ready.collect(), degraded);
        for namespace in &delivered.namespaces {
            self.notify_namespace(namespace, worker);
        }
        if degraded {
            self.stop_waiting();
        }
    }
}

impl Handler<Forward> for Bridge {
    type Result = ();

    fn handle(&mut self, forward: Forward, _ctx: &mut Self::Context) {
        let directory = &self.directory;
        directory.backlog_shrank(directory.bridge_index(), forward.body.len());
        self.publisher.publish_forward(forward);
    }
}
