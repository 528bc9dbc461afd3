//! What the relay reads of a request.

use std::borrow::Cow;

use serde::Deserialize;

use super::rejection::{Code, RelayRejection};
use crate::history::Since;
use crate::model::elements::decode_string;
use crate::model::{ConflationKey, Payload, Room, SocketId};

/// Maximum length of a room name in bytes. A node keeps several copies of each name (index, channel, subscription),
/// Redis one more.
const MAX_ROOM_NAME: usize = 128;
/// Longest conflation key that a client can choose, in bytes.
const MAX_CONFLATION_KEY: usize = 128;

/// `["roomwire:…",room,event,…]`: the first elements of a request, still encoded. Further ones are not scanned.
pub(super) struct Arguments<'a> {
    name: Option<&'a str>,
    room: Option<&'a str>,
    third: Option<&'a str>,
}

impl<'a> Arguments<'a> {
    pub(super) fn of(payload: &'a Payload) -> Self {
        let mut elements = payload.elements();
        Self {
            name: elements.next(),
            room: elements.next(),
            third: elements.next(),
        }
    }

    /// The name of the request.
    pub(super) fn name(&self) -> Cow<'a, str> {
        self.name.and_then(event_name).unwrap_or_default()
    }

    /// The room that it concerns.
    pub(super) fn room(&self) -> Result<Room, RelayRejection> {
        checked_room(self.room.and_then(decode_string))
    }

    /// The room to emit to, with the options of the emit. `sender` is the socket that requests it.
    pub(super) fn emit_target(&self, sender: SocketId) -> Result<EmitTarget, RelayRejection> {
        let Some(options) = self.room.filter(|room| room.starts_with('{')) else {
            let room = self.room()?;
            return Ok(EmitTarget { room, key: None });
        };
        let options: EmitOptions<'_> = serde_json::from_str(options).map_err(|error| {
            let message = format!(
                "the first argument must be the name of a room, or `{{room, conflate}}`: {error}"
            );
            RelayRejection::new(Code::BadRequest, message)
        })?;
        let room = checked_room(Some(options.room))?;
        let key = options.conflate.map(|key| {
            let fits = (1..=MAX_CONFLATION_KEY).contains(&key.len());
            // Clients cannot replace events of others.
            let key = fits.then(|| ConflationKey::new(&format!("{sender}:{key}")));
            key.flatten().ok_or_else(|| {
                let message = format!("`conflate` has 1 to {MAX_CONFLATION_KEY} bytes");
                RelayRejection::new(Code::ConflateInvalid, message)
            })
        });
        let key = key.transpose()?;
        Ok(EmitTarget { room, key })
    }

    /// The name of the event to emit.
    pub(super) fn event(&self) -> Result<Cow<'a, str>, RelayRejection> {
        self.third.and_then(event_name).ok_or_else(|| {
            RelayRejection::new(
                Code::BadRequest,
                "the second argument must be the name of an event",
            )
        })
    }

    /// The argument after the room, still encoded.
    pub(super) fn option(&self) -> Option<&'a str> {
        self.third
    }

    /// The options of a join after the room: a room token, or an object.
    pub(super) fn join_options(&self) -> Result<JoinOptions<'a>, RelayRejection> {
        let Some(third) = self.third.filter(|third| *third != "null") else {
            return Ok(JoinOptions::default());
        };
        if let Some(token) = decode_string(third) {
            return Ok(JoinOptions {
                token: Some(token),
                since: None,
            });
        }
        let rejected = |problem: String| {
            let message = format!(
                "the second argument must be a room token or an object with `token` and `since`: {problem}"
            );
            RelayRejection::new(Code::BadRequest, message)
        };
        let options: JoinObject<'_> =
            serde_json::from_str(third).map_err(|error| rejected(error.to_string()))?;
        let since = options.since.map(|since| since.parse::<Since>());
        let since = since.transpose();
        Ok(JoinOptions {
            token: options.token,
            since: since.map_err(|error| rejected(format!("`since` {error}")))?,
        })
    }
}

/// What a client can request with a join.
#[derive(Debug, Default)]
pub(super) struct JoinOptions<'a> {
    pub(super) token: Option<Cow<'a, str>>,
    /// From where the log of the room is replayed.
    pub(super) since: Option<Since>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinObject<'a> {
    #[serde(borrow, default)]
    token: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    since: Option<Cow<'a, str>>,
}

/// A room to emit to, and its options.
pub(super) struct EmitTarget {
    pub(super) room: Room,
    /// The conflation key that the client has chosen.
    pub(super) key: Option<ConflationKey>,
}

/// `{"room":"…","conflate":"…"}` in place of the name of a room.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmitOptions<'a> {
    #[serde(borrow)]
    room: Cow<'a, str>,
    #[serde(borrow, default)]
    conflate: Option<Cow<'a, str>>,
}

/// Checks the name of a room, `None` if it is not a string.
fn checked_room(room: Option<Cow<'_, str>>) -> Result<Room, RelayRejection> {
    let Some(room) = room.filter(|room| !room.is_empty()) else {
        return Err(RelayRejection::new(
            Code::BadRequest,
            "the first argument must be the name of a room",
        ));
    };
    if room.len() > MAX_ROOM_NAME {
        return Err(RelayRejection::new(
            Code::RoomNameTooLong,
            format!("a room's name has at most {MAX_ROOM_NAME} bytes"),
        ));
    }
    Ok(Room::from(&*room))
}

/// The name of an event; with a lone surrogate, which JavaScript allows, the JSON literal.
fn event_name(element: &str) -> Option<Cow<'_, str>> {
    let literal = || element.starts_with('"').then_some(Cow::Borrowed(element));
    decode_string(element).or_else(literal)
}
