//! `[webhook.notices]`: what clients and rooms did, sent in batches.

use std::time::Duration;

use crate::config::declare::table;
use crate::config::forms::{MILLISECOND, choice, duration, list, memory, number, size, text};
use crate::config::pattern::Pattern;
use crate::config::values;
use crate::config::webhook_url::WebhookUrl;

table! {
    /// Notices about what clients and rooms did, sent in batches (docs/webhooks.md#notices). No client waits for them.
    pub NoticesConfig = "webhook.notices" {
        /// URL that receives them: `http[s]://host[:port][/path]`. Empty = no notices.
        url: Option<WebhookUrl> = "", text("URL", WebhookUrl::parse).or_empty();
        /// Kinds of notices: sockets that connect and disconnect, sockets that join and leave rooms, and rooms whose
        /// first member joins or whose last member leaves, counted on all nodes.
        kinds: Vec<NoticeKind> = ["connected", "disconnected", "joined", "left", "room_occupied", "room_vacated"],
            list(choice(&NoticeKind::ALL));
        /// Names or patterns of client events that cause notices, too. In a pattern, `*` stands for any text.
        events: Vec<Pattern> = [], list(text("name or pattern", values::pattern));
        /// Names or patterns of the rooms that cause notices. In a pattern, `*` stands for any text.
        rooms: Vec<Pattern> = ["*"], list(text("name or pattern", values::pattern));
        /// Maximum number of notices in a request.
        batch: usize = 100, number(1..=10_000);
        /// Size limit of a request. A larger notice is sent on its own.
        batch_size: usize = "256KiB", size(1..);
        /// How long a notice waits for others that can be sent in the same request.
        batch_age: Duration = "100ms", duration(Duration::ZERO..);
        /// How long `disconnected`, `left` and `room_vacated` are held back. If the user returns or the room has a
        /// member again within this time, neither notice is sent. `0s` = none is held back.
        debounce: Duration = "3s", duration(Duration::ZERO..=Duration::from_secs(60));
        /// Memory limit of the notices that wait for their receiver. When it is reached, the oldest become dead
        /// letters.
        queue: usize = "16MiB", memory(1024..);
        /// Mean time after which a failed request is sent again. Each further failure doubles it, up to
        /// `webhook.notices.max_pause`.
        pause: Duration = "1s", duration(MILLISECOND..);
        /// Longest time between two attempts.
        max_pause: Duration = "30s", duration(MILLISECOND..);
        /// How long a request is repeated while its receiver does not respond, before it becomes a dead letter.
        retry_timeout: Duration = "10m", duration(MILLISECOND..);
        /// How often a request is sent to a receiver that rejects it, before it becomes a dead letter.
        max_rejections: u32 = 5, number(1..=1_000_000);
        /// Maximum number of requests that are kept in Redis as dead letters, for `roomwire webhook replay`. The oldest
        /// are dropped. 0 = none.
        dead_letters: usize = 10_000, number(0..=1_000_000);
        /// How long a stopping node continues to send notices. The rest become dead letters.
        flush_timeout: Duration = "2s", duration(Duration::ZERO..);
    }
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// A socket is connected.
    Connected,
    /// A socket is gone.
    Disconnected,
    /// A socket has joined a room.
    Joined,
    /// A socket has left a room.
    Left,
    /// A room has its first member in the cluster.
    RoomOccupied,
    /// A room has no member in the cluster any more.
    RoomVacated,
}

impl NoticeKind {
    /// Every kind by its name.
    pub(in crate::config) const ALL: [(&'static str, Self); 6] = [
        ("connected", Self::Connected),
        ("disconnected", Self::Disconnected),
        ("joined", Self::Joined),
        ("left", Self::Left),
        ("room_occupied", Self::RoomOccupied),
        ("room_vacated", Self::RoomVacated),
    ];
}
