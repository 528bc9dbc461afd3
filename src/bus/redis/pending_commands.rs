//! The commands of a subscribing connection that await replies. Pure.
//!
//! Redis replies in order: one reply for each channel, or one error for a whole command. A reply that matches no
//! pending command was pushed by the server.

use std::collections::VecDeque;

use crate::bus::link::Channel;

/// A subscription command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PubSubCommand {
    Subscribe,
    Unsubscribe,
    ShardedSubscribe,
    ShardedUnsubscribe,
    PatternSubscribe,
    PatternUnsubscribe,
}

impl PubSubCommand {
    const ALL: [Self; 6] = [
        Self::Subscribe,
        Self::Unsubscribe,
        Self::ShardedSubscribe,
        Self::ShardedUnsubscribe,
        Self::PatternSubscribe,
        Self::PatternUnsubscribe,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::ShardedSubscribe => "SSUBSCRIBE",
            Self::ShardedUnsubscribe => "SUNSUBSCRIBE",
            Self::PatternSubscribe => "PSUBSCRIBE",
            Self::PatternUnsubscribe => "PUNSUBSCRIBE",
        }
    }

    pub(super) fn subscribes(self) -> bool {
        matches!(
            self,
            Self::Subscribe | Self::ShardedSubscribe | Self::PatternSubscribe
        )
    }

    pub(super) fn is_sharded(self) -> bool {
        matches!(self, Self::ShardedSubscribe | Self::ShardedUnsubscribe)
    }

    pub(super) fn is_pattern(self) -> bool {
        matches!(self, Self::PatternSubscribe | Self::PatternUnsubscribe)
    }

    /// The command that a reply of this kind responds to.
    fn of_reply(kind: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|command| command.name().as_bytes().eq_ignore_ascii_case(kind))
    }
}

/// The meaning of a reply about a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PubSubReply {
    Subscribed,
    Unsubscribed,
    /// The server ended the subscription because the slot moved.
    Revoked,
    Other,
}

#[derive(Debug, Default)]
pub(super) struct PendingCommands {
    pending: VecDeque<(PubSubCommand, VecDeque<Channel>)>,
}

impl PendingCommands {
    /// Records a command that is sent.
    pub(super) fn sent(&mut self, command: PubSubCommand, channels: &[Channel]) {
        self.pending
            .push_back((command, channels.iter().cloned().collect()));
    }

    /// Matches a reply about a channel.
    pub(super) fn on_reply(&mut self, kind: &[u8], channel: &str) -> PubSubReply {
        let Some(command) = PubSubCommand::of_reply(kind) else {
            return PubSubReply::Other;
        };
        let is_reply = self.pending.front_mut().is_some_and(|(sent, channels)| {
            let fits = *sent == command
                && channels
                    .front()
                    .is_some_and(|next| next.as_str() == channel);
            if fits {
                channels.pop_front();
            }
            fits
        });
        if self
            .pending
            .front()
            .is_some_and(|(_, channels)| channels.is_empty())
        {
            self.pending.pop_front();
        }
        match command {
            command if command.subscribes() => PubSubReply::Subscribed,
            PubSubCommand::ShardedUnsubscribe if !is_reply => PubSubReply::Revoked,
            _ => PubSubReply::Unsubscribed,
        }
    }

    /// Matches an error; returns the command that failed, with its channels.
    pub(super) fn on_error(&mut self) -> Option<(PubSubCommand, Vec<Channel>)> {
        let (command, channels) = self.pending.pop_front()?;
        Some((command, channels.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(names: &[&str]) -> Vec<Channel> {
        names.iter().map(|name| Channel::from(*name)).collect()
    }

    #[test]
    fn replies_are_matched_in_order() {
        let mut pending_commands = PendingCommands::default();
        pending_commands.sent(PubSubCommand::ShardedSubscribe, &channels(&["a", "b"]));
        pending_commands.sent(PubSubCommand::Subscribe, &channels(&["c"]));
        pending_commands.sent(PubSubCommand::ShardedUnsubscribe, &channels(&["d"]));
        assert_eq!(
            pending_commands.on_reply(b"ssubscribe", "a"),
            PubSubReply::Subscribed
        );
        assert_eq!(
            pending_commands.on_reply(b"sunsubscribe", "x"),
            PubSubReply::Revoked
        );
        assert_eq!(
            pending_commands.on_reply(b"ssubscribe", "b"),
            PubSubReply::Subscribed
        );
        assert_eq!(
            pending_commands.on_error(),
            Some((PubSubCommand::Subscribe, channels(&["c"])))
        );
        assert_eq!(
            pending_commands.on_reply(b"sunsubscribe", "a"),
            PubSubReply::Revoked
        );
        assert_eq!(
            pending_commands.on_reply(b"sunsubscribe", "d"),
            PubSubReply::Unsubscribed
        );
        assert_eq!(pending_commands.on_reply(b"pong", "d"), PubSubReply::Other);
        assert_eq!(pending_commands.on_error(), None);
    }
}
