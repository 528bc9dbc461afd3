//! A Socket.IO server in Node with the pub/sub adapter on the bus of a test: publishes and receives the messages of its
//! adapter in the main namespace.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use roomwire::bus::link::{Channel, Link, LinkEvent, LinkEvents, Outgoing};
use roomwire::bus::memory::{Hub, MemoryLink};
use roomwire::model::Attachments;
use roomwire::msgpack::{Reader, write_value};
use serde_json::{Value, json};

use super::within_deadline;

/// Channel of the requests to all servers.
pub const REQUESTS: &str = "socket.io-request#/#";
/// Channel of the responses to all servers.
const RESPONSES: &str = "socket.io-response#/#";

/// A foreign member of the bus.
pub struct NodeServer {
    link: Arc<MemoryLink>,
    events: LinkEvents,
    uid: &'static str,
    /// Responses that it has published and not received.
    responses: RefCell<Vec<Bytes>>,
}

impl NodeServer {
    /// Joins the bus with this id.
    pub fn join(hub: &Hub, uid: &'static str) -> Self {
        let (link, events) = hub.join();
        link.subscribe([REQUESTS, RESPONSES].map(Channel::from).to_vec());
        Self {
            link,
            events,
            uid,
            responses: RefCell::default(),
        }
    }

    /// Publishes a request of this server with these fields.
    pub fn request(&self, fields: &Value) {
        let mut request = json!({"uid": self.uid});
        let (all, more) = (
            request.as_object_mut().unwrap(),
            fields.as_object().unwrap(),
        );
        all.extend(more.clone());
        self.publish(REQUESTS, request.to_string());
    }

    /// Emits an event to the whole namespace and requests acks.
    pub fn emit_with_ack(&self, request: &str, event: &str) {
        let message = json!({
            "uid": self.uid, "requestId": request, "type": 7,
            "packet": {"type": 2, "data": [event], "nsp": "/"},
            "opts": {"rooms": [], "except": [], "flags": {"timeout": 5000}}
        });
        let mut bytes = Vec::new();
        write_value(&message.to_string(), &[], &mut bytes);
        self.publish(REQUESTS, bytes);
    }

    /// Publishes a response.
    pub fn respond(&self, response: &Value) {
        self.publish_response(response.to_string().into());
    }

    /// Passes on the ack of a client.
    pub fn acknowledge(&self, request: &Value, argument: &str) {
        let ack = json!({"type": 9, "requestId": request, "packet": argument});
        let mut bytes = Vec::new();
        write_value(&ack.to_string(), &[], &mut bytes);
        self.publish_response(bytes.into());
    }

    fn publish_response(&self, response: Bytes) {
        self.responses.borrow_mut().push(response.clone());
        self.publish(RESPONSES, response);
    }

    fn publish(&self, channel: &str, payload: impl Into<Bytes>) {
        self.link
            .publish(vec![Outgoing::new(Channel::from(channel), payload)]);
    }

    /// The next message that this server has not published itself, and its size in bytes.
    pub async fn receive(&mut self) -> (Value, usize) {
        loop {
            let event = within_deadline("a message on the bus", self.events.next()).await;
            let Some(LinkEvent::Message { payload, .. }) = event else {
                continue;
            };
            let own = |response: &Bytes| *response == payload;
            let position = self.responses.get_mut().iter().position(own);
            if let Some(position) = position {
                self.responses.get_mut().remove(position);
                continue;
            }
            let message: Value = if payload.starts_with(b"{") {
                serde_json::from_slice(&payload).unwrap()
            } else {
                let json = Reader::new(&payload).json(&mut Attachments::new(), usize::MAX);
                serde_json::from_slice(&json.unwrap()).unwrap()
            };
            if message["uid"] != self.uid {
                return (message, payload.len());
            }
        }
    }
}

/// The fields of the stream entry that a server with the streams adapter adds for an emit in the main namespace.
pub fn emit_entry(data: &Value, rooms: &[&str], flags: &Value) -> [String; 8] {
    let data = json!({
        "packet": {"type": 2, "data": data},
        "opts": {"rooms": rooms, "except": [], "flags": flags},
    });
    let data = data.to_string();
    let uid = "0123456789abcdef";
    ["uid", uid, "nsp", "/", "type", "3", "data", &data].map(str::to_owned)
}
