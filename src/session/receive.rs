//! From the packets of a client to what they request.

use std::time::Instant;

use actix::Context;
use bytes::Bytes;

use super::state::Session;
use crate::limits::Limit;
use crate::metrics::labels::Direction;
use crate::model::{AckId, Message};
use crate::outbox::Packet;
use crate::protocol::ServerPacket;
use crate::protocol::connection::ProtocolEvent;
use crate::protocol::engine_io::PayloadPacket;
use crate::protocol::engine_io::packet::{EXCESS_DATA, Packet as EnginePacket, has_excess_data};
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::socket_io::state::Slot;

impl Session {
    /// Receives an Engine.IO text packet. Packets that were read at once come with the same `now`.
    pub fn receive_text(&mut self, text: &str, now: Instant, ctx: &mut Context<Self>) {
        if has_excess_data(text) {
            let close = Packet::close(Some(1002), EXCESS_DATA);
            return self.close_with(CloseReason::TransportError, close, ctx);
        }
        match self.revision().parse_text(text) {
            Ok(PayloadPacket::Packet(packet)) => self.receive_packet(packet, now, ctx),
            Ok(PayloadPacket::Binary(content)) => {
                self.receive_binary_message(content.into(), now, ctx);
            }
            Err(_) => self.close(CloseReason::ParseError, ctx),
        }
    }

    /// Receives a binary message of a websocket. Messages that were read at once come with the same `now`.
    pub fn receive_binary(&mut self, message: Bytes, now: Instant, ctx: &mut Context<Self>) {
        match self.revision().parse_binary(message) {
            Ok(content) => self.receive_binary_message(content, now, ctx),
            Err(_) => self.close(CloseReason::ParseError, ctx),
        }
    }

    /// Receives the content of a binary message.
    pub(super) fn receive_binary_message(
        &mut self,
        content: Bytes,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        if self.has_ended() {
            return;
        }
        self.count_received(content.len());
        let format = self.connection.format();
        let received = self.connection.receive_binary(content, now);
        let parser = self.connection.format().parser;
        if parser != format.parser {
            self.use_format();
            self.worker.count_parser(format.parser, parser);
        }
        self.handle_received(received, ctx);
    }

    pub(super) fn receive_packet(
        &mut self,
        packet: EnginePacket<'_>,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        if let EnginePacket::Message(message) = packet {
            self.count_received(message.len());
        }
        if self.has_ended() {
            return;
        }
        let received = self.connection.receive(packet, now);
        self.handle_received(received, ctx);
    }

    /// Sends packets in the format of the connection from now on.
    pub(super) fn use_format(&self) {
        let (lane, format) = (self.lane, self.connection.format());
        let shard = &self.worker.shard;
        shard.with_lanes(|lanes| lanes.set_format(lane, format));
    }

    fn count_received(&mut self, bytes: usize) {
        self.stats.note_received(bytes);
        let metrics = self.worker.metrics();
        metrics.messages_total.of(Direction::Received).increment();
        let received = metrics.message_bytes_total.of(Direction::Received);
        received.add(bytes as u64);
    }

    fn handle_received(
        &mut self,
        received: Result<Option<ProtocolEvent>, CloseReason>,
        ctx: &mut Context<Self>,
    ) {
        match received {
            Ok(None) => {}
            Ok(Some(event)) => self.handle_protocol_event(event, ctx),
            Err(reason) => self.close(reason, ctx),
        }
    }

    fn handle_protocol_event(&mut self, event: ProtocolEvent, ctx: &mut Context<Self>) {
        match event {
            ProtocolEvent::ConnectRequested { name, auth, at } => {
                self.connect(&name, auth, at, ctx);
            }
            ProtocolEvent::Event { slot, payload, ack } => {
                self.enqueue_event(slot, payload, ack, ctx);
            }
            ProtocolEvent::TooDeep { slot, ack } => self.reject_deep_event(slot, ack, ctx),
            ProtocolEvent::AckReceived { slot, id, payload } => {
                self.receive_ack(slot, id, payload);
            }
            ProtocolEvent::PingReceived => self.send_packet(&ServerPacket::Pong),
            ProtocolEvent::PongReceived { after } => {
                self.worker.metrics().ping_rtt_seconds.observe(after);
            }
            ProtocolEvent::DisconnectReceived { slot } => {
                self.drop_socket(slot, "client namespace disconnect", ctx);
            }
            ProtocolEvent::Message(message) => self.handle_message(message),
        }
    }

    /// Rejects an event whose JSON nests deeper than `socket.max_depth`, which would crash other clients: with the ack
    /// that the app defines for it. An app without one cannot notify the client, so the session closes.
    fn reject_deep_event(&mut self, slot: Slot, ack: Option<AckId>, ctx: &mut Context<Self>) {
        let socket = self.socket(slot);
        let Some(handler) = socket.and_then(|socket| socket.handler.as_ref()) else {
            return;
        };
        let message = format!("{} ({})", Limit::Depth.message(), Limit::Depth.key());
        match handler.rejection(Limit::Depth.code(), &message) {
            None => self.close(CloseReason::NestedTooDeeply, ctx),
            Some(rejection) => {
                self.worker.limit_reached(self.id, Limit::Depth);
                if let Some(id) = ack {
                    self.send_ack(slot, &id, &rejection);
                }
            }
        }
    }

    /// Handles a message of a bare Engine.IO session.
    fn handle_message(&self, message: Message) {
        let Some(app) = &self.worker.engine_app else {
            return;
        };
        for message in app.on_message(message) {
            self.send_packet(&ServerPacket::Message(&message));
        }
    }
}
