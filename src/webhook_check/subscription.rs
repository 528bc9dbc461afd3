//! Which kinds of requests a configuration sends to a URL. Pure.

use crate::config::{Config, HookRoute, NoticeKind, PolicyCondition, WebhookConfig, WebhookUrl};

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HookKind {
    /// The connect or disconnect of a socket, by its name in routes.
    OfSockets(&'static str),
    /// An event of a client, whose response decides.
    Event,
    /// A request that the policy `backend` leaves to the backend.
    Authorize,
    Notice(NoticeKind),
    /// An event of a client as a notice.
    EventNotice,
    /// A request with several notices.
    Notices,
}

/// Names in routes that are not events of clients.
const RESERVED: [&str; 3] = ["connect", "disconnect", "authorize"];

impl HookKind {
    /// Whether a node with this configuration sends such requests to `url`.
    pub(super) fn is_sent(self, config: &Config, url: &WebhookUrl) -> bool {
        let webhook = &config.webhook;
        let notices = webhook.notices.url.as_ref() == Some(url);
        match self {
            Self::OfSockets(name) => is_routed(webhook, url, name),
            Self::Event => {
                let routes = webhook.route_table.iter().filter(|route| route.url == *url);
                let mut names = routes.flat_map(|route| &route.events);
                names.any(|name| {
                    let name = name.as_str();
                    !RESERVED.contains(&name) && is_routed(webhook, url, name)
                })
            }
            Self::Authorize => backend_decides(config) && is_routed(webhook, url, "authorize"),
            Self::Notice(kind) => notices && webhook.notices.kinds.contains(&kind),
            Self::EventNotice => notices && !webhook.notices.events.is_empty(),
            Self::Notices => notices,
        }
    }
}

/// Whether `url` receives an event in at least one namespace: no earlier route takes it in all of them.
fn is_routed(webhook: &WebhookConfig, url: &WebhookUrl, event: &str) -> bool {
    let takes = |route: &HookRoute| route.events.iter().any(|name| name.matches(event));
    let mut routes = webhook.route_table.iter().enumerate();
    routes.any(|(index, route)| {
        let mut earlier = webhook.route_table[..index].iter();
        let is_taken =
            |other: &HookRoute| takes(other) && other.namespace.matches(route.namespace.as_str());
        route.url == *url && takes(route) && !earlier.any(is_taken)
    })
}

/// Whether the policy of any room leaves decisions to the backend.
fn backend_decides(config: &Config) -> bool {
    let mut rules = config.app.relay.rules.iter();
    rules.any(|rule| {
        [&rule.join, &rule.publish, &rule.ask, &rule.members]
            .iter()
            .any(|policy| policy.includes(&PolicyCondition::Backend))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Pattern, RoomPolicy};

    fn url(text: &str) -> WebhookUrl {
        WebhookUrl::parse(text).unwrap()
    }

    fn route(namespace: &str, events: &[&str], at: &str) -> HookRoute {
        HookRoute {
            namespace: Pattern::from(namespace),
            events: events.iter().map(|name| Pattern::from(*name)).collect(),
            url: url(at),
        }
    }

    const CONNECT: HookKind = HookKind::OfSockets("connect");
    const DISCONNECT: HookKind = HookKind::OfSockets("disconnect");

    /// The kinds that `at` receives.
    fn kinds(config: &Config, at: &str) -> Vec<HookKind> {
        let all = [
            CONNECT,
            DISCONNECT,
            HookKind::Event,
            HookKind::Authorize,
            HookKind::Notice(NoticeKind::Joined),
            HookKind::Notice(NoticeKind::Left),
            HookKind::EventNotice,
            HookKind::Notices,
        ];
        let at = url(at);
        let sent = all.into_iter().filter(|kind| kind.is_sent(config, &at));
        sent.collect()
    }

    #[test]
    fn routes_decide_about_connects_events_and_disconnects() {
        let mut config = Config::default();
        config.webhook.route_table = vec![
            route("*", &["connect"], "http://a/"),
            route("/chat", &["disconnect"], "http://a/"),
            route("*", &["connect", "disconnect"], "http://b/"),
            route("*", &["guess"], "http://c/"),
            route("*", &["guess"], "http://d/"),
            route("*", &["*"], "http://e/"),
        ];
        assert_eq!(kinds(&config, "http://a/"), [CONNECT, DISCONNECT]);
        assert_eq!(kinds(&config, "http://b/"), [DISCONNECT]);
        assert_eq!(kinds(&config, "http://c/"), [HookKind::Event]);
        assert_eq!(kinds(&config, "http://d/"), []);
        assert_eq!(kinds(&config, "http://e/"), [HookKind::Event]);
        config.app.relay.rules[0].ask = RoomPolicy::parse("backend").unwrap();
        let expected = [HookKind::Event, HookKind::Authorize];
        assert_eq!(kinds(&config, "http://e/"), expected);
    }

    #[test]
    fn notices_are_those_of_the_configuration() {
        let mut config = Config::default();
        config.webhook.notices.url = Some(url("http://n/"));
        config.webhook.notices.kinds = vec![NoticeKind::Joined];
        let joined = HookKind::Notice(NoticeKind::Joined);
        assert_eq!(kinds(&config, "http://n/"), [joined, HookKind::Notices]);
        config.webhook.notices.events = vec![Pattern::from("guess")];
        let expected = [joined, HookKind::EventNotice, HookKind::Notices];
        assert_eq!(kinds(&config, "http://n/"), expected);
        assert_eq!(kinds(&config, "http://m/"), []);
    }
}
