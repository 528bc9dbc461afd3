//! Counts the messages that never reached the bus, tells the consumer, and logs once per burst.

use std::time::Duration;

use tokio::time::Instant;

use crate::bus::link::{LinkEvent, LinkEventSender};
use crate::bus::spool::Dropped;

/// Losses of one burst are logged at its begin and then once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Losses {
    events: LinkEventSender,
    unlogged: Dropped,
    last_log: Option<Instant>,
}

impl Losses {
    pub(super) fn new(events: LinkEventSender) -> Self {
        Self {
            events,
            unlogged: Dropped::default(),
            last_log: None,
        }
    }

    pub(super) fn add(&mut self, dropped: Dropped, reason: &str) {
        self.unlogged.messages += dropped.messages;
        self.unlogged.bytes += dropped.bytes;
        let _gone = self.events.push(LinkEvent::SpoolDropped {
            messages: dropped.messages,
            bytes: dropped.bytes,
        });
        let logged_lately = self
            .last_log
            .is_some_and(|last| last.elapsed() < LOG_INTERVAL);
        if !logged_lately {
            self.log(reason);
        }
    }

    /// The burst is over: what is not yet in the log goes there.
    pub(super) fn flush(&mut self) {
        if self.unlogged.messages > 0 {
            self.log("redis was away");
        }
    }

    fn log(&mut self, reason: &str) {
        let Dropped { messages, bytes } = std::mem::take(&mut self.unlogged);
        self.last_log = Some(Instant::now());
        log::warn!(messages, bytes, reason:%; "messages to other nodes were dropped");
    }
}
