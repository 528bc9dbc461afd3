//! One actor per Engine.IO session, blind to what carries its packets.
//!
//! Drives the protocol state, asks the app, registers its sockets with the broker shard of its worker, and
//! ends: by its own timer, whatever its client does. Transports feed it packets and either attach a
//! socket to its lane or pull batches. It knows no HTTP, no websocket frame, no Redis.

mod arrival;
mod clock;
mod depth;
mod disconnect;
mod events;
mod gate;
mod mailbox;
pub mod messages;
mod metric_labels;
mod open_packet;
mod pace;
mod pending_poll;
mod questions;
mod slow;
mod socket;
mod summary;
mod unasked;
pub mod worker;

use std::rc::Rc;
use std::task::Context as TaskContext;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context};
use bytes::Bytes;
use log::debug;
use smallvec::SmallVec;

pub use crate::app::gate::{Credentials, GateRefusal};
use crate::limits::{Admission, Limit};
use crate::metrics::labels::Direction;
use crate::model::{EngineId, Message, Network, TransportName};
use crate::outbox::{LaneId, Packet, Tally};
use crate::protocol::connection::{Connection, Mode};
use crate::protocol::engine_io::packet::Packet as EnginePacket;
use crate::protocol::engine_io::state::CloseReason;
use arrival::Arrival;
use clock::Clock;
use mailbox::HeldPost;
use messages::PostStarted;
pub use open_packet::OpenPacket;
use pace::Pace;
use pending_poll::{Drain, PendingPoll};
use socket::Socket;
use summary::SessionStats;
pub use worker::{SessionSettings, Worker};

/// How long at most an ended session waits for its polling client to fetch the close packet (protocol notes 1.7).
const FAREWELL_TIME: Duration = Duration::from_secs(30);
/// How long nothing is read from a client while the node is congested.
const CONGESTION_PAUSE: Duration = Duration::from_millis(5);
/// How long a transport may take to write what is left of an ended session.
const WIND_UP_TIME: Duration = Duration::from_secs(1);

/// An Engine.IO session.
pub struct Session {
    id: EngineId,
    worker: Rc<Worker>,
    lane: LaneId,
    connection: Connection,
    /// By slot of the connection's namespaces.
    sockets: SmallVec<[Option<Box<Socket>>; 1]>,
    transport: TransportName,
    /// A transport writes the lane by itself; otherwise batches are pulled.
    attached: bool,
    upgrading: bool,
    outlet: Option<PendingPoll>,
    /// The post whose body is on its way.
    post: Option<PostStarted>,
    /// A post whose answer waits until the app has caught up.
    held_post: Option<HeldPost>,
    /// Bytes of events that wait for the app.
    inbox: usize,
    pace: Pace,
    arrival: Arrival,
    network: Option<Network>,
    /// Kept only if a gate or the app reads it.
    credentials: Option<Rc<Credentials>>,
    deeds: SessionStats,
    ended: Option<Ended>,
    opened: Instant,
    /// When a slow client must have made progress.
    progress_due: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    reason: CloseReason,
    /// Until then the client may fetch what is left.
    farewell: Instant,
    /// What it was sent until then.
    sent: Tally,
}

impl Session {
    /// Starts a session on the current worker. Its open packet is the first in its lane; `equip` gives it
    /// its transport before anything else happens to it. It is counted in by `admission` until it is gone.
    pub fn open(
        worker: &Rc<Worker>,
        mode: Mode,
        transport: TransportName,
        open: OpenPacket,
        admission: Admission,
        credentials: Option<Credentials>,
        equip: impl FnOnce(&Self, &mut Context<Self>),
    ) -> Addr<Self> {
        debug_assert!(credentials.is_some() || worker.gates.is_empty());
        let id = worker.new_engine_id();
        let session_worker = Rc::clone(worker);
        let now = crate::clock::now();
        let network = admission.address().map(Network::of);
        let return_due = now + worker.settings.timing.connect_timeout;
        let address = Self::create(|ctx| {
            let lane = session_worker.shard.open_lane(ctx.address().recipient());
            session_worker
                .shard
                .send(lane, Packet::text(open.encode(&id)));
            let session = Self {
                id,
                lane,
                connection: Connection::new(mode, &session_worker.settings.timing, now),
                worker: session_worker,
                sockets: SmallVec::new(),
                transport,
                attached: transport == TransportName::Websocket,
                upgrading: false,
                outlet: None,
                post: None,
                held_post: None,
                inbox: 0,
                pace: Pace::new(now),
                arrival: Arrival::new(transport, return_due),
                network,
                credentials: credentials.map(Rc::new),
                deeds: SessionStats::default(),
                ended: None,
                opened: now,
                progress_due: None,
            };
            equip(&session, ctx);
            session
        });
        worker.enter(id, address.clone(), admission, transport);
        address
    }

    /// Its id, a secret of its client.
    pub fn id(&self) -> EngineId {
        self.id
    }

    /// The lane a transport writes.
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    /// The worker it lives on.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Its name in the log.
    pub fn log_name(&self) -> &str {
        self.id.log_name()
    }

    /// Whether it has ended; its transport writes what is left and goes.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Why it has ended.
    pub fn end_reason(&self) -> Option<CloseReason> {
        self.ended.map(|ended| ended.reason)
    }

    /// Nothing is under way: no event that the app works on, no post, no ack owed in either direction.
    fn is_settled(&self) -> bool {
        let posting = self.post.is_some() || self.held_post.is_some();
        let shard = &self.worker.shard;
        !posting
            && self.sockets.iter().flatten().all(|socket| {
                let asked = !socket.asked.is_empty();
                let owes = asked || socket.key.is_some_and(|key| shard.owes_acks(key));
                !socket.busy && socket.questions == 0 && socket.owed == 0 && !owes
            })
    }

    /// So much waits for the app, or for other workers, that nothing more should be read from the client.
    pub fn is_behind(&self) -> bool {
        self.inbox > self.worker.settings.inbox_limit
    }

    /// Some worker of this node has more to do than it should; the task is woken soon to look again.
    pub fn node_is_congested(&self, cx: &TaskContext<'_>) -> bool {
        let congested = self.worker.shard.directory().congested();
        if congested {
            let waker = cx.waker().clone();
            actix_rt::spawn(async move {
                tokio::time::sleep(CONGESTION_PAUSE).await;
                waker.wake();
            });
        }
        congested
    }

    /// We did not read from the client for a while: its pong may wait in the socket.
    pub fn extend_ping_deadline(&mut self) {
        self.connection.extend_ping_deadline(crate::clock::now());
    }

    /// Takes an Engine.IO text packet from the client.
    pub fn receive_text(&mut self, text: &str, now: Instant, ctx: &mut Context<Self>) {
        match EnginePacket::parse(text) {
            Ok(packet) => {
                if let EnginePacket::Message(message) = packet {
                    self.count_received(message.len());
                }
                self.receive(packet, now, ctx);
            }
            Err(_) => self.close(CloseReason::ParseError, ctx),
        }
    }

    fn count_received(&mut self, bytes: usize) {
        self.deeds.received(bytes);
        let metrics = self.worker.metrics();
        metrics.messages_total.of(Direction::Received).increment();
        let received = metrics.message_bytes_total.of(Direction::Received);
        received.add(bytes as u64);
    }

    fn receive(&mut self, packet: EnginePacket<'_>, now: Instant, ctx: &mut Context<Self>) {
        if self.has_ended() {
            return;
        }
        match self.connection.receive(packet, now) {
            Ok(None) => {}
            Ok(Some(effect)) => self.carry_out(effect, ctx),
            Err(reason) => self.close(reason, ctx),
        }
    }

    /// Takes a binary message from the client.
    pub fn receive_binary(&mut self, content: Bytes, ctx: &mut Context<Self>) {
        if self.has_ended() {
            return;
        }
        self.count_received(content.len());
        match self.connection.receive_binary(content) {
            Ok(None) => {}
            Ok(Some(effect)) => self.carry_out(effect, ctx),
            Err(reason) => self.close(reason, ctx),
        }
    }

    /// Sends a packet of the session itself.
    pub fn send(&self, packet: Packet) {
        self.worker.shard.send(self.lane, packet);
    }

    /// Whether an upgrade may begin: a polling session that is not being upgraded already.
    pub fn begin_upgrade(&mut self) -> bool {
        let possible =
            self.transport == TransportName::Polling && !self.upgrading && !self.has_ended();
        self.upgrading |= possible;
        self.arrival.note_request();
        possible
    }

    /// The probing websocket was answered: a pending poll ends, so that the client can switch (protocol notes 1.6).
    pub fn probed(&mut self) {
        if let Some(outlet) = self.outlet.take() {
            outlet.answer_text("6", false);
        }
    }

    /// The probing websocket is gone; the polling session lives on.
    pub fn upgrade_failed(&mut self) {
        self.upgrading = false;
    }

    /// The websocket carries the session from now on; `attached`: it writes the lane by itself.
    pub fn upgraded(&mut self, attached: bool) {
        self.upgrading = false;
        self.worker.count_upgrade(self.transport);
        self.deeds.upgraded();
        self.transport = TransportName::Websocket;
        if let Some(outlet) = self.outlet.take() {
            outlet.answer_text("6", false);
        }
        self.attached = attached;
    }

    /// Ends the session: its sockets leave every room now, whatever its connection still does.
    pub fn close(&mut self, reason: CloseReason, ctx: &mut Context<Self>) {
        let (code, text) = reason.close_frame();
        self.close_saying(reason, Packet::close(code, text), ctx);
    }

    /// Ends the session with a farewell of the transport's own.
    pub fn close_saying(
        &mut self,
        reason: CloseReason,
        farewell_packet: Packet,
        ctx: &mut Context<Self>,
    ) {
        if self.has_ended() {
            return;
        }
        match reason {
            CloseReason::MessageTooLarge => self.worker.refused(self.id, Limit::Payload),
            CloseReason::InboxOverflow => self.worker.refused(self.id, Limit::Inbox),
            CloseReason::NestedTooDeeply => self.worker.refused(self.id, Limit::Depth),
            _ => {}
        }
        let now = crate::clock::now();
        let farewell = if self.waits_for_farewell(reason) {
            // A live client polls at least as often as it must answer a ping.
            let timing = &self.worker.settings.timing;
            now + FAREWELL_TIME.min(timing.ping_interval + timing.ping_timeout)
        } else {
            now
        };
        let lane = self.lane;
        let sent = self.worker.shard.with_lanes(|lanes| lanes.tally(lane));
        self.ended = Some(Ended {
            reason,
            farewell,
            sent,
        });
        let slots: Vec<_> = self.connection.slots().collect();
        for slot in slots {
            self.drop_socket(slot, reason.as_str(), ctx);
        }
        self.worker.shard.with_lanes(|lanes| {
            if reason == CloseReason::SlowConsumer {
                return lanes.give_up(lane);
            }
            lanes.offer(lane, farewell_packet);
            lanes.close(lane);
        });
        if let Some(held) = self.held_post.take() {
            let _ = held.reply.send(Ok(()));
        }
        // Dropping it stops the read of a body that is still arriving.
        self.post = None;
        if !self.attached && self.outlet.is_none() && farewell <= now {
            ctx.stop();
        }
    }

    fn next_deadline(&self) -> Instant {
        match self.ended {
            Some(ended) => ended.farewell + WIND_UP_TIME,
            None => {
                let others = [self.progress_due, self.arrival.due()];
                let due = self.connection.poll_timeout();
                others.into_iter().flatten().fold(due, Instant::min)
            }
        }
    }

    fn on_deadline(&mut self, ctx: &mut Context<Self>) {
        if self.progress_due.is_some() {
            self.watch_outbox(ctx);
        }
        // Its pong may wait behind what we do not read.
        if self.is_behind() || self.worker.shard.directory().congested() {
            self.extend_ping_deadline();
        }
        let now = crate::clock::now();
        if self.arrival.due().is_some_and(|due| due <= now) {
            return self.close(CloseReason::ConnectTimeout, ctx);
        }
        match self.connection.handle_timeout(now) {
            Ok(false) => {}
            Ok(true) => self.send(Packet::text("2")),
            Err(reason) => self.close(reason, ctx),
        }
    }

    /// Answers the waiting outlet if there is something to say.
    fn answer_outlet(&mut self, ctx: &mut Context<Self>) {
        let lane = self.lane;
        let shard = Rc::clone(&self.worker.shard);
        let something = shard.with_lanes(|lanes| lanes.front(lane).is_some());
        let ended = self.has_ended();
        if something && let Some(outlet) = self.outlet.take() {
            let max_payload = self.worker.settings.timing.max_payload;
            shard.with_lanes(|lanes| outlet.answer(lanes, lane, max_payload, ended));
        } else if ended && let Some(outlet) = self.outlet.take() {
            // The queue of a slow consumer was dropped, including the close packet.
            outlet.answer_end();
        } else if self.upgrading
            && let Some(outlet) = self.outlet.take()
        {
            outlet.answer_text("6", false);
        }
        if ended && shard.with_lanes(|lanes| lanes.front(lane).is_none()) {
            ctx.stop();
        }
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Clock::new(self.next_deadline()));
        if !self.attached {
            ctx.spawn(Drain);
        }
        debug!(sid = self.log_name(), transport:% = self.transport.as_str(); "session opened");
    }

    fn stopped(&mut self, ctx: &mut Self::Context) {
        let lane = self.lane;
        let sent = || self.worker.shard.with_lanes(|lanes| lanes.tally(lane));
        let (reason, sent) = match self.ended {
            Some(ended) => (ended.reason, ended.sent),
            None => (CloseReason::TransportClose, sent()),
        };
        for slot in self.connection.slots().collect::<Vec<_>>() {
            self.drop_socket(slot, reason.as_str(), ctx);
        }
        self.worker.shard.release_lane(lane);
        let client = self.worker.remove(self.id, self.transport, reason);
        self.log_summary(reason, client, sent);
    }
}

fn bare_packet(message: &Message) -> Packet {
    match message {
        Message::Text(text) => Packet::text(format!("4{text}")),
        Message::Binary(content) => Packet::binary(content),
    }
}

#[cfg(test)]
mod tests;
