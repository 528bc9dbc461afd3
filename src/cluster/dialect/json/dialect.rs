//! The messages of a source as the cluster uses them.

use std::sync::Arc;

use bytes::Bytes;

use super::DIALECT;
use super::decode::JsonDecoder;
use crate::bus::link::{Channel, Outgoing};
use crate::cluster::dialect::{
    DecodeError, Dialect, EncodeError, Inbound, Outbound, Subscriptions,
};
use crate::config::{BusConfig, JsonField, JsonSource};
use crate::metrics::labels::BusDrop;
use crate::model::{Command, DialectId, Namespace, Room};

/// The messages of one source, as a node receives them.
pub struct JsonDialect {
    decoder: JsonDecoder,
}

impl JsonDialect {
    /// A dialect for each source of the configuration.
    pub fn configured(config: &BusConfig) -> impl Iterator<Item = Arc<dyn Dialect>> {
        let sources = config.json_sources.iter();
        sources.map(|source| Arc::new(Self::new(source.clone())) as _)
    }

    pub(super) fn new(source: JsonSource) -> Self {
        Self {
            decoder: JsonDecoder::new(source),
        }
    }

    fn source(&self) -> &JsonSource {
        self.decoder.source()
    }

    /// Whether messages of the source can be for a namespace.
    fn serves(&self, namespace: &Namespace) -> bool {
        match &self.source().namespace {
            JsonField::Constant(only) if !self.source().channel.has_namespace() => {
                bare(namespace) == bare(only)
            }
            _ => true,
        }
    }
}

/// The name of a namespace without its slash, with which a configuration may write it or not.
fn bare(namespace: &str) -> &str {
    namespace.strip_prefix('/').unwrap_or(namespace)
}

impl Dialect for JsonDialect {
    fn id(&self) -> DialectId {
        DIALECT
    }

    fn is_receive_only(&self) -> bool {
        true
    }

    fn subscriptions(&self) -> Subscriptions {
        let channel = &self.source().channel;
        let (has_room, has_namespace) = (channel.has_room(), channel.has_namespace());
        let always = match has_room || has_namespace {
            true => None,
            false => channel.name("", ""),
        };
        Subscriptions {
            always: always.into_iter().map(Channel::from).collect(),
            per_room: has_room,
            per_socket: false,
            per_namespace: has_namespace && !has_room,
            translated: None,
        }
    }

    fn room_channel(&self, namespace: &Namespace, room: &Room) -> Option<Channel> {
        let channel = &self.source().channel;
        if !channel.has_room() || !self.serves(namespace) {
            return None;
        }
        channel.name(namespace, room).map(Channel::from)
    }

    fn namespace_channels(&self, namespace: &Namespace) -> Vec<Channel> {
        let channel = &self.source().channel;
        if !channel.has_namespace() || channel.has_room() {
            return Vec::new();
        }
        let name = channel.name(namespace, "");
        name.into_iter().map(Channel::from).collect()
    }

    fn owns(&self, channel: &Channel) -> bool {
        self.source().channel.target(channel.as_str()).is_some()
    }

    fn decode(&self, channel: &Channel, message: &Bytes) -> Result<Inbound, DecodeError> {
        let Some(target) = self.source().channel.target(channel.as_str()) else {
            return Ok(Inbound::Ignored);
        };
        match self.decoder.emit(channel.as_str(), &target, message) {
            Ok(None) => Ok(Inbound::Ignored),
            Ok(Some(emit)) => Ok(Inbound::Command(Command::Emit(emit))),
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
