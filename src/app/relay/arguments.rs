//! What the relay reads of a request.

use std::borrow::Cow;

use serde::Deserialize;

use super::rejection::{Code, RelayRejection};
use crate::history::Since;
use crate::model::elements::decode_string;
use crate::model::{Payload, Room};

/// Maximum length of a room name in bytes. A node keeps several copies of each name (index, channel, subscription),
/// Redis one more.
const MAX_ROOM_NAME: usize = 128;

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
        let room = self.room.and_then(decode_string);
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

/// The name of an event; with a lone surrogate, which JavaScript allows, the JSON literal.
fn event_name(element: &str) -> Option<Cow<'_, str>> {
    let literal = || element.starts_with('"').then_some(Cow::Borrowed(element));
    decode_string(element).or_else(literal)
}
