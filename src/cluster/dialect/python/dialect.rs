//! The python-socketio dialect as the cluster uses it: which message goes to which channel.

use std::sync::Arc;

use bytes::Bytes;

use super::{DIALECT, DecodeError, Decoded, PythonChannels, PythonCodec, Unsupported};
use crate::bus::link::{Channel, Outgoing};
use crate::cluster::dialect::{self, Dialect, EncodeError, Inbound, Outbound, Subscriptions};
use crate::config::BusConfig;
use crate::metrics::labels::BusDrop;
use crate::model::{Command, ReplyTo};
use crate::model::{DialectId, Emit, Namespace, NodeId, Room};

/// The messages between python-socketio processes, as one node sends and receives them.
pub struct PythonDialect {
    codec: PythonCodec,
    channels: PythonChannels,
    /// Whether emits to a room may also arrive on the channel of that room.
    room_channels: bool,
}

impl PythonDialect {
    /// The dialect of `node`, if `bus.python` is on.
    pub fn configured(config: &BusConfig, node: NodeId) -> Option<Arc<dyn Dialect>> {
        if !config.python {
            return None;
        }
        Some(Arc::new(Self {
            codec: PythonCodec::new(&config.channel_prefix, node),
            channels: PythonChannels::new(config.python_channel.as_str()),
            room_channels: config.python_room_channels,
        }))
    }

    fn outgoing(&self, payload: Bytes, volatile: bool) -> Outgoing {
        Outgoing {
            channel: Channel::from(self.channels.all()),
            payload,
            volatile,
            translation: None,
            log: None,
        }
    }
}

impl Dialect for PythonDialect {
    fn id(&self) -> DialectId {
        DIALECT
    }

    fn subscriptions(&self) -> Subscriptions {
        Subscriptions {
            always: vec![Channel::from(self.channels.all())],
            per_room: self.room_channels,
            per_socket: self.room_channels,
            per_namespace: false,
            translated: Some(match self.room_channels {
                true => vec![self.channels.rooms()],
                false => Vec::new(),
            }),
        }
    }

    fn room_channel(&self, namespace: &Namespace, room: &Room) -> Option<Channel> {
        Some(Channel::from(self.channels.room(namespace, room)))
    }

    fn owns(&self, channel: &Channel) -> bool {
        self.channels.contains(channel.as_str())
    }

    fn decode(&self, _channel: &Channel, message: &Bytes) -> Result<Inbound, dialect::DecodeError> {
        Ok(match self.codec.decode(message)? {
            Decoded::Command(command) => Inbound::Command(command),
            Decoded::AckReply(reply) => Inbound::Reply(reply),
            Decoded::Own => Inbound::Own { gather: None },
            Decoded::Ignored(_) => Inbound::Ignored,
        })
    }

    fn is_of_roomwire(&self, _channel: &Channel, message: &Bytes) -> bool {
        PythonCodec::is_of_roomwire(message)
    }

    fn encode(&self, outbound: &Outbound<'_>) -> Result<Vec<Outgoing>, EncodeError> {
        match outbound {
            Outbound::Command(command) => {
                let volatile = matches!(command, Command::Emit(Emit { volatile: true, .. }));
                let messages = self.codec.encode(command)?.into_iter();
                Ok(messages
                    .map(|message| self.outgoing(message, volatile))
                    .collect())
            }
            Outbound::Reply(reply) => match reply.token.reply_to {
                ReplyTo::Foreign {
                    dialect: DIALECT, ..
                } => Ok(vec![
                    self.outgoing(PythonCodec::encode_reply(reply)?, false),
                ]),
                _ => Ok(Vec::new()),
            },
            Outbound::Reached { .. }
            | Outbound::ForeignAnswer { .. }
            | Outbound::ForeignChangeDone { .. }
            | Outbound::ServerEventAnswer { .. }
            | Outbound::Query(_)
            | Outbound::QueryAnswer(_)
            | Outbound::Forward { .. }
            | Outbound::Announcement(_)
            | Outbound::Heartbeat { .. } => Ok(Vec::new()),
        }
    }
}

impl From<DecodeError> for dialect::DecodeError {
    fn from(error: DecodeError) -> Self {
        let reason = match error {
            DecodeError::Pickle => BusDrop::Pickle,
            _ => BusDrop::Unreadable,
        };
        Self {
            reason,
            cause: Box::new(error),
        }
    }
}

impl From<Unsupported> for EncodeError {
    fn from(error: Unsupported) -> Self {
        match error {
            Unsupported::TooManyMoves { .. } => Self::TooLong(Box::new(error)),
            _ => Self::Unsupported(Box::new(error)),
        }
    }
}
