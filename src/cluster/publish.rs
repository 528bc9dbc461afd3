//! Publishes what this node sends to the bus, in each of its dialects.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::{JoinAll, join, join_all};
use log::{debug, warn};

use super::dialect::{Dialect, EncodeError, MemberState, Outbound};
use super::messages::Forward;
use super::stream_gate::StreamGate;
use crate::broker::Directory;
use crate::broker::directory::gather_worker;
use crate::broker::messages::{ReceiversCounted, ShardAddress};
use crate::bus::link::{Channel, Link, LogAppend, Outgoing, Receivers, Translation};
use crate::health::{BusState, Health};
use crate::history::{LogTargets, Logs};
use crate::logging::Burst;
use crate::metrics::labels::BusDrop;
use crate::model::{Announcement, Command, DialectId, Emit, NodeId, Query, QueryRequest, Selector};

/// The publishing half of the bridge. Clones share everything.
#[derive(Clone)]
pub(super) struct Publisher {
    pub(super) directory: Arc<Directory>,
    pub(super) link: Arc<dyn Link>,
    /// Those in which the node publishes. The first one connects the nodes of the cluster.
    pub(super) dialects: Arc<[Arc<dyn Dialect>]>,
    pub(super) health: Arc<Health>,
    /// `bus.message_limit`, in bytes.
    pub(super) message_limit: usize,
    /// A random number that identifies this node and the messages which it appends to logs.
    pub(super) sender: u64,
    /// The number of these messages.
    pub(super) sequence: Arc<AtomicU64>,
    /// Holds messages for streams that this node does not read yet.
    pub(super) stream_gate: Rc<RefCell<StreamGate>>,
}

impl Publisher {
    /// Publishes a command of this node in every dialect, after it was appended to `logs`.
    pub(super) fn publish_command(&self, command: &Command, logs: Option<Logs>) {
        let logs = match logs.or_else(|| self.stream_of_change(command)) {
            Some(Logs::Stream) => return self.publish_in_stream(command),
            Some(Logs::Rooms(targets)) => Some(targets),
            None => None,
        };
        if self.publish_emit_with_ack(command) {
            return;
        }
        let mut first_payload = None;
        for (index, dialect) in self.dialects.iter().enumerate() {
            let mut messages = match dialect.encode(&Outbound::Command(command)) {
                Ok(messages) => messages,
                Err(EncodeError::TooLong(cause)) => {
                    self.reject_oversized(&cause.to_string());
                    continue;
                }
                Err(EncodeError::Unsupported(cause)) => {
                    debug!(cause:%; "command not published in a dialect that cannot express it");
                    continue;
                }
            };
            if let (0, Some(logs)) = (index, &logs) {
                self.append(&mut messages, logs);
            }
            messages.retain(|message| self.fits(message.payload.len()));
            if index == 0 {
                first_payload = messages.first().map(|message| message.payload.clone());
            } else if let ([message], Some(payload), BusState::Down) =
                (&mut messages[..], &first_payload, self.health.bus())
            {
                // Messages are queued, so this one holds the bytes of the first dialect.
                message.payload = payload.clone();
                message.translation = Some(self.translation(dialect));
            }
            self.publish(messages);
        }
    }

    /// Publishes a command of a foreign program, received in the dialect `from`, for those that use the other dialects.
    pub(super) fn publish_translated(&self, command: &Command, from: DialectId) {
        let metrics = self.directory.metrics();
        let others = self.dialects.iter().skip(1);
        for dialect in others.filter(|dialect| dialect.id() != from) {
            match dialect.encode(&Outbound::Command(command)) {
                Ok(mut messages) => {
                    messages.retain(|message| self.fits(message.payload.len()));
                    metrics.bus_translated_total.add(messages.len() as u64);
                    self.publish(messages);
                }
                Err(EncodeError::TooLong(cause)) => self.reject_oversized(&cause.to_string()),
                Err(EncodeError::Unsupported(cause)) => {
                    metrics.bus_untranslatable_total.increment();
                    debug!(cause:%; "command not translated to a dialect that cannot express it");
                }
            }
        }
    }

    /// Publishes a query for a socket to the servers that use this dialect. Their responses have this `id`.
    pub(super) fn publish_query_of_socket(
        &self,
        dialect: &dyn Dialect,
        socket: &Selector,
        id: u64,
    ) {
        let query = Query::Sockets {
            selector: socket.clone(),
            limit: 1,
        };
        let from = self.directory.node();
        let request = QueryRequest { from, id, query };
        if let Ok(messages) = dialect.encode(&Outbound::Query(&request)) {
            self.publish(messages);
        }
    }

    /// Publishes the marker of this node, unless Redis is away: a late marker has no use.
    pub(super) fn publish_marker(&self, marker: &Announcement) {
        if self.health.bus() != BusState::Up {
            return;
        }
        let mut messages = self.encode_fitting(&Outbound::Announcement(marker));
        for message in &mut messages {
            message.volatile = true;
        }
        self.publish(messages);
    }

    /// Makes the messages of a command for several channels one message that is appended to logs.
    fn append(&self, messages: &mut Vec<Outgoing>, logs: &LogTargets) {
        let others = messages.drain(messages.len().min(1)..);
        let channels = others.map(|message| message.channel).collect();
        let Some(message) = messages.first_mut() else {
            return;
        };
        let metrics = self.directory.metrics();
        metrics.room_log_entries_total.add(logs.len() as u64);
        let bytes = logs.len() * message.payload.len();
        metrics.room_log_bytes_total.add(bytes as u64);
        message.log = Some(Arc::new(LogAppend {
            targets: logs.clone(),
            channels,
            sender: self.sender,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
        }));
    }

    /// Re-encodes a command of the first dialect when it is sent.
    fn translation(&self, dialect: &Arc<dyn Dialect>) -> Translation {
        let (dialects, dialect) = (Arc::clone(&self.dialects), Arc::clone(dialect));
        Translation::new(move |payload| {
            let command = dialects.first().and_then(|first| first.decode_own(payload));
            let messages = command.and_then(|c| dialect.encode(&Outbound::Command(&c)).ok());
            let message = messages.and_then(|messages| messages.into_iter().next());
            message.map(|message| message.payload).unwrap_or_default()
        })
    }

    /// Publishes an emit that requests an ack, and reports to the requesting worker how many nodes received it.
    ///
    /// Returns `false` for other commands, while Redis is away, and if the emit is also for members of a dialect that do
    /// not report that an emit reached none of their clients; the request then ends by its timeout.
    fn publish_emit_with_ack(&self, command: &Command) -> bool {
        let Command::Emit(Emit {
            ack: Some(token), ..
        }) = command
        else {
            return false;
        };
        let shard = self.directory.shards().get(gather_worker(token.id));
        let (Some(shard), BusState::Up) = (shard, self.health.bus()) else {
            return false;
        };
        let Some(messages) = self.countable(command) else {
            return false;
        };
        self.publish_call(messages, shard, token.id);
        true
    }

    /// The messages of an emit in all dialects, if each of their receivers responds; `None` also if one is too large, which
    /// [`Self::publish_command`] rejects and counts.
    fn countable(&self, command: &Command) -> Option<CallMessages> {
        let mut call = CallMessages::default();
        for (index, dialect) in self.dialects.iter().enumerate() {
            match dialect.encode(&Outbound::Command(command)) {
                Ok(messages) => {
                    let fits = |m: &Outgoing| m.payload.len() <= self.message_limit;
                    if !messages.iter().all(fits)
                        || !(dialect.counts_receivers() || messages.is_empty())
                    {
                        return None;
                    }
                    match index {
                        0 => call.for_nodes.extend(messages),
                        _ => call.for_servers.extend(messages),
                    }
                }
                Err(EncodeError::Unsupported(_)) => {}
                Err(EncodeError::TooLong(_)) => return None,
            }
        }
        Some(call)
    }

    /// Publishes the messages of a call, and reports to the collecting worker how many nodes and servers received them.
    fn publish_call(&self, call: CallMessages, shard: &ShardAddress, id: u64) {
        let (nodes, servers) = (self.count(call.for_nodes), self.count(call.for_servers));
        let shard = shard.clone();
        actix_rt::spawn(async move {
            let (nodes, servers) = join(nodes, servers).await;
            shard.do_send(ReceiversCounted {
                id,
                nodes: sum(nodes.into_iter().flatten()),
                servers: Some(sum(servers.into_iter().flatten())),
            });
        });
    }

    /// Publishes messages, or drops them while Redis is away. Resolves to the number of receivers of each.
    fn count(&self, messages: Vec<Outgoing>) -> JoinAll<Receivers> {
        self.count_published(messages.len());
        let counts = messages.into_iter().map(|message| {
            self.link.publish_counted(Outgoing {
                volatile: true,
                ..message
            })
        });
        join_all(counts)
    }

    /// Publishes a query of this node to nodes, and its messages `of_servers` to servers; `None` if servers cannot be
    /// queried. While Redis is away nothing is published.
    pub(super) fn publish_query(&self, request: &QueryRequest, of_servers: Option<Vec<Outgoing>>) {
        let id = request.id;
        let Some(shard) = self.directory.shards().get(gather_worker(id)).cloned() else {
            return;
        };
        let is_up = self.health.bus() == BusState::Up;
        let (messages, of_servers) = match of_servers {
            of_servers if is_up => (self.encode_fitting(&Outbound::Query(request)), of_servers),
            // Without messages for servers, no server is missing.
            of_servers => (Vec::new(), of_servers.filter(Vec::is_empty)),
        };
        let is_countable = of_servers.is_some();
        let nodes = self.count(messages);
        let servers = self.count(of_servers.unwrap_or_default());
        actix_rt::spawn(async move {
            let (nodes, servers) = join(nodes, servers).await;
            let servers = servers.into_iter().collect::<Result<Vec<u64>, _>>();
            shard.do_send(ReceiversCounted {
                id,
                nodes: sum(nodes.into_iter().flatten()),
                servers: servers.ok().filter(|_| is_countable).map(sum),
            });
        });
    }

    /// The messages that query servers, in all foreign dialects; `None` if one cannot be published or its receivers
    /// cannot be counted.
    pub(super) fn query_of_servers(&self, request: &QueryRequest) -> Option<Vec<Outgoing>> {
        let mut all = Vec::new();
        for dialect in self.dialects.iter().skip(1) {
            let messages = dialect.encode(&Outbound::Query(request)).ok()?;
            let is_countable = messages.is_empty() || dialect.counts_receivers();
            if !is_countable || !messages.iter().all(|m| self.fits(m.payload.len())) {
                return None;
            }
            all.extend(messages);
        }
        Some(all)
    }

    /// Publishes an announcement of this node for the others.
    pub(super) fn publish_announcement(&self, announcement: &Announcement) {
        self.publish(self.encode_fitting(&Outbound::Announcement(announcement)));
    }

    /// Encodes a message in the first dialect; empty if it is too large.
    fn encode_fitting(&self, outbound: &Outbound<'_>) -> Vec<Outgoing> {
        let Some(dialect) = self.dialects.first() else {
            return Vec::new();
        };
        match dialect.encode(outbound) {
            Ok(mut messages) => {
                messages.retain(|message| self.fits(message.payload.len()));
                messages
            }
            Err(EncodeError::TooLong(cause) | EncodeError::Unsupported(cause)) => {
                self.reject_oversized(&cause.to_string());
                Vec::new()
            }
        }
    }

    /// Publishes a message for a session of another node.
    pub(super) fn publish_forward(&self, forward: Forward) {
        let outbound = Outbound::Forward {
            to: forward.to,
            body: &forward.body,
        };
        let message = self.encode_fitting(&outbound).into_iter().next();
        let Some(message) = message else {
            return forward.report_unreachable();
        };
        let Some(unreachable) = forward.unreachable else {
            return self.publish(vec![message]);
        };
        self.count_published(1);
        let receivers = self.link.publish_counted(message);
        actix_rt::spawn(async move {
            if !receivers.await.is_ok_and(|receivers| receivers > 0) {
                // The request may have ended.
                let _ = unreachable.send(());
            }
        });
    }

    /// Publishes a heartbeat of this node: for every node, or for one. Heartbeats are not counted.
    pub(super) fn publish_heartbeat(&self, to: Option<NodeId>, state: MemberState) {
        let messages = self.encode_fitting(&Outbound::Heartbeat { to, state });
        if !messages.is_empty() {
            self.link.publish(messages);
        }
    }

    /// Publishes a message for this node alone, which arrives after everything that was published before.
    pub(super) fn publish_fence(&self) {
        self.publish_heartbeat(Some(self.directory.node()), MemberState::Alive);
    }

    /// The channel on which the messages of [`Self::publish_fence`] arrive.
    pub(super) fn fence_channel(&self) -> Option<Channel> {
        let message = self.encode_fitting(&Outbound::Heartbeat {
            to: Some(self.directory.node()),
            state: MemberState::Alive,
        });
        message.into_iter().next().map(|message| message.channel)
    }

    /// Publishes a heartbeat for one node. The result is the number of nodes that received it: 0 if that node is gone.
    pub(super) fn probe(&self, node: NodeId) -> Option<Receivers> {
        let outbound = Outbound::Heartbeat {
            to: Some(node),
            state: MemberState::Alive,
        };
        let message = self.encode_fitting(&outbound).into_iter().next()?;
        Some(self.link.publish_counted(message))
    }

    pub(super) fn publish(&self, messages: Vec<Outgoing>) {
        if !messages.is_empty() {
            self.count_published(messages.len());
            self.link.publish(messages);
        }
    }

    fn count_published(&self, messages: usize) {
        let published = &self.directory.metrics().bus_published_total;
        published.add(messages as u64);
    }

    /// Whether a message is within `bus.message_limit`. One that is not is counted and logged.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        let fits = bytes <= self.message_limit;
        if !fits {
            let limit = self.message_limit;
            self.reject_oversized(&format!("{bytes} bytes are over bus.message_limit={limit}"));
        }
        fits
    }

    pub(super) fn reject_oversized(&self, cause: &str) {
        let dropped = &self.directory.metrics().bus_dropped_total;
        dropped.of(BusDrop::Oversized).increment();
        static BURST: Burst = Burst::new();
        if let Some(others) = BURST.note() {
            warn!(others; "message not published: {cause}");
        }
    }
}

/// The messages of a call.
#[derive(Default)]
struct CallMessages {
    for_nodes: Vec<Outgoing>,
    for_servers: Vec<Outgoing>,
}

fn sum(receivers: impl IntoIterator<Item = u64>) -> usize {
    usize::try_from(receivers.into_iter().sum::<u64>()).unwrap_or(usize::MAX)
}
