//! Rates of events by name and of users: what exceeds them is rejected, while `limits.events_per_second` only delays.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::bucket::Rate;
use super::keyed::KeyedRates;
use super::kind::Limit;
use crate::config::{LimitsConfig, Pattern, RateSubject};
use crate::model::elements::decode_string;
use crate::model::{EngineId, Payload};

/// Requests of the relay whose third element is the name of the event that is emitted.
const EMITS: [&str; 2] = ["roomwire:emit", "roomwire:ask"];

/// The rates of a node, and how much of each is used.
#[derive(Debug)]
pub struct EventRates {
    rules: EventRules,
    used: KeyedRates,
}

/// The rates themselves.
#[derive(Debug, PartialEq)]
struct EventRules {
    by_name: Vec<NamedRate>,
    per_user: Option<Rate>,
}

/// The rate of the events that a pattern names.
#[derive(Debug, PartialEq)]
struct NamedRate {
    event: Pattern,
    subject: RateSubject,
    rate: Rate,
}

/// The sender of an event.
#[derive(Debug, Clone, Copy)]
pub struct EventSender<'a> {
    pub session: EngineId,
    /// The user of the socket, if it has an identity.
    pub user: Option<&'a str>,
}

/// A rate that an event exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateExceeded {
    pub limit: Limit,
    /// Time until the next event is accepted.
    pub wait: Duration,
}

/// What a bucket belongs to: the position of the rate, or none for the rate of a user; then the user, or the session.
type Key<'a> = (Option<usize>, Option<&'a str>, Option<EngineId>);

impl EventRules {
    fn of(config: &LimitsConfig) -> Self {
        let entries = config.events.iter().filter_map(|entry| {
            Some(NamedRate {
                event: entry.event.clone(),
                subject: entry.per.unwrap_or(RateSubject::Connection),
                rate: Rate::new(entry.rate, entry.burst.unwrap_or_default())?,
            })
        });
        Self {
            by_name: entries.collect(),
            per_user: Rate::new(
                config.events_per_second_per_user,
                config.events_burst_per_user,
            ),
        }
    }
}

impl EventRates {
    /// The rates of a configuration; `None` if there are none.
    pub(super) fn of(config: &LimitsConfig) -> Option<Self> {
        let rules = EventRules::of(config);
        let has_rates = rules.per_user.is_some() || !rules.by_name.is_empty();
        has_rates.then(|| Self {
            rules,
            used: KeyedRates::default(),
        })
    }

    /// Whether the rates are those of this configuration.
    pub(super) fn is_of(&self, config: &LimitsConfig) -> bool {
        self.rules == EventRules::of(config)
    }

    /// Counts an event.
    ///
    /// # Errors
    /// It exceeds a rate.
    pub fn take(
        &self,
        event: &Payload,
        sender: EventSender<'_>,
        now: Instant,
    ) -> Result<(), RateExceeded> {
        let exceeds = |limit| move |wait| RateExceeded { limit, wait };
        if let Some((number, named)) = self.named(event) {
            let user = match named.subject {
                RateSubject::User => sender.user,
                RateSubject::Connection => None,
            };
            let key = key(Some(number), user, sender.session);
            let taken = self.used.take(&key, named.rate, now);
            taken.map_err(exceeds(Limit::EventRate))?;
        }
        if let (Some(rate), Some(user)) = (self.rules.per_user, sender.user) {
            let key = key(None, Some(user), sender.session);
            let taken = self.used.take(&key, rate, now);
            taken.map_err(exceeds(Limit::UserEvents))?;
        }
        Ok(())
    }

    /// The first rate that names the event, and its position.
    fn named(&self, event: &Payload) -> Option<(usize, &NamedRate)> {
        if self.rules.by_name.is_empty() {
            return None;
        }
        let name = event.event_name()?;
        let is_emit = EMITS.contains(&&*name);
        let emitted = is_emit.then(|| emitted_name(event)).flatten();
        let mut rates = self.rules.by_name.iter().enumerate();
        rates.find(|(_, rate)| {
            let matches = |name: &str| rate.event.matches(name);
            matches(&name) || emitted.as_deref().is_some_and(matches)
        })
    }
}

/// A user shares the bucket with all its sessions; without a user, each session has its own.
fn key(number: Option<usize>, user: Option<&str>, session: EngineId) -> Key<'_> {
    (number, user, user.is_none().then_some(session))
}

fn emitted_name(event: &Payload) -> Option<Cow<'_, str>> {
    decode_string(event.elements().nth(2)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, EventRateEntry};
    use crate::model::random::OsRandom;

    fn entry(event: &str, per: Option<RateSubject>, rate: u32, burst: u32) -> EventRateEntry {
        EventRateEntry {
            event: Pattern::from(event),
            per,
            rate,
            burst: Some(burst),
        }
    }

    fn rates(events: Vec<EventRateEntry>, per_user: (u32, u32)) -> EventRates {
        let mut config = Config::default().limits;
        config.events = events;
        (
            config.events_per_second_per_user,
            config.events_burst_per_user,
        ) = per_user;
        EventRates::of(&config).unwrap()
    }

    fn sender(user: Option<&str>) -> EventSender<'_> {
        let session = EngineId::random(
            crate::model::NodeId::random(&OsRandom),
            Default::default(),
            &OsRandom,
        );
        EventSender { session, user }
    }

    fn event(json: &'static str) -> Payload {
        Payload::text(json)
    }

    #[test]
    fn the_first_entry_that_names_an_event_or_what_it_emits_counts_it() {
        let rates = rates(
            vec![
                entry("typing*", None, 1, 2),
                entry("roomwire:join", None, 1, 1),
                entry("*", None, 1, 4),
            ],
            (0, 0),
        );
        let now = crate::clock::now();
        let a = sender(None);
        let take = |json| rates.take(&event(json), a, now).is_ok();
        assert!(take(r#"["roomwire:emit","r","typing:1"]"#));
        assert!(take(r#"["typing"]"#));
        assert!(!take(r#"["roomwire:ask","r","typing"]"#), "two in all");
        assert!(
            take(r#"["roomwire:join","typing"]"#),
            "a room, not an event"
        );
        assert!(!take(r#"["roomwire:join","other"]"#));
        let exceeded = rates.take(&event(r#"["typing"]"#), a, now).unwrap_err();
        let wait = Duration::from_secs(1);
        assert_eq!(
            exceeded,
            RateExceeded {
                limit: Limit::EventRate,
                wait
            }
        );
        assert!(
            rates
                .take(&event(r#"["typing"]"#), sender(None), now)
                .is_ok()
        );
        assert!(rates.take(&event(r#"["typing"]"#), a, now + wait).is_ok());
    }

    #[test]
    fn a_user_has_one_rate_in_all_sessions_and_a_session_without_user_its_own() {
        let rates = rates(vec![entry("x", Some(RateSubject::User), 1, 2)], (0, 0));
        let now = crate::clock::now();
        let take = |sender| rates.take(&event(r#"["x"]"#), sender, now).is_ok();
        assert!(take(sender(Some("anna"))) && take(sender(Some("anna"))));
        assert!(!take(sender(Some("anna"))));
        assert!(take(sender(Some("bert"))));
        let anonymous = sender(None);
        assert!(take(anonymous) && take(anonymous) && !take(anonymous));
        assert!(take(sender(None)));
    }

    #[test]
    fn the_rate_of_a_user_counts_all_its_events() {
        let rates = rates(Vec::new(), (10, 2));
        let now = crate::clock::now();
        let take = |json, user| rates.take(&event(json), sender(user), now);
        assert!(take(r#"["a"]"#, Some("anna")).is_ok());
        assert!(take(r#"["b"]"#, Some("anna")).is_ok());
        let exceeded = take(r#"["c"]"#, Some("anna")).unwrap_err();
        assert_eq!(exceeded.limit, Limit::UserEvents);
        assert_eq!(exceeded.wait, Duration::from_millis(100));
        for _ in 0..5 {
            assert!(take(r#"["c"]"#, None).is_ok());
        }
    }
}
