//! The streams adapter as the cluster uses it: which message is an entry of which stream, or goes to which channel.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::DIALECT;
use super::names::{stream_names, stream_of};
use crate::bus::entry::{self, Entry};
use crate::bus::link::{Channel, Outgoing, starting_with};
use crate::cluster::dialect::node::exchange::{ClusterExchange, Publication, bytes};
use crate::cluster::dialect::node::members::{ClusterMembers, is_of_roomwire};
use crate::cluster::dialect::node::message::{
    ClusterMessage, Data, MalformedClusterMessage, MessageBody, decode, decode_data,
};
use crate::cluster::dialect::{
    DecodeError, Dialect, EncodeError, EntryNumber, Inbound, Outbound, StreamSender,
    StreamedCommand, Subscriptions,
};
use crate::config::{BusConfig, NodeAdapter};
use crate::model::base64::{BASE64, decode_lenient};
use crate::model::{Command, ConflationKey, DialectId, Emit, Namespace, NodeId, Position};
use base64::Engine;

/// The field with the number of an entry that nodes receive from the stream alone. Entries of nodes without this field
/// repeat messages of the first dialect. Servers ignore unknown fields.
const STREAMED: &str = "roomwire";
/// The field with the conflation key of an event.
const CONFLATE: &str = "conflate";

/// The messages of servers with the streams adapter, as one node sends and receives them.
pub struct StreamsDialect {
    config: BusConfig,
    /// The namespaces whose events have positions: the ids of their entries.
    shared: Vec<Namespace>,
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
        let shared = config.shared_namespaces.iter();
        Self {
            shared: shared.map(|name| Namespace::from(&**name)).collect(),
            streams: streams.collect(),
            exchange: ClusterExchange {
                dialect: DIALECT,
                members: ClusterMembers::new(&config.channel_prefix, node),
                headers: config.node_handshake.clone(),
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
        let (uid, namespace) = (text(&entry, "uid")?, text(&entry, "nsp")?);
        if namespace.is_empty() {
            return Ok(None);
        }
        let sender = match self.exchange.members.node_of(uid) {
            Some(node) if node == self.exchange.members.node => StreamSender::ThisNode,
            Some(_) => StreamSender::OtherNode,
            None => StreamSender::Foreign,
        };
        // Most messages of nodes are not parsed.
        if sender != StreamSender::Foreign && field(&entry, STREAMED).is_none() {
            return Ok(Some(Inbound::Own { gather: None }));
        }
        let message = ClusterMessage {
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            body: self.body(&entry, &Namespace::from(namespace))?,
        };
        self.in_order(&entry, message, sender).map(Some)
    }

    fn body(
        &self,
        entry: &Entry,
        namespace: &Namespace,
    ) -> Result<MessageBody, MalformedClusterMessage> {
        let kind = text(entry, "type")?.parse();
        let kind = kind.map_err(|_| MalformedClusterMessage::Field("type"))?;
        let limit = self.config.message_limit;
        match field(entry, "data") {
            None => Ok(MessageBody::Ignored),
            Some(data) if data.starts_with(b"{") => decode_data(kind, namespace, data, limit),
            Some(data) => {
                let data = decode_lenient(data).map_err(|_| MalformedClusterMessage::Base64)?;
                decode_data(kind, namespace, &data.into(), limit)
            }
        }
    }

    /// Converts an entry to what this node executes: commands that have a place in the order of the stream become
    /// [`Inbound::Streamed`].
    fn in_order(
        &self,
        entry: &Entry,
        message: ClusterMessage,
        sender: StreamSender,
    ) -> Result<Inbound, MalformedClusterMessage> {
        let is_shared = self.shared.iter().any(|it| **it == *message.namespace);
        let id = entry.id.as_deref().filter(|_| is_shared);
        let position = id.and_then(Position::of_entry);
        let is_of_server = sender == StreamSender::Foreign;
        let command = match message.body {
            MessageBody::Emit {
                mut emit,
                request: None,
                ..
            } if !is_of_server => {
                emit.conflate = field(entry, CONFLATE).map(conflation_key).transpose()?;
                Command::Emit(emit)
            }
            // Servers append no position to volatile events either.
            MessageBody::Emit {
                emit,
                request: None,
                ..
            } if position.is_some() && !emit.volatile => Command::Emit(emit),
            // A change of this node was applied before it was published.
            MessageBody::Change(change) if sender == StreamSender::OtherNode => change,
            body => return Ok(self.exchange.inbound(ClusterMessage { body, ..message })),
        };
        Ok(Inbound::Streamed(StreamedCommand {
            position: position.filter(|_| matches!(command, Command::Emit(_))),
            number: EntryNumber::parse(text(entry, STREAMED)?),
            command,
            sender,
        }))
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

    /// A message as an entry of the stream of its namespace. `more` has the names and values of fields that only nodes
    /// read.
    fn to_entry(&self, publication: &Publication, more: &[&str]) -> (Channel, Bytes) {
        let Publication {
            data, namespace, ..
        } = publication;
        let (kind, text) = (data.kind.to_string(), data_field(data));
        let uid = &self.exchange.members.uid;
        let fields = ["uid", uid, "nsp", namespace, "type", &kind, "data", &text];
        let stream = Channel::from(stream_of(&self.config, namespace));
        let fields = fields.iter().chain(more).map(|field| field.as_bytes());
        (stream, entry::encode(fields))
    }
}

fn outgoing(channel: Channel, payload: Bytes, volatile: bool) -> Outgoing {
    Outgoing {
        channel,
        payload,
        volatile,
        translation: None,
        log: None,
    }
}

fn conflation_key(field: &Bytes) -> Result<ConflationKey, MalformedClusterMessage> {
    let key = std::str::from_utf8(field).ok().and_then(ConflationKey::new);
    key.ok_or(MalformedClusterMessage::Field(CONFLATE))
}

/// The value of a field of an entry.
fn field<'a>(entry: &'a Entry, name: &str) -> Option<&'a Bytes> {
    let mut fields = entry.fields.iter();
    let found = fields.find(|(field, _)| field == name);
    found.map(|(_, value)| value)
}

/// The value of a field as text; empty if the field is missing.
fn text<'a>(entry: &'a Entry, name: &'static str) -> Result<&'a str, MalformedClusterMessage> {
    let value = field(entry, name).map_or(&[][..], |value| value);
    std::str::from_utf8(value).map_err(|_| MalformedClusterMessage::Field(name))
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
            let entry = entry::decode(message);
            return entry.is_some_and(|entry| text(&entry, "uid").is_ok_and(is_of_roomwire));
        }
        let message = decode(message, self.config.message_limit);
        message.is_ok_and(|message| is_of_roomwire(&message.uid))
    }

    fn counts_receivers(&self) -> bool {
        true
    }

    fn encode(&self, outbound: &Outbound<'_>) -> Result<Vec<Outgoing>, EncodeError> {
        let Some(publication) = self.exchange.publication(outbound)? else {
            return Ok(Vec::new());
        };
        let requests_response = matches!(
            outbound,
            Outbound::Command(Command::Emit(Emit { ack: Some(_), .. })) | Outbound::Query(_)
        );
        let (channel, payload) = if publication.to.is_some() || requests_response {
            let uid = publication.to.as_deref();
            let channel = self.channel(&publication.namespace, uid);
            (
                channel,
                bytes(&publication, &self.exchange.members.uid, true),
            )
        } else {
            self.to_entry(&publication, &[])
        };
        Ok(vec![outgoing(channel, payload, publication.volatile)])
    }

    fn encode_in_stream(
        &self,
        command: &Command,
        number: EntryNumber,
    ) -> Option<Result<Vec<Outgoing>, EncodeError>> {
        let publication = match self.exchange.publication(&Outbound::Command(command)) {
            Ok(publication) => publication?,
            Err(error) => return Some(Err(error)),
        };
        let number = number.to_string();
        let mut more = vec![STREAMED, &number];
        if let Command::Emit(Emit {
            conflate: Some(key),
            ..
        }) = command
        {
            more.extend([CONFLATE, key]);
        }
        let (stream, entry) = self.to_entry(&publication, &more);
        Some(Ok(vec![outgoing(stream, entry, publication.volatile)]))
    }
}
