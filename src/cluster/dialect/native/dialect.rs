//! The native dialect as the cluster uses it: which message goes to which channel.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    ANNOUNCEMENT, DecodeError, HEARTBEAT, KIND_AT, NativeChannels, NativeMessage, TooLong,
    encode_announcement, encode_command, encode_forward, encode_heartbeat, encode_query,
    encode_query_answer, encode_reply, requests_response, sender_of, stamp_of,
};
use crate::bus::link::{Channel, Outgoing};
use crate::cluster::dialect::{
    self, Dialect, EncodeError, Inbound, LoggedEmit, MemberState, Outbound, Subscriptions,
};
use crate::config::BusConfig;
use crate::history::Stamp;
use crate::metrics::labels::BusDrop;
use crate::model::{Command, DialectId, Emit, Namespace, NodeId, ReplyTo, Room};

/// The messages between Roomwire nodes, as one node sends and receives them.
pub struct NativeDialect {
    node: NodeId,
    channels: NativeChannels,
}

impl NativeDialect {
    /// The dialect of `node` in the cluster of `bus.prefix`. Every node uses it.
    pub fn configured(config: &BusConfig, node: NodeId) -> Option<Arc<dyn Dialect>> {
        Some(Arc::new(Self {
            node,
            channels: NativeChannels::new(config.channel_prefix.as_str()),
        }))
    }

    fn own(&self, message: &Bytes) -> Inbound {
        if message.get(KIND_AT) == Some(&HEARTBEAT) {
            let (from, state) = (self.node, MemberState::Alive);
            return Inbound::Heartbeat { from, state };
        }
        if message.get(KIND_AT) == Some(&ANNOUNCEMENT)
            && let Ok((_, NativeMessage::Announcement(announcement))) =
                NativeMessage::decode(message)
        {
            return Inbound::OwnAnnouncement(announcement);
        }
        let gather = requests_response(message)
            .then(|| gather_of(message))
            .flatten();
        Inbound::Own { gather }
    }
}

impl Dialect for NativeDialect {
    fn id(&self) -> DialectId {
        DialectId(*b"room")
    }

    fn subscriptions(&self) -> Subscriptions {
        Subscriptions {
            always: vec![self.channels.all(), self.channels.node(self.node)],
            per_room: true,
            ..Subscriptions::default()
        }
    }

    fn room_channel(&self, namespace: &Namespace, room: &Room) -> Option<Channel> {
        NativeChannels::has_channel(room, self.node).then(|| self.channels.room(namespace, room))
    }

    fn owns(&self, channel: &Channel) -> bool {
        self.channels.contains(channel.as_str())
    }

    fn decode(&self, _channel: &Channel, message: &Bytes) -> Result<Inbound, dialect::DecodeError> {
        let is_own = sender_of(message) == Ok(self.node);
        if let Some(stamp) = stamp_of(message)? {
            return self.decode_logged(message, stamp, is_own);
        }
        if is_own {
            return Ok(self.own(message));
        }
        Ok(match NativeMessage::decode(message)? {
            (_, NativeMessage::Command(command)) => Inbound::Command(command),
            (_, NativeMessage::AckReply(reply)) => Inbound::Reply(reply),
            (_, NativeMessage::Query(request)) => Inbound::Query(request),
            (_, NativeMessage::QueryAnswer(response)) => Inbound::QueryAnswer(response),
            (from, NativeMessage::Heartbeat(state)) => Inbound::Heartbeat { from, state },
            (_, NativeMessage::Announcement(announcement)) => Inbound::Announcement(announcement),
            (from, NativeMessage::Forward(body)) => Inbound::Forward { from, body },
        })
    }

    fn counts_receivers(&self) -> bool {
        true
    }

    fn decode_own(&self, message: &Bytes) -> Option<Command> {
        match NativeMessage::decode(message) {
            Ok((_, NativeMessage::Command(command))) => Some(command),
            _ => None,
        }
    }

    fn encode(&self, outbound: &Outbound<'_>) -> Result<Vec<Outgoing>, EncodeError> {
        let (channel, payload, volatile) = match outbound {
            Outbound::Reached { .. }
            | Outbound::ForeignAnswer { .. }
            | Outbound::ForeignChangeDone { .. }
            | Outbound::ServerEventAnswer { .. } => return Ok(Vec::new()),
            Outbound::Command(command) => return self.encode_command(command),
            Outbound::Reply(reply) => {
                let ReplyTo::Node(node) = reply.token.reply_to else {
                    return Ok(Vec::new());
                };
                (
                    self.channels.node(node),
                    encode_reply(self.node, reply)?,
                    false,
                )
            }
            Outbound::Query(request) => {
                let channel = match request.query.socket() {
                    Some(socket) => self.channels.node(socket.node()),
                    None => self.channels.all(),
                };
                (channel, encode_query(self.node, request)?, true)
            }
            Outbound::QueryAnswer(response) => (
                self.channels.node(response.to),
                encode_query_answer(self.node, response)?,
                true,
            ),
            Outbound::Heartbeat { to, state } => (
                to.map_or_else(|| self.channels.all(), |node| self.channels.node(node)),
                encode_heartbeat(self.node, *state)?,
                true,
            ),
            Outbound::Announcement(announcement) => (
                self.channels.all(),
                encode_announcement(self.node, announcement)?,
                false,
            ),
            Outbound::Forward { to, body } => (
                self.channels.node(*to),
                encode_forward(self.node, body)?,
                true,
            ),
        };
        Ok(vec![Outgoing {
            channel,
            payload,
            volatile,
            translation: None,
            log: None,
        }])
    }
}

impl NativeDialect {
    /// Decodes an emit with a position; every node receives it, also the one that published it.
    fn decode_logged(
        &self,
        message: &Bytes,
        stamp: Stamp,
        is_own: bool,
    ) -> Result<Inbound, dialect::DecodeError> {
        Ok(match NativeMessage::decode(message)? {
            (_, NativeMessage::Command(Command::Emit(emit))) => Inbound::Logged(LoggedEmit {
                emit,
                stamp,
                is_own,
            }),
            _ => Inbound::Ignored,
        })
    }

    fn encode_command(&self, command: &Command) -> Result<Vec<Outgoing>, EncodeError> {
        let payload = encode_command(self.node, command)?;
        let volatile = matches!(command, Command::Emit(Emit { volatile: true, .. }));
        let channels = self.channels.of(command).into_iter();
        let messages = channels.map(|channel| Outgoing {
            channel,
            payload: payload.clone(),
            volatile,
            translation: None,
            log: None,
        });
        Ok(messages.collect())
    }
}

/// The id of a call or query.
fn gather_of(message: &Bytes) -> Option<u64> {
    match NativeMessage::decode(message) {
        Ok((_, NativeMessage::Command(Command::Emit(emit)))) => emit.ack.map(|token| token.id),
        Ok((_, NativeMessage::Query(request))) => Some(request.id),
        _ => None,
    }
}

impl From<DecodeError> for dialect::DecodeError {
    fn from(error: DecodeError) -> Self {
        let reason = match error {
            DecodeError::UnknownKind(_)
            | DecodeError::UnknownQuery(_)
            | DecodeError::CriticalExtension(_) => BusDrop::Newer,
            _ => BusDrop::Unreadable,
        };
        Self {
            reason,
            cause: Box::new(error),
        }
    }
}

impl From<TooLong> for EncodeError {
    fn from(error: TooLong) -> Self {
        Self::TooLong(Box::new(error))
    }
}
