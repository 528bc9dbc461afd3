//! Messages of `ClusterAdapter` as the node receives and sends them, whatever carries them.

use bytes::Bytes;

use super::members::{ClusterMembers, call_of, request_id};
use super::message::{ClusterMessage, Data, MessageBody};
use super::requester::Requester;
use crate::cluster::dialect::{EncodeError, Inbound, Outbound};
use crate::model::{
    AckReply, AckToken, Command, DialectId, Emit, Namespace, NodeId, Query, QueryAnswer, ReplyTo,
    ServerSideEvent,
};

/// The messages of one node in one dialect.
#[derive(Debug, Clone)]
pub(super) struct ClusterExchange {
    pub(super) dialect: DialectId,
    pub(super) members: ClusterMembers,
    /// `bus.node_handshake`.
    pub(super) headers: Vec<String>,
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) data: Data,
    pub(super) namespace: Namespace,
    /// The server that waits for this response; `None` for a message to all.
    pub(super) to: Option<String>,
    pub(super) volatile: bool,
}

/// The message cannot be expressed.
#[derive(Debug, thiserror::Error)]
#[error("acks for a member of another dialect")]
struct UnsupportedAcks;

impl ClusterExchange {
    /// The effect of a message on this node.
    pub(super) fn inbound(&self, message: ClusterMessage) -> Inbound {
        let ClusterMessage {
            uid,
            namespace,
            body,
        } = message;
        let body = match body {
            MessageBody::Count { request, sockets } => {
                return self
                    .response_to_call(&request, |token| Inbound::Reached { token, sockets });
            }
            MessageBody::Sockets { request, sockets } => {
                return call_of(&request).map_or(Inbound::Ignored, |id| Inbound::ServerSockets {
                    id,
                    sockets,
                });
            }
            MessageBody::Ack { request, payload } => {
                let socket = None;
                return self.response_to_call(&request, |token| {
                    Inbound::Reply(AckReply {
                        token,
                        socket,
                        payload,
                    })
                });
            }
            other => other,
        };
        let namespace = Namespace::from(namespace);
        let requester = |request: String| {
            let requester = Requester {
                namespace: namespace.clone(),
                uid: uid.clone(),
                request,
            };
            requester.to_reply_to(self.dialect)
        };
        match self.members.node_of(&uid) {
            Some(node) => self.message_of_node(node, body, requester),
            None => message_of_server(body, &namespace, requester),
        }
    }

    /// Converts a message of a node of the cluster, this one included, which the node has also published in the first
    /// dialect.
    fn message_of_node(
        &self,
        node: NodeId,
        body: MessageBody,
        requester: impl FnOnce(String) -> ReplyTo,
    ) -> Inbound {
        match body {
            MessageBody::Emit {
                request: Some(request),
                ..
            }
            | MessageBody::EmitToNobody { request, .. }
                if node == self.members.node =>
            {
                Inbound::Own {
                    gather: call_of(&request),
                }
            }
            MessageBody::Emit {
                request: Some(request),
                ..
            }
            | MessageBody::EmitToNobody { request, .. } => Inbound::UnreachedEmit {
                token: token(requester(request)),
                unfit: None,
            },
            MessageBody::Fetch { request, .. } if node == self.members.node => Inbound::Own {
                gather: call_of(&request),
            },
            MessageBody::Fetch { request, .. } => Inbound::FetchOfNobody {
                reply_to: requester(request),
            },
            _ => Inbound::Own { gather: None },
        }
    }

    fn response_to_call(
        &self,
        request: &str,
        response: impl FnOnce(AckToken) -> Inbound,
    ) -> Inbound {
        let token = call_of(request).map(|id| AckToken {
            reply_to: ReplyTo::Node(self.members.node),
            id,
        });
        token.map_or(Inbound::Ignored, response)
    }

    /// The message to publish; `None` if only other dialects publish it.
    ///
    /// # Errors
    /// The format cannot express the message.
    pub(super) fn publication(
        &self,
        outbound: &Outbound<'_>,
    ) -> Result<Option<Publication>, EncodeError> {
        Ok(match outbound {
            Outbound::Command(command) => Some(self.command(command)?),
            Outbound::Reply(reply) => {
                let acks = (!reply.is_no_recipient()).then_some(&reply.payload);
                acks.and_then(|payload| {
                    self.response(&reply.token.reply_to, |request| {
                        let argument = payload.elements().next();
                        Data::ack(request, argument, payload.attachments())
                    })
                })
            }
            Outbound::Reached { token, sockets } => {
                self.response(&token.reply_to, |request| Data::count(request, *sockets))
            }
            Outbound::ForeignAnswer { reply_to, answer } => {
                let QueryAnswer::Details { sockets, .. } = answer else {
                    return Ok(None);
                };
                self.response(reply_to, |request| {
                    Data::sockets(request, sockets, &self.headers)
                })
            }
            Outbound::ServerEventAnswer { reply_to, answer } => self
                .response(reply_to, |request| {
                    Data::server_event_answer(request, answer)
                }),
            Outbound::Query(request) => {
                let selected = request.query.selector_for_servers();
                selected.map(|selector| Publication {
                    data: Data::fetch(&request_id(request.id), &selector),
                    namespace: selector.namespace,
                    to: None,
                    volatile: true,
                })
            }
            Outbound::ForeignChangeDone { .. }
            | Outbound::QueryAnswer(_)
            | Outbound::Announcement(_)
            | Outbound::Forward { .. }
            | Outbound::Heartbeat { .. } => None,
        })
    }

    fn command(&self, command: &Command) -> Result<Publication, EncodeError> {
        let (data, volatile) = match command {
            Command::Emit(emit) => {
                let request = match &emit.ack {
                    None => None,
                    Some(token) if token.reply_to == ReplyTo::Node(self.members.node) => {
                        Some(request_id(token.id))
                    }
                    Some(_) => {
                        return Err(EncodeError::Unsupported(Box::new(UnsupportedAcks)));
                    }
                };
                (Data::emit(emit, request.as_deref(), None), emit.volatile)
            }
            change => (Data::command(change), false),
        };
        Ok(Publication {
            data,
            namespace: command.namespace().clone(),
            to: None,
            volatile,
        })
    }

    fn response(
        &self,
        recipient: &ReplyTo,
        data: impl FnOnce(&str) -> Data,
    ) -> Option<Publication> {
        let requester = Requester::of(recipient, self.dialect)?;
        Some(Publication {
            data: data(&requester.request),
            namespace: requester.namespace,
            to: Some(requester.uid),
            volatile: false,
        })
    }
}

/// Converts a message of a server.
fn message_of_server(
    body: MessageBody,
    namespace: &Namespace,
    requester: impl FnOnce(String) -> ReplyTo,
) -> Inbound {
    match body {
        MessageBody::Emit {
            emit,
            request: Some(request),
            timeout,
        } => Inbound::CountedEmit {
            emit: Emit {
                ack: Some(token(requester(request))),
                ..emit
            },
            timeout,
        },
        MessageBody::Emit { emit, .. } => Inbound::Command(Command::Emit(emit)),
        MessageBody::EmitToNobody { request, unfit } => Inbound::UnreachedEmit {
            token: token(requester(request)),
            unfit,
        },
        MessageBody::Change(command) => Inbound::Command(command),
        MessageBody::FetchOfNobody { request } => Inbound::FetchOfNobody {
            reply_to: requester(request),
        },
        MessageBody::UnreadServerEvent { request, unfit } => Inbound::UnreadServerEvent {
            reply_to: requester(request),
            unfit,
        },
        MessageBody::Fetch { selector, request } => Inbound::ForeignQuery {
            reply_to: requester(request),
            query: Query::Details {
                selector,
                limit: u32::MAX,
            },
        },
        MessageBody::ServerEvent { payload, request } => Inbound::ServerEvent {
            event: ServerSideEvent {
                namespace: namespace.clone(),
                payload,
                expects_answer: request.is_some(),
            },
            reply_to: request.map(requester),
        },
        MessageBody::Count { .. }
        | MessageBody::Ack { .. }
        | MessageBody::Sockets { .. }
        | MessageBody::Ignored => Inbound::Ignored,
    }
}

/// The token of an emit of a server. Requests of servers have no number.
fn token(reply_to: ReplyTo) -> AckToken {
    AckToken { reply_to, id: 0 }
}

/// The bytes of a message on a channel: msgpack if it must be, otherwise JSON text.
pub(super) fn bytes(publication: &Publication, uid: &str, is_msgpack: bool) -> Bytes {
    let Publication {
        data, namespace, ..
    } = publication;
    match is_msgpack {
        true => data.message_msgpack(uid, namespace).into(),
        false => data.message_json(uid, namespace).into(),
    }
}
