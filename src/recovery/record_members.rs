//! What records of shared sessions consist of, as msgpack: the member of nodes, texts, numbers and lists of rooms.

use rmp::Marker;
use rmp::encode::{write_array_len, write_map_len, write_nil, write_uint};

use super::record::SessionRecord;
use crate::model::{Namespace, Room};
use crate::msgpack::{Reader, ValueError, string, written};

/// Maximum number of rooms in a record, far above `socket.max_rooms`: servers have no limit, and may let clients join rooms
/// of any name.
pub(super) const MAX_ROOMS: u32 = 10_000;

/// Why a session cannot be continued from its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnusableRecord {
    Malformed,
    /// The record exceeds `MAX_RECORD` or `MAX_ROOMS`, or its data `MAX_DATA`.
    TooLarge,
}

impl From<ValueError> for UnusableRecord {
    fn from(_: ValueError) -> Self {
        Self::Malformed
    }
}

/// The member `roomwire` of a record.
#[derive(Default)]
pub(super) struct RoomwireMember {
    pub(super) namespace: Option<Namespace>,
    pub(super) user: Option<String>,
    pub(super) start: u64,
    pub(super) received: u64,
    /// For each room, the number after which the session receives its events.
    pub(super) joined: Vec<u64>,
}

impl RoomwireMember {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, UnusableRecord> {
        let mut part = Self::default();
        for _ in 0..map(reader)? {
            match text(reader)? {
                "nsp" => part.namespace = Some(Namespace::from(text(reader)?)),
                "user" => part.user = optional_text(reader)?,
                "start" => part.start = number(reader)?,
                "received" => part.received = number(reader)?,
                "joined" => {
                    let length = array_length(reader)?;
                    let numbers = (0..length).map(|_| number(reader));
                    part.joined = numbers.collect::<Result<_, _>>()?;
                }
                _ => drop(reader.raw()?),
            }
        }
        match part.namespace {
            Some(_) => Ok(part),
            None => Err(UnusableRecord::Malformed),
        }
    }

    pub(super) fn write(record: &SessionRecord, out: &mut Vec<u8>) {
        written(write_map_len(out, 5));
        string("nsp", out);
        string(record.namespace.as_str(), out);
        string("user", out);
        match &record.user {
            Some(user) => string(user, out),
            None => written(write_nil(out)),
        }
        string("start", out);
        written(write_uint(out, record.start));
        string("received", out);
        written(write_uint(out, record.received));
        string("joined", out);
        array(record.rooms.len(), out);
        for (_, after) in &record.rooms {
            written(write_uint(out, *after));
        }
    }
}

pub(super) fn array(length: usize, out: &mut Vec<u8>) {
    // The number of rooms is limited far below this.
    written(write_array_len(
        out,
        u32::try_from(length).unwrap_or(u32::MAX),
    ));
}

pub(super) fn map(reader: &mut Reader<'_>) -> Result<u32, UnusableRecord> {
    let marker = reader.marker()?;
    reader.map_length(marker)?.ok_or(UnusableRecord::Malformed)
}

fn array_length(reader: &mut Reader<'_>) -> Result<u32, UnusableRecord> {
    let marker = reader.marker()?;
    let length = reader.array_length(marker)?;
    length.ok_or(UnusableRecord::Malformed)
}

pub(super) fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, UnusableRecord> {
    let marker = reader.marker()?;
    reader.text(marker)?.ok_or(UnusableRecord::Malformed)
}

fn optional_text(reader: &mut Reader<'_>) -> Result<Option<String>, UnusableRecord> {
    let marker = reader.marker()?;
    match marker {
        Marker::Null => Ok(None),
        _ => Ok(reader.text(marker)?.map(str::to_owned)),
    }
}

/// The list of rooms. Servers also have rooms whose names are numbers.
pub(super) fn room_names(reader: &mut Reader<'_>) -> Result<Vec<Room>, UnusableRecord> {
    let length = array_length(reader)?;
    if length > MAX_ROOMS {
        return Err(UnusableRecord::TooLarge);
    }
    (0..length).map(|_| room_name(reader)).collect()
}

fn room_name(reader: &mut Reader<'_>) -> Result<Room, UnusableRecord> {
    let marker = reader.marker()?;
    if let Some(number) = reader.integer(marker)? {
        return Ok(Room::from(number.to_string()));
    }
    let name = reader.text(marker)?;
    name.map(Room::from).ok_or(UnusableRecord::Malformed)
}

fn number(reader: &mut Reader<'_>) -> Result<u64, UnusableRecord> {
    let marker = reader.marker()?;
    let number = reader.integer(marker)?;
    let number = number.and_then(|number| u64::try_from(number).ok());
    number.ok_or(UnusableRecord::Malformed)
}
