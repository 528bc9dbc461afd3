//! Encodes commands and replies as python-socketio messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::json::json_string;
use super::{CallbackAddress, PythonCodec};
use crate::cluster::dialect::socket_ids::may_be_socket;
use crate::model::{
    AckReply, AckToken, Command, Emit, Namespace, Payload, ReplyTo, Room, Selector,
};

/// Maximum of bytes of the messages that move sockets for one command. A command of some kilobytes that lists sockets and
/// rooms would otherwise become millions of messages.
const MOST_BYTES: usize = 16 << 20;

/// The dialect cannot express this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// `skip_sid` lists sockets. Without the exception, the members of the room would receive an event not meant for them.
    #[error("python-socketio can except sockets only, not room {0}")]
    ExceptRoom(Room),
    /// `disconnect`, `enter_room` and `leave_room` name one socket.
    #[error("python-socketio can disconnect and move single sockets only")]
    NotSockets,
    /// A stock process fails on binary data in a reply.
    #[error("python-socketio cannot carry binary data in a reply")]
    BinaryReply,
    #[error("the reply does not go to a python-socketio process")]
    ForeignRecipient,
    #[error("the event has no name")]
    NoName,
    /// There is a message for each socket and room.
    #[error("moving {sockets} sockets by {rooms} rooms takes more than {MOST_BYTES} bytes")]
    TooManyMoves { sockets: usize, rooms: usize },
}

impl PythonCodec {
    /// Encodes a command: one message, except that `disconnect`, `enter_room` and `leave_room` take one per socket and
    /// room. The dialect drops `volatile`, `close` (its `disconnect` leaves the namespace), and the difference between
    /// one `null` argument and none.
    ///
    /// # Errors
    /// The dialect cannot express the command.
    pub fn encode(&self, command: &Command) -> Result<Vec<Bytes>, Unsupported> {
        match command {
            Command::Emit(emit) => Ok(vec![self.emit(emit)?]),
            Command::Join { selector, rooms } => self.move_sockets("enter_room", selector, rooms),
            Command::Leave { selector, rooms } => self.move_sockets("leave_room", selector, rooms),
            Command::CloseRoom { namespace, room } => {
                let body = format!(",\"room\":{}", json_string(room));
                Ok(vec![self.message("close_room", namespace, &body)])
            }
            Command::Disconnect { selector, .. } => self.disconnect(selector),
        }
    }

    /// Encodes a client's reply to an emit of a python-socketio process. `host_id` is that of the process, as its
    /// manager requires; Roomwire nodes ignore the message.
    ///
    /// # Errors
    /// The reply has attachments, or goes elsewhere.
    pub fn encode_reply(reply: &AckReply) -> Result<Bytes, Unsupported> {
        let address =
            CallbackAddress::of(&reply.token.reply_to).ok_or(Unsupported::ForeignRecipient)?;
        if reply.payload.has_attachments() {
            return Err(Unsupported::BinaryReply);
        }
        let json = format!(
            "{{\"method\":\"callback\",\"host_id\":{},\"sid\":{},\"namespace\":{},\"id\":{},\"args\":{}}}",
            json_string(&address.host_id),
            json_string(&address.room),
            json_string(&address.namespace),
            reply.token.id,
            reply.payload.json(),
        );
        Ok(Bytes::from(json))
    }

    fn emit(&self, emit: &Emit) -> Result<Bytes, Unsupported> {
        let (event, data) = event_and_data(&emit.payload)?;
        let selector = &emit.to;
        let mut body = format!(
            ",\"event\":{event},\"data\":{data},\"binary\":{},\"room\":{},\"skip_sid\":{}",
            emit.payload.has_attachments(),
            one_or_many(&selector.rooms),
            one_or_many(socket_rooms_only(&selector.except)?),
        );
        let host_id = match &emit.ack {
            None => {
                body.push_str(",\"callback\":null");
                self.host_id(self.node)
            }
            Some(ack) => {
                let address = self.callback_address(ack, selector)?;
                body.push_str(&format!(
                    ",\"callback\":[{},{},{}]",
                    json_string(&address.room),
                    json_string(&address.namespace),
                    ack.id,
                ));
                address.host_id
            }
        };
        Ok(message_of(&host_id, "emit", &selector.namespace, &body))
    }

    /// Where the reply to an emit goes: `host_id`, and the first two elements of `callback`, which come back with it.
    fn callback_address(
        &self,
        ack: &AckToken,
        selector: &Selector,
    ) -> Result<CallbackAddress, Unsupported> {
        let ReplyTo::Node(node) = &ack.reply_to else {
            return CallbackAddress::of(&ack.reply_to).ok_or(Unsupported::ForeignRecipient);
        };
        let room = selector.rooms.first().map(Room::to_string);
        Ok(CallbackAddress {
            host_id: self.host_id(*node),
            room: room.unwrap_or_default(),
            namespace: selector.namespace.clone(),
        })
    }

    fn move_sockets(
        &self,
        method: &str,
        selector: &Selector,
        rooms: &[Room],
    ) -> Result<Vec<Bytes>, Unsupported> {
        let sockets = sockets_only(selector)?;
        let (mut messages, mut bytes) = (Vec::new(), 0);
        for sid in sockets {
            for room in rooms {
                let body = format!(
                    ",\"sid\":{},\"room\":{}",
                    json_string(sid),
                    json_string(room)
                );
                let message = self.message(method, &selector.namespace, &body);
                bytes += message.len();
                if bytes > MOST_BYTES {
                    let (sockets, rooms) = (sockets.len(), rooms.len());
                    return Err(Unsupported::TooManyMoves { sockets, rooms });
                }
                messages.push(message);
            }
        }
        Ok(messages)
    }

    fn disconnect(&self, selector: &Selector) -> Result<Vec<Bytes>, Unsupported> {
        let message = |sid: &Room| {
            let body = format!(",\"sid\":{}", json_string(sid));
            self.message("disconnect", &selector.namespace, &body)
        };
        Ok(sockets_only(selector)?.iter().map(message).collect())
    }

    fn message(&self, method: &str, namespace: &Namespace, body: &str) -> Bytes {
        message_of(&self.host_id(self.node), method, namespace, body)
    }
}

/// `host_id` comes first, so that the nodes of the cluster drop the message unparsed.
fn message_of(host_id: &str, method: &str, namespace: &Namespace, body: &str) -> Bytes {
    let host_id = json_string(host_id);
    let namespace = json_string(namespace);
    let json = format!(
        "{{\"host_id\":{host_id},\"method\":\"{method}\",\"namespace\":{namespace}{body}}}"
    );
    Bytes::from(json)
}

/// The event's name, and `data`: the list of arguments, or with attachments a list of that list
/// and the attachments in base64.
fn event_and_data(payload: &Payload) -> Result<(&str, String), Unsupported> {
    let mut elements = payload.elements();
    let event = elements.next().ok_or(Unsupported::NoName)?;
    let arguments: Vec<_> = elements.collect();
    // Stock processes express "no argument" as one null; old ones take an empty list for an argument.
    let arguments = match arguments.as_slice() {
        [] => "[null]".to_owned(),
        some => format!("[{}]", some.join(",")),
    };
    if !payload.has_attachments() {
        return Ok((event, arguments));
    }
    let mut data = format!("[{arguments}");
    for attachment in payload.attachments() {
        data.push_str(",\"");
        STANDARD.encode_string(attachment, &mut data);
        data.push('"');
    }
    data.push(']');
    Ok((event, data))
}

/// The three forms of `room` and `skip_sid`.
fn one_or_many(rooms: &[Room]) -> String {
    match rooms {
        [] => "null".to_owned(),
        [room] => json_string(room),
        rooms => {
            let names: Vec<String> = rooms.iter().map(|room| json_string(room)).collect();
            format!("[{}]", names.join(","))
        }
    }
}

fn socket_rooms_only(rooms: &[Room]) -> Result<&[Room], Unsupported> {
    match rooms.iter().find(|room| !may_be_socket(room)) {
        None => Ok(rooms),
        Some(room) => Err(Unsupported::ExceptRoom(room.clone())),
    }
}

/// The sockets of a selector that names nothing else.
fn sockets_only(selector: &Selector) -> Result<&[Room], Unsupported> {
    let no_sockets = selector.rooms.is_empty() || !selector.except.is_empty();
    if no_sockets || socket_rooms_only(&selector.rooms).is_err() {
        return Err(Unsupported::NotSockets);
    }
    Ok(&selector.rooms)
}
