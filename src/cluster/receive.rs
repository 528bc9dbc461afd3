//! Receives what others publish: decodes it and dispatches it to the shards it may concern.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::warn;

use super::dialect::{
    DecodeError, Dialect, Inbound, LoggedEmit, MemberState, StreamSender, StreamedCommand,
};
use super::entry_numbers::EntryNumbers;
use super::local_query::query_node;
use super::messages::{Forwarded, RouterAddresses};
use super::publish::Publisher;
use super::reached::ReachCounts;
use super::subscriptions::RoomSubscriptions;
use super::translation::{TOPIC, Translator, is_translated};
use crate::broker::directory::gather_worker;
use crate::broker::messages::{
    Dispatch, Echoed, MessageDialect, NodeAnswer, ReachReport, Resolve, ServerAnswer,
    ServerReached, ShardMessage,
};
use crate::broker::{Directory, PendingDispatches};
use crate::bus::link::Channel;
use crate::clock;
use crate::logging::Burst;
use crate::metrics::labels::{BusDrop, Label, Origin};
use crate::model::{
    AckReply, AckToken, Announcement, Command, CommandObserver, DialectId, Emit, NodeId, Position,
    QueryRequest, QueryResponse, ReplyTo, ServerSideEventHandler, ServerSocket, Target, Unfit,
    Workers, shorten_ids,
};

/// The receiving half of the bridge.
pub(super) struct Receiver {
    pub(super) directory: Arc<Directory>,
    pub(super) dialects: Arc<[Arc<dyn Dialect>]>,
    /// `socket.max_depth`: emits of deeper JSON are dropped.
    pub(super) max_depth: usize,
    pub(super) routers: RouterAddresses,
    pub(super) command_observers: Vec<CommandObserver>,
    /// Joins of others that shards have not applied yet. Until then a room may have members that are missing in the
    /// subscriptions.
    pub(super) pending_joins: usize,
    /// Handles events for servers.
    pub(super) server_events: Option<ServerSideEventHandler>,
    /// Emits of foreign members on their way to the shards.
    pub(super) reach: ReachCounts,
    /// The numbers of the stream entries that have arrived.
    pub(super) entry_numbers: EntryNumbers,
    /// Commands for the shards, until the events at hand are handled.
    pub(super) pending_dispatches: PendingDispatches,
    /// When the first of them was received.
    pub(super) since: Option<Instant>,
}

/// A received message that the bridge handles.
pub(super) enum ForBridge {
    Heartbeat(NodeId, MemberState),
    Logged(Box<LoggedEmit>),
    /// Acks that clients owe for this emit are not awaited after this time.
    ForgetAcks {
        ack_id: u32,
        after: Duration,
        /// The emit, if the translator reports a count for it, which is not awaited until then.
        held: Option<AckToken>,
    },
    /// A marker of the node that translates.
    Marker {
        announcement: Announcement,
        is_own: bool,
    },
}

impl Receiver {
    /// Handles a message of the link. Returns the part of it that the bridge must handle.
    pub(super) fn receive(
        &mut self,
        (channel, message): (&Channel, &Bytes),
        rooms: &RoomSubscriptions,
        publisher: &Publisher,
        mut translator: Option<&mut Translator>,
    ) -> Option<ForBridge> {
        // None if the node has just unsubscribed.
        let dialect = self.dialects.iter().find(|dialect| dialect.owns(channel))?;
        let inbound = dialect.decode(channel, message);
        if let Ok(Inbound::Heartbeat { from, state }) = inbound {
            return Some(ForBridge::Heartbeat(from, state));
        }
        self.directory.metrics().bus_received_total.increment();
        if let (Some(translator), Ok(inbound)) = (translator.as_deref_mut(), &inbound) {
            translator.received(inbound, &**dialect, (channel, message), publisher);
        }
        match inbound {
            Ok(Inbound::Command(command)) => self.dispatch(command, rooms, publisher),
            Ok(Inbound::CountedEmit { emit, timeout }) => {
                return self.dispatch_counted(emit, timeout, (rooms, publisher), translator);
            }
            Ok(Inbound::UnreachedEmit { token, unfit }) => {
                self.report_unreached(&token, unfit.as_ref(), publisher);
            }
            Ok(Inbound::Reached { token, sockets }) => self.server_reached(&token, sockets),
            Ok(Inbound::ForeignQuery { reply_to, query }) => {
                self.run_foreign_query(reply_to, query, publisher);
            }
            Ok(Inbound::FetchOfNobody { reply_to }) => publisher.publish_no_sockets(&reply_to),
            Ok(Inbound::UnreadServerEvent { reply_to, unfit }) => {
                self.answer_unread_event(channel, &reply_to, unfit, publisher);
            }
            Ok(Inbound::ServerSockets { id, sockets }) => self.server_answered(id, sockets),
            Ok(Inbound::ForeignChange { command, reply_to }) => {
                self.dispatch(command, rooms, publisher);
                publisher.publish_foreign_change_done(&reply_to);
            }
            Ok(Inbound::ServerEvent { event, reply_to }) => {
                self.handle_server_event(event, reply_to, publisher);
            }
            Ok(Inbound::Streamed(streamed)) => {
                self.dispatch_streamed(channel, streamed, (rooms, publisher));
            }
            Ok(Inbound::Logged(logged)) => return Some(ForBridge::Logged(Box::new(logged))),
            Ok(Inbound::Reply(reply)) => self.resolve(reply),
            Ok(Inbound::Forward { from, body }) => self.route_forwarded(from, body),
            // The workers of this node have it already.
            Ok(Inbound::Own { gather: Some(id) }) => self.echoed(id, dialect.id()),
            Ok(Inbound::Own { gather: None }) => {}
            Ok(Inbound::Announcement(announcement)) => return self.announced(announcement),
            Ok(Inbound::OwnAnnouncement(announcement)) => return marker(announcement, true),
            Ok(Inbound::Query(request)) => self.run_query(request, publisher),
            Ok(Inbound::QueryAnswer(response)) => self.node_answered(response),
            Ok(Inbound::Ignored | Inbound::Heartbeat { .. }) => {}
            Err(error) => self.report_undecoded(channel, &error),
        }
        None
    }

    /// Handles a call or query of this node that came back in a dialect.
    fn echoed(&self, id: u64, dialect: DialectId) {
        let native = self.dialects.first().map(|first| first.id());
        let dialect = match native == Some(dialect) {
            true => MessageDialect::Native,
            false => MessageDialect::Foreign,
        };
        self.send_home(id, Echoed { id, dialect });
    }

    /// A server reports how many of its sockets an emit has reached.
    fn server_reached(&self, token: &AckToken, sockets: u64) {
        if self.is_own_call(token) {
            let id = token.id;
            self.send_home(id, ServerReached { id, sockets });
        }
    }

    fn node_answered(&self, response: QueryResponse) {
        if response.to == self.directory.node() {
            self.send_home(response.id, NodeAnswer(response));
        }
    }

    fn server_answered(&self, id: u64, sockets: Vec<ServerSocket>) {
        self.send_home(id, ServerAnswer { id, sockets });
    }

    /// Passes an announcement to the services of this node, apart from markers.
    fn announced(&self, announcement: Announcement) -> Option<ForBridge> {
        self.directory.announced(&announcement);
        marker(announcement, false)
    }

    fn route_forwarded(&self, from: NodeId, body: Bytes) {
        let worker = body.first().copied().map(usize::from);
        let router = worker.and_then(|worker| self.routers.get()?.get(worker));
        if let Some(router) = router {
            router.do_send(Forwarded { from, body });
        }
    }

    /// Collects a command that was read from a stream, unless it is a duplicate.
    fn dispatch_streamed(
        &mut self,
        stream: &Channel,
        streamed: StreamedCommand,
        context: (&RoomSubscriptions, &Publisher),
    ) {
        let StreamedCommand {
            command,
            position,
            sender,
            number,
        } = streamed;
        if number.is_some_and(|number| self.entry_numbers.has_arrived(stream, number)) {
            let metrics = self.directory.metrics();
            return metrics.room_log_duplicates_total.increment();
        }
        if let (Some(position), Some(history)) = (position, self.directory.history()) {
            history.note_streamed(command.namespace(), position);
        }
        let is_own = sender == StreamSender::ThisNode;
        self.dispatch_logged(command, position, is_own, context);
    }

    /// Collects a command that all nodes deliver in one order, such as a logged emit, for the shards it may concern.
    /// `is_own`: this node published it.
    pub(super) fn dispatch_logged(
        &mut self,
        command: Command,
        position: Option<Position>,
        is_own: bool,
        (rooms, publisher): (&RoomSubscriptions, &Publisher),
    ) {
        if !is_own {
            self.observe(&command);
        }
        // Joins of this node that were applied before may not have been reported to the bridge yet, so the room
        // subscriptions can be incomplete. Joins of other nodes are counted (`pending_joins`).
        let is_for_all = is_own && position.is_some_and(|position| position.is_of_stream());
        let targets = match is_for_all {
            true => None,
            false => self.targets_of_session(&command, rooms),
        };
        self.stage(command, position, targets, publisher);
    }

    /// Collects a command for the shards it may concern.
    fn dispatch(&mut self, command: Command, rooms: &RoomSubscriptions, publisher: &Publisher) {
        self.observe(&command);
        let targets = self.targets_of_session(&command, rooms);
        self.stage(command, None, targets, publisher);
    }

    /// As [`Self::targets`], also for the socket of another worker that may have recovered the session of the target.
    fn targets_of_session(&self, command: &Command, rooms: &RoomSubscriptions) -> Option<Workers> {
        match self.directory.follows_session(command) {
            true => None,
            false => self.targets(command, rooms),
        }
    }

    pub(super) fn observe(&self, command: &Command) {
        let commands = &self.directory.metrics().commands_total;
        commands.of(Origin::Bus).increment();
        for observe in &self.command_observers {
            observe(command);
        }
    }

    fn stage(
        &mut self,
        command: Command,
        position: Option<Position>,
        targets: Option<Workers>,
        publisher: &Publisher,
    ) {
        if let Command::Emit(emit) = &command
            && let Err(unfit) = emit.payload.check_event(self.max_depth)
        {
            return self.report_unfit(&unfit);
        }
        let ack_id = match &command {
            Command::Emit(Emit { ack: Some(_), .. }) => Some(self.directory.next_ack_id()),
            _ => None,
        };
        let since = *self.since.get_or_insert_with(clock::now);
        // The requesting node needs a report if the emit reaches no client here. Of several workers, at least one has a
        // member.
        let reports = match targets {
            Some(workers) if ack_id.is_some() && workers.count() == 1 => ReachReport::NoRecipient,
            _ => ReachReport::Nothing,
        };
        if targets.is_some_and(|workers| workers.count() == 0) {
            report_no_recipient(&command, publisher);
        }
        let shards = self.directory.shards().len();
        let targets = targets.unwrap_or_else(|| Workers::first(shards));
        if matches!(command, Command::Join { .. }) {
            self.pending_joins += targets.iter().filter(|worker| *worker < shards).count();
        }
        let dispatch = Dispatch {
            command: Arc::new(command),
            ack_id,
            from_bus: true,
            reports,
            position,
        };
        self.pending_dispatches
            .stage(&dispatch, targets, since, &self.directory);
    }

    /// The workers that a command may concern; `None` stands for all.
    pub(super) fn targets(&self, command: &Command, rooms: &RoomSubscriptions) -> Option<Workers> {
        let room = match command.target() {
            Target::Socket(socket, _) if socket.node() == self.directory.node() => {
                return Some(Workers::only(socket.worker()));
            }
            Target::Socket(_, room) | Target::Room(room) => room,
            Target::Many | Target::Everybody => return None,
        };
        if self.pending_joins > 0 {
            return None;
        }
        let name = (command.namespace().clone(), room.clone());
        Some(rooms.workers(&name))
    }

    /// Whether a worker of this node requested the acks of a token.
    fn is_own_call(&self, token: &AckToken) -> bool {
        let is_own = token.reply_to == ReplyTo::Node(self.directory.node());
        is_own && !is_translated(token.id)
    }

    /// Sends a reply to the worker that requested it.
    fn resolve(&self, reply: AckReply) {
        if !self.is_own_call(&reply.token) {
            return;
        }
        if let Err(unfit) = reply.payload.check_ack(self.max_depth) {
            return self.report_unfit(&unfit);
        }
        self.send_home(reply.token.id, Resolve(reply));
    }

    /// Sends a message to the worker that collects the results of a call or query.
    fn send_home(&self, id: u64, message: impl Into<ShardMessage>) {
        if let Some(shard) = self.directory.shards().get(gather_worker(id)) {
            shard.do_send(message);
        }
    }

    /// Runs a query of another node on all workers, and publishes the answer of this node.
    fn run_query(&self, request: QueryRequest, publisher: &Publisher) {
        let QueryRequest { from, id, query } = request;
        let answer = query_node(Arc::clone(&self.directory), query);
        let publisher = publisher.clone();
        actix_rt::spawn(async move {
            publisher.publish_query_answer(QueryResponse {
                from: publisher.directory.node(),
                to: from,
                id,
                answer: answer.await,
                is_shortened: false,
            });
        });
    }

    /// Sends the shards what was collected for them.
    pub(super) fn send_dispatches(&mut self) {
        self.since = None;
        self.pending_dispatches.send(&self.directory);
    }

    pub(super) fn report_undecoded(&self, channel: &Channel, error: &DecodeError) {
        self.count_dropped(error.reason);
        static BURSTS: [Burst; BusDrop::VALUES.len()] =
            [const { Burst::new() }; BusDrop::VALUES.len()];
        if let Some(others) = BURSTS[error.reason.index()].note() {
            warn!(channel:% = shorten_ids(channel.as_str()), error:% = error.cause, others; "bus message dropped: it cannot be decoded");
        }
    }

    /// Logs a message that the link did not read because of its size.
    pub(super) fn report_skipped(&self, bytes: u64, limit: usize) {
        self.count_dropped(BusDrop::Skipped);
        static BURST: Burst = Burst::new();
        if let Some(others) = BURST.note() {
            warn!(others; "bus message dropped: {bytes} bytes are over bus.message_limit={limit}");
        }
    }

    /// Drops emits on which stock clients close their connection or crash: one could disconnect every member of a room.
    pub(super) fn report_unfit(&self, unfit: &Unfit) {
        self.count_dropped(BusDrop::Unfit);
        static BURST: Burst = Burst::new();
        if let Some(others) = BURST.note() {
            warn!(reason:% = unfit, others; "bus message dropped: clients would close their connections on receiving it");
        }
    }

    fn count_dropped(&self, reason: BusDrop) {
        let dropped = &self.directory.metrics().bus_dropped_total;
        dropped.of(reason).increment();
    }
}

/// An announcement for the bridge, if it is the marker of the node that translates.
fn marker(announcement: Announcement, is_own: bool) -> Option<ForBridge> {
    (announcement.topic == TOPIC).then_some(ForBridge::Marker {
        announcement,
        is_own,
    })
}

/// Reports to another node that its request for an ack reached no client here.
fn report_no_recipient(command: &Command, publisher: &Publisher) {
    if let Command::Emit(Emit {
        ack:
            Some(
                token @ AckToken {
                    reply_to: ReplyTo::Node(_),
                    ..
                },
            ),
        ..
    }) = command
    {
        publisher.publish_reply(AckReply::no_recipient(token.clone()));
    }
}
