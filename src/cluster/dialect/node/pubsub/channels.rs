//! Names of the channels of the adapter.

use crate::bus::link::{Channel, starting_with};
use crate::model::{Namespace, Room};

/// Names of the channels on which servers and emitters publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PubSubChannels {
    key: String,
}

/// What is published on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelKind<'a> {
    /// Emits to a namespace or to one of its rooms.
    Emits(&'a str),
    /// Emits of emitters that have one channel for all namespaces.
    AllEmits,
    /// Requests to all servers that have a namespace.
    Requests(&'a str),
    /// Responses to requests of servers.
    Responses,
}

impl PubSubChannels {
    /// `key` is the `key` option of servers and emitters, by default `socket.io`.
    pub(super) fn new(key: &str) -> Self {
        let key = key.to_owned();
        Self { key }
    }

    /// The channel of the first emitters, for all namespaces.
    pub(super) fn all(&self) -> Channel {
        Channel::from(format!("{}#emitter", self.key))
    }

    /// The channel of emits to all sockets of a namespace, or to several rooms.
    pub(super) fn namespace(&self, namespace: &Namespace) -> Channel {
        Channel::from(format!("{}#{namespace}#", self.key))
    }

    /// The channel of emits to one room.
    pub(super) fn room(&self, namespace: &Namespace, room: &Room) -> Channel {
        Channel::from(format!("{}#{namespace}#{room}#", self.key))
    }

    /// The channel of requests.
    pub(super) fn requests(&self, namespace: &Namespace) -> Channel {
        Channel::from(format!("{}-request#{namespace}#", self.key))
    }

    /// The channel of responses to all servers.
    pub(super) fn responses(&self, namespace: &Namespace) -> Channel {
        Channel::from(format!("{}-response#{namespace}#", self.key))
    }

    /// The channel of responses to one server.
    pub(super) fn responses_to(&self, namespace: &Namespace, uid: &str) -> Channel {
        Channel::from(format!("{}-response#{namespace}#{uid}#", self.key))
    }

    /// Patterns of the channels of all namespaces and rooms; with `responses`, also of the channels of responses.
    pub(super) fn patterns(&self, responses: bool) -> Vec<Channel> {
        let kinds = ["#", "-request#", "-response#"];
        kinds[..if responses { 3 } else { 2 }]
            .iter()
            .map(|kind| starting_with(&format!("{}{kind}", self.key)))
            .collect()
    }

    /// What is published on a channel; `None` if it is none of these.
    pub(super) fn kind<'a>(&self, channel: &'a Channel) -> Option<ChannelKind<'a>> {
        let rest = channel.as_str().strip_prefix(self.key.as_str())?;
        if rest == "#emitter" {
            return Some(ChannelKind::AllEmits);
        }
        if let Some(rest) = rest.strip_prefix("-request#") {
            let namespace = rest.strip_suffix('#')?;
            return Some(ChannelKind::Requests(namespace));
        }
        if let Some(rest) = rest.strip_prefix("-response#") {
            return rest.ends_with('#').then_some(ChannelKind::Responses);
        }
        // The name of a room may contain the separator, that of a namespace does not.
        let (namespace, _) = rest.strip_prefix('#')?.split_once('#')?;
        Some(ChannelKind::Emits(namespace))
    }
}
