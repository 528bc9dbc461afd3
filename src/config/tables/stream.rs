//! `[stream]`: requests of backends from a Redis Stream.

use std::time::Duration;

use crate::config::declare::table;
use crate::config::forms::{duration, number, text};
use crate::config::net::SecretUrl;
use crate::config::{redis_url, values};

/// A read must end before a node that stops has waited too long for it.
const LONGEST_BLOCK: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

table! {
    /// Requests from a Redis Stream, for backends that write an outbox (docs/stream.md).
    pub StreamConfig = "stream" {
        /// Key of the stream. Entries that cannot be executed are appended to a second stream, whose key ends in
        /// `:dead`. Empty = no stream is read.
        key: Option<String> = "", text("name", values::channel_name).or_empty();
        /// URL of the Redis or Valkey server with the stream, in the form of `bus.redis_url`. `bus.tls_ca` and the
        /// client certificate of the bus apply to it as well. Empty = the Redis of the bus.
        url: Option<SecretUrl> = "", text("URL", redis_url::without_options).or_empty(), secret_url;
        /// Name of the consumer group. Nodes with the same group share the entries.
        group: String = "roomwire", text("name", values::channel_name);
        /// Maximum number of entries that are read at once.
        batch: usize = 64, number(1..=1000);
        /// How long a read waits for new entries. A node that stops may have to wait this long.
        block: Duration = "1s", duration(MILLISECOND..=LONGEST_BLOCK);
        /// Time after which another node takes over an entry that was read and not acknowledged.
        claim_idle: Duration = "30s", duration(SECOND..);
        /// Number of deliveries after which an entry that was never acknowledged becomes a dead letter.
        max_deliveries: u64 = 5, number(1..=1000);
        /// Maximum number of dead letters. The oldest are dropped.
        dead_letters: usize = 10000, number(1..=1_000_000);
        /// How long the key of an executed entry is remembered.
        idempotency_time: Duration = "24h", duration(SECOND..);
    }
}
