//! Calls that the sessions of this worker start, and acks on their way to the worker that collects them.

use std::rc::Rc;

use tokio::sync::oneshot;

use super::Shard;
use crate::broker::calls::AckSink;
use crate::broker::directory::{Starter, gather_id, gather_worker};
use crate::broker::messages::{
    Echoed, MessageDialect, PublishReply, ReachedSockets, ReceiversCounted, Resolve, ServerReached,
    StartCall,
};
use crate::broker::parties::Parties;
use crate::broker::rooms::SocketKey;
use crate::model::{AckReply, AckToken, Command, Emit, Payload, ReplyTo};

/// A call that ends with its first ack. Dropping it discards that ack.
pub struct FirstAck {
    id: u64,
    shard: Rc<Shard>,
    ack: oneshot::Receiver<AckReply>,
}

impl FirstAck {
    /// The first ack; `None` as soon as no socket of any node can send one.
    pub async fn received(mut self) -> Option<AckReply> {
        (&mut self.ack).await.ok()
    }
}

impl Drop for FirstAck {
    fn drop(&mut self) {
        self.shard.state.borrow_mut().calls.cancel(self.id);
    }
}

impl Shard {
    /// Emits an event and requests the first ack of a client on any node.
    pub fn call(self: &Rc<Self>, mut emit: Emit) -> FirstAck {
        let (sender, ack) = oneshot::channel();
        let id = {
            let mut state = self.state.borrow_mut();
            state.next_call += 1;
            gather_id(state.next_call, Starter::Worker, self.worker)
        };
        emit.ack = Some(AckToken {
            reply_to: ReplyTo::Node(self.directory.node()),
            id,
        });
        let command = Command::Emit(emit);
        let parties = self.parties(&command);
        self.state
            .borrow_mut()
            .calls
            .start(id, AckSink::First(sender), parties);
        self.dispatch(command);
        FirstAck {
            id,
            shard: Rc::clone(self),
            ack,
        }
    }

    /// The workers of this node, and other nodes, that a call may reach.
    fn parties(&self, command: &Command) -> Parties {
        let owner = self.directory.owner(command);
        let remote = owner.is_none() && self.directory.bus().is_some();
        Parties::new(self.directory.workers_of(owner).count(), remote)
    }

    /// Starts to collect the acks of a call from a thread without a shard.
    pub(in crate::broker) fn start_call(&self, start: StartCall) {
        let sink = AckSink::Several {
            sender: start.acks,
            target: start.target,
            received: 0,
        };
        let parties = Parties::new(start.workers, start.remote);
        self.state.borrow_mut().calls.start(start.id, sink, parties);
    }

    /// Takes the number of nodes that received a call or a query, as counted by the bus.
    pub(in crate::broker) fn receivers_counted(&self, counted: ReceiversCounted) {
        let mut state = self.state.borrow_mut();
        let ReceiversCounted { id, nodes, servers } = counted;
        state.calls.counted(id, nodes, servers.unwrap_or_default());
        state.queries.counted(id, nodes, servers);
    }

    /// This node is one of the counted receivers of its own call or query. Its response counts without a message.
    pub(in crate::broker) fn echoed(&self, Echoed { id, dialect }: Echoed) {
        let mut state = self.state.borrow_mut();
        match dialect {
            MessageDialect::Native => state.calls.responded(id),
            MessageDialect::Foreign => state.calls.reached(id, 0),
        }
        state.queries.echoed(id, dialect);
    }

    /// A server reports how many of its sockets a call has reached.
    pub(in crate::broker) fn server_reached(&self, reached: ServerReached) {
        let sockets = usize::try_from(reached.sockets).unwrap_or(usize::MAX);
        self.state.borrow_mut().calls.reached(reached.id, sockets);
    }

    /// Stops collecting the results of a call or a query.
    pub(in crate::broker) fn cancel_gather(&self, id: u64) {
        let mut state = self.state.borrow_mut();
        state.calls.cancel(id);
        state.queries.cancel(id);
    }

    /// Whether a client owes an ack for an event to this socket.
    pub fn owes_acks(&self, key: SocketKey) -> bool {
        self.state.borrow().acks.owes(key)
    }

    /// A client of this worker has acknowledged an event.
    pub fn acknowledged(&self, key: SocketKey, ack_id: u32, payload: Payload) {
        let (token, socket) = {
            let mut state = self.state.borrow_mut();
            let Some(token) = state.acks.take(ack_id, key) else {
                return;
            };
            (token, state.rooms.identity(key).map(|(id, _)| id))
        };
        self.reply(AckReply {
            token,
            socket,
            payload,
        });
    }

    /// Reports to a Roomwire node that the event of its call reached no socket here.
    pub(super) fn report_no_recipient(&self, token: &AckToken) {
        if matches!(token.reply_to, ReplyTo::Node(_)) {
            self.reply(AckReply::no_recipient(token.clone()));
        }
    }

    /// Reports to the bridge how many sockets an emit of a foreign member reached here.
    pub(super) fn report_reached(&self, ack_id: Option<u32>, sockets: u64) {
        if let (Some(ack_id), Some(bus)) = (ack_id, self.directory.bus()) {
            bus.reached.do_send(ReachedSockets { ack_id, sockets });
        }
    }

    /// Drops the acks that clients owe for an emit: the member that requested them has stopped waiting.
    pub(in crate::broker) fn forget_acks(&self, ack_id: u32) {
        self.state.borrow_mut().acks.forget_request(ack_id);
    }

    fn reply(&self, reply: AckReply) {
        match reply.token.reply_to {
            ReplyTo::Node(node) if node == self.directory.node() => self.route(reply),
            _ => {
                if let Some(bus) = self.directory.bus() {
                    bus.reply.do_send(PublishReply(reply));
                }
            }
        }
    }

    fn route(&self, reply: AckReply) {
        let worker = gather_worker(reply.token.id);
        if worker == self.worker.get() {
            self.resolve(reply);
        } else if let Some(shard) = self.directory.shards().get(worker) {
            shard.do_send(Resolve(reply));
        }
    }

    /// Takes an ack for a call that is collected here.
    pub(in crate::broker) fn resolve(&self, reply: AckReply) {
        self.state.borrow_mut().calls.resolve(reply);
    }
}
