//! What was asked on a subscription connection and not answered yet. Pure.
//!
//! Redis answers in order: a reply for each channel, or one error for a whole command. What fits nothing that was asked
//! is pushed by the server itself.

use std::collections::VecDeque;

use crate::bus::link::Channel;

/// A command about channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Subscribe,
    Unsubscribe,
    ShardedSubscribe,
    ShardedUnsubscribe,
}

impl Verb {
    const ALL: [Self; 4] = [
        Self::Subscribe,
        Self::Unsubscribe,
        Self::ShardedSubscribe,
        Self::ShardedUnsubscribe,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::ShardedSubscribe => "SSUBSCRIBE",
            Self::ShardedUnsubscribe => "SUNSUBSCRIBE",
        }
    }

    pub(super) fn subscribes(self) -> bool {
        matches!(self, Self::Subscribe | Self::ShardedSubscribe)
    }

    pub(super) fn is_sharded(self) -> bool {
        matches!(self, Self::ShardedSubscribe | Self::ShardedUnsubscribe)
    }

    /// The verb a reply of this kind belongs to.
    fn of_reply(kind: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|verb| verb.name().as_bytes().eq_ignore_ascii_case(kind))
    }
}

/// What a reply about a channel means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Subscribed,
    Unsubscribed,
    /// The server gave the channel up: its slot moved.
    TakenAway,
    Other,
}

#[derive(Debug, Default)]
pub(super) struct Conversation {
    asked: VecDeque<(Verb, VecDeque<Channel>)>,
}

impl Conversation {
    /// A command goes out.
    pub(super) fn ask(&mut self, verb: Verb, channels: &[Channel]) {
        self.asked
            .push_back((verb, channels.iter().cloned().collect()));
    }

    /// A reply about a channel came in.
    pub(super) fn reply(&mut self, kind: &[u8], channel: &str) -> Meaning {
        let Some(verb) = Verb::of_reply(kind) else {
            return Meaning::Other;
        };
        let is_answer = self.asked.front_mut().is_some_and(|(asked, channels)| {
            let fits = *asked == verb
                && channels
                    .front()
                    .is_some_and(|next| next.as_str() == channel);
            if fits {
                channels.pop_front();
            }
            fits
        });
        if self
            .asked
            .front()
            .is_some_and(|(_, channels)| channels.is_empty())
        {
            self.asked.pop_front();
        }
        match verb {
            verb if verb.subscribes() => Meaning::Subscribed,
            Verb::ShardedUnsubscribe if !is_answer => Meaning::TakenAway,
            _ => Meaning::Unsubscribed,
        }
    }

    /// An error came in: the command it belongs to, with its channels.
    pub(super) fn refused(&mut self) -> Option<(Verb, Vec<Channel>)> {
        let (verb, channels) = self.asked.pop_front()?;
        Some((verb, channels.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(names: &[&str]) -> Vec<Channel> {
        names.iter().map(|name| Channel::from(*name)).collect()
    }

    #[test]
    fn answers_come_in_order() {
        let mut conversation = Conversation::default();
        conversation.ask(Verb::ShardedSubscribe, &channels(&["a", "b"]));
        conversation.ask(Verb::Subscribe, &channels(&["c"]));
        conversation.ask(Verb::ShardedUnsubscribe, &channels(&["d"]));
        assert_eq!(conversation.reply(b"ssubscribe", "a"), Meaning::Subscribed);
        assert_eq!(conversation.reply(b"sunsubscribe", "x"), Meaning::TakenAway);
        assert_eq!(conversation.reply(b"ssubscribe", "b"), Meaning::Subscribed);
        assert_eq!(
            conversation.refused(),
            Some((Verb::Subscribe, channels(&["c"])))
        );
        assert_eq!(conversation.reply(b"sunsubscribe", "a"), Meaning::TakenAway);
        assert_eq!(
            conversation.reply(b"sunsubscribe", "d"),
            Meaning::Unsubscribed
        );
        assert_eq!(conversation.reply(b"pong", "d"), Meaning::Other);
        assert_eq!(conversation.refused(), None);
    }
}
