//! Joins the state of both connections to one `Up` and `Down`, and says each once in the log.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::bridge::link::{LinkEvent, LinkEventSender};

/// One of the two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Publisher,
    Subscriber,
}

#[derive(Debug)]
pub(super) struct Health {
    events: LinkEventSender,
    address: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    publisher: bool,
    subscriber: bool,
    down_since: Instant,
    /// The log knows that Redis is away.
    warned: bool,
}

impl Health {
    pub(super) fn new(events: LinkEventSender, address: String) -> Self {
        let state = State {
            publisher: false,
            subscriber: false,
            down_since: Instant::now(),
            warned: false,
        };
        Self {
            events,
            address,
            state: Mutex::new(state),
        }
    }

    /// The connection works; for the subscriber: with everything wanted.
    pub(super) fn found(&self, half: Half) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_up = state.is_up();
        state.set(half, true);
        if was_up || !state.is_up() {
            return;
        }
        let away = state.down_since.elapsed().as_secs_f32();
        let returned = std::mem::take(&mut state.warned);
        if returned {
            log::info!("redis is back address={} away={away:.1}s", self.address);
        } else {
            log::info!("redis is connected address={}", self.address);
        }
        let _gone = self.events.push(LinkEvent::Up);
    }

    /// The connection is lost or could not be made.
    pub(super) fn lost(&self, half: Half, reason: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_up = state.is_up();
        state.set(half, false);
        if was_up {
            state.down_since = Instant::now();
            let reason = reason.to_owned();
            let _gone = self.events.push(LinkEvent::Down { reason });
        }
        if !std::mem::replace(&mut state.warned, true) {
            log::warn!(
                "redis is out of reach, trying again until it is back address={} reason={reason:?}",
                self.address
            );
        }
    }
}

impl State {
    fn is_up(&self) -> bool {
        self.publisher && self.subscriber
    }

    fn set(&mut self, half: Half, works: bool) {
        match half {
            Half::Publisher => self.publisher = works,
            Half::Subscriber => self.subscriber = works,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::link::link_events;

    #[tokio::test]
    async fn the_link_is_up_while_both_halves_are() {
        let (sender, mut events) = link_events(1000);
        let health = Health::new(sender, "here".to_owned());
        health.lost(Half::Publisher, "refused");
        health.found(Half::Subscriber);
        assert_eq!(events.try_next(), None);
        health.found(Half::Publisher);
        health.found(Half::Publisher);
        assert_eq!(events.try_next(), Some(LinkEvent::Up));
        health.lost(Half::Subscriber, "gone");
        health.lost(Half::Publisher, "gone too");
        let reason = "gone".to_owned();
        assert_eq!(events.try_next(), Some(LinkEvent::Down { reason }));
        assert_eq!(events.try_next(), None);
    }
}
