//! Carries messages between foreign programs that use different dialects and share a Redis, such as servers in Node and
//! in Python (docs/python-servers.md#one-cluster-with-node-and-python-servers).
//!
//! Each node receives the messages of every dialect itself, and one node of the cluster publishes them in the others
//! ([`turn`]). What it publishes is marked as a message of its cluster: nodes of the cluster drop it, nodes of other
//! clusters on the same Redis do not translate it, and foreign programs repeat nothing, so there are no loops. It also
//! receives messages for rooms and namespaces in which it has no sockets, by patterns.

mod held;
mod lease;
mod namespaces;
mod replies;
mod turn;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::{debug, info, warn};
use tokio::sync::{Notify, watch};

use self::held::HeldCounts;
use self::namespaces::TranslatedNamespaces;
use self::replies::{PendingReplies, PendingReply};
use self::turn::TranslationTurn;
use super::dialect::socket_ids::may_be_socket;
use super::dialect::{Dialect, Inbound, StreamSender, StreamedCommand};
use super::publish::Publisher;
use crate::bus::link::{Channel, Link, LinkEvent};
use crate::clock::now;
use crate::logging::Burst;
use crate::model::{
    AckReply, AckToken, Announcement, Command, DialectId, Emit, Namespace, NodeId, ReplyTo,
    SocketId, shorten_ids,
};

pub(super) use self::held::{ResolvedCount, hold_time};
pub(super) use self::lease::{HoldsLease, LeaseIsTaken, TranslationLease};
pub(super) use self::replies::is_translated;

/// The topic of markers.
pub(super) const TOPIC: &str = "roomwire:translation";
/// How long a stopping node waits for the marker of another one.
const HANDOVER_TIME: Duration = Duration::from_millis(1500);

/// What a node needs in order to translate.
pub(super) struct TranslatorParts {
    pub(super) node: NodeId,
    pub(super) link: Arc<dyn Link>,
    pub(super) dialects: Arc<[Arc<dyn Dialect>]>,
    /// `socket.max_depth`: emits whose JSON is deeper are not translated.
    pub(super) max_depth: usize,
    /// The namespaces that the configuration names.
    pub(super) namespaces: Vec<Namespace>,
    /// A random number.
    pub(super) random: u64,
    /// How long after its marker this node begins.
    pub(super) pause: Duration,
    /// Whether messages that arrive by name and by a pattern have one order. On a Redis Cluster they have not.
    pub(super) is_ordered: bool,
}

/// The translation of a node.
pub(super) struct Translator {
    parts: TranslatorParts,
    turn: TranslationTurn,
    /// When the turn of this node begins, if it has one.
    begins: Instant,
    /// Whether it is the turn of this node.
    state: watch::Sender<bool>,
    replies: PendingReplies,
    held: HeldCounts,
    /// The channels that are subscribed to by name and whose messages are translated.
    always: HashSet<Channel>,
    patterns: Vec<Channel>,
    /// The dialects without patterns, whose messages arrive on channels that are subscribed to by name. All of them are
    /// translated.
    by_name: Vec<DialectId>,
    /// Whether the node must subscribe to namespaces by name.
    needs_namespaces: bool,
    namespaces: TranslatedNamespaces,
    /// The requested channels and patterns that the bus has not confirmed yet; `None` before they are requested.
    subscription: Option<HashSet<Channel>>,
    resign: Arc<Notify>,
}

impl Translator {
    /// The translator of a node, if its dialects have something to translate.
    pub(super) fn new(parts: TranslatorParts) -> Option<Self> {
        let (mut always, mut patterns, mut dialects) = (HashSet::new(), Vec::new(), 0);
        let (mut by_name, mut needs_namespaces) = (Vec::new(), false);
        for dialect in parts.dialects.iter().skip(1) {
            let subscriptions = dialect.subscriptions();
            if let Some(of_dialect) = subscriptions.translated {
                dialects += 1;
                always.extend(subscriptions.always);
                if of_dialect.is_empty() {
                    by_name.push(dialect.id());
                }
                // Servers in Node count the members that subscribe by name.
                needs_namespaces |= subscriptions.per_namespace && !dialect.is_receive_only();
                patterns.extend(of_dialect);
            }
        }
        (dialects > 1).then(|| Self {
            turn: TranslationTurn::new(now()),
            begins: now(),
            state: watch::Sender::new(false),
            replies: PendingReplies::new(parts.random as u32),
            held: HeldCounts::default(),
            always,
            patterns,
            by_name,
            needs_namespaces,
            namespaces: TranslatedNamespaces::default(),
            subscription: None,
            resign: Arc::default(),
            parts,
        })
    }

    /// Notified when the lease must be released.
    pub(super) fn resign(&self) -> Arc<Notify> {
        Arc::clone(&self.resign)
    }

    /// This node holds the lease. Returns the marker to publish, if it has not been received yet.
    pub(super) fn holds_lease(&mut self, lease: HoldsLease) -> Option<Announcement> {
        if self.subscription.is_none() {
            self.subscription = Some(self.subscribe());
        }
        if self.subscription.as_ref().is_some_and(|it| !it.is_empty()) {
            return None;
        }
        let number = self.turn.holds_lease(lease.requested)?;
        Some(Announcement {
            topic: TOPIC.into(),
            body: Bytes::copy_from_slice(&number.to_be_bytes()),
        })
    }

    /// Subscribes to what this node needs before it can translate. Returns the channels and patterns that the bus must
    /// confirm.
    fn subscribe(&mut self) -> HashSet<Channel> {
        let mut unconfirmed = HashSet::new();
        if !self.patterns.is_empty() {
            self.parts.link.subscribe_patterns(self.patterns.clone());
            unconfirmed.extend(self.patterns.iter().cloned());
        }
        if self.needs_namespaces {
            let mut channels = Vec::new();
            for namespace in &self.parts.namespaces {
                self.namespaces.note(namespace);
                for dialect in &*self.parts.dialects {
                    if self.by_name.contains(&dialect.id()) {
                        channels.extend(dialect.namespace_channels(namespace));
                    }
                }
            }
            unconfirmed.extend(channels.iter().cloned());
            // The bus also confirms channels that were subscribed before.
            self.parts.link.subscribe(channels);
        }
        unconfirmed
    }

    /// The namespaces to subscribe to from now on, until another node translates.
    pub(super) fn namespaces_due(&mut self) -> Vec<Namespace> {
        self.namespaces.take_due()
    }

    /// Received a marker of this node or another one.
    pub(super) fn marker(&mut self, announcement: &Announcement, is_own: bool) {
        let number = <[u8; 8]>::try_from(&announcement.body[..]).map(u64::from_be_bytes);
        if is_own {
            let begins = number.is_ok_and(|number| self.turn.own_marker(number));
            if begins {
                self.begins = now() + self.parts.pause;
                info!(node:% = self.parts.node; "this node translates between the dialects of the bus");
                self.state.send_replace(true);
            }
            return;
        }
        if self.turn.other_marker() {
            info!(node:% = self.parts.node; "another node translates between the dialects of the bus");
            self.state.send_replace(false);
        }
        self.unsubscribe();
    }

    /// Another node holds the lease. Returns whether this one has ended its turn: its marker may have been missed.
    pub(super) fn lease_is_taken(&mut self) -> bool {
        let has_ended = !self.turn.is_translating();
        if has_ended {
            self.unsubscribe();
        }
        has_ended
    }

    /// Ends the subscriptions that only the translating node needs.
    fn unsubscribe(&mut self) {
        if self.subscription.take().is_some() && !self.patterns.is_empty() {
            self.parts.link.unsubscribe_patterns(self.patterns.clone());
        }
        self.namespaces.clear();
    }

    /// Follows the state of the link, and translates messages that it received by patterns.
    pub(super) fn on_event(&mut self, event: &LinkEvent, publisher: &Publisher) {
        match event {
            LinkEvent::Matched { channel, payload } => self.matched(channel, payload, publisher),
            LinkEvent::PatternsSubscribed(confirmed) | LinkEvent::Subscribed(confirmed) => {
                if let Some(unconfirmed) = &mut self.subscription
                    && !unconfirmed.is_empty()
                {
                    unconfirmed.retain(|channel| !confirmed.contains(channel));
                }
            }
            LinkEvent::Up => {
                // Every requested channel and pattern is subscribed.
                self.subscription.iter_mut().for_each(HashSet::clear);
                self.lose_place();
            }
            LinkEvent::Down { .. }
            | LinkEvent::Deaf
            | LinkEvent::EchoRestored
            | LinkEvent::Missed { .. } => self.lose_place(),
            _ => {}
        }
    }

    /// Messages may have been missed. Until the next marker of this node, others may translate.
    fn lose_place(&mut self) {
        if self.turn.lose_place(now()) {
            self.state.send_replace(false);
        }
    }

    /// Releases the lease, and completes when another node translates, or after a time limit if none does.
    pub(super) fn hand_over(&self, has_peers: bool) -> impl Future<Output = ()> + use<> {
        self.resign.notify_one();
        let mut state = self.state.subscribe();
        async move {
            if has_peers {
                let ended = state.wait_for(|is_translating| !is_translating);
                let _timed_out = tokio::time::timeout(HANDOVER_TIME, ended).await;
            }
        }
    }

    /// Translates a message that was received on a channel subscribed to by name, unless it also arrives by a pattern.
    pub(super) fn received(
        &mut self,
        inbound: &Inbound,
        dialect: &dyn Dialect,
        (channel, message): (&Channel, &Bytes),
        publisher: &Publisher,
    ) {
        let is_by_name = self.by_name.contains(&dialect.id());
        if let Inbound::CountedEmit { emit, timeout } = inbound
            && timeout.is_some()
            && self.is_translating()
            && (is_by_name || self.parts.is_ordered)
            && !dialect.is_of_roomwire(channel, message)
        {
            self.hold_count(emit);
        }
        if self.always.contains(channel) || is_by_name {
            self.translate(inbound, dialect, (channel, message), publisher);
        }
    }

    /// Translates a message that was received by a pattern.
    fn matched(&mut self, channel: &Channel, message: &Bytes, publisher: &Publisher) {
        if self.always.contains(channel) {
            return;
        }
        let dialects = Arc::clone(&self.parts.dialects);
        let Some(dialect) = dialects.iter().find(|dialect| dialect.owns(channel)) else {
            return;
        };
        match dialect.decode(channel, message) {
            Ok(inbound) => self.translate(&inbound, &**dialect, (channel, message), publisher),
            Err(error) => {
                debug!(channel:% = shorten_ids(channel.as_str()), error:% = error.cause; "bus message not translated")
            }
        }
    }

    fn is_translating(&self) -> bool {
        self.turn.is_translating() && now() >= self.begins
    }

    fn translate(
        &mut self,
        inbound: &Inbound,
        dialect: &dyn Dialect,
        (channel, message): (&Channel, &Bytes),
        publisher: &Publisher,
    ) {
        match inbound {
            Inbound::Reply(reply) => self.pass_on(reply, publisher),
            Inbound::ServerSockets { id, sockets } if !sockets.is_empty() => self.found(*id),
            _ if !self.is_translating() => {}
            Inbound::Command(_)
            | Inbound::CountedEmit { .. }
            | Inbound::Streamed(StreamedCommand {
                sender: StreamSender::Foreign,
                ..
            }) if dialect.is_of_roomwire(channel, message) => {
                report_other_cluster(channel);
            }
            Inbound::Command(command)
            | Inbound::Streamed(StreamedCommand {
                command,
                sender: StreamSender::Foreign,
                ..
            }) => {
                self.note_namespace(command.namespace());
                let command = self.with_own_token(command);
                if let Some(command) = command {
                    publisher.publish_translated(&command, dialect.id());
                }
            }
            Inbound::CountedEmit { emit, .. } => {
                self.note_namespace(&emit.to.namespace);
                if emit.payload.check_event(self.parts.max_depth).is_ok() {
                    self.translate_counted(emit, dialect, publisher);
                }
            }
            _ => {}
        }
    }

    /// Translates an emit whose sender waits for as many acks as members report. Programs of other kinds report no
    /// counts, so their acks are requested only if this node reports a count for them.
    fn translate_counted(&mut self, emit: &Emit, dialect: &dyn Dialect, publisher: &Publisher) {
        let held = emit.ack.as_ref().filter(|token| self.held.is_held(token));
        let ack = held.map(|token| self.expect(token, true));
        let command = Command::Emit(Emit {
            ack: ack.clone(),
            ..emit.clone()
        });
        publisher.publish_translated(&command, dialect.id());
        if let Some(AckToken { id, .. }) = ack {
            publisher.publish_query_of_socket(dialect, &emit.to, id);
        }
    }

    /// Holds back the count of this node if the emit is for one socket, which may be that of a server in Python.
    fn hold_count(&mut self, emit: &Emit) {
        let (Some(token), [room]) = (&emit.ack, &*emit.to.rooms) else {
            return;
        };
        let is_foreign = may_be_socket(room) && SocketId::parse(room).is_none();
        if is_foreign && emit.to.except.is_empty() && self.held.accepts(room) {
            self.held.hold(token, room.clone());
        }
    }

    /// A counted emit is dispatched to the workers of this node. Returns whether a count is to be awaited that
    /// [`Self::take_counts`] returns later.
    pub(super) fn dispatched(&mut self, token: &AckToken, ack_id: u32) -> bool {
        self.held.dispatched(token, ack_id)
    }

    /// A counted emit is not sent to any client.
    pub(super) fn forget_count(&mut self, token: &AckToken) {
        self.held.forget(token);
    }

    /// The requester of a counted emit stops waiting soon.
    pub(super) fn expire_count(&mut self, token: &AckToken) {
        self.held.resolve(token, 0);
    }

    /// The counts of servers in Python.
    pub(super) fn take_counts(&mut self) -> Vec<ResolvedCount> {
        self.held.take_resolved()
    }

    /// A server in Node has reported the sockets that an emit of this id selects.
    fn found(&mut self, id: u64) {
        if let Some(emit) = self.replies.get(id, now()) {
            self.held.found(&emit.token);
        }
    }

    /// Records that a foreign program uses a namespace.
    fn note_namespace(&mut self, namespace: &Namespace) {
        if self.needs_namespaces {
            self.namespaces.note(namespace);
        }
    }

    /// The command with an ack token of this node, which receives the acks; `None` if clients could not receive it.
    fn with_own_token(&mut self, command: &Command) -> Option<Command> {
        let mut command = command.clone();
        if let Command::Emit(emit) = &mut command {
            emit.payload.check_event(self.parts.max_depth).ok()?;
            let token = emit.ack.take();
            emit.ack = token.map(|token| self.expect(&token, false));
        }
        Some(command)
    }

    /// The token of this node for an emit whose acks go to `token`.
    fn expect(&mut self, token: &AckToken, is_counted: bool) -> AckToken {
        let token = token.clone();
        let emit = PendingReply { token, is_counted };
        AckToken {
            reply_to: ReplyTo::Node(self.parts.node),
            id: self.replies.expect(emit, now()),
        }
    }

    /// Publishes an ack of a translated emit for the program that requested it.
    fn pass_on(&mut self, reply: &AckReply, publisher: &Publisher) {
        if reply.token.reply_to != ReplyTo::Node(self.parts.node) || reply.is_no_recipient() {
            return;
        }
        let Some(emit) = self.replies.get(reply.token.id, now()) else {
            return;
        };
        let is_fit = reply.payload.check_ack(self.parts.max_depth).is_ok();
        if is_fit && (!emit.is_counted || self.held.resolve(&emit.token, 1)) {
            publisher.publish_reply(AckReply {
                token: emit.token.clone(),
                ..reply.clone()
            });
        }
    }
}

/// Logs a message that another cluster published, in each of its own dialects.
fn report_other_cluster(channel: &Channel) {
    static BURST: Burst = Burst::new();
    if let Some(others) = BURST.note() {
        warn!(channel:% = shorten_ids(channel.as_str()), others; "messages of another Roomwire cluster on this Redis: not translated (to separate the clusters, set bus.python_channel and bus.node_key)");
    }
}
