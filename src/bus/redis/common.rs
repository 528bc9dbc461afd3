//! State shared by the tasks of a link.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::append::Appender;
use super::health::LinkHealth;
use super::losses::Losses;
use super::recent_appends::RecentAppends;
use super::settings::RedisSettings;
use crate::bus::link::{Channel, LinkEventSender, Outgoing};
use crate::model::Random;

/// State shared by all members of a link.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) settings: Arc<RedisSettings>,
    pub(super) events: LinkEventSender,
    pub(super) health: Arc<LinkHealth>,
    pub(super) random: Arc<dyn Random>,
    /// In a Redis Cluster: requests an update of the slot map.
    pub(super) refresh: Option<Arc<Notify>>,
    /// Appends messages to logs.
    pub(super) appender: Arc<Appender>,
    /// What Redis has appended lately.
    pub(super) recent: Arc<RecentAppends>,
    /// In a Redis Cluster: takes messages that have been appended to logs and are to be published, in order.
    pub(super) appended: Option<mpsc::UnboundedSender<Outgoing>>,
}

impl Common {
    /// Whether a channel is sharded.
    pub(super) fn is_sharded(&self, channel: &str) -> bool {
        self.settings.is_sharded(channel, self.refresh.is_some())
    }

    /// A channel with a random name, for the pings of this link.
    pub(super) fn random_ping_channel(&self) -> Channel {
        let mut name = [0; 16];
        self.random.fill(&mut name);
        let name = u128::from_le_bytes(name);
        Channel::from(format!("{}:ping:{name:032x}", self.settings.channel_prefix))
    }

    pub(super) fn losses(&self) -> Losses {
        Losses::new(self.events.clone())
    }
}
