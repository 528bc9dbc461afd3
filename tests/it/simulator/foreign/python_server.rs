//! A server in Python with a Redis manager of python-socketio.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Server;
use super::record::{ANNEX, RequestKind};
use crate::simulator::history::EmitId;

pub const CHANNEL: &str = "socketio";

impl Server {
    fn publish_python(&self, mut message: Value) {
        message["namespace"] = json!("/");
        message["host_id"] = json!(self.uid);
        self.publish(CHANNEL, message.to_string());
    }

    pub(super) fn python_emit(&self, id: EmitId, with_callback: bool) {
        let (rooms, except, arguments) = self.parts(id);
        let room = rooms.first();
        let mut callback = Value::Null;
        if let (true, Some(room)) = (with_callback, room) {
            let number = self.requests.borrow().len();
            self.begin_request(number.to_string(), RequestKind::Call(id), Vec::new());
            callback = json!([room, "/", number]);
        }
        self.publish_python(json!({
            "method": "emit",
            "event": "event",
            "data": arguments,
            "binary": false,
            "room": room,
            "skip_sid": except.first(),
            "callback": callback,
        }));
        let mut data = vec![json!("event")];
        data.extend(arguments.as_array().unwrap().iter().cloned());
        let (rooms, except) = (rooms.into_iter().collect(), except.into_iter().collect());
        self.deliver(&data, &rooms, &except).unwrap();
    }

    pub(super) fn python_move(&self, sid: &str, joins: bool) {
        self.moved(|socket| socket.sid == sid, joins);
        let method = if joins { "enter_room" } else { "leave_room" };
        self.publish_python(json!({"method": method, "sid": sid, "room": ANNEX}));
    }

    pub(super) fn python_disconnect(&self, sid: &str) {
        self.publish_python(json!({"method": "disconnect", "sid": sid}));
    }

    pub(super) fn receive_as_python(&self, message: &Bytes) -> Option<()> {
        let message: Value = serde_json::from_slice(message).ok()?;
        let (method, host) = (message["method"].as_str()?, message["host_id"].as_str()?);
        if method == "callback" {
            // `host_id` names the process that requested the callback.
            if host == self.uid {
                let id = message["id"].as_u64()?.to_string();
                let ack = match message["args"].as_array()?.first()? {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                self.respond(&id, |request| request.acks.push(ack));
            }
            return Some(());
        }
        if host == self.uid {
            return Some(());
        }
        match method {
            "emit" => self.receive_emit(&message, host)?,
            "enter_room" | "leave_room" => {
                let sid = message["sid"].as_str()?;
                if message["room"] == ANNEX {
                    self.moved(|socket| socket.sid == sid, method == "enter_room");
                }
            }
            "disconnect" => _ = message["sid"].as_str()?,
            "close_room" => _ = message["room"].as_str()?,
            _ => return None,
        }
        Some(())
    }

    fn receive_emit(&self, message: &Value, host: &str) -> Option<()> {
        let mut data = vec![message["event"].clone()];
        match &message["data"] {
            Value::Array(arguments) => data.extend(arguments.iter().cloned()),
            other => data.push(other.clone()),
        }
        if host.starts_with("roomwire:") && self.is_of_server(&data) {
            self.note_translation(host)?;
        }
        let rooms = names(&message["room"])?;
        if message["room"].is_array() && rooms.is_empty() {
            return Some(());
        }
        let sids = self.deliver(&data, &rooms, &names(&message["skip_sid"])?)?;
        if let Some([room, namespace, id]) = message["callback"].as_array().map(Vec::as_slice) {
            for sid in sids {
                let callback = json!({
                    "method": "callback",
                    "host_id": host,
                    "sid": room,
                    "namespace": namespace,
                    "id": id,
                    "args": [sid],
                });
                self.publish(CHANNEL, callback.to_string());
            }
        }
        Some(())
    }
}

/// Nothing, a name or a list of names.
fn names(value: &Value) -> Option<BTreeSet<String>> {
    match value {
        Value::Null => Some(BTreeSet::new()),
        Value::String(name) => Some(BTreeSet::from([name.clone()])),
        list => super::texts(list),
    }
}
