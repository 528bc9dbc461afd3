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
    /// Requests of backends from a Redis Stream, for backends that write an outbox (docs/stream.md).
    pub StreamConfig = "stream" {
        /// Key of the stream. Entries that cannot be executed are appended to the stream with `:dead` after this name. Empty =
        /// no stream is read.
        key: Option<String> = "", text("name", values::channel_name).or_empty();
        /// URL of the Redis or Valkey with the stream, of the form of `bus.redis_url`; `bus.tls_ca` and the client certificate
        /// of the bus apply there too. Empty = the Redis of the bus.
        url: Option<SecretUrl> = "", text("URL", redis_url::without_options).or_empty(), secret_url;
        /// Name of the consumer group. All nodes with the same name share the entries.
        group: String = "roomwire", text("name", values::channel_name);
        /// Maximum number of entries that are read at once.
        batch: usize = 64, number(1..=1000);
        /// How long a read waits for entries, and at most until a node that stops ends reading.
        block: Duration = "1s", duration(MILLISECOND..=LONGEST_BLOCK);
        /// Time after which an entry that a node has read and not acknowledged is taken over by another one.
        claim_idle: Duration = "30s", duration(SECOND..);
        /// Deliveries after which an entry that was never acknowledged is not executed again.
        max_deliveries: u64 = 5, number(1..=1000);
        /// Maximum number of entries in the stream of those that cannot be executed. The oldest are dropped.
        dead_letters: usize = 10000, number(1..=1_000_000);
        /// How long the key of an entry is remembered.
        idempotency_time: Duration = "24h", duration(SECOND..);
    }
}
