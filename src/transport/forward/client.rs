//! The side that holds the connection of a client: requests to the node that owns its session.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::envelope::{DEFLATE, Envelope, ForwardOutcome, Kind, UNCOMPRESSED};
use super::pending::PendingRequests;
use super::request::ForwardRequest;
use super::sender::{OwnerMessage, Sender};
use crate::broker::Directory;
use crate::cluster::messages::Forward;
use crate::model::{EngineId, NodeId, Random, WorkerIndex};
use crate::protocol::wire_format::Compression;

/// Interval of the checks of nodes with pending requests.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// An owner whose response takes longer acknowledges the request first. Most responses are faster.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(250);
/// The acknowledgement is sent after one in this many parts of the timeout at the latest.
const TIMEOUT_SHARE: u32 = 4;

/// Sends the requests of one worker to other nodes.
#[derive(Clone)]
pub struct ForwardClient {
    sender: Sender,
    worker: WorkerIndex,
    /// Time in which an owner must acknowledge a request.
    timeout: Duration,
    last_number: Rc<Cell<u64>>,
    pending: PendingRequests,
}

impl ForwardClient {
    /// The client of `worker`. Owners must acknowledge requests within `timeout`. Request numbers start at random, so
    /// that those of two nodes differ.
    pub fn new(
        forward: Recipient<Forward>,
        directory: Arc<Directory>,
        worker: WorkerIndex,
        timeout: Duration,
        random: &dyn Random,
    ) -> Self {
        let mut start = [0; 8];
        random.fill(&mut start);
        let client = Self {
            sender: Sender::new(forward, directory),
            worker,
            timeout,
            last_number: Rc::new(Cell::new(u64::from_be_bytes(start) >> 16)),
            pending: PendingRequests::default(),
        };
        actix_rt::spawn(client.clone().watch_owners());
        client
    }

    /// Ends pending requests soon after an owner dies or stops responding. Counts missed checks instead of measuring
    /// time: after a pause of this node, responses may be waiting unread.
    async fn watch_owners(self) {
        let tolerated = self.timeout.as_secs().max(1) as u32;
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            for session in self.pending.owners() {
                let node = session.node();
                if self.pending.count_check(node) > tolerated {
                    self.pending.drop_node(node);
                }
                let number = self.next_number();
                let check = message(session, Kind::NodeCheck, number, 0, Bytes::new());
                let lost = self.sender.send_checked(check);
                let pending = self.pending.clone();
                actix_rt::spawn(async move {
                    if lost.await.is_ok() {
                        pending.drop_node(node);
                    }
                });
            }
        }
    }

    /// A number that ties several messages together. It contains the index of this worker.
    pub fn next_number(&self) -> u64 {
        let next = self.last_number.get() + 1;
        self.last_number.set(next);
        next * WorkerIndex::LIMIT as u64 + self.worker.get() as u64
    }

    /// Checks whether a node that has requests pending at `session` is still on the bus; the receiver fires if it is
    /// not.
    pub fn check_node(&self, node: NodeId, session: EngineId) -> oneshot::Receiver<()> {
        self.sender.check_node(node, session)
    }

    /// Sends a request to the owner of a session.
    pub fn request(
        &self,
        session: EngineId,
        kind: Kind,
        number: u64,
        argument: u32,
    ) -> ForwardRequest<'_> {
        let message = message(session, kind, number, argument, Bytes::new());
        ForwardRequest::send((&self.sender, &self.pending), self.timeout, message)
    }

    /// Sends a request to the owner of a session, which must acknowledge it within `bus.forward_timeout` and respond
    /// within `time`. Otherwise, or if the owner does not exist or has no such session, the outcome is
    /// [`ForwardOutcome::Gone`].
    pub async fn call(
        &self,
        session: EngineId,
        kind: Kind,
        number: u64,
        argument: u32,
        time: Duration,
    ) -> (ForwardOutcome, Bytes) {
        let mut request = self.request(session, kind, number, argument);
        request.outcome(time).await
    }

    /// Sends a message without a response to the owner of a session.
    pub fn notify(&self, session: EngineId, kind: Kind, body: Bytes) {
        self.sender.send(message(session, kind, 0, 0, body));
    }

    /// Notifies the owner of a session that a websocket held by this node, with this compression, carries it.
    pub(super) fn notify_upgraded(&self, session: EngineId, compression: Compression) {
        let argument = match compression {
            Compression::None => UNCOMPRESSED,
            Compression::Deflate => DEFLATE,
        };
        let message = message(session, Kind::Upgraded, 0, argument, Bytes::new());
        self.sender.send(message);
    }

    /// Requests the end of a session whose websocket this node will close. The session may take `ack_timeout` to settle
    /// pending acks and events.
    pub(super) fn request_drain(&self, session: EngineId, ack_timeout: Duration) {
        let milliseconds = u32::try_from(ack_timeout.as_millis()).unwrap_or(u32::MAX);
        let message = message(session, Kind::Detached, 0, milliseconds, Bytes::new());
        self.sender.send(message);
    }

    /// Waits for the response to a request of another node, and acknowledges the request if the response is slow.
    pub(super) async fn acknowledge_if_slow<T>(
        &self,
        to: NodeId,
        request: &Envelope,
        response: impl Future<Output = T>,
    ) -> T {
        let quick = ACKNOWLEDGE_AFTER.min(self.timeout / TIMEOUT_SHARE);
        let mut response = pin!(response);
        match tokio::time::timeout(quick, &mut response).await {
            Ok(response) => response,
            Err(_) => {
                self.acknowledge(to, request);
                response.await
            }
        }
    }

    /// Acknowledges a request of another node: its response follows.
    pub(super) fn acknowledge(&self, to: NodeId, request: &Envelope) {
        self.sender
            .respond(to, request, Kind::Accepted, 0, Bytes::new());
    }

    /// Responds to a request of another node.
    pub(super) fn respond(
        &self,
        to: NodeId,
        request: &Envelope,
        outcome: ForwardOutcome,
        body: Bytes,
    ) {
        self.sender
            .respond(to, request, Kind::Response, outcome as u32, body);
    }

    /// Delivers an acknowledgement or response to its request.
    pub(super) fn deliver(&self, from: NodeId, envelope: Envelope) {
        self.pending.deliver(from, envelope);
    }
}

fn message(
    session: EngineId,
    kind: Kind,
    request: u64,
    argument: u32,
    body: Bytes,
) -> OwnerMessage {
    OwnerMessage {
        session,
        kind,
        request,
        argument,
        body,
    }
}
