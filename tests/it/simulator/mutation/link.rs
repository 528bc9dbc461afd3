//! The link of a node, which makes the mutation of its run.

use std::sync::Arc;

use bytes::Bytes;
use roomwire::bus::link::{Channel, Link, LogAppend, Outgoing, Receivers};
use roomwire::bus::memory::MemoryLink;
use roomwire::history::LogReader;

use super::{Mutation, Mutator};
use crate::simulator::world::ROOMS;

pub struct MutatedLink {
    link: Arc<MemoryLink>,
    mutator: Arc<Mutator>,
}

/// What a message is, by its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// For a room of nodes.
    Room,
    /// For servers: an emit.
    Emit,
    /// For servers: a move.
    Move,
    /// For a server: a response in JSON.
    Response,
    /// For a server: the ack of a client.
    Ack,
    Other,
}

fn is_of_room(channel: &Channel) -> bool {
    let room = channel.as_str().split_once(":room:/#");
    room.is_some_and(|(_, room)| ROOMS.contains(&room))
}

fn contains(message: &[u8], text: &str) -> bool {
    message
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

fn kind(message: &Outgoing) -> Kind {
    let (channel, payload) = (message.channel.as_str(), &message.payload);
    let is_json = payload.starts_with(b"{");
    if channel.starts_with("socket.io-response") {
        return if is_json { Kind::Response } else { Kind::Ack };
    }
    if is_of_room(&message.channel) {
        return Kind::Room;
    }
    let is_python = channel == "socketio";
    if is_python && contains(payload, r#""callback","#) && contains(payload, r#""args":"#) {
        Kind::Ack
    } else if is_json && contains(payload, "annex") && !contains(payload, r#""emit""#) {
        Kind::Move
    } else if is_python || channel.starts_with("socket.io#") {
        Kind::Emit
    } else {
        Kind::Other
    }
}

/// The same with another text of the same length in the place of each `from`.
fn replaced(payload: &Bytes, from: &str, to: &str) -> Bytes {
    let mut bytes = payload.to_vec();
    for start in 0..bytes.len().saturating_sub(from.len() - 1) {
        let part = &mut bytes[start..start + from.len()];
        if part == from.as_bytes() {
            part.copy_from_slice(to.as_bytes());
        }
    }
    bytes.into()
}

impl MutatedLink {
    pub fn new(link: Arc<MemoryLink>, mutator: &Arc<Mutator>) -> Arc<Self> {
        let mutator = Arc::clone(mutator);
        Arc::new(Self { link, mutator })
    }

    /// What is published in the place of a message.
    fn published(&self, message: Outgoing) -> Vec<Outgoing> {
        use Mutation::*;
        let strikes = |mutation| self.mutator.strikes(mutation);
        let (loses, repeats, misdirects) = match kind(&message) {
            Kind::Room => (LoseMessage, RepeatMessage, Some(MisdirectMessage)),
            Kind::Emit => (LoseToServers, RepeatToServers, Some(MisdirectToServers)),
            Kind::Move => (LoseMove, RepeatMessage, None),
            Kind::Response => (LoseResponse, RepeatResponse, None),
            Kind::Ack => (LoseServerAck, RepeatServerAck, None),
            Kind::Other => return vec![message],
        };
        if strikes(loses) {
            return Vec::new();
        }
        if let Some(append) = message.log.clone() {
            return self.appended(message, &append);
        }
        if strikes(repeats) {
            return vec![message.clone(), message];
        }
        let mut message = message;
        if misdirects.is_some_and(strikes) {
            message.payload = replaced(&message.payload, "team:1", "team:2");
        }
        if kind(&message) == Kind::Response && strikes(WrongCount) {
            let text = String::from_utf8_lossy(&message.payload);
            let many = text.replace(r#""clientCount":"#, r#""clientCount":100"#);
            message.payload = many.into_bytes().into();
        }
        if kind(&message) == Kind::Emit && strikes(GarbleToServers) {
            message.payload.truncate(message.payload.len() / 2);
        }
        vec![message]
    }

    fn appended(&self, message: Outgoing, append: &LogAppend) -> Vec<Outgoing> {
        if self.mutator.strikes(Mutation::LoseAppend) {
            let log = None;
            return vec![Outgoing { log, ..message }];
        }
        if self.mutator.strikes(Mutation::RepeatAppend) {
            // Another number, because an event that is appended again under its own is recognized.
            let append = LogAppend {
                sequence: append.sequence + (1 << 40),
                ..append.clone()
            };
            let log = Some(Arc::new(append));
            let again = Outgoing {
                log,
                ..message.clone()
            };
            return vec![message, again];
        }
        vec![message]
    }
}

impl Link for MutatedLink {
    fn publish(&self, batch: Vec<Outgoing>) {
        let batch = batch.into_iter().flat_map(|it| self.published(it));
        self.link.publish(batch.collect());
    }

    fn publish_counted(&self, message: Outgoing) -> Receivers {
        self.link.publish_counted(message)
    }

    fn subscribe(&self, channels: Vec<Channel>) {
        let is_lost = |channel: &&Channel| {
            is_of_room(channel) && self.mutator.strikes(Mutation::LoseSubscription)
        };
        let lost: Vec<Channel> = channels.iter().filter(is_lost).cloned().collect();
        self.link.subscribe(channels);
        self.link.unsubscribe(lost);
    }

    fn unsubscribe(&self, channels: Vec<Channel>) {
        if !self.mutator.strikes(Mutation::KeepSubscriptions) {
            self.link.unsubscribe(channels);
        }
    }

    fn subscribe_patterns(&self, patterns: Vec<Channel>) {
        self.link.subscribe_patterns(patterns);
    }

    fn unsubscribe_patterns(&self, patterns: Vec<Channel>) {
        self.link.unsubscribe_patterns(patterns);
    }

    fn logs(&self) -> Option<Arc<dyn LogReader<Bytes>>> {
        self.link.logs()
    }
}
