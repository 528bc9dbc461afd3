//! The options of a broadcast or request: which sockets it concerns, and flags.
//!
//! Ports of the emitter differ in what they leave out and how they write what is empty: `except` may be missing, and
//! `rooms` and `flags` may be missing, null, an empty text, list or map.

use std::time::Duration;

use serde_json::Value;
use smallvec::SmallVec;

use super::malformed::MalformedPubSub;
use crate::model::{Attachments, Namespace, Room, Selector};
use crate::msgpack::Reader;

/// Maximum size of the options of an emit as JSON, and of what is skipped, in bytes.
const OPTIONS_LIMIT: usize = 1024 * 1024;

pub(super) type Rooms = SmallVec<[Room; 1]>;

/// The options of an emit.
#[derive(Debug, Default)]
pub(super) struct Options(Value);

impl Options {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedPubSub> {
        let json = reader.json(&mut Attachments::new(), OPTIONS_LIMIT)?;
        match json.as_slice() {
            b"" => Ok(Self::default()),
            json => Ok(Self(serde_json::from_slice(json)?)),
        }
    }

    pub(super) fn selector(&self, namespace: &str) -> Result<Selector, MalformedPubSub> {
        selector(namespace, &self.0)
    }

    pub(super) fn is_volatile(&self) -> bool {
        self.0["flags"]["volatile"].as_bool().unwrap_or(false)
    }

    /// Time after which the sender stops waiting for acks.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let milliseconds = self.0["flags"]["timeout"].as_u64()?;
        Some(Duration::from_millis(milliseconds))
    }
}

/// Skips a value.
pub(super) fn skip(reader: &mut Reader<'_>) -> Result<(), MalformedPubSub> {
    reader.json(&mut Attachments::new(), OPTIONS_LIMIT)?;
    Ok(())
}

pub(super) fn selector(namespace: &str, options: &Value) -> Result<Selector, MalformedPubSub> {
    Ok(Selector {
        namespace: Namespace::from(namespace),
        rooms: rooms(&options["rooms"]).ok_or(MalformedPubSub::Field("rooms"))?,
        except: rooms(&options["except"]).ok_or(MalformedPubSub::Field("except"))?,
    })
}

/// A list of rooms, whose names may be numbers.
pub(super) fn rooms(value: &Value) -> Option<Rooms> {
    match value {
        Value::Null => Some(Rooms::new()),
        Value::String(text) if text.is_empty() => Some(Rooms::new()),
        Value::Object(map) if map.is_empty() => Some(Rooms::new()),
        Value::Array(rooms) => rooms.iter().map(room).collect(),
        _ => None,
    }
}

pub(super) fn room(value: &Value) -> Option<Room> {
    match value {
        Value::String(name) => Some(Room::from(name.as_str())),
        Value::Number(number) => Some(Room::from(number.to_string().as_str())),
        _ => None,
    }
}
