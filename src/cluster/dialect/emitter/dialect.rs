//! The messages of emitters as the cluster uses them.

use std::sync::Arc;

use bytes::Bytes;

use super::DIALECT;
use super::channels::{ChannelKind, EmitterChannels};
use super::decode::{self, MalformedMessage};
use crate::bus::link::{Channel, Outgoing};
use crate::cluster::dialect::{
    DecodeError, Dialect, EncodeError, Inbound, Outbound, Subscriptions,
};
use crate::config::BusConfig;
use crate::metrics::labels::BusDrop;
use crate::model::{Command, DialectId, Namespace, NodeId, Room};

/// The messages of emitters, as a node receives them.
pub struct EmitterDialect {
    channels: EmitterChannels,
    /// Maximum size of the JSON of an event in bytes.
    message_limit: usize,
}

impl EmitterDialect {
    /// The dialect, if `bus.emitters` is on.
    pub fn configured(config: &BusConfig, _node: NodeId) -> Option<Arc<dyn Dialect>> {
        config.emitters.then(|| Arc::new(Self::new(config)) as _)
    }

    pub(super) fn new(config: &BusConfig) -> Self {
        Self {
            channels: EmitterChannels::new(&config.emitter_key),
            message_limit: config.message_limit,
        }
    }

    fn command(
        &self,
        kind: ChannelKind<'_>,
        message: &Bytes,
    ) -> Result<Option<Command>, MalformedMessage> {
        match kind {
            ChannelKind::AllEmits => decode::emit(message, None, self.message_limit),
            ChannelKind::Emits(namespace) => {
                decode::emit(message, Some(namespace), self.message_limit)
            }
            ChannelKind::Requests(namespace) => decode::request(message, namespace),
        }
    }
}

impl Dialect for EmitterDialect {
    fn id(&self) -> DialectId {
        DIALECT
    }

    fn is_receive_only(&self) -> bool {
        true
    }

    fn subscriptions(&self) -> Subscriptions {
        Subscriptions {
            always: vec![self.channels.all()],
            per_room: true,
            per_socket: true,
            per_namespace: true,
            translated: Some(self.channels.patterns()),
        }
    }

    fn room_channel(&self, namespace: &Namespace, room: &Room) -> Option<Channel> {
        Some(self.channels.room(namespace, room))
    }

    fn namespace_channels(&self, namespace: &Namespace) -> Vec<Channel> {
        vec![
            self.channels.namespace(namespace),
            self.channels.requests(namespace),
        ]
    }

    fn owns(&self, channel: &Channel) -> bool {
        self.channels.kind(channel).is_some()
    }

    fn decode(&self, channel: &Channel, message: &Bytes) -> Result<Inbound, DecodeError> {
        let Some(kind) = self.channels.kind(channel) else {
            return Ok(Inbound::Ignored);
        };
        match self.command(kind, message) {
            Ok(command) => Ok(command.map_or(Inbound::Ignored, Inbound::Command)),
            Err(malformed) => Err(DecodeError {
                reason: BusDrop::Unreadable,
                cause: Box::new(malformed),
            }),
        }
    }

    fn encode(&self, _outbound: &Outbound<'_>) -> Result<Vec<Outgoing>, EncodeError> {
        Ok(Vec::new())
    }
}
