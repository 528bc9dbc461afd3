//! `[recovery]`, and sessions shared with Socket.IO servers in Node.

use super::*;

const SHARED: &str = r#"
    [bus]
    redis_url = "redis://localhost"
    node_adapter = "streams"
    node_sessions = true
    [recovery]
    namespaces = ["/", "/chat"]
"#;

#[test]
fn the_events_of_namespaces_with_recovery_are_logged_unless_their_sessions_are_shared() {
    let own = SHARED.replace("node_sessions = true", "node_sessions = false");
    let config = load_text(&own, &[]).unwrap().config;
    let logged = config.history.rooms.iter();
    let logged: Vec<_> = logged.map(|entry| entry.namespace.as_deref()).collect();
    assert_eq!(logged, [Some("/"), Some("/chat")]);
    assert!(config.bus.shared_namespaces.is_empty());

    let shared = load_text(SHARED, &[]).unwrap();
    assert!(shared.warnings.is_empty(), "{:?}", shared.warnings);
    assert!(shared.config.history.rooms.is_empty());
    assert_eq!(shared.config.bus.shared_namespaces, ["/", "/chat"]);
}

#[test]
fn other_namespaces_can_have_logs_while_sessions_are_shared() {
    let text = format!("{SHARED}[[history.rooms]]\nnamespace = \"/other\"\nrooms = \"*\"");
    let config = load_text(&text, &[]).unwrap().config;
    assert_eq!(config.history.rooms.len(), 1);
}

#[test]
fn shared_sessions_that_cannot_work_are_rejected() {
    for (from, to, key, message) in [
        (
            "node_adapter = \"streams\"",
            "node_adapter = \"pubsub\"",
            "bus.node_sessions",
            "requires bus.node_adapter = \"streams\"",
        ),
        (
            "namespaces = [\"/\", \"/chat\"]",
            "",
            "bus.node_sessions",
            "requires recovery.namespaces: the namespaces whose sessions are shared",
        ),
        (
            "redis_url = \"redis://localhost\"",
            "",
            "bus.node_sessions",
            "requires bus.redis_url",
        ),
        (
            "[recovery]",
            "[[history.rooms]]\nrooms = \"news\"\n[recovery]",
            "history.rooms[0].namespace",
            "cannot be /, a namespace of recovery.namespaces, with bus.node_sessions: its events are kept in the stream of the Node servers, not in logs of rooms",
        ),
    ] {
        assert!(SHARED.contains(from));
        let problems = load_text(&SHARED.replace(from, to), &[])
            .unwrap_err()
            .problems;
        let shown: Vec<_> = problems.iter().map(|it| (&*it.key, &*it.message)).collect();
        assert_eq!(shown, [(key, message)]);
    }
}
