//! Combines the states of all connections into `Up` and `Down`, and logs each change once.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error_hints::summary;
use crate::bus::link::{LinkEvent, LinkEventSender};
use crate::logging;

/// Identifies a server of a link; never reused.
pub(super) type MemberId = usize;

/// A component that must work for the link to be up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Component {
    /// Every slot of the Redis Cluster has a known owner.
    SlotMap,
    Publisher(MemberId),
    Subscriber(MemberId),
}

#[derive(Debug)]
pub(super) struct LinkHealth {
    events: LinkEventSender,
    address: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    components: HashMap<Component, bool>,
    deaf: HashSet<MemberId>,
    down_since: Instant,
    /// Start of the current gap: a working subscription was lost or became deaf, so messages of other members are not
    /// received.
    gap_since: Option<Instant>,
    /// Why the link is down, as last reported.
    reason: Option<&'static str>,
    /// The reasons logged since the link was last up; each is logged once.
    logged: Vec<&'static str>,
}

impl LinkHealth {
    pub(super) fn new(events: LinkEventSender, address: String) -> Self {
        let state = State {
            components: HashMap::new(),
            deaf: HashSet::new(),
            down_since: Instant::now(),
            gap_since: None,
            reason: None,
            logged: Vec::new(),
        };
        Self {
            events,
            address,
            state: Mutex::new(state),
        }
    }

    /// Registers a component. While the link is up, it counts as working until it fails.
    pub(super) fn register(&self, component: Component) {
        let mut state = self.state();
        let works = state.is_up();
        state.components.insert(component, works);
    }

    /// The component works; for a subscriber: every desired channel is subscribed.
    pub(super) fn mark_up(&self, component: Component) {
        self.change(None, |state| state.set(component, true));
    }

    /// The component failed: its connection was lost or could not be opened.
    pub(super) fn mark_down(&self, component: Component, reason: &str) {
        self.change(Some(reason), |state| {
            let worked = state.components.get(&component).is_some_and(|works| *works);
            if worked && matches!(component, Component::Subscriber(_)) {
                state.gap_since.get_or_insert_with(Instant::now);
            }
            state.set(component, false)
        });
    }

    /// Removes the components of a server that the link no longer uses.
    pub(super) fn remove_member(&self, member: MemberId) {
        self.clear_deaf(member);
        self.change(None, |state| {
            state.components.remove(&Component::Publisher(member));
            state.components.remove(&Component::Subscriber(member));
            true
        });
    }

    /// The pings of this link have not come back through this server for `silent_for`.
    pub(super) fn mark_deaf(&self, member: MemberId, silent_for: Duration) {
        let mut state = self.state();
        let now = Instant::now();
        let since = now.checked_sub(silent_for).unwrap_or(now);
        state.gap_since.get_or_insert(since);
        state.deaf.insert(member);
        let _consumer_gone = self.events.push(LinkEvent::Deaf);
    }

    /// Pings come back through this server again.
    pub(super) fn clear_deaf(&self, member: MemberId) {
        let mut state = self.state();
        if state.deaf.remove(&member) && state.deaf.is_empty() {
            let _consumer_gone = self.events.push(LinkEvent::EchoRestored);
            self.report_gap(&mut state);
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
            (false, true) => self.report_up(&mut state),
            (true, false) => {
                state.down_since = Instant::now();
                let reason = failure.unwrap_or_default().to_owned();
                let _consumer_gone = self.events.push(LinkEvent::Down { reason });
            }
            _ => {}
        }
        let Some(failure) = failure else { return };
        let reason = summary(failure);
        if state.reason.replace(reason) != Some(reason) {
            let _consumer_gone = self.events.push(LinkEvent::Unreachable { reason });
        }
        if !state.logged.contains(&reason) {
            state.logged.push(reason);
            log::warn!(
                address:% = self.address, reason:% = failure;
                "redis is out of reach, reconnecting until it is back"
            );
        }
    }

    fn report_up(&self, state: &mut State) {
        let outage = logging::seconds(state.down_since.elapsed());
        state.reason = None;
        let returned = !std::mem::take(&mut state.logged).is_empty();
        if returned {
            log::info!(address:% = self.address, away_seconds = outage; "redis is back");
        } else {
            log::info!(address:% = self.address; "redis is connected");
        }
        let _consumer_gone = self.events.push(LinkEvent::Up);
        self.report_gap(state);
        // `Up` resets the state of the consumer, but a member that is still deaf does not report it again.
        if !state.deaf.is_empty() {
            let _consumer_gone = self.events.push(LinkEvent::Deaf);
        }
    }

    /// Reports the gap to the log and the metrics once all subscriptions work again.
    fn report_gap(&self, state: &mut State) {
        if !state.is_up() || !state.deaf.is_empty() {
            return;
        }
        if let Some(since) = state.gap_since.take() {
            let during = since.elapsed();
            let seconds = logging::seconds(during);
            log::warn!(seconds; "messages of other nodes were possibly missed: there was no subscription");
            let _consumer_gone = self.events.push(LinkEvent::Missed { during });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns false for a component that was removed: the publisher of a removed server ends last.
    fn set(&mut self, component: Component, works: bool) -> bool {
        self.components
            .get_mut(&component)
            .map(|is| *is = works)
            .is_some()
    }

    fn is_up(&self) -> bool {
        !self.components.is_empty() && self.components.values().all(|works| *works)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::link::{LinkEvents, link_events};

    fn health() -> (LinkHealth, LinkEvents) {
        let (sender, events) = link_events(1000);
        (LinkHealth::new(sender, "here".to_owned()), events)
    }

    fn register(health: &LinkHealth, member: MemberId) {
        health.register(Component::Publisher(member));
        health.register(Component::Subscriber(member));
    }

    fn mark_up(health: &LinkHealth, member: MemberId) {
        health.mark_up(Component::Publisher(member));
        health.mark_up(Component::Subscriber(member));
    }

    #[tokio::test]
    async fn the_link_is_up_while_all_components_are_up() {
        let (health, mut events) = health();
        register(&health, 0);
        health.mark_down(Component::Publisher(0), "connection refused");
        health.mark_up(Component::Subscriber(0));
        let reason = "redis is away";
        assert_eq!(events.try_next(), Some(LinkEvent::Unreachable { reason }));
        assert_eq!(events.try_next(), None);
        mark_up(&health, 0);
        assert_eq!(events.try_next(), Some(LinkEvent::Up));
        health.mark_down(Component::Subscriber(0), "gone");
        health.mark_down(Component::Publisher(0), "gone too");
        health.mark_down(Component::Publisher(0), "the server at a:1 is a replica");
        let down = "gone".to_owned();
        assert_eq!(events.try_next(), Some(LinkEvent::Down { reason: down }));
        for reason in ["redis is away", "redis is a replica, not the master"] {
            assert_eq!(events.try_next(), Some(LinkEvent::Unreachable { reason }));
        }
        assert_eq!(events.try_next(), None);
        mark_up(&health, 0);
        assert_eq!(events.try_next(), Some(LinkEvent::Up));
        let missed = events.try_next();
        assert!(
            matches!(missed, Some(LinkEvent::Missed { .. })),
            "{missed:?}"
        );
        health.mark_down(Component::Publisher(0), "gone");
        mark_up(&health, 0);
        while let Some(event) = events.try_next() {
            let missed = matches!(event, LinkEvent::Missed { .. });
            assert!(!missed, "a publisher receives nothing");
        }
    }

    #[tokio::test]
    async fn servers_are_added_and_removed() {
        let (health, mut events) = health();
        register(&health, 0);
        mark_up(&health, 0);
        assert_eq!(events.try_next(), Some(LinkEvent::Up));
        register(&health, 1);
        assert_eq!(
            events.try_next(),
            None,
            "a new server does not take the link down"
        );
        health.mark_down(Component::Subscriber(1), "gone");
        assert!(matches!(events.try_next(), Some(LinkEvent::Down { .. })));
        assert!(matches!(
            events.try_next(),
            Some(LinkEvent::Unreachable { .. })
        ));
        register(&health, 2);
        mark_up(&health, 2);
        assert_eq!(events.try_next(), None);
        health.remove_member(1);
        assert_eq!(events.try_next(), Some(LinkEvent::Up));
        assert!(matches!(events.try_next(), Some(LinkEvent::Missed { .. })));
        health.mark_down(Component::Publisher(1), "gone");
        assert_eq!(events.try_next(), None, "removed components are ignored");
    }

    #[tokio::test]
    async fn the_link_is_deaf_while_any_server_is() {
        let (health, mut events) = health();
        let silent_for = Duration::from_secs(20);
        health.mark_deaf(1, silent_for);
        health.mark_deaf(2, silent_for);
        health.clear_deaf(1);
        assert_eq!(events.try_next(), Some(LinkEvent::Deaf));
        assert_eq!(events.try_next(), Some(LinkEvent::Deaf));
        assert_eq!(events.try_next(), None);
        health.remove_member(2);
        assert_eq!(events.try_next(), Some(LinkEvent::EchoRestored));
    }

    #[tokio::test]
    async fn deafness_is_reported_again_after_an_outage() {
        let (health, mut events) = health();
        register(&health, 0);
        mark_up(&health, 0);
        health.mark_deaf(0, Duration::ZERO);
        health.mark_down(Component::Publisher(0), "gone");
        health.mark_up(Component::Publisher(0));
        health.clear_deaf(0);
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
            LinkEvent::EchoRestored,
        ];
        for event in expected {
            assert_eq!(events.try_next(), Some(event));
        }
        assert!(matches!(events.try_next(), Some(LinkEvent::Missed { .. })));
    }
}
