//! What others say on the bus: decoded, own messages dropped, and handed to the shards it may concern.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use log::warn;

use super::dialect::native::{NativeMessage, is_question, sender_of};
use super::dialect::python::{DecodeError as PythonError, Decoded};
use super::messages::Forwarded;
use super::node::Bridge;
use crate::broker::directory::gather_worker;
use crate::broker::messages::weight;
use crate::broker::messages::{Dispatch, DispatchAll, Resolve};
use crate::bus::link::Channel;
use crate::logging::Burst;
use crate::metrics::labels::{BusDrop, Origin};
use crate::model::{AckReply, Asker, Command, Emit, Target, Unfit, Workers};

impl Bridge {
    pub(super) fn on_message(&mut self, channel: &Channel, payload: &Bytes) {
        if let Some(python) = self
            .python
            .as_ref()
            .filter(|python| python.channels.contains(channel.as_str()))
        {
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
            if is_question(payload) {
                self.note_own_question(payload);
            }
            return;
        }
        match NativeMessage::decode(payload) {
            Ok((_, NativeMessage::Command(command))) => self.dispatch(command),
            Ok((_, NativeMessage::AckReply(reply))) => self.resolve(reply),
            Ok((from, NativeMessage::Forward(body))) => {
                let port = body
                    .first()
                    .and_then(|worker| self.ports.get()?.get(usize::from(*worker)));
                if let Some(port) = port {
                    port.do_send(Forwarded { from, body });
                }
            }
            Err(error) => self.report_unreadable(channel, &error.to_string()),
        }
    }

    /// A message of the bus is lost here.
    pub(super) fn count_dropped(&self, reason: BusDrop) {
        let dropped = &self.directory.metrics().bus_dropped_total;
        dropped.of(reason).increment();
    }

    fn refuse_pickle(&self) {
        self.count_dropped(BusDrop::Pickle);
        static BURST: Burst = Burst::new();
        if let Some(others) = BURST.note() {
            warn!(
                others;
                "pickle on the bus refused: a python-socketio older than 5.14 publishes there; update it, or it is not heard"
            );
        }
    }

    fn report_unreadable(&self, channel: &Channel, error: &str) {
        self.count_dropped(BusDrop::Unreadable);
        static BURST: Burst = Burst::new();
        if let Some(others) = BURST.note() {
            warn!(channel:%, error:%, others; "message on the bus cannot be read");
        }
    }

    pub(super) fn report_skipped(&self, bytes: u64) {
        self.count_dropped(BusDrop::Skipped);
        static BURST: Burst = Burst::new();
        if let Some(others) = BURST.note() {
            warn!(
                others;
                "message on the bus not read: {bytes} bytes are over bus.message_limit={}",
                self.message_limit
            );
        }
    }

    /// Drops emits at which stock clients close or crash: one could disconnect every member of a room.
    fn report_unfit(&self, unfit: &Unfit) {
        self.count_dropped(BusDrop::Unfit);
        static BURST: Burst = Burst::new();
        if let Some(others) = BURST.note() {
            warn!(reason:% = unfit, others; "message from the bus dropped: clients would close their connections on it");
        }
    }

    /// Hands a command of somebody else to the shards it may concern.
    fn dispatch(&mut self, command: Command) {
        if let Command::Emit(emit) = &command
            && let Err(unfit) = emit.payload.check_event(self.max_depth)
        {
            return self.report_unfit(&unfit);
        }
        let commands = &self.directory.metrics().commands_total;
        commands.of(Origin::Bus).increment();
        if let Some(overhear) = &self.overhear {
            overhear(&command);
        }
        let ack_id = match &command {
            Command::Emit(Emit { ack: Some(_), .. }) => Some(self.directory.next_ack_id()),
            _ => None,
        };
        self.heard.get_or_insert_with(Instant::now);
        let targets = self.targets(&command);
        // The asking node needs a report if the question reaches nobody here. With several workers, at least one has a
        // member.
        let reports = ack_id.is_some() && targets.is_some_and(|workers| workers.count() == 1);
        if targets.is_some_and(|workers| workers.count() == 0) {
            self.report_unasked(&command);
        }
        let weight = weight(&command);
        let is_join = matches!(command, Command::Join { .. });
        let dispatch = Dispatch {
            command: Arc::new(command),
            ack_id,
            from_bus: true,
            reports,
        };
        self.outgoing
            .resize_with(self.directory.shards().len(), Vec::new);
        for index in 0..self.directory.shards().len() {
            if targets.is_none_or(|workers| workers.contains(index)) {
                self.directory.backlog_grew(index, weight);
                self.outgoing[index].push(dispatch.clone());
                self.peer_joins += usize::from(is_join);
            }
        }
    }

    /// The count of receivers includes this node if it subscribes to the channel, but its workers already have the
    /// question.
    fn note_own_question(&self, payload: &Bytes) {
        if let Ok((_, NativeMessage::Command(Command::Emit(emit)))) = NativeMessage::decode(payload)
            && let Some(token) = emit.ack
        {
            self.resolve(AckReply::unasked(token));
        }
    }

    /// Reports to another node that its question reached nobody here.
    fn report_unasked(&mut self, command: &Command) {
        if let Command::Emit(Emit {
            ack: Some(token), ..
        }) = command
            && matches!(token.asker, Asker::Node(_))
        {
            self.publish_reply(&AckReply::unasked(token.clone()));
        }
    }

    /// Sends the shards what the last events brought them.
    pub(super) fn send_dispatches(&mut self) {
        let Some(since) = self.heard.take() else {
            return;
        };
        for (dispatches, shard) in self.outgoing.iter_mut().zip(self.directory.shards()) {
            if !dispatches.is_empty() {
                let dispatches = std::mem::take(dispatches);
                shard.do_send(DispatchAll { dispatches, since });
            }
        }
    }

    /// The workers a command may concern; `None`: every one.
    fn targets(&self, command: &Command) -> Option<Workers> {
        let room = match command.target() {
            Target::Socket(socket, _) if socket.node() == self.directory.node() => {
                return Some(Workers::only(socket.worker()));
            }
            Target::Socket(_, room) | Target::Room(room) => room,
            Target::Many | Target::Everybody => return None,
        };
        if self.peer_joins > 0 {
            return None;
        }
        let name = (command.namespace().clone(), room.clone());
        Some(self.wanted.workers(&name))
    }

    fn resolve(&self, reply: AckReply) {
        if reply.token.asker != Asker::Node(self.directory.node()) {
            return;
        }
        if let Err(unfit) = reply.payload.check_answer(self.max_depth) {
            return self.report_unfit(&unfit);
        }
        if let Some(shard) = self.directory.shards().get(gather_worker(reply.token.id)) {
            shard.do_send(Resolve(reply));
        }
    }
}
