//! Maps errors of Redis, Sentinel and TLS to the setting to change, and to a public summary.

/// Part of an error of Redis, Sentinel or TLS (case is ignored), and the setting to change.
const HINTS: [(&str, &str); 24] = [
    (
        "has no master `",
        "bus.sentinel_service: the name under which the Sentinels monitor the master; `redis-cli -p 26379 sentinel masters` on a Sentinel lists them",
    ),
    (
        "is a replica",
        "bus.redis_url must lead to the master, or bus.sentinels to the Sentinels that monitor it; the address is resolved again for each attempt",
    ),
    (
        "wrongpass",
        "user and password in bus.redis_url are not what the server expects",
    ),
    (
        "password authentication failed",
        "user and password in bus.redis_url (for Sentinels: bus.sentinel_user, bus.sentinel_password) are not what the server expects",
    ),
    (
        "within the time limit over tls",
        "if the server does not speak TLS at this port, bus.redis_url begins with redis://",
    ),
    (
        "noauth",
        "the server requires a password: bus.redis_url = \"redis://user:password@host\"",
    ),
    (
        "without any password configured",
        "the server has no password: leave it out of bus.redis_url",
    ),
    (
        "noperm",
        "the ACL user of bus.redis_url is missing a permission; docs/operations.md has the rule it needs",
    ),
    (
        "moved",
        "the server is part of a Redis Cluster: set bus.cluster = true",
    ),
    (
        "clusterdown",
        "a master of the Redis Cluster is missing: `redis-cli --cluster check` lists the slots without a master",
    ),
    (
        "cluster support disabled",
        "the server is not part of a Redis Cluster: set bus.cluster = false",
    ),
    (
        "unknown command 'sentinel'",
        "the server is not a Sentinel: bus.sentinels must list Sentinels, bus.redis_url a Redis server",
    ),
    (
        "denied redis is running in protected mode",
        "the server rejects remote clients without a password: set one there and in bus.redis_url",
    ),
    (
        "readonly",
        "the server is a replica: bus.redis_url must name the master, or bus.sentinels the Sentinels that monitor it",
    ),
    (
        "db index is out of range",
        "the server has no such database: change the number at the end of bus.redis_url",
    ),
    (
        "select is not allowed in cluster mode",
        "a Redis Cluster has only database 0: remove the number at the end of bus.redis_url",
    ),
    (
        "unknownissuer",
        "the server's certificate is signed by an unknown authority: name it in bus.tls_ca",
    ),
    (
        "certificate: badsignature",
        "the server's certificate is signed by another authority of the same name: change bus.tls_ca",
    ),
    (
        "caused as endentity",
        "the server presents the certificate of an authority: give the server a certificate signed by it, and name the authority in bus.tls_ca",
    ),
    (
        "not valid for name",
        "the server's certificate is for another host: the host in bus.redis_url must be on it",
    ),
    (
        "certificate expired",
        "the server's certificate has expired: renew it, or correct the clock of this machine",
    ),
    (
        "fatal alert: certificaterequired",
        "the server requires a client certificate: set bus.tls_cert and bus.tls_key",
    ),
    (
        "fatal alert: unknownca",
        "the server does not trust the authority of the client certificate: change bus.tls_cert",
    ),
    (
        "corrupt message",
        "the server does not speak TLS at this port: use redis:// in bus.redis_url, or its TLS port",
    ),
];

/// Part of an error of Redis, Sentinel or TLS (case is ignored), and a summary that names neither servers nor users:
/// the readiness probe shows it to anyone.
const SUMMARIES: [(&str, &str); 20] = [
    ("is a replica", REPLICA),
    ("readonly", REPLICA),
    ("wrongpass", "redis rejects the user or the password"),
    (
        "password authentication failed",
        "redis rejects the user or the password",
    ),
    ("noauth", "redis requires a password"),
    (
        "without any password configured",
        "redis has no password, and rejects one",
    ),
    ("noperm", "redis denies its user a command or a channel"),
    ("protected mode", "redis is in protected mode"),
    ("db index is out of range", "redis has no such database"),
    (
        "select is not allowed",
        "a redis cluster has no database but 0",
    ),
    ("loading", "redis is loading its data"),
    ("cluster support disabled", "the server is no redis cluster"),
    (
        "slots have no master",
        "slots of the redis cluster have no master",
    ),
    ("clusterdown", "slots of the redis cluster have no master"),
    ("moved ", "the server is part of a redis cluster"),
    ("no master yet", "a failover of redis is in progress"),
    ("has no master `", "the sentinels monitor no such master"),
    ("no response within", "redis does not respond in time"),
    ("certificate", "the tls handshake with redis fails"),
    ("fatal alert", "the tls handshake with redis fails"),
];

const REPLICA: &str = "redis is a replica, not the master";
/// Any other failure.
const AWAY: &str = "redis is away";

/// The summary of a failure.
pub(super) fn summary(failure: &str) -> &'static str {
    let lower = failure.to_lowercase();
    let known = SUMMARIES.iter().find(|(part, _)| lower.contains(part));
    known.map_or(AWAY, |(_, summary)| summary)
}

/// A failure as reported by the server and, where known, the setting to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisFailure {
    pub reason: String,
    pub hint: Option<&'static str>,
}

impl RedisFailure {
    pub(super) fn new(reason: String) -> Self {
        let hint = hint(&reason);
        Self { reason, hint }
    }
}

fn hint(failure: &str) -> Option<&'static str> {
    let lower = failure.to_lowercase();
    let known = HINTS.iter().find(|(part, _)| lower.contains(part));
    known.map(|(_, hint)| *hint)
}

/// The text of a failure, followed by the setting to change where known.
pub(super) fn with_hint(failure: &str) -> String {
    match hint(failure) {
        Some(hint) => format!("{failure}; {hint}"),
        None => failure.to_owned(),
    }
}
