//! Checks Redis: reachability, settings that a cluster depends on, and permissions.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Finding, nodes};
use crate::bus::redis::{ProbeReport, RedisFailure, ServerReport, probe};
use crate::cluster::dialect::native::NativeChannels;
use crate::cluster::start::{foreign_channels, redis_settings};
use crate::config::{BusConfig, Config, NodeAdapter};
use crate::model::NodeId;
use crate::model::random::OsRandom;

/// Joins wait for a round trip to Redis; users notice latencies above this.
const SLOW: Duration = Duration::from_millis(20);
/// Maximum clock difference in seconds, since leases and logs are compared across machines.
const SKEW: f64 = 1.0;
/// Interval at which the connection of the lease is used.
const LEASE_INTERVAL: Duration = Duration::from_secs(10);

const UNREACHABLE: &str = "bus.redis_url (or bus.sentinels): host and port of a running Redis that accepts this machine; see `bind` of the server, and firewalls";
const NO_SOCKET: &str = "bus.redis_url: the socket file of a running Redis (`unixsocket` in its configuration), which this user may read and write";
const UNKNOWN_DENIAL: &str = "the configuration of the server, or another server in bus.redis_url";

/// Returns the findings, and the names of the running nodes of this cluster.
pub(super) async fn check(config: &Config) -> (Vec<Finding>, BTreeSet<String>) {
    let bus = &config.bus;
    let without = |findings| (findings, BTreeSet::new());
    let settings = match redis_settings(bus) {
        Ok(Some(settings)) => settings,
        Ok(None) => return without(Vec::new()),
        Err(error) => {
            return without(vec![Finding::error(error.to_string(), "the key it names")]);
        }
    };
    let prefix = &bus.channel_prefix;
    let mut channels = vec![NativeChannels::new(prefix.as_str()).all().to_string()];
    let node = NodeId::random(&OsRandom);
    channels.extend(foreign_channels(bus, node).iter().map(ToString::to_string));
    // Names of nodes have four characters, so this key cannot collide with one.
    let key = format!("{prefix}:lease:check");
    match probe(&settings, &channels, &key).await {
        Ok(report) => (evaluate(&report, config), report.nodes(prefix)),
        Err(RedisFailure { reason, hint }) => {
            let what = format!("redis at {} is unreachable: {reason}", settings.address());
            let by_file = settings.address().starts_with('/');
            let unreached = if by_file { NO_SOCKET } else { UNREACHABLE };
            without(vec![Finding::error(what, hint.unwrap_or(unreached))])
        }
    }
}

fn evaluate(report: &ProbeReport, config: &Config) -> Vec<Finding> {
    let bus = &config.bus;
    let mut findings: Vec<Finding> = report
        .servers
        .iter()
        .flat_map(|server| evaluate_server(server, bus))
        .collect();
    let mismatches: Vec<Finding> = report
        .servers
        .iter()
        .filter_map(|server| evaluate_mode(server, bus))
        .collect();
    if mismatches.is_empty() {
        findings.extend(evaluate_rejected(&report.rejected));
    } else {
        // Other rejections are consequences of the mismatch.
        findings.extend(mismatches);
    }
    findings.extend(nodes::evaluate(report, config));
    findings
}

fn evaluate_rejected(rejected: &[RedisFailure]) -> Vec<Finding> {
    if rejected.is_empty() {
        let what = "redis allows this user to publish, subscribe and hold a lease";
        return vec![Finding::fine(what)];
    }
    let findings = rejected.iter().map(|RedisFailure { reason, hint }| {
        let what = format!("redis denies what a node requires: {reason}");
        Finding::error(what, hint.unwrap_or(UNKNOWN_DENIAL))
    });
    findings.collect()
}

/// Checks that the server is of the kind configured.
fn evaluate_mode(server: &ServerReport, bus: &BusConfig) -> Option<Finding> {
    let (what, change) = match server.mode.as_deref()? {
        "cluster" if !bus.cluster => (
            "is part of a Redis Cluster",
            "bus.cluster = true, and bus.redis_url without the number of a database",
        ),
        "sentinel" => (
            "is a Sentinel",
            "bus.sentinels: this address; bus.redis_url: user and password of the master",
        ),
        _ => return None,
    };
    Some(Finding::error(format!("{} {what}", server.address), change))
}

fn evaluate_server(server: &ServerReport, bus: &BusConfig) -> Vec<Finding> {
    let address = &server.address;
    let version = server.version.as_deref().unwrap_or("of unknown version");
    let milliseconds = server.latency.as_secs_f64() * 1000.0;
    let what = format!("redis {version} at {address} responds within {milliseconds:.2} ms");
    let mut findings = vec![if server.latency > SLOW {
        Finding::warning(
            what,
            "run redis closer to the nodes: joins wait for a round trip",
        )
    } else {
        Finding::fine(what)
    }];
    let major = server
        .version
        .as_deref()
        .and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    let needs_sharded = bus.cluster || bus.node_adapter == NodeAdapter::Sharded;
    if needs_sharded && major.is_some_and(|major| major < 7) {
        let what = format!("{address}: redis {version} does not support sharded channels");
        findings.push(Finding::error(
            what,
            "redis 7 or later, or neither bus.cluster nor bus.node_adapter = \"sharded\"",
        ));
    }
    let evaluated = [
        evaluate_buffer(server, bus),
        note_buffer(server, bus),
        evaluate_eviction(server),
        evaluate_timeout(server, bus),
        evaluate_clock(server),
    ];
    findings.extend(evaluated.into_iter().flatten());
    if server.settings.is_empty() {
        let what = format!(
            "{address}: the settings of the server were not checked: the user may not read them (CONFIG GET)"
        );
        findings.push(Finding::warning(
            what,
            "a user with +config|get in bus.redis_url for this check, to have them checked",
        ));
    }
    findings
}

/// The hard and the soft limit in `normal 0 0 0 slave .. pubsub HARD SOFT SECONDS`.
fn pubsub_limits(server: &ServerReport) -> Option<(usize, usize)> {
    let limits = server.settings.get("client-output-buffer-limit")?;
    let mut words = limits
        .split_whitespace()
        .skip_while(|word| *word != "pubsub")
        .skip(1);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Notes that other publishers can end the subscriptions of all nodes: unlike nodes, they are not bound by
/// bus.message_limit.
fn note_buffer(server: &ServerReport, bus: &BusConfig) -> Option<Finding> {
    let (hard, _) = pubsub_limits(server).filter(|(hard, _)| *hard != 0)?;
    let others = if bus.python {
        "python-socketio processes, other programs"
    } else {
        "other programs"
    };
    Some(Finding::fine(format!(
        "{}: nodes publish messages of at most {} bytes (bus.message_limit); a message above {hard} bytes (client-output-buffer-limit pubsub) from other publishers ({others}) on any subscribed channel ends the subscriptions of all nodes at once; each node then misses what is published until it has subscribed again (roomwire_bus_gap_seconds)",
        server.address, bus.message_limit
    )))
}

fn evaluate_buffer(server: &ServerReport, bus: &BusConfig) -> Option<Finding> {
    let (hard, soft) = pubsub_limits(server)?;
    let needed = 2 * bus.message_limit;
    let too_small = |limit: usize| limit != 0 && limit < needed;
    if !too_small(hard) && !too_small(soft) {
        return None;
    }
    let what = format!(
        "{}: client-output-buffer-limit pubsub is {hard} (soft {soft}): a few messages of bus.message_limit, {} bytes, disconnect the subscription of a node",
        server.address, bus.message_limit
    );
    let roomy = needed.max(32 << 20);
    let change = format!(
        "CONFIG SET client-output-buffer-limit \"pubsub {roomy} {} 60\", or a smaller bus.message_limit",
        needed.max(8 << 20)
    );
    Some(if hard != 0 && hard < bus.message_limit {
        Finding::error(what, change)
    } else {
        Finding::warning(what, change)
    })
}

fn evaluate_eviction(server: &ServerReport) -> Option<Finding> {
    let policy = server.settings.get("maxmemory-policy")?;
    if policy == "noeviction" {
        return None;
    }
    let is_limited = server
        .settings
        .get("maxmemory")
        .is_some_and(|bytes| bytes != "0");
    let what = format!(
        "{}: maxmemory-policy {policy} may evict the leases on node names",
        server.address
    );
    let change = "CONFIG SET maxmemory-policy noeviction, or a separate redis for the bus";
    // Without a memory limit nothing is evicted.
    is_limited.then(|| Finding::error(what, change))
}

fn evaluate_timeout(server: &ServerReport, bus: &BusConfig) -> Option<Finding> {
    let seconds: u64 = server.settings.get("timeout")?.parse().ok()?;
    let least = 2 * bus.ping_interval.max(LEASE_INTERVAL);
    if seconds == 0 || Duration::from_secs(seconds) >= least {
        return None;
    }
    let what = format!(
        "{}: timeout {seconds} closes connections that are idle between two pings or renewals",
        server.address
    );
    Some(Finding::warning(
        what,
        format!("CONFIG SET timeout 0, or at least {}", least.as_secs()),
    ))
}

fn evaluate_clock(server: &ServerReport) -> Option<Finding> {
    let ahead = server.clock_ahead.filter(|ahead| ahead.abs() > SKEW)?;
    let what = format!(
        "{}: its clock differs from this machine's by {ahead:+.1} s",
        server.address
    );
    Some(Finding::warning(
        what,
        "time synchronisation (NTP) on both machines",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Severity;

    fn evaluated(name: &str, value: &str) -> Option<Finding> {
        let bus = Config::default().bus;
        let mut server = ServerReport::default();
        server
            .settings
            .insert("maxmemory".to_owned(), "1000000".to_owned());
        server.settings.insert(name.to_owned(), value.to_owned());
        evaluate_server(&server, &bus)
            .into_iter()
            .find(|finding| finding.severity > Severity::Fine)
    }

    #[test]
    fn each_setting_has_its_severity() {
        let buffers =
            |pubsub: &str| format!("normal 0 0 0 slave 268435456 67108864 60 pubsub {pubsub}");
        let cases = [
            (
                "client-output-buffer-limit",
                buffers("33554432 8388608 60"),
                None,
            ),
            ("client-output-buffer-limit", buffers("0 0 0"), None),
            (
                "client-output-buffer-limit",
                buffers("1000 0 0"),
                Some(Severity::Error),
            ),
            (
                "client-output-buffer-limit",
                buffers("33554432 100000 60"),
                Some(Severity::Warning),
            ),
            ("maxmemory-policy", "noeviction".to_owned(), None),
            (
                "maxmemory-policy",
                "allkeys-lru".to_owned(),
                Some(Severity::Error),
            ),
            (
                "maxmemory-policy",
                "volatile-ttl".to_owned(),
                Some(Severity::Error),
            ),
            ("timeout", "0".to_owned(), None),
            ("timeout", "1800".to_owned(), None),
            ("timeout", "5".to_owned(), Some(Severity::Warning)),
        ];
        for (name, value, severity) in cases {
            let finding = evaluated(name, &value);
            assert_eq!(
                finding.as_ref().map(|finding| finding.severity),
                severity,
                "{name} {value}"
            );
            if let Some(finding) = finding {
                assert!(
                    finding.to_string().contains("change: CONFIG SET"),
                    "{finding}"
                );
            }
        }
    }

    #[test]
    fn other_publishers_are_noted_if_the_buffer_is_limited() {
        let notes = |limits: &str| {
            let mut server = ServerReport::default();
            let limits = format!("normal 0 0 0 slave 0 0 0 pubsub {limits}");
            let name = "client-output-buffer-limit".to_owned();
            server.settings.insert(name, limits);
            let findings = evaluate_server(&server, &Config::default().bus);
            let is_note = |text: &String| text.contains("a message above 33554432 bytes");
            let texts = findings.iter().map(ToString::to_string);
            texts.filter(is_note).count()
        };
        assert_eq!(notes("33554432 8388608 60"), 1);
        assert_eq!(notes("0 0 0"), 0);
    }

    #[test]
    fn clock_differences_and_denials_are_reported() {
        let server = ServerReport {
            clock_ahead: Some(-3.0),
            ..ServerReport::default()
        };
        let report = ProbeReport {
            servers: vec![server],
            rejected: vec![RedisFailure {
                reason: "NOPERM".to_owned(),
                hint: None,
            }],
            ..ProbeReport::default()
        };
        let findings: Vec<String> = evaluate(&report, &Config::default())
            .iter()
            .map(ToString::to_string)
            .collect();
        let text = findings.join("\n");
        assert!(
            text.contains("warning: : its clock differs from this machine's by -3.0 s"),
            "{text}"
        );
        assert!(
            text.contains("error: redis denies what a node requires: NOPERM"),
            "{text}"
        );
    }
}
