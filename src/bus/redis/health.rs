//! Joins the state of all connections to one `Up` and `Down`, and says each once in the log.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error_hints::summary;
use crate::bus::link::{LinkEvent, LinkEventSender};
use crate::logging;

/// Numbers the servers a link talks to; never used twice.
pub(super) type MemberId = usize;

/// Something that must work for the link to be up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Who owns which slot is known.
    Slots,
    Publisher(MemberId),
    Subscriber(MemberId),
}

#[derive(Debug)]
pub(super) struct Health {
    events: LinkEventSender,
    address: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    parts: HashMap<Part, bool>,
    deaf: HashSet<MemberId>,
    down_since: Instant,
    /// Start of the current gap: a working subscription was lost or went deaf, so messages of others are not received.
    missing_since: Option<Instant>,
    /// Why the link is down, as last reported.
    reason: Option<&'static str>,
    /// The reasons logged since the link was last up; each is logged once.
    logged: Vec<&'static str>,
}

impl Health {
    pub(super) fn new(events: LinkEventSender, address: String) -> Self {
        let state = State {
            parts: HashMap::new(),
            deaf: HashSet::new(),
            down_since: Instant::now(),
            missing_since: None,
            reason: None,
            logged: Vec::new(),
        };
        Self {
            events,
            address,
            state: Mutex::new(state),
        }
    }

    /// From now on the part must work. While the link is up it counts as working until it fails.
    pub(super) fn expect(&self, part: Part) {
        let mut state = self.state();
        let works = state.is_up();
        state.parts.insert(part, works);
    }

    /// The connection works; for a subscriber: with everything wanted.
    pub(super) fn found(&self, part: Part) {
        self.change(None, |state| state.set(part, true));
    }

    /// The connection is lost or could not be made.
    pub(super) fn lost(&self, part: Part, reason: &str) {
        self.change(Some(reason), |state| {
            let worked = state.parts.get(&part).is_some_and(|works| *works);
            if worked && matches!(part, Part::Subscriber(_)) {
                state.missing_since.get_or_insert_with(Instant::now);
            }
            state.set(part, false)
        });
    }

    /// The server is none of ours any more.
    pub(super) fn forget(&self, member: MemberId) {
        self.hears(member);
        self.change(None, |state| {
            state.parts.remove(&Part::Publisher(member));
            state.parts.remove(&Part::Subscriber(member));
            true
        });
    }

    /// Own pings have not come back through this server for `unheard`.
    pub(super) fn deaf(&self, member: MemberId, unheard: Duration) {
        let mut state = self.state();
        let now = Instant::now();
        let since = now.checked_sub(unheard).unwrap_or(now);
        state.missing_since.get_or_insert(since);
        state.deaf.insert(member);
        let _gone = self.events.push(LinkEvent::Deaf);
    }

    /// Pings come back through this server.
    pub(super) fn hears(&self, member: MemberId) {
        let mut state = self.state();
        if state.deaf.remove(&member) && state.deaf.is_empty() {
            let _gone = self.events.push(LinkEvent::Hearing);
            self.receives_again(&mut state);
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state().is_up()
    }

    fn change(&self, failure: Option<&str>, change: impl FnOnce(&mut State) -> bool) {
        let mut state = self.state();
        let was_up = state.is_up();
        if !change(&mut state) {
            return;
        }
        match (was_up, state.is_up()) {
            (false, true) => self.say_up(&mut state),
            (true, false) => {
                state.down_since = Instant::now();
                let reason = failure.unwrap_or_default().to_owned();
                let _gone = self.events.push(LinkEvent::Down { reason });
            }
            _ => {}
        }
        let Some(failure) = failure else { return };
        let reason = summary(failure);
        if state.reason.replace(reason) != Some(reason) {
            let _gone = self.events.push(LinkEvent::Unreachable { reason });
        }
        if !state.logged.contains(&reason) {
            state.logged.push(reason);
            log::warn!(
                address:% = self.address, reason:% = failure;
                "redis is out of reach, trying again until it is back"
            );
        }
    }

    fn say_up(&self, state: &mut State) {
        let away = logging::seconds(state.down_since.elapsed());
        state.reason = None;
        let returned = !std::mem::take(&mut state.logged).is_empty();
        if returned {
            log::info!(address:% = self.address, away_seconds = away; "redis is back");
        } else {
            log::info!(address:% = self.address; "redis is connected");
        }
        let _gone = self.events.push(LinkEvent::Up);
        self.receives_again(state);
        // The outage did not change that, and whoever is deaf says so only once.
        if !state.deaf.is_empty() {
            let _gone = self.events.push(LinkEvent::Deaf);
        }
    }

    /// Reports the gap to the log and the metrics once all subscriptions work again.
    fn receives_again(&self, state: &mut State) {
        if !state.is_up() || !state.deaf.is_empty() {
            return;
        }
        if let Some(since) = state.missing_since.take() {
            let during = since.elapsed();
            let seconds = logging::seconds(during);
            log::warn!(seconds; "messages of other nodes were possibly missed: there was no subscription");
            let _gone = self.events.push(LinkEvent::Missed { during });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// False for a part that nobody expects any more: a forgotten server's publisher ends last.
    fn set(&mut self, part: Part, works: bool) -> bool {
        self.parts.get_mut(&part).map(|is| *is = works).is_some()
    }

    fn is_up(&self) -> bool {
        !self.parts.is_empty() && self.parts.values().all(|works| *works)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::link::{LinkEvents, link_events};

    fn health() -> (Health, LinkEvents) {
        let (sender, events) = link_events(1000);
        (Health::new(sender, "here".to_owned()), events)
    }

    fn expect(health: &Health, member: MemberId) {
        health.expect(Part::Publisher(member));
        health.expect(Part::Subscriber(member));
    }

    fn find(health: &Health, member: MemberId) {
        health.found(Part::Publisher(member));
        health.found(Part::Subscriber(member));
    }

    #[tokio::test]
    async fn the_link_is_up_while_all_parts_are() {
        let (health, mut events) = health();
        expect(&health, 0);
        health.lost(Part::Publisher(0), "refused");
        health.found(Part::Subscriber(0));
        let reason = "redis is away";
        assert_eq!(events.try_next(), Some(LinkEvent::Unreachable { reason }));
        assert_eq!(events.try_next(), None);
        find(&health, 0);
        assert_eq!(events.try_next(), Some(LinkEvent::Up));
        health.lost(Part::Subscriber(0), "gone");
        health.lost(Part::Publisher(0), "gone too");
        health.lost(Part::Publisher(0), "the server at a:1 is a replica");
        let down = "gone".to_owned();
        assert_eq!(events.try_next(), Some(LinkEvent::Down { reason: down }));
        for reason in ["redis is away", "redis is a replica, not the master"] {
            assert_eq!(events.try_next(), Some(LinkEvent::Unreachable { reason }));
        }
        assert_eq!(events.try_next(), None);
        find(&health, 0);
        assert_eq!(events.try_next(), Some(LinkEvent::Up));
        let missed = events.try_next();
        assert!(
            matches!(missed, Some(LinkEvent::Missed { .. })),
            "{missed:?}"
        );
        health.lost(Part::Publisher(0), "gone");
        find(&health, 0);
        while let Some(event) = events.try_next() {
            let missed = matches!(event, LinkEvent::Missed { .. });
            assert!(!missed, "a publisher receives nothing");
        }
    }

    #[tokio::test]
    async fn servers_come_and_go() {
        let (health, mut events) = health();
        expect(&health, 0);
        find(&health, 0);
        assert_eq!(events.try_next(), Some(LinkEvent::Up));
        expect(&health, 1);
        assert_eq!(events.try_next(), None, "a new one costs nothing");
        health.lost(Part::Subscriber(1), "gone");
        assert!(matches!(events.try_next(), Some(LinkEvent::Down { .. })));
        assert!(matches!(
            events.try_next(),
            Some(LinkEvent::Unreachable { .. })
        ));
        expect(&health, 2);
        find(&health, 2);
        assert_eq!(events.try_next(), None);
        health.forget(1);
        assert_eq!(events.try_next(), Some(LinkEvent::Up));
        assert!(matches!(events.try_next(), Some(LinkEvent::Missed { .. })));
        health.lost(Part::Publisher(1), "gone");
        assert_eq!(events.try_next(), None, "what is forgotten does not matter");
    }

    #[tokio::test]
    async fn one_deaf_server_is_enough() {
        let (health, mut events) = health();
        let unheard = Duration::from_secs(20);
        health.deaf(1, unheard);
        health.deaf(2, unheard);
        health.hears(1);
        assert_eq!(events.try_next(), Some(LinkEvent::Deaf));
        assert_eq!(events.try_next(), Some(LinkEvent::Deaf));
        assert_eq!(events.try_next(), None);
        health.forget(2);
        assert_eq!(events.try_next(), Some(LinkEvent::Hearing));
    }

    #[tokio::test]
    async fn who_was_deaf_before_an_outage_is_deaf_after_it() {
        let (health, mut events) = health();
        expect(&health, 0);
        find(&health, 0);
        health.deaf(0, Duration::ZERO);
        health.lost(Part::Publisher(0), "gone");
        health.found(Part::Publisher(0));
        health.hears(0);
        let reason = "gone".to_owned();
        let expected = [
            LinkEvent::Up,
            LinkEvent::Deaf,
            LinkEvent::Down { reason },
            LinkEvent::Unreachable {
                reason: "redis is away",
            },
            LinkEvent::Up,
            LinkEvent::Deaf,
            LinkEvent::Hearing,
        ];
        for event in expected {
            assert_eq!(events.try_next(), Some(event));
        }
        assert!(matches!(events.try_next(), Some(LinkEvent::Missed { .. })));
    }
}
