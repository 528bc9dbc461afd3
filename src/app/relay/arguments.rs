//! What the relay reads of a request.

use std::borrow::Cow;

use super::rejection::{Code, RelayRejection};
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

    /// The room token after the room, if there is one.
    pub(super) fn token(&self) -> Result<Option<Cow<'a, str>>, RelayRejection> {
        match self.third {
            None | Some("null") => Ok(None),
            Some(token) => decode_string(token).map(Some).ok_or_else(|| {
                let message = "the second argument must be a room token";
                RelayRejection::new(Code::BadRequest, message)
            }),
        }
    }
}

/// The name of an event; with a lone surrogate, which JavaScript allows, the JSON literal.
fn event_name(element: &str) -> Option<Cow<'_, str>> {
    let literal = || element.starts_with('"').then_some(Cow::Borrowed(element));
    decode_string(element).or_else(literal)
}
