//! Limits of one address and one session: the values of `auto`, and where they apply.

use super::*;

const PUBLIC: (&str, &str) = ("ROOMWIRE_SERVER__BIND", "0.0.0.0:8080");

/// Limits of clients and HTTP connections of an address; then the rates and bursts of its handshakes and of the events of
/// a session and of a user.
fn per_client(pairs: Pairs<'_>) -> (usize, Option<usize>, [u32; 6]) {
    let limits = load_environment(pairs).unwrap().config.limits;
    let rates = [
        limits.handshakes_per_second_per_ip,
        limits.handshakes_burst_per_ip,
        limits.events_per_second,
        limits.events_burst,
        limits.events_per_second_per_user,
        limits.events_burst_per_user,
    ];
    (
        limits.connections_per_ip,
        limits.http_connections_per_ip,
        rates,
    )
}

#[test]
fn per_client_limits_apply_by_default_unless_bound_to_loopback() {
    let none = (usize::MAX, Some(usize::MAX), [0; 6]);
    let some = (500, None, [20, 100, 100, 500, 200, 1000]);
    assert_eq!(per_client(&[]), none);
    assert_eq!(per_client(&[PUBLIC]), some);
    let switch = |value| ("ROOMWIRE_LIMITS__PER_CLIENT", value);
    assert_eq!(per_client(&[PUBLIC, switch("off")]), none, "for load tests");
    assert_eq!(per_client(&[switch("on")]), some);
    let files = [
        "config/cluster.toml",
        "config/echo.toml",
        "config/open-webui.toml",
    ];
    for file in files {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let redis = [
            ("ROOMWIRE_BUS__REDIS_URL", "redis://cache"),
            ("ROOMWIRE_APP__OPEN_WEBUI__UPSTREAMS", "http://webui:8080"),
        ];
        let limits = load_file(&path, &redis).unwrap().config.limits;
        assert_eq!(limits.connections_per_ip, 500, "{file}");
    }
}

#[test]
fn a_given_value_takes_precedence_over_auto() {
    let given = [
        ("ROOMWIRE_LIMITS__CONNECTIONS_PER_IP", "7"),
        ("ROOMWIRE_LIMITS__HTTP_CONNECTIONS_PER_IP", "0"),
        ("ROOMWIRE_LIMITS__HANDSHAKES_PER_SECOND_PER_IP", "3"),
        ("ROOMWIRE_LIMITS__EVENTS_PER_SECOND", "0"),
        ("ROOMWIRE_LIMITS__EVENTS_PER_SECOND_PER_USER", "7"),
    ];
    let expected = (7, Some(usize::MAX), [3, 0, 0, 0, 7, 0]);
    assert_eq!(per_client(&given), expected);
    assert_eq!(per_client(&[&given[..], &[PUBLIC]].concat()), expected);
    let burst = [PUBLIC, ("ROOMWIRE_LIMITS__EVENTS_BURST", "9")];
    assert_eq!(per_client(&burst).2, [20, 100, 100, 9, 200, 1000]);
    let file = load_text(
        "[limits]\nconnections_per_ip = 9\nevents_per_second = \"auto\"\n",
        &[PUBLIC],
    );
    assert_eq!(file.unwrap().config.limits.connections_per_ip, 9);
    let wrong = load_environment(&[("ROOMWIRE_LIMITS__EVENTS_BURST", "many")]);
    assert_eq!(keys(&wrong.unwrap_err().problems), ["limits.events_burst"]);
}

#[test]
fn rates_of_events_by_name_have_a_subject_and_a_burst() {
    let text = "[[limits.events]]\nevent = \"typing*\"\nrate = 2\n\
                [[limits.events]]\nevent = \"*\"\nper = \"user\"\nrate = 5\nburst = 50\n";
    let events = load_text(text, &[]).unwrap().config.limits.events;
    let read: Vec<_> = events
        .iter()
        .map(|entry| (entry.event.as_str(), entry.per, entry.rate, entry.burst))
        .collect();
    let expected = [
        ("typing*", None, 2, None),
        ("*", Some(RateSubject::User), 5, Some(50)),
    ];
    assert_eq!(read, expected);
    for (line, key) in [
        ("per = \"room\"\nrate = 1", "limits.events[0].per"),
        ("rate = 0", "limits.events[0].rate"),
        ("burst = 1", "limits.events[0]"),
    ] {
        let text = format!("[[limits.events]]\nevent = \"x\"\n{line}\n");
        let problems = load_text(&text, &[]).unwrap_err().problems;
        assert_eq!(keys(&problems), [key], "{line}");
    }
}
