//! The table of imports.

/// The modules that each module may import. A module may always import itself; `server` and `main` wire everything.
pub(super) const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("metrics", &[]),
    ("health", &[]),
    ("clock", &[]),
    ("msgpack", &["model"]),
    ("protocol", &["model", "msgpack"]),
    ("outbox", &["protocol", "model", "metrics"]),
    ("token", &[]),
    // Certificates and keys are part of what `roomwire check` checks.
    ("config", &["model", "tls", "token", "verbs"]),
    ("tls", &["metrics"]),
    (
        "upstream",
        &["protocol", "config", "model", "metrics", "logging"],
    ),
    // Of the bridge, its store alone: what an app keeps for the cluster.
    (
        "app",
        &[
            "rules", "upstream", "webhook", "verbs", "auth", "presence", "limits", "history",
            "config", "model", "metrics", "store", "logging",
        ],
    ),
    // Of the app, its gates alone.
    (
        "auth",
        &[
            "app", "rules", "token", "tls", "verbs", "config", "model", "health", "metrics",
            "store", "logging",
        ],
    ),
    // Decisions as values.
    ("rules", &["config", "model", "metrics"]),
    // Every limit is defined in one place, for all modules that enforce it.
    ("limits", &["config", "metrics", "model", "logging"]),
    (
        "broker",
        &[
            "outbox", "protocol", "history", "limits", "model", "metrics", "logging",
        ],
    ),
    (
        "session",
        &[
            "protocol", "app", "auth", "broker", "outbox", "limits", "history", "recovery",
            "store", "config", "model", "metrics", "logging",
        ],
    ),
    ("store", &["model"]),
    ("history", &["store", "config", "model"]),
    // Of the broker, its observers and notices alone.
    (
        "recovery",
        &[
            "broker", "history", "store", "config", "model", "msgpack", "metrics", "logging",
        ],
    ),
    (
        "presence",
        &["broker", "registry", "store", "config", "model", "metrics"],
    ),
    (
        "registry",
        &["broker", "store", "model", "metrics", "logging"],
    ),
    (
        "bus",
        &[
            "history", "store", "model", "health", "metrics", "config", "tls", "logging",
        ],
    ),
    (
        "cluster",
        &[
            "bus", "broker", "history", "store", "model", "msgpack", "health", "metrics", "config",
            "tls", "logging",
        ],
    ),
    (
        "transport",
        &[
            "session", "outbox", "protocol", "broker", "cluster", "limits", "config", "model",
            "metrics", "tls", "logging",
        ],
    ),
    (
        "http",
        &[
            "api",
            "echo_api",
            "transport",
            "health",
            "metrics",
            "config",
            "model",
            "logging",
        ],
    ),
    ("verbs", &["model"]),
    (
        "source",
        &[
            "verbs", "auth", "broker", "store", "config", "model", "metrics", "logging",
        ],
    ),
    (
        "webhook",
        &[
            "verbs", "config", "model", "health", "metrics", "tls", "logging",
        ],
    ),
    (
        "api",
        &[
            "auth",
            "verbs",
            "webhook",
            "broker",
            "history",
            "transport",
            "presence",
            "limits",
            "store",
            "config",
            "health",
            "metrics",
            "model",
            "logging",
        ],
    ),
    // The HTTP routes of another server.
    (
        "echo_api",
        &[
            "broker",
            "transport",
            "presence",
            "limits",
            "config",
            "metrics",
            "model",
        ],
    ),
    (
        "cli",
        &[
            "auth", "rules", "token", "verbs", "config", "metrics", "model", "tls",
        ],
    ),
    (
        "notices",
        &[
            "app", "broker", "webhook", "store", "config", "model", "metrics", "logging",
        ],
    ),
    (
        "webhook_check",
        &["webhook", "config", "model", "metrics", "tls"],
    ),
    ("logging", &["config", "metrics"]),
    // Looks at what a node will meet; starts none.
    // Of the apps, only what a version of Open WebUI means.
    (
        "live",
        &[
            "bus", "cluster", "store", "upstream", "webhook", "app", "config", "limits", "metrics",
            "model",
        ],
    ),
];
