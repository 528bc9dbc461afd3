//! The streams adapter as the cluster uses it: which message is an entry of which stream, or goes to which channel.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::DIALECT;
use super::names::{stream_names, stream_of};
use crate::bus::entry;
use crate::bus::link::{Channel, Outgoing, starting_with};
use crate::cluster::dialect::node::exchange::{ClusterExchange, Publication, bytes};
use crate::cluster::dialect::node::members::{ClusterMembers, is_of_roomwire};
use crate::cluster::dialect::node::message::{
    ClusterMessage, Data, MalformedClusterMessage, MessageBody, decode, decode_data,
};
use crate::cluster::dialect::{
    DecodeError, Dialect, EncodeError, Inbound, Outbound, Subscriptions,
};
use crate::config::{BusConfig, NodeAdapter};
use crate::model::base64::{BASE64, decode_lenient};
use crate::model::{Command, DialectId, Emit, Namespace, NodeId};
use base64::Engine;

/// The messages of servers with the streams adapter, as one node sends and receives them.
pub struct StreamsDialect {
    config: BusConfig,
    streams: Vec<Channel>,
    exchange: ClusterExchange,
}

impl StreamsDialect {
    /// The dialect of `node`, if `bus.node_adapter` selects it.
    pub fn configured(config: &BusConfig, node: NodeId) -> Option<Arc<dyn Dialect>> {
        let is_selected = config.node_adapter == NodeAdapter::Streams;
        is_selected.then(|| Arc::new(Self::new(config, node)) as _)
    }

    pub(super) fn new(config: &BusConfig, node: NodeId) -> Self {
        let streams = stream_names(config).into_iter().map(Channel::from);
        Self {
            streams: streams.collect(),
            exchange: ClusterExchange {
                dialect: DIALECT,
                members: ClusterMembers::new(&config.channel_prefix, node),
            },
            config: config.clone(),
        }
    }

    /// The channel of all servers with a namespace, or of responses to one of them.
    fn channel(&self, namespace: &str, uid: Option<&str>) -> Channel {
        let key = &self.config.node_key;
        Channel::from(match uid {
            Some(uid) => format!("{key}#{namespace}#{uid}#"),
            None => format!("{key}#{namespace}#"),
        })
    }

    /// The namespace in the name of a channel.
    fn namespace_of<'a>(&self, channel: &'a Channel) -> Option<&'a str> {
        let rest = channel.as_str().strip_prefix(&self.config.node_key)?;
        let (namespace, rest) = rest.strip_prefix('#')?.split_once('#')?;
        (rest.is_empty() || rest.ends_with('#')).then_some(namespace)
    }

    /// The pattern of requests and responses, apart from sharded ones, for which Redis has no patterns. All other messages
    /// are in the streams.
    fn patterns(&self) -> Vec<Channel> {
        match self.config.node_sharded_pubsub {
            true => Vec::new(),
            false => vec![starting_with(&format!("{}#", self.config.node_key))],
        }
    }

    fn is_stream(&self, channel: &Channel) -> bool {
        self.streams.contains(channel)
    }

    /// Decodes an entry; `None` if no server wrote it.
    fn entry(&self, payload: &Bytes) -> Result<Option<Inbound>, MalformedClusterMessage> {
        let entry = entry::decode(payload).ok_or(MalformedClusterMessage::Entry)?;
        let field = |name: &str| {
            let mut fields = entry.fields.iter();
            fields
                .find(|(field, _)| field == name)
                .map(|(_, value)| value)
        };
        let text = |name: &'static str| match field(name) {
            Some(value) => {
                std::str::from_utf8(value).map_err(|_| MalformedClusterMessage::Field(name))
            }
            None => Ok(""),
        };
        let (uid, namespace) = (text("uid")?, text("nsp")?);
        if namespace.is_empty() {
            return Ok(None);
        }
        // Most messages of nodes are not parsed.
        if self.exchange.members.node_of(uid).is_some() {
            return Ok(Some(Inbound::Own { gather: None }));
        }
        let kind = text("type")?.parse();
        let kind = kind.map_err(|_| MalformedClusterMessage::Field("type"))?;
        let namespace_ = Namespace::from(namespace);
        let body = match field("data") {
            None => MessageBody::Ignored,
            Some(data) if data.starts_with(b"{") => {
                decode_data(kind, &namespace_, data, self.config.message_limit)?
            }
            Some(data) => {
                let data = decode_lenient(data).map_err(|_| MalformedClusterMessage::Base64)?;
                decode_data(kind, &namespace_, &data.into(), self.config.message_limit)?
            }
        };
        Ok(Some(self.exchange.inbound(ClusterMessage {
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            body,
        })))
    }

    fn message(
        &self,
        channel: &Channel,
        message: &Bytes,
    ) -> Result<Inbound, MalformedClusterMessage> {
        let message = decode(message, self.config.message_limit)?;
        if self.namespace_of(channel) != Some(message.namespace.as_str()) {
            return Ok(Inbound::Ignored);
        }
        Ok(self.exchange.inbound(message))
    }

    /// A message as an entry of the stream of its namespace.
    fn to_entry(&self, publication: &Publication) -> (Channel, Bytes) {
        let Publication {
            data, namespace, ..
        } = publication;
        let (kind, text) = (data.kind.to_string(), data_field(data));
        let uid = &self.exchange.members.uid;
        let fields = ["uid", uid, "nsp", namespace, "type", &kind, "data", &text];
        let stream = Channel::from(stream_of(&self.config, namespace));
        (stream, entry::encode(fields.map(str::as_bytes)))
    }
}

/// The data of an entry: JSON, or msgpack in base64 if it has binary values.
fn data_field(data: &Data) -> Cow<'_, str> {
    match data.has_binary() {
        true => BASE64.encode(data.to_msgpack()).into(),
        false => data.json().into(),
    }
}

impl Dialect for StreamsDialect {
    fn id(&self) -> DialectId {
        DIALECT
    }

    fn subscriptions(&self) -> Subscriptions {
        Subscriptions {
            always: self.streams.clone(),
            per_namespace: true,
            translated: Some(self.patterns()),
            ..Subscriptions::default()
        }
    }

    fn namespace_channels(&self, namespace: &Namespace) -> Vec<Channel> {
        let uid = &self.exchange.members.uid;
        vec![
            self.channel(namespace, None),
            self.channel(namespace, Some(uid)),
        ]
    }

    fn owns(&self, channel: &Channel) -> bool {
        self.is_stream(channel) || self.namespace_of(channel).is_some()
    }

    fn decode(&self, channel: &Channel, message: &Bytes) -> Result<Inbound, DecodeError> {
        if self.is_stream(channel) {
            return Ok(self.entry(message)?.unwrap_or(Inbound::Ignored));
        }
        Ok(self.message(channel, message)?)
    }

    fn is_of_roomwire(&self, channel: &Channel, message: &Bytes) -> bool {
        if self.is_stream(channel) {
            return entry::decode(message).is_some_and(|entry| {
                let mut fields = entry.fields.iter();
                let uid = fields.find(|(name, _)| *name == "uid");
                uid.is_some_and(|(_, uid)| std::str::from_utf8(uid).is_ok_and(is_of_roomwire))
            });
        }
        let message = decode(message, self.config.message_limit);
        message.is_ok_and(|message| is_of_roomwire(&message.uid))
    }

    fn counts_receivers(&self) -> bool {
        // On a Redis Cluster, the receivers on other servers are counted only on sharded channels.
        !self.config.cluster || self.config.node_sharded_pubsub
    }

    fn encode(&self, outbound: &Outbound<'_>) -> Result<Vec<Outgoing>, EncodeError> {
        let Some(publication) = self.exchange.publication(outbound)? else {
            return Ok(Vec::new());
        };
        let requests_acks = matches!(
            outbound,
            Outbound::Command(Command::Emit(Emit { ack: Some(_), .. }))
        );
        let (channel, payload) = if publication.to.is_some() || requests_acks {
            let uid = publication.to.as_deref();
            let channel = self.channel(&publication.namespace, uid);
            (
                channel,
                bytes(&publication, &self.exchange.members.uid, true),
            )
        } else {
            self.to_entry(&publication)
        };
        Ok(vec![Outgoing {
            channel,
            payload,
            volatile: publication.volatile,
            translation: None,
            log: None,
        }])
    }
}
