//! Rules of rooms: what `auto` stands for, and rules that do not do what they seem to.

use super::*;

fn rejected(text: &str) -> (String, String) {
    let problems = load_text(text, &[]).unwrap_err().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    (problems[0].key.clone(), problems[0].message.clone())
}

#[test]
fn a_rule_has_the_values_of_its_entry_and_the_defaults_for_the_others() {
    let text = r#"
        [app.relay]
        join = "users"
        publish = "nobody"
        ask = "claim.role = admin"
        [[app.relay.rooms]]
        pattern = "team:{claim.team}:*"
        publish = "members | token"
        events = ["message", "typing*"]
        conflate = ["typing*", "cursor /user"]
        max_members = 50
        events_per_second = 10
        [[app.relay.rooms]]
        pattern = "other"
        members = "members"
        events_per_second = 10
        events_burst = 30
    "#;
    let config = load_text(text, &[]).unwrap().config;
    let rules = &config.app.relay.rules;
    let policies = |rule: &RoomRule| {
        let policies = [&rule.join, &rule.publish, &rule.ask, &rule.members];
        policies.map(|policy| policy.to_string())
    };
    let expected = [
        ["users", "members | token", "members | token", "nobody"],
        ["users", "nobody", "claim.role = admin", "members"],
        ["users", "nobody", "claim.role = admin", "nobody"],
    ];
    let found: Vec<_> = rules.iter().map(policies).collect();
    assert_eq!(found, expected);
    let team = &rules[0];
    assert_eq!((team.max_members, team.rate), (Some(50), Some((10, 0))));
    assert_eq!(team.events.as_ref().unwrap().len(), 2);
    let conflated = team.conflate.iter().map(|rule| rule.to_string());
    assert_eq!(conflated.collect::<Vec<_>>(), ["typing*", "cursor /user"]);
    assert_eq!(rules[1].rate, Some((10, 30)));
}

#[test]
fn rules_that_cannot_be_read_are_rejected_with_their_key() {
    let entry = |lines: &str| format!("[[app.relay.rooms]]\npattern = \"x\"\n{lines}\n");
    for (text, key, message) in [
        (
            "[app.relay]\njoin = \"members\"".to_owned(),
            "app.relay.join",
            "a member has joined already",
        ),
        (
            entry("publish = \"claim.role\""),
            "app.relay.rooms[0].publish",
            "`claim.role` is none of",
        ),
        (
            entry("join = \"backend\""),
            "app.relay.rooms[0].join",
            "webhook.url",
        ),
        (
            "[app.relay]\nmembers = \"users | backend\"".to_owned(),
            "app.relay.members",
            "webhook.url",
        ),
        (
            "[[app.relay.rooms]]\npattern = \"user:{usr}\"".to_owned(),
            "app.relay.rooms[0].pattern",
            "`{usr}` is no variable",
        ),
        (
            entry("max_members = 0"),
            "app.relay.rooms[0].max_members",
            "must be at least 1",
        ),
    ] {
        let (at, found) = rejected(&text);
        assert_eq!(at, key, "{found}");
        assert!(found.contains(message), "{found}");
    }
    let problems = load_text(&entry("join = \"anione\""), &[]).unwrap_err();
    assert_eq!(problems.problems[0].did_you_mean.as_deref(), Some("anyone"));
}

#[test]
fn rules_without_the_intended_effect_get_warnings() {
    let warnings = |text: &str| {
        let loaded = load_text(text, &[]).unwrap();
        let warnings = loaded.warnings.iter();
        let shown = warnings.map(|warning| format!("{}: {}", warning.key, warning.message));
        shown.collect::<Vec<_>>()
    };
    let open = "[[app.relay.rooms]]\npattern = \"user:{user}\"\njoin = \"nobody\"\n";
    let found = warnings(open);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0]
            .starts_with("app.relay.rooms[0].pattern: anyone can join such rooms of other users")
            && found[0].contains("pattern = \"user:*\""),
        "{found:?}"
    );
    let closed = "[[app.relay.rooms]]\npattern = \"user:*\"\njoin = \"nobody\"\n";
    assert!(warnings(&format!("{open}{closed}")).is_empty());
    let found =
        warnings("[[app.relay.rooms]]\npattern = \"x\"\nevents_burst = 3\njoin = \"users\"\n");
    assert!(found[0].starts_with("app.relay.rooms[0].join: `users` applies to no client"));
    assert!(found[1].starts_with("app.relay.rooms[0].events_burst: has no effect"));
}

#[test]
fn auto_is_nobody_where_clients_of_the_relay_can_have_an_identity() {
    let webhook = "[webhook]\nurl = \"http://backend:3000/\"\n";
    let route = "[[app.routes]]\nnamespace = \"/\"\napp = \"webhook\"\n";
    for (text, expected) in [
        (String::new(), "anyone"),
        (format!("app.kind = \"webhook\"\n{webhook}"), "anyone"),
        (
            format!("app.kind = \"webhook\"\napp.webhook.relay = true\n{webhook}"),
            "nobody",
        ),
        (
            format!("app.webhook.relay = true\n{webhook}{route}"),
            "nobody",
        ),
        ("app.webhook.relay = true\n".to_owned(), "anyone"),
    ] {
        let relay = load_text(&text, &[]).unwrap().config.app.relay;
        let policies = [&relay.join, &relay.publish, &relay.ask];
        assert_eq!(policies.map(ToString::to_string), [expected; 3], "{text}");
    }
    let users = "[[app.relay.rooms]]\npattern = \"x\"\njoin = \"users\"\n";
    let text = format!("app.kind = \"webhook\"\napp.webhook.relay = true\n{webhook}{users}");
    let warnings = load_text(&text, &[]).unwrap().warnings;
    assert!(
        warnings
            .iter()
            .all(|warning| warning.key != "app.relay.rooms[0].join"),
        "{warnings:?}"
    );
}

#[test]
fn rules_without_a_relay_are_a_warning_that_names_its_switch() {
    let rooms = "[[app.relay.rooms]]\npattern = \"x\"\njoin = \"anyone\"\n";
    let url = "[webhook]\nurl = \"http://localhost:3000/\"\n";
    for (kind, switch) in [
        ("webhook", "app.webhook.relay = true"),
        ("echo", "\"echo\""),
    ] {
        let text = format!("app.kind = \"{kind}\"\n{url}{rooms}");
        let warnings = load_text(&text, &[]).unwrap().warnings;
        let mut found = warnings.iter();
        let found = found.find(|warning| warning.key == "app.relay.rooms");
        assert!(found.unwrap().message.contains(switch), "{warnings:?}");
    }
}
