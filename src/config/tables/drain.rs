//! `[drain]`: how a node shuts down.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::declare::table;
use crate::config::forms::{MILLISECOND, duration, text};

table! {
    /// Shutdown of a node by `SIGTERM`, `SIGINT` or `roomwire drain`. New sessions are rejected (503). Existing sessions are
    /// closed gradually, and their clients reconnect to other nodes.
    pub DrainConfig = "drain" {
        /// Time limit of the drain. Remaining sessions are closed at once. Keep it 5 s below the time after which your
        /// supervisor kills the process.
        timeout: Duration = "20s", duration(MILLISECOND..), reload;
        /// Time between becoming unready and closing the first session, in which load balancers can notice. Skipped if
        /// there are no sessions.
        grace: Duration = "1s", duration(Duration::ZERO..), reload;
        /// Sessions closed per second. `auto` = all sessions in half of the time limit, at least 50 per second; without
        /// Redis within a second, since no other node serves the clients. A rate that is too low for the time limit is
        /// raised.
        rate: DrainRate = "auto", text("`auto`, number from 1", rate), reload;
        /// Time limit for pending acks and responses of a session before it is closed.
        ack_timeout: Duration = "5s", duration(Duration::ZERO..), reload;
    }
}

/// The rate at which a draining node closes sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DrainRate {
    /// Derived from the number of sessions and the time limit.
    #[default]
    Auto,
    PerSecond(NonZeroU32),
}

fn rate(text: &str) -> Result<DrainRate, String> {
    let text = text.trim();
    if text == "auto" {
        return Ok(DrainRate::Auto);
    }
    let number = text.strip_suffix("/s").unwrap_or(text);
    number
        .parse()
        .map(DrainRate::PerSecond)
        .map_err(|_| format!("`{text}` is neither `auto` nor a number of sessions per second"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_auto_or_a_number_above_0() {
        assert_eq!(rate("auto"), Ok(DrainRate::Auto));
        for text in ["100", " 100/s"] {
            assert!(
                matches!(rate(text), Ok(DrainRate::PerSecond(n)) if n.get() == 100),
                "{text}"
            );
        }
        for text in ["", "0", "-1", "fast", "10/m"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
