//! What a client requests.

use serde_json::{Value, json};

use super::Client;
use crate::simulator::history::{Emit, EmitId, JoinedSince, Request, Sender, Stay};
use crate::simulator::mutation::Mutation;

impl Client {
    fn request(&self, arguments: &Value, ask: Option<EmitId>) -> u64 {
        let number = self.next_ack.get();
        self.next_ack.set(number + 1);
        let request = Request {
            sent: self.run.now(),
            response: None,
            ask,
            leaves: arguments[0] == "roomwire:leave",
        };
        self.with(|connection| connection.requests.insert(number, request));
        match self.pretended(arguments) {
            Some(ack) => self.receive(&format!("43{number}[{ack}]")),
            None => self.send(format!("42{number}{arguments}")),
        }
        number
    }

    /// The response to a request that a mutation does not execute.
    fn pretended(&self, arguments: &Value) -> Option<Value> {
        let (room, mutator) = (&arguments[1], &self.run.mutator);
        match arguments[0].as_str()? {
            "roomwire:join" if mutator.strikes(Mutation::IgnoreJoin) => {
                Some(json!({"ok": true, "room": room, "transport": "polling"}))
            }
            "roomwire:leave" if mutator.strikes(Mutation::IgnoreLeave) => {
                Some(json!({"ok": true, "room": room}))
            }
            _ => None,
        }
    }

    /// Joins a room, perhaps with a part of its log.
    pub fn join(&self, room: &str, since: Option<JoinedSince>) {
        self.run
            .note(format_args!("c{} joins {room} {since:?}", self.connection));
        let mut arguments = json!(["roomwire:join", room]);
        let text = match &since {
            Some(JoinedSince::Position(position)) => Some(position.clone()),
            Some(JoinedSince::Last(number)) => Some(format!("last:{number}")),
            None => None,
        };
        if let (Some(text), Some(arguments)) = (text, arguments.as_array_mut()) {
            arguments.push(json!({"since": text}));
        }
        let requested = self.run.now();
        self.with(|connection| {
            connection.stays.push(Stay {
                room: room.to_owned(),
                requested,
                joined: None,
                left: None,
                left_acked: None,
                lost: false,
                since,
                replay: None,
            });
        });
        self.request(&arguments, None);
    }

    pub fn leave(&self, room: &str) {
        self.run
            .note(format_args!("c{} leaves {room}", self.connection));
        let now = self.run.now();
        self.with(|connection| {
            let open = |stay: &&mut Stay| stay.room == room && stay.left.is_none();
            for stay in connection.stays.iter_mut().filter(open) {
                stay.left = Some(now);
            }
            connection.views.remove(room);
        });
        self.request(&json!(["roomwire:leave", room]), None);
    }

    /// Requests the users of a room with presence.
    pub fn list_members(&self, room: &str) {
        self.request(&json!(["roomwire:members", room, {"limit": 100}]), None);
    }

    pub fn emit(&self, room: &str, with_ack: bool) {
        let verb = if with_ack { "asks" } else { "emits to" };
        let id = {
            let mut history = self.run.history.borrow_mut();
            history.emits.push(Emit {
                sender: Sender::Client(self.connection),
                room: room.to_owned(),
                sent: self.run.now(),
                except: None,
            });
            history.emits.len() - 1
        };
        self.run
            .note(format_args!("c{} {verb} {room}: e{id}", self.connection));
        let name = if with_ack {
            "roomwire:ask"
        } else {
            "roomwire:emit"
        };
        let filler = "x".repeat(id % 97 * 7);
        self.request(
            &json!([name, room, "event", id, filler]),
            with_ack.then_some(id),
        );
    }
}
