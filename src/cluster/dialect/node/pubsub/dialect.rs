//! The messages of the adapter as the cluster uses them.

use std::sync::Arc;

use bytes::Bytes;

use super::DIALECT;
use super::channels::{ChannelKind, PubSubChannels};
use super::emit::{self, Broadcast};
use super::encode;
use super::inbound::{counted_emit, details_query, fetch_of_nobody, ids_query, token};
use super::malformed::MalformedPubSub;
use super::request::{self, PubSubRequest, Request};
use super::response::{self, PubSubResponse, ServerResponse};
use crate::bus::link::{Channel, Outgoing};
use crate::cluster::dialect::node::members::{self, ClusterMembers};
use crate::cluster::dialect::node::requester::Requester;
use crate::cluster::dialect::{
    DecodeError, Dialect, EncodeError, Inbound, Outbound, Subscriptions,
};
use crate::config::{BusConfig, NodeAdapter};
use crate::metrics::labels::BusDrop;
use crate::model::{
    AckReply, AckToken, Command, DialectId, Emit, Namespace, NodeId, QueryAnswer, QueryRequest,
    ReplyTo, Room, Selector, ServerSideEvent, SocketId, Unfit,
};

/// Marks, at the end of its id, a request for the list of rooms, because the results of queries for rooms and for
/// sockets are of the same kind. Ids of stock servers do not contain it.
const ROOMS_MARK: char = '\n';

/// The messages of the adapter, as a node receives and sends them.
pub struct PubSubDialect {
    channels: PubSubChannels,
    members: ClusterMembers,
    /// Whether the node is a member of a cluster of servers; otherwise it only receives what emitters publish.
    is_member: bool,
    /// Whether responses are published for their recipient alone.
    specific_responses: bool,
    /// `bus.node_handshake`.
    headers: Vec<String>,
    /// Maximum size of the JSON of an event in bytes.
    message_limit: usize,
}

impl PubSubDialect {
    /// The dialect of `node`, if `bus.node_adapter` is `pubsub` or `emitters`.
    pub fn configured(config: &BusConfig, node: NodeId) -> Option<Arc<dyn Dialect>> {
        let is_member = match config.node_adapter {
            NodeAdapter::None | NodeAdapter::Sharded | NodeAdapter::Streams => return None,
            NodeAdapter::Emitters => false,
            NodeAdapter::PubSub => true,
        };
        Some(Arc::new(Self {
            channels: PubSubChannels::new(&config.node_key),
            members: ClusterMembers::new(&config.channel_prefix, node),
            is_member,
            specific_responses: config.node_specific_responses,
            headers: config.node_handshake.clone(),
            message_limit: config.message_limit,
        }))
    }

    fn inbound(&self, kind: ChannelKind<'_>, message: &Bytes) -> Result<Inbound, MalformedPubSub> {
        match kind {
            ChannelKind::AllEmits => self.broadcast(message, None),
            ChannelKind::Emits(namespace) => self.broadcast(message, Some(namespace)),
            ChannelKind::Requests(namespace) => {
                let request = request::request(message, namespace, self.message_limit)?;
                Ok(self.request(request, &Namespace::from(namespace)))
            }
            ChannelKind::Responses => self.response(message),
        }
    }

    fn broadcast(
        &self,
        message: &Bytes,
        namespace: Option<&str>,
    ) -> Result<Inbound, MalformedPubSub> {
        let broadcast = emit::broadcast(message, namespace, &self.members, self.message_limit)?;
        Ok(match broadcast {
            Broadcast::Emit(emit) => Inbound::Command(Command::Emit(emit)),
            Broadcast::Own => Inbound::Own { gather: None },
            Broadcast::Nobody => Inbound::Ignored,
        })
    }

    /// What a request of a server, an emitter or a node of the cluster means.
    fn request(&self, request: Request, namespace: &Namespace) -> Inbound {
        let Request { uid, body } = request;
        let requester = |request: String| Requester {
            namespace: namespace.clone(),
            uid: uid.clone(),
            request,
        };
        if let Some(node) = self.members.node_of(&uid) {
            return self.of_cluster(node, body, requester);
        }
        match body {
            PubSubRequest::Change(command) => Inbound::Command(command),
            PubSubRequest::ServerEvent { payload, request } => {
                let request = request.filter(|_| self.is_member);
                let reply_to = request.map(|request| requester(request).to_reply_to(DIALECT));
                let event = ServerSideEvent {
                    namespace: namespace.clone(),
                    payload,
                    expects_answer: reply_to.is_some(),
                };
                Inbound::ServerEvent { event, reply_to }
            }
            PubSubRequest::ChangeOfSocket {
                command,
                socket,
                request,
            } => match request.filter(|_| self.is_member && self.owns_socket(&socket)) {
                Some(request) => Inbound::ForeignChange {
                    command,
                    reply_to: requester(request).to_reply_to(DIALECT),
                },
                None => Inbound::Command(command),
            },
            _ if !self.is_member => Inbound::Ignored,
            PubSubRequest::UnreadServerEvent { request } => Inbound::UnreadServerEvent {
                reply_to: requester(request).to_reply_to(DIALECT),
                unfit: Unfit::NoName,
            },
            PubSubRequest::Ids { selector, request } => ids_query(selector, &requester(request)),
            PubSubRequest::Fetch { selector, request } => {
                details_query(selector, &requester(request))
            }
            PubSubRequest::Rooms { request } => {
                let requester = requester(format!("{request}{ROOMS_MARK}"));
                details_query(Selector::everybody(namespace.clone()), &requester)
            }
            PubSubRequest::Emit {
                emit,
                request,
                timeout,
            } => counted_emit(emit, token(&requester(request)), timeout),
            PubSubRequest::EmitToNobody { request, unfit } => Inbound::UnreachedEmit {
                token: token(&requester(request)),
                unfit,
            },
            PubSubRequest::FetchOfNobody { request } => fetch_of_nobody(&requester(request)),
            PubSubRequest::Ignored => Inbound::Ignored,
        }
    }

    /// What a request of a node of the cluster means: it was also published in the first dialect.
    fn of_cluster(
        &self,
        node: NodeId,
        body: PubSubRequest,
        requester: impl FnOnce(String) -> Requester,
    ) -> Inbound {
        match body {
            PubSubRequest::Emit { request, .. } | PubSubRequest::EmitToNobody { request, .. } => {
                if node == self.members.node {
                    let gather = self.call_of(&request);
                    return Inbound::Own { gather };
                }
                Inbound::UnreachedEmit {
                    token: token(&requester(request)),
                    unfit: None,
                }
            }
            PubSubRequest::Ids { request, .. } | PubSubRequest::Fetch { request, .. } => {
                if node == self.members.node {
                    let gather = self.call_of(&request);
                    return Inbound::Own { gather };
                }
                fetch_of_nobody(&requester(request))
            }
            _ => Inbound::Own { gather: None },
        }
    }

    fn owns_socket(&self, socket: &Room) -> bool {
        let socket = SocketId::parse(socket);
        socket.is_some_and(|socket| socket.node() == self.members.node)
    }

    /// What a response means, which may be to a request of any server.
    fn response(&self, message: &Bytes) -> Result<Inbound, MalformedPubSub> {
        if !response::may_be_for(message, &self.members.uid) {
            return Ok(Inbound::Ignored);
        }
        let Some(ServerResponse { request, body }) =
            response::response(message, self.message_limit)?
        else {
            return Ok(Inbound::Ignored);
        };
        let Some(id) = self.call_of(&request) else {
            return Ok(Inbound::Ignored);
        };
        let token = AckToken {
            reply_to: ReplyTo::Node(self.members.node),
            id,
        };
        Ok(match body {
            PubSubResponse::Count(sockets) => Inbound::Reached { token, sockets },
            PubSubResponse::Ack(payload) => Inbound::Reply(AckReply {
                token,
                socket: None,
                payload,
            }),
            PubSubResponse::Sockets(sockets) => Inbound::ServerSockets { id, sockets },
        })
    }

    /// A request for the sockets that a query of this node selects.
    fn query(&self, request: &QueryRequest) -> Option<Outgoing> {
        let selector = request
            .query
            .selector_for_servers()
            .filter(|_| self.is_member)?;
        let id = self.request_id(request.id);
        let message = match request.query.needs_only_number() && selector.except.is_empty() {
            true => encode::ids_request(&self.members.uid, &id, &selector),
            false => encode::fetch_request(&self.members.uid, &id, &selector),
        };
        let channel = self.channels.requests(&selector.namespace);
        Some(outgoing(channel, message.into(), true))
    }

    /// The id of a request for the acks of a call or the results of a query of this node. It names the node, because
    /// other nodes receive the responses too.
    fn request_id(&self, call: u64) -> String {
        format!("{}:{}", self.members.uid, members::request_id(call))
    }

    /// The call or query of this node to which a request id belongs.
    fn call_of(&self, request: &str) -> Option<u64> {
        let call = request.strip_prefix(self.members.uid.as_str())?;
        members::call_of(call.strip_prefix(':')?)
    }

    fn command(&self, command: &Command) -> Outgoing {
        let uid = &self.members.uid;
        let namespace = command.namespace();
        let requests = || self.channels.requests(namespace);
        let (channel, payload, volatile) = match command {
            Command::Emit(emit) => match self.request_of(emit) {
                Some(request) => {
                    let message = encode::emit_request(uid, &request, emit);
                    (requests(), message.into(), emit.volatile)
                }
                None => {
                    let channel = match *encode::unique(&emit.to.rooms) {
                        [room] => self.channels.room(namespace, room),
                        _ => self.channels.namespace(namespace),
                    };
                    let message = encode::broadcast(uid, emit);
                    (channel, message.into(), emit.volatile)
                }
            },
            change => {
                let message = encode::change(uid, change).unwrap_or_default();
                (requests(), message.into(), false)
            }
        };
        outgoing(channel, payload, volatile)
    }

    /// The id under which servers respond to an emit of this node, if it requests acks.
    fn request_of(&self, emit: &Emit) -> Option<String> {
        let token = emit.ack.as_ref()?;
        let is_ours = token.reply_to == ReplyTo::Node(self.members.node);
        is_ours.then(|| self.request_id(token.id))
    }

    /// A response to a server.
    fn respond(&self, to: &ReplyTo, encode: impl FnOnce(&str) -> Bytes) -> Vec<Outgoing> {
        let Some(requester) = Requester::of(to, DIALECT) else {
            return Vec::new();
        };
        let Requester { namespace, uid, .. } = &requester;
        let is_of_node = self.members.node_of(uid).is_some();
        let channel = if is_of_node || self.specific_responses && !uid.is_empty() {
            self.channels.responses_to(namespace, uid)
        } else {
            self.channels.responses(namespace)
        };
        let request = requester.request.trim_end_matches(ROOMS_MARK);
        vec![outgoing(channel, encode(request), false)]
    }

    fn query_answer(&self, to: &ReplyTo, answer: &QueryAnswer) -> Vec<Outgoing> {
        let wants_rooms = Requester::of(to, DIALECT)
            .is_some_and(|requester| requester.request.ends_with(ROOMS_MARK));
        match answer {
            QueryAnswer::Sockets { sockets, .. } => self.respond(to, |request| {
                encode::ids(request, sockets.iter().map(SocketId::as_str)).into()
            }),
            QueryAnswer::Details { sockets, .. } => self.respond(to, |request| {
                if wants_rooms {
                    return encode::rooms(request, sockets).into();
                }
                encode::sockets(request, sockets, &self.headers).into()
            }),
            _ => Vec::new(),
        }
    }

    /// The answer to an event for servers. Servers expect it on the common channel, whatever their configuration.
    fn server_event_answer(&self, to: &ReplyTo, answer: &str) -> Vec<Outgoing> {
        let Some(requester) = Requester::of(to, DIALECT) else {
            return Vec::new();
        };
        let message = encode::server_event_answer(&requester.request, answer);
        let channel = self.channels.responses(&requester.namespace);
        vec![outgoing(channel, message.into(), false)]
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

impl Dialect for PubSubDialect {
    fn id(&self) -> DialectId {
        DIALECT
    }

    fn is_receive_only(&self) -> bool {
        !self.is_member
    }

    fn subscriptions(&self) -> Subscriptions {
        Subscriptions {
            always: vec![self.channels.all()],
            per_room: true,
            per_socket: true,
            per_namespace: true,
            translated: Some(self.channels.patterns(self.is_member)),
        }
    }

    fn room_channel(&self, namespace: &Namespace, room: &Room) -> Option<Channel> {
        Some(self.channels.room(namespace, room))
    }

    fn namespace_channels(&self, namespace: &Namespace) -> Vec<Channel> {
        let mut channels = vec![
            self.channels.namespace(namespace),
            self.channels.requests(namespace),
        ];
        if self.is_member {
            channels.push(self.channels.responses(namespace));
            channels.push(self.channels.responses_to(namespace, &self.members.uid));
        }
        channels
    }

    fn owns(&self, channel: &Channel) -> bool {
        self.channels.kind(channel).is_some()
    }

    fn counts_receivers(&self) -> bool {
        self.is_member
    }

    fn decode(&self, channel: &Channel, message: &Bytes) -> Result<Inbound, DecodeError> {
        let Some(kind) = self.channels.kind(channel) else {
            return Ok(Inbound::Ignored);
        };
        self.inbound(kind, message)
            .map_err(|malformed| DecodeError {
                reason: match malformed.unfit() {
                    Some(_) => BusDrop::Unfit,
                    None => BusDrop::Unreadable,
                },
                cause: Box::new(malformed),
            })
    }

    fn is_of_roomwire(&self, channel: &Channel, message: &Bytes) -> bool {
        match self.channels.kind(channel) {
            Some(ChannelKind::AllEmits | ChannelKind::Emits(_)) => {
                emit::sender(message).is_some_and(members::is_of_roomwire)
            }
            Some(ChannelKind::Requests(namespace)) => {
                request::request(message, namespace, self.message_limit)
                    .is_ok_and(|request| members::is_of_roomwire(&request.uid))
            }
            Some(ChannelKind::Responses) | None => false,
        }
    }

    fn encode(&self, outbound: &Outbound<'_>) -> Result<Vec<Outgoing>, EncodeError> {
        Ok(match outbound {
            Outbound::Command(command) => vec![self.command(command)],
            Outbound::Reply(reply) => self.respond(&reply.token.reply_to, |request| {
                encode::ack(request, &reply.payload).into()
            }),
            Outbound::Reached { token, sockets } => self.respond(&token.reply_to, |request| {
                encode::count(request, *sockets).into()
            }),
            Outbound::ForeignAnswer { reply_to, answer } => self.query_answer(reply_to, answer),
            Outbound::ServerEventAnswer { reply_to, answer } => {
                self.server_event_answer(reply_to, answer)
            }
            Outbound::ForeignChangeDone { reply_to } => {
                self.respond(reply_to, |request| encode::done(request).into())
            }
            Outbound::Query(request) => self.query(request).into_iter().collect(),
            Outbound::QueryAnswer(_)
            | Outbound::Announcement(_)
            | Outbound::Forward { .. }
            | Outbound::Heartbeat { .. } => Vec::new(),
        })
    }
}
