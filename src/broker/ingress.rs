//! Access to the broker for threads without a shard, such as those of the internal listener and the bridge.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use super::ack_target::AckTarget;
use super::directory::Directory;
use super::dispatches::PendingDispatches;
use super::gather::Gather;
use super::logged;
use super::messages::{
    CancelGather, PublishAnnouncement, PublishQuery, RunQuery, ShardAddress, StartCall, StartQuery,
};
use crate::clock;
use crate::history::{History, Logs};
use crate::metrics::labels::Origin;
use crate::model::{
    AckReply, AckToken, Announcement, AnnouncementListener, Command, Emit, NodeId, Query,
    QueryAnswer, QueryRequest, ReplyTo, Workers,
};

/// Interval and maximum number of the checks for free capacity while the node is congested.
const CAPACITY_PAUSE: Duration = Duration::from_millis(5);
const CAPACITY_PAUSES: u32 = 400;

/// Dispatches commands, and runs queries and calls, from any thread. Cheap to clone.
///
/// Commands of one thread take effect in the order in which they were dispatched. Before all workers of the node have
/// started, nothing has an effect.
#[derive(Clone)]
pub struct Ingress {
    directory: Arc<Directory>,
}

/// When a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckPolicy {
    /// Number of acks after which the call ends; 0 counts as 1.
    pub limit: usize,
    /// Time limit of the call.
    pub time: Duration,
}

impl Ingress {
    /// Access to the broker of the node of `directory`.
    pub fn new(directory: Arc<Directory>) -> Self {
        Self { directory }
    }

    /// The name of this node.
    pub fn node(&self) -> NodeId {
        self.directory.node()
    }

    /// The other live nodes of the cluster.
    pub fn peers(&self) -> Vec<NodeId> {
        self.directory.peers()
    }

    /// Whether there is a bus and it is down, so that for now commands reach this node only.
    pub fn is_cut_off(&self) -> bool {
        self.directory.is_cut_off()
    }

    /// Applies a command on every worker that it may concern. A command of [`Origin::Local`] enters the cluster here and is
    /// published as well; a command of [`Origin::Bus`] has been published by another node already.
    pub fn dispatch(&self, command: Command, origin: Origin) {
        if let Some((history, logs)) = self.log_targets(&command, origin) {
            return logged::dispatch(&self.directory, history, Arc::new(command), logs);
        }
        let owner = self.directory.owner(&command);
        let targets = self.directory.workers_of(owner);
        let dispatch = self.directory.admit(Arc::new(command), origin);
        let mut pending = PendingDispatches::default();
        pending.stage(&dispatch, targets, clock::now(), &self.directory);
        pending.send(&self.directory);
        if origin == Origin::Local && owner.is_none() {
            self.directory.publish(dispatch);
        }
    }

    /// The logs that a command which enters here is appended to.
    fn log_targets(&self, command: &Command, origin: Origin) -> Option<(&History, Logs)> {
        let history = self
            .directory
            .history()
            .filter(|_| origin == Origin::Local)?;
        Some((history, history.targets(command)?))
    }

    /// The logs of rooms; `None` if no room has one.
    pub fn history(&self) -> Option<&Arc<History>> {
        self.directory.history()
    }

    /// Calls `listener` with each announcement of the topic, of this node and of others.
    pub fn listen(&self, topic: &'static str, listener: AnnouncementListener) {
        self.directory.listen(topic, listener);
    }

    /// Passes a message to the listeners of `topic` on every node ([`Self::listen`]): on this one before it returns,
    /// on the others once the bus delivers it. While Redis is away it is queued like an emit.
    pub fn announce(&self, topic: &'static str, body: Bytes) {
        let topic = ByteString::from_static(topic);
        let announcement = Announcement { topic, body };
        self.directory.announced(&announcement);
        if let Some(bus) = self.directory.bus() {
            bus.announce.do_send(PublishAnnouncement(announcement));
        }
    }

    /// As [`Self::dispatch`] for several commands, in order. Each worker receives them at once.
    pub fn dispatch_all(&self, commands: Vec<Command>, origin: Origin) {
        let (mut pending, now) = (PendingDispatches::default(), clock::now());
        let mut published = Vec::new();
        for command in commands {
            if let Some((history, logs)) = self.log_targets(&command, origin) {
                // The commands before take effect before.
                pending.send(&self.directory);
                for dispatch in published.drain(..) {
                    self.directory.publish(dispatch);
                }
                logged::dispatch(&self.directory, history, Arc::new(command), logs);
                continue;
            }
            let owner = self.directory.owner(&command);
            let targets = self.directory.workers_of(owner);
            let dispatch = self.directory.admit(Arc::new(command), origin);
            pending.stage(&dispatch, targets, now, &self.directory);
            if origin == Origin::Local && owner.is_none() {
                published.push(dispatch);
            }
        }
        pending.send(&self.directory);
        for dispatch in published {
            self.directory.publish(dispatch);
        }
    }

    /// Whether so much work waits in the node that its clients are not read for a moment.
    pub fn is_congested(&self) -> bool {
        self.directory.congested()
    }

    /// Waits for at most 2 s until the node has capacity for more work. Returns whether it has.
    pub async fn wait_for_capacity(&self) -> bool {
        for _ in 0..CAPACITY_PAUSES {
            if !self.is_congested() {
                return true;
            }
            tokio::time::sleep(CAPACITY_PAUSE).await;
        }
        false
    }

    /// Emits an event and collects the acks of clients on every node.
    ///
    /// Ends with the `policy.limit`th ack, as soon as it is known that no socket received the event, or after
    /// `policy.time`. Only in the last case is [`missing`](super::gather::Gathered::missing) not empty: it names the
    /// live nodes from which no ack arrived, whether or not they have such a socket.
    pub fn call(&self, emit: Emit, policy: AckPolicy) -> Gather<AckReply> {
        self.start_call(emit, policy, None)
    }

    /// As [`Self::call`], and waits for the acks of all sockets. `policy.limit` is the number of sockets that a query
    /// found, and includes `of_servers`, the number found at Socket.IO servers that are not Roomwire nodes. Once these
    /// servers report how many of their sockets have received the event, this number is used instead.
    pub fn call_all(&self, emit: Emit, policy: AckPolicy, of_servers: usize) -> Gather<AckReply> {
        self.start_call(emit, policy, Some(of_servers))
    }

    fn start_call(
        &self,
        mut emit: Emit,
        policy: AckPolicy,
        of_servers: Option<usize>,
    ) -> Gather<AckReply> {
        let directory = &self.directory;
        let (worker, id) = directory.next_gather();
        emit.ack = Some(AckToken {
            reply_to: ReplyTo::Node(directory.node()),
            id,
        });
        let command = Command::Emit(emit);
        let owner = directory.owner(&command);
        let remote = directory.bus().is_some() && owner.is_none();
        let awaited = if remote {
            directory.peers()
        } else {
            Vec::new()
        };
        let (gather, acks) = Gather::new(clock::now() + policy.time, awaited);
        let Some(home) = directory.shards().get(worker.get()) else {
            return gather;
        };
        home.do_send(StartCall {
            id,
            acks,
            target: match of_servers {
                Some(found) => AckTarget::all(policy.limit.saturating_sub(found), found, remote),
                None => AckTarget::fixed(policy.limit),
            },
            workers: directory.workers_of(owner).count(),
            remote,
        });
        self.dispatch(command, Origin::Local);
        gather.on_cancel(cancellation(home, id))
    }

    /// Reads the room index of every node, for at most `time`. Each worker of this node and each other node
    /// responds once.
    pub fn query(&self, query: Query, time: Duration) -> Gather<QueryAnswer> {
        self.query_cluster(query, time, false)
    }

    /// As [`Self::query`], and includes the sockets of Socket.IO servers in Node (`bus.node_adapter`).
    pub fn query_with_servers(&self, query: Query, time: Duration) -> Gather<QueryAnswer> {
        self.query_cluster(query, time, true)
    }

    fn query_cluster(
        &self,
        query: Query,
        time: Duration,
        includes_servers: bool,
    ) -> Gather<QueryAnswer> {
        let ours = self.directory.node();
        let owner = query.socket().map(|socket| socket.node());
        let remote = owner != Some(ours) && self.directory.bus().is_some();
        let awaited = match owner {
            Some(node) => vec![node],
            None => {
                let mut nodes = self.directory.peers();
                nodes.push(ours);
                nodes
            }
        };
        let includes_servers = includes_servers && remote;
        self.start_query(query, time, (remote, includes_servers), awaited)
    }

    /// Reads the room index of this node only, for at most `time`. Each worker responds once.
    pub fn query_node(&self, query: Query, time: Duration) -> Gather<QueryAnswer> {
        self.start_query(query, time, (false, false), vec![self.directory.node()])
    }

    fn start_query(
        &self,
        query: Query,
        time: Duration,
        (remote, includes_servers): (bool, bool),
        awaited: Vec<NodeId>,
    ) -> Gather<QueryAnswer> {
        let directory = &self.directory;
        let (worker, id) = directory.next_gather();
        let workers = self.workers_for(&query);
        let (gather, answers) = Gather::new(clock::now() + time, awaited);
        let Some(home) = directory.shards().get(worker.get()) else {
            return gather;
        };
        if workers.is_empty() && !remote {
            // The only node that could respond cannot be reached without a bus.
            return gather;
        }
        let query = Arc::new(query);
        home.do_send(StartQuery {
            id,
            answers,
            workers: workers.count(),
            remote,
            servers: includes_servers.then(|| Arc::clone(&query)),
        });
        for index in workers.iter() {
            if let Some(shard) = directory.shards().get(index) {
                let (home, query) = (worker, Arc::clone(&query));
                shard.do_send(RunQuery { id, home, query });
            }
        }
        if let Some(bus) = directory.bus().filter(|_| remote) {
            let request = QueryRequest {
                from: directory.node(),
                id,
                query: Arc::unwrap_or_clone(query),
            };
            bus.query.do_send(PublishQuery {
                request,
                includes_servers,
            });
        }
        gather.on_cancel(cancellation(home, id))
    }

    /// The workers of this node that a query concerns.
    fn workers_for(&self, query: &Query) -> Workers {
        match query.socket() {
            None => self.directory.workers(),
            Some(socket) if socket.node() == self.directory.node() => {
                Workers::only(socket.worker())
            }
            Some(_) => Workers::default(),
        }
    }
}

/// Stops collecting results that are no longer awaited.
fn cancellation(home: &ShardAddress, id: u64) -> impl FnOnce() + Send + 'static {
    let home = home.clone();
    move || home.do_send(CancelGather { id })
}
