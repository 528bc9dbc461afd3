//! Verbs that send events or change rooms and sockets.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::bounds::{self, CheckRules};
use super::event::event_payload;
use super::name::Name;
use super::problem::{Code, VerbError};
use super::target::targeted;
use super::text_schema::{Base64Text, NameText, NamespaceText};
use crate::model::{Command, ConflationKey, Emit, Room, Selector};

/// Longest conflation key, in bytes.
const MAX_CONFLATION_KEY: usize = 128;

targeted! {
    /// Sends an event to the selected sockets.
    EmitRequest(rooms) {
        /// Name of the event.
        #[serde(borrow)]
        #[schema(value_type = String, example = "message")]
        event: Name<'a>,
        /// Arguments of the event. A value `{"_placeholder":true,"num":N}` stands for attachment `N`.
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<Vec<serde_json::Value>>)]
        args: Option<&'a RawValue>,
        /// Binary values as base64, in the order of their placeholders' numbers, at most 10.
        #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
        #[schema(value_type = Vec<Base64Text>, max_items = 10)]
        attachments: Vec<Name<'a>>,
        /// Drop the event for clients that cannot receive it at once.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        volatile: bool,
        /// Conflation key, 1 to 128 bytes: clients that are behind receive only the latest event with this key and these
        /// rooms.
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
        conflate: Option<Name<'a>>,
        /// Respond with the number of selected sockets, of their nodes, and with the nodes that did not respond.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        counts: bool,
    }
}

targeted! {
    /// Puts the selected sockets into rooms.
    JoinRequest(members_of) {
        /// The rooms to join.
        #[serde(borrow)]
        #[schema(value_type = Vec<NameText>, min_items = 1, max_items = 1000)]
        rooms: Vec<Name<'a>>,
    }
}

targeted! {
    /// Takes the selected sockets out of rooms.
    LeaveRequest(members_of) {
        /// The rooms to leave.
        #[serde(borrow)]
        #[schema(value_type = Vec<NameText>, min_items = 1, max_items = 1000)]
        rooms: Vec<Name<'a>>,
    }
}

targeted! {
    /// Disconnects the selected sockets. Stock clients do not reconnect by themselves.
    DisconnectRequest(rooms) {
        /// Close the connections of the clients instead of disconnecting them from the namespace alone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        close: bool,
    }
}

targeted! {
    /// Closes the connections of the selected sockets so that stock clients reconnect and authenticate again.
    ForceReconnectRequest(rooms) {}
}

/// Takes every member out of a room.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseRoomRequest<'a> {
    /// The room.
    #[serde(borrow)]
    #[schema(value_type = NameText)]
    pub room: Name<'a>,
    /// Namespace of the room. Absent = `/`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NamespaceText>)]
    pub namespace: Option<Name<'a>>,
}

impl EmitRequest<'_> {
    fn conflation_key(&self) -> Result<Option<ConflationKey>, VerbError> {
        let Some(key) = &self.conflate else {
            return Ok(None);
        };
        let rejected = |message: String| Err(VerbError::new(Code::InvalidConflation, message));
        match key.len() {
            1..=MAX_CONFLATION_KEY if self.volatile => {
                rejected("`conflate` excludes `volatile`".to_owned())
            }
            1..=MAX_CONFLATION_KEY => Ok(ConflationKey::new(key)),
            length => rejected(format!(
                "`conflate` has {length} bytes, 1 to {MAX_CONFLATION_KEY} are allowed"
            )),
        }
    }

    /// The event and its recipients.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self, rules: &CheckRules<'_>) -> Result<Emit, VerbError> {
        Ok(Emit {
            to: self.target().selector(rules)?,
            payload: event_payload(&self.event, self.args, &self.attachments, rules)?,
            volatile: self.volatile,
            ack: None,
            conflate: self.conflation_key()?,
        })
    }
}

impl JoinRequest<'_> {
    /// The command.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self, rules: &CheckRules<'_>) -> Result<Command, VerbError> {
        Ok(Command::Join {
            selector: self.target().selector(rules)?,
            rooms: changed_rooms(&self.rooms)?,
        })
    }
}

impl LeaveRequest<'_> {
    /// The command.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self, rules: &CheckRules<'_>) -> Result<Command, VerbError> {
        Ok(Command::Leave {
            selector: self.target().selector(rules)?,
            rooms: changed_rooms(&self.rooms)?,
        })
    }
}

impl DisconnectRequest<'_> {
    /// The command.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self, rules: &CheckRules<'_>) -> Result<Command, VerbError> {
        Ok(Command::Disconnect {
            selector: self.target().selector(rules)?,
            close: self.close,
        })
    }
}

impl ForceReconnectRequest<'_> {
    /// The sockets whose clients reconnect.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self, rules: &CheckRules<'_>) -> Result<Selector, VerbError> {
        self.target().selector(rules)
    }
}

impl CloseRoomRequest<'_> {
    /// The command.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self) -> Result<Command, VerbError> {
        Ok(Command::CloseRoom {
            namespace: bounds::namespace(self.namespace.as_ref())?,
            room: Room::from(bounds::checked(&self.room, "room")?),
        })
    }
}

/// The rooms to join or leave.
fn changed_rooms(names: &[Name<'_>]) -> Result<Vec<Room>, VerbError> {
    if names.is_empty() {
        return Err(VerbError::new(Code::InvalidField, "`rooms` is empty"));
    }
    bounds::rooms(names, "rooms")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::OsRandom;
    use crate::model::{Namespace, NodeId, SocketId};
    use crate::verbs::{OwnSocket, VerbRequest};

    fn user_room(user: &str) -> Room {
        Room::from(format!("user:{user}"))
    }

    const RULES: CheckRules<'_> = CheckRules {
        max_depth: 4,
        user_room: &user_room,
        own_socket: None,
    };

    fn emit(json: &str) -> Result<Emit, (&'static str, String)> {
        let rejected = |error: VerbError| (error.code.name(), error.message);
        let request = crate::verbs::parse::<EmitRequest<'_>>(json.as_bytes()).map_err(rejected)?;
        request.check(&RULES).map_err(rejected)
    }

    fn socket() -> SocketId {
        SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom)
    }

    #[test]
    fn an_emit_selects_rooms_users_and_sockets_and_keeps_its_arguments_as_written() {
        let socket = socket();
        let json = format!(
            r#"{{"rooms":["a"],"users":["ada"],"sockets":["{socket}"],"except":["b"],"namespace":"/chat",
                "event":"say \"hi\"","args":[ {{"n": 1.0}}, "x" ],"volatile":true}}"#
        );
        let emit = emit(&json).unwrap();
        let rooms: Vec<&str> = emit.to.rooms.iter().map(Room::as_str).collect();
        assert_eq!(rooms, ["a", "user:ada", socket.as_str()]);
        assert_eq!(emit.to.except[0].as_str(), "b");
        assert_eq!(emit.to.namespace, Namespace::from("/chat"));
        let elements: Vec<&str> = emit.payload.elements().collect();
        assert_eq!(elements, [r#""say \"hi\"""#, r#"{"n": 1.0}"#, r#""x""#]);
        assert!(emit.volatile);
    }

    #[test]
    fn an_emit_without_arguments_is_its_name() {
        for args in ["", r#","args":[]"#, r#","args":[ ]"#, r#","args":null"#] {
            let emit = emit(&format!(r#"{{"everybody":true,"event":"e"{args}}}"#)).unwrap();
            let elements: Vec<&str> = emit.payload.elements().collect();
            assert_eq!(elements, [r#""e""#], "{args}");
            assert!(emit.to.rooms.is_empty());
        }
    }

    fn assert_rejected(cases: &[(&str, &str, &str)]) {
        for (json, code, named) in cases {
            let (found, message) = emit(json).unwrap_err();
            assert_eq!(found, *code, "{json}: {message}");
            assert!(message.contains(named), "{json}: {message}");
        }
    }

    #[test]
    fn a_target_that_is_missing_or_malformed_is_rejected() {
        let long = "x".repeat(256);
        let long_room = format!(r#"{{"rooms":["{long}"],"event":"e"}}"#);
        let long_user = format!(r#"{{"users":["{long}"],"event":"e"}}"#);
        let many = vec!["\"r\""; 1001].join(",");
        let many = format!(r#"{{"rooms":[{many}],"event":"e"}}"#);
        assert_rejected(&[
            (r#"{"event":"e"}"#, "target_missing", "`rooms`"),
            (r#"{"rooms":[],"event":"e"}"#, "target_missing", "everybody"),
            (
                r#"{"rooms":["a"],"everybody":true,"event":"e"}"#,
                "field_invalid",
                "everybody",
            ),
            (&long_room, "name_invalid", "256 bytes, at most 255"),
            (&long_user, "name_invalid", "`users`"),
            (r#"{"rooms":[""],"event":"e"}"#, "name_invalid", "empty"),
            (&many, "too_many_names", "1001"),
            (r#"{"sockets":["a"],"event":"e"}"#, "socket_invalid", "`a`"),
            (
                r#"{"everybody":true,"namespace":"chat","event":"e"}"#,
                "namespace_invalid",
                "`chat`",
            ),
        ]);
    }

    #[test]
    fn an_event_that_clients_cannot_receive_is_rejected() {
        let with = |rest: &str| format!(r#"{{"everybody":true,"event":"e",{rest}}}"#);
        assert_rejected(&[
            (
                r#"{"everybody":true,"event":"disconnect"}"#,
                "event_invalid",
                "reserved",
            ),
            (&with(r#""args":[[[[[]]]]]"#), "event_invalid", "deeper"),
            (&with(r#""args":{"a":1}"#), "field_invalid", "array"),
            (
                &with(r#""args":[1],"attachments":["!"]"#),
                "attachment_invalid",
                "base64",
            ),
            (
                &with(r#""args":[{"_placeholder":true,"num":1}],"attachments":["AA=="]"#),
                "attachment_invalid",
                "has no attachment",
            ),
            (
                &with(r#""args":[],"attachments":["AA=="]"#),
                "attachment_invalid",
                "no placeholder",
            ),
        ]);
    }

    #[test]
    fn an_emit_has_a_conflation_key_of_at_most_128_bytes() {
        let with = |rest: &str| format!(r#"{{"rooms":["r"],"event":"e",{rest}}}"#);
        let longest = "k".repeat(128);
        let key = |text: &str| emit(&with(&format!(r#""conflate":"{text}""#)));
        for text in ["price:7", &longest] {
            assert_eq!(key(text).unwrap().conflate.as_deref(), Some(text));
        }
        assert_eq!(emit(&with(r#""args":[]"#)).unwrap().conflate, None);
        assert_rejected(&[
            (&with(r#""conflate":"""#), "conflate_invalid", "0 bytes"),
            (
                &with(&format!(r#""conflate":"{longest}k""#)),
                "conflate_invalid",
                "129 bytes",
            ),
            (
                &with(r#""conflate":"k","volatile":true"#),
                "conflate_invalid",
                "volatile",
            ),
        ]);
        let call = r#"{"rooms":["r"],"event":"e","conflate":"k"}"#;
        let call = crate::verbs::parse::<crate::verbs::CallRequest<'_>>(call.as_bytes()).unwrap();
        let rejected = call.check(&RULES).unwrap_err();
        assert_eq!(rejected.code.name(), "conflate_invalid");
    }

    #[test]
    fn attachments_follow_their_placeholders() {
        let json = r#"{"everybody":true,"event":"e","args":[{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}],
            "attachments":["AQID","-_8"]}"#;
        let emit = emit(json).unwrap();
        let attachments: Vec<&[u8]> = emit.payload.attachments().iter().map(|a| &a[..]).collect();
        assert_eq!(attachments, [&[1, 2, 3][..], &[0xfb, 0xff][..]]);
    }

    fn command(json: &str, rules: &CheckRules<'_>) -> Result<Command, VerbError> {
        match VerbRequest::parse_tagged(json.as_bytes())? {
            VerbRequest::Join(join) => join.check(rules),
            VerbRequest::Leave(leave) => leave.check(rules),
            VerbRequest::Disconnect(disconnect) => disconnect.check(rules),
            VerbRequest::CloseRoom(close) => close.check(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn joins_leaves_and_disconnects_become_commands() {
        let main = Namespace::main;
        let cases = [
            (
                r#"{"join":{"rooms":["a"],"members_of":["b"]}}"#,
                Command::Join {
                    selector: Selector::room(main(), Room::from("b")),
                    rooms: vec![Room::from("a")],
                },
            ),
            (
                r#"{"leave":{"rooms":["a"],"users":["ada"]}}"#,
                Command::Leave {
                    selector: Selector::room(main(), Room::from("user:ada")),
                    rooms: vec![Room::from("a")],
                },
            ),
            (
                r#"{"disconnect":{"everybody":true,"except":["a"],"close":true}}"#,
                Command::Disconnect {
                    selector: Selector::everybody(main()).except(Room::from("a")),
                    close: true,
                },
            ),
            (
                r#"{"close_room":{"room":"a"}}"#,
                Command::CloseRoom {
                    namespace: main(),
                    room: Room::from("a"),
                },
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(command(json, &RULES), Ok(expected), "{json}");
        }
    }

    #[test]
    fn a_request_without_a_target_concerns_the_own_socket_if_there_is_one() {
        let json = r#"{"join":{"rooms":["a"]}}"#;
        let missing = command(json, &RULES).unwrap_err();
        assert_eq!(missing.code, Code::MissingTarget);
        assert!(missing.message.contains("members_of"), "{missing}");
        let (own, namespace) = (socket(), Namespace::from("/chat"));
        let with_own = CheckRules {
            own_socket: Some(OwnSocket {
                id: own,
                namespace: &namespace,
            }),
            ..RULES
        };
        let expected = Command::Join {
            selector: Selector::socket(namespace.clone(), own),
            rooms: vec![Room::from("a")],
        };
        assert_eq!(command(json, &with_own), Ok(expected));
    }
}
