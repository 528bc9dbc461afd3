//! Limits of the queues of clients, which must fit together.

use super::load_text;

#[test]
fn queue_limits_have_room_for_the_largest_message() {
    const HARD: &str = "ROOMWIRE_SOCKET__OUTBOX_HARD_LIMIT";
    const LEAST: &str = "must be at least";
    let hard = |names: &[(&str, &str)]| {
        let loaded = load_text("", names).unwrap();
        loaded.config.socket.outbox_hard_limit
    };
    assert_eq!(hard(&[]), 32 << 20);
    let wide = [("ROOMWIRE_SOCKET__OUTBOX_LIMIT", "64MiB")];
    assert_eq!(hard(&wide), (64 << 20) + 1_000_000);
    assert_eq!(hard(&[(HARD, "3MiB")]), 3 << 20);
    let upstream = [
        ("ROOMWIRE_APP__KIND", "upstream"),
        ("ROOMWIRE_APP__UPSTREAM__URLS", "http://behind:3000"),
        (HARD, "16MiB"),
    ];
    let redis = [("ROOMWIRE_BUS__REDIS_URL", "redis://r"), (HARD, "2800KiB")];
    let memory = [("ROOMWIRE_LIMITS__OUTBOX_MEMORY", "31MiB")];
    for (names, parts) in [
        (
            &[(HARD, "1MiB")][..],
            ["socket.outbox_hard_limit", LEAST, "engine.max_payload"],
        ),
        (
            &upstream,
            [
                "socket.outbox_hard_limit",
                LEAST,
                "app.upstream.max_message",
            ],
        ),
        (
            &redis,
            ["socket.outbox_hard_limit", LEAST, "bus.message_limit"],
        ),
        (
            &memory,
            [
                "limits.outbox_memory",
                "less than the queue of one client",
                "socket.outbox_hard_limit",
            ],
        ),
    ] {
        let rejected = load_text("", names).unwrap_err().to_string();
        for part in parts {
            assert!(rejected.contains(part), "{part}: {rejected}");
        }
    }
}
