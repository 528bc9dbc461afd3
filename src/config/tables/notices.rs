//! `[webhook.notices]`: what clients and rooms did, sent in batches.

use std::time::Duration;

use crate::config::declare::table;
use crate::config::forms::{MILLISECOND, choice, duration, list, memory, number, size, text};
use crate::config::pattern::Pattern;
use crate::config::values;
use crate::config::webhook_url::WebhookUrl;

table! {
    /// Notices about what clients and rooms did, sent in batches (docs/webhooks.md#notices). Nothing waits for their
    /// delivery.
    pub NoticesConfig = "webhook.notices" {
        /// URL that receives them: `http[s]://host[:port][/path]`. Empty = no notices.
        url: Option<WebhookUrl> = "", text("URL", WebhookUrl::parse).or_empty();
        /// What notices are about: sockets that connect and disconnect, sockets that join and leave rooms, and rooms
        /// whose first member joins or whose last member leaves, counted over all nodes.
        kinds: Vec<NoticeKind> = ["connected", "disconnected", "joined", "left", "room_occupied", "room_vacated"],
            list(choice(&NoticeKind::ALL));
        /// Names of client events that are sent as notices, too. In a pattern, `*` stands for any text.
        events: Vec<Pattern> = [], list(text("name or pattern", values::pattern));
        /// Names of the rooms that notices are about. In a pattern, `*` stands for any text.
        rooms: Vec<Pattern> = ["*"], list(text("name or pattern", values::pattern));
        /// Maximum number of notices in a request.
        batch: usize = 100, number(1..=10_000);
        /// Size limit of a request; a larger notice is sent alone.
        batch_size: usize = "256KiB", size(1..);
        /// Time that a notice waits for others to be sent with it.
        batch_age: Duration = "100ms", duration(Duration::ZERO..);
        /// Time that `disconnected`, `left` and `room_vacated` wait. If the user or the room is back by then, neither
        /// the end nor the return is sent. `0s` = nothing waits.
        debounce: Duration = "3s", duration(Duration::ZERO..=Duration::from_secs(60));
        /// Memory limit of the notices that wait for their receiver. Beyond it, the oldest become dead letters.
        queue: usize = "16MiB", memory(1024..);
        /// Time until a request that failed is sent again, on average. Each further failure doubles it, up to
        /// `webhook.notices.max_pause`.
        pause: Duration = "1s", duration(MILLISECOND..);
        /// Longest time between two attempts.
        max_pause: Duration = "30s", duration(MILLISECOND..);
        /// Time for which a request is sent again while its receiver does not respond. Then it becomes a dead letter.
        retry_timeout: Duration = "10m", duration(MILLISECOND..);
        /// Number of times that a request is sent while its receiver rejects it. Then it becomes a dead letter.
        max_rejections: u32 = 5, number(1..=1_000_000);
        /// Maximum number of requests that are kept in Redis as dead letters, for `roomwire webhook replay`. The oldest
        /// are dropped. 0 = none are kept.
        dead_letters: usize = 10_000, number(0..=1_000_000);
        /// Time within which a node that stops sends the notices that wait. The others become dead letters.
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
