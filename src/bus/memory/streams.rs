//! The streams of a hub: channels whose messages are kept with ids, so that a member can read what it missed while it
//! was disconnected.

use std::collections::HashMap;

use bytes::Bytes;

use crate::bus::entry;
use crate::bus::link::{Channel, Outgoing};

/// The time in the ids of all entries, in milliseconds.
const TIME: u64 = 1_764_000_000_000;

/// The entries of each stream in order.
#[derive(Debug, Default)]
pub(super) struct HubStreams {
    streams: HashMap<Channel, Vec<Bytes>>,
}

impl HubStreams {
    /// Makes a channel a stream.
    pub(super) fn add(&mut self, stream: Channel) {
        self.streams.entry(stream).or_default();
    }

    pub(super) fn contains(&self, channel: &Channel) -> bool {
        self.streams.contains_key(channel)
    }

    /// If the channel of a message is a stream, appends the message and adds the id of its entry: its second part is
    /// the number of the entry, from 1.
    pub(super) fn append(&mut self, message: Outgoing) -> Outgoing {
        let Some(entries) = self.streams.get_mut(&message.channel) else {
            return message;
        };
        let id = format!("{TIME}-{}", entries.len() + 1);
        let fields = entry::parts(&message.body()).unwrap_or_default();
        let fields = fields.iter().map(|field| &field[..]);
        let payload = entry::encode(std::iter::once(id.as_bytes()).chain(fields));
        entries.push(payload.clone());
        Outgoing {
            payload,
            translation: None,
            ..message
        }
    }

    /// The entries of a stream.
    pub(super) fn entries(&self, stream: &Channel) -> &[Bytes] {
        self.streams.get(stream).map_or(&[], |entries| entries)
    }
}

/// The number of an entry in its stream; 0 if it is not an entry.
pub(super) fn number(entry: &Bytes) -> usize {
    let id = entry::decode(entry).and_then(|entry| entry.id);
    let id = id.and_then(|id| String::from_utf8(id.into()).ok());
    let number = id.and_then(|id| id.rsplit_once('-')?.1.parse().ok());
    number.unwrap_or(0)
}
