//! Counts messages that never reached the bus, notifies the consumer, and logs once per burst.

use std::time::Duration;

use tokio::time::Instant;

use crate::bus::link::{LinkEvent, LinkEventSender};
use crate::bus::spool::Dropped;

/// The losses of a burst are logged when it starts, and then at this interval.
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
        let _consumer_gone = self.events.push(LinkEvent::SpoolDropped {
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

    /// Logs the remaining losses at the end of a burst.
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
