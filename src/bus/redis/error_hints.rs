//! What to change when Redis refuses: its own words, and the setting they concern.

/// What Redis, Sentinel or TLS says (in any case of letters), and what helps.
const ADVICE: [(&str, &str); 24] = [
    (
        "does not know the master",
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
        "within the time, over tls",
        "if the server does not speak TLS at this port, bus.redis_url begins with redis://",
    ),
    (
        "noauth",
        "the server wants a password: bus.redis_url = \"redis://user:password@host\"",
    ),
    (
        "without any password configured",
        "the server has no password: leave it out of bus.redis_url",
    ),
    (
        "noperm",
        "the ACL user of bus.redis_url lacks a permission; docs/operations.md has the rule it needs",
    ),
    (
        "moved",
        "the server is part of a Redis Cluster: set bus.cluster = true",
    ),
    (
        "clusterdown",
        "a master of the Redis Cluster is missing: `redis-cli --cluster check` says which slots nobody serves",
    ),
    (
        "cluster support disabled",
        "the server is no Redis Cluster: set bus.cluster = false",
    ),
    (
        "unknown command 'sentinel'",
        "this is no Sentinel: bus.sentinels wants Sentinels, bus.redis_url a Redis",
    ),
    (
        "denied redis is running in protected mode",
        "the server takes nobody from outside without a password: give it one, and bus.redis_url",
    ),
    (
        "readonly",
        "the server is a replica: bus.redis_url must name the master, or bus.sentinels those who know it",
    ),
    (
        "db index is out of range",
        "the server has no such database: the number at the end of bus.redis_url",
    ),
    (
        "select is not allowed in cluster mode",
        "a Redis Cluster has database 0 only: no other number at the end of bus.redis_url",
    ),
    (
        "unknownissuer",
        "the server's certificate comes from an unknown authority: name it in bus.tls_ca",
    ),
    (
        "certificate: badsignature",
        "the server's certificate comes from another authority of the same name: bus.tls_ca",
    ),
    (
        "caused as endentity",
        "a certificate of an authority is no server's: give the server one signed by it, and bus.tls_ca the authority",
    ),
    (
        "not valid for name",
        "the server's certificate is for another host: the one in bus.redis_url must be on it",
    ),
    (
        "certificate expired",
        "the server's certificate is too old: give the server a new one, or set the clock of this machine",
    ),
    (
        "fatal alert: certificaterequired",
        "the server wants a certificate of ours: set bus.tls_cert and bus.tls_key",
    ),
    (
        "fatal alert: unknownca",
        "the server does not trust the authority of our certificate: bus.tls_cert",
    ),
    (
        "corrupt message",
        "the server does not speak TLS at this port: redis:// in bus.redis_url, or its TLS port",
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
    (
        "does not know the master",
        "the sentinels know no such master",
    ),
    ("no answer within", "redis does not respond in time"),
    ("certificate", "the tls handshake with redis fails"),
    ("fatal alert", "the tls handshake with redis fails"),
];

const REPLICA: &str = "redis is a replica, not the master";
/// Any other failure.
const AWAY: &str = "redis is away";

/// The summary of a failure.
pub(super) fn summary(failure: &str) -> &'static str {
    let lower = failure.to_lowercase();
    let known = SUMMARIES.iter().find(|(says, _)| lower.contains(says));
    known.map_or(AWAY, |(_, summary)| summary)
}

/// A failure in the words of those who refused, and the setting to change where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub reason: String,
    pub advice: Option<&'static str>,
}

impl Trouble {
    pub(super) fn of(reason: String) -> Self {
        let advice = advice(&reason);
        Self { reason, advice }
    }
}

fn advice(failure: &str) -> Option<&'static str> {
    let lower = failure.to_lowercase();
    let known = ADVICE.iter().find(|(says, _)| lower.contains(says));
    known.map(|(_, advice)| *advice)
}

/// The text of a failure, with what to change where that is known.
pub(super) fn advised(failure: &str) -> String {
    match advice(failure) {
        Some(advice) => format!("{failure}; {advice}"),
        None => failure.to_owned(),
    }
}
