//! The sharded adapter as the cluster uses it: which message goes to which channel.

use std::sync::Arc;

use bytes::Bytes;

use super::DIALECT;
use super::channels::ShardedChannels;
use crate::bus::link::{Channel, Outgoing};
use crate::cluster::dialect::node::exchange::{ClusterExchange, Publication, bytes};
use crate::cluster::dialect::node::members::{ClusterMembers, is_of_roomwire};
use crate::cluster::dialect::node::message::decode;
use crate::cluster::dialect::{
    DecodeError, Dialect, EncodeError, Inbound, Outbound, Subscriptions,
};
use crate::config::{BusConfig, NodeAdapter};
use crate::model::{Command, DialectId, Namespace, NodeId, Room};

/// The messages of servers with the sharded adapter, as one node sends and receives them.
pub struct ShardedDialect {
    channels: ShardedChannels,
    exchange: ClusterExchange,
    /// Maximum size of a message as JSON in bytes.
    message_limit: usize,
}

impl ShardedDialect {
    /// The dialect of `node`, if `bus.node_adapter` selects it.
    pub fn configured(config: &BusConfig, node: NodeId) -> Option<Arc<dyn Dialect>> {
        let is_selected = config.node_adapter == NodeAdapter::Sharded;
        is_selected.then(|| Arc::new(Self::new(config, node)) as _)
    }

    pub(super) fn new(config: &BusConfig, node: NodeId) -> Self {
        Self {
            channels: ShardedChannels::new(&config.node_key, config.node_room_channels),
            exchange: ClusterExchange {
                dialect: DIALECT,
                members: ClusterMembers::new(&config.channel_prefix, node),
                headers: config.node_handshake.clone(),
            },
            message_limit: config.message_limit,
        }
    }

    /// The channel of a message. One that requests acks is for all servers of the namespace, as all of them respond.
    fn channel(&self, publication: &Publication, outbound: &Outbound<'_>) -> Channel {
        let namespace = &publication.namespace;
        if let Some(uid) = &publication.to {
            return self.channels.part(namespace, uid);
        }
        let room = match outbound {
            Outbound::Command(Command::Emit(emit)) if emit.ack.is_none() => {
                match emit.to.rooms.as_slice() {
                    [room] => self.channels.room(namespace, room),
                    _ => None,
                }
            }
            _ => None,
        };
        room.unwrap_or_else(|| self.channels.namespace(namespace))
    }
}

impl Dialect for ShardedDialect {
    fn id(&self) -> DialectId {
        DIALECT
    }

    fn subscriptions(&self) -> Subscriptions {
        Subscriptions {
            always: Vec::new(),
            per_room: self.channels.has_rooms(),
            per_socket: self.channels.has_sockets(),
            per_namespace: true,
            // There are no patterns for the channels of rooms.
            translated: (!self.channels.has_rooms()).then(Vec::new),
        }
    }

    fn room_channel(&self, namespace: &Namespace, room: &Room) -> Option<Channel> {
        self.channels.room(namespace, room)
    }

    fn namespace_channels(&self, namespace: &Namespace) -> Vec<Channel> {
        vec![
            self.channels.namespace(namespace),
            self.channels.part(namespace, &self.exchange.members.uid),
        ]
    }

    fn owns(&self, channel: &Channel) -> bool {
        self.channels.name(channel).is_some()
    }

    fn decode(&self, channel: &Channel, message: &Bytes) -> Result<Inbound, DecodeError> {
        let Some(name) = self.channels.name(channel) else {
            return Ok(Inbound::Ignored);
        };
        // Most messages of nodes are not parsed. One with a request may have to be responded to.
        let has_no_request =
            || std::str::from_utf8(message).is_ok_and(|text| !text.contains(r#""requestId""#));
        if self.exchange.members.sent(message, name.namespace) && has_no_request() {
            return Ok(Inbound::Own { gather: None });
        }
        let message = decode(message, self.message_limit)?;
        if message.namespace != name.namespace {
            return Ok(Inbound::Ignored);
        }
        Ok(self.exchange.inbound(message))
    }

    fn is_of_roomwire(&self, _channel: &Channel, message: &Bytes) -> bool {
        let message = decode(message, self.message_limit);
        message.is_ok_and(|message| is_of_roomwire(&message.uid))
    }

    fn counts_receivers(&self) -> bool {
        true
    }

    fn encode(&self, outbound: &Outbound<'_>) -> Result<Vec<Outgoing>, EncodeError> {
        let Some(publication) = self.exchange.publication(outbound)? else {
            return Ok(Vec::new());
        };
        let is_msgpack = publication.data.has_binary();
        Ok(vec![Outgoing {
            channel: self.channel(&publication, outbound),
            payload: bytes(&publication, &self.exchange.members.uid, is_msgpack),
            volatile: publication.volatile,
            translation: None,
            log: None,
        }])
    }
}
