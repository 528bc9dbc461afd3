//! Redis: reachable, set so that a cluster can live on it, and willing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Finding, nodes};
use crate::bus::redis::{Facts, ServerFacts, Trouble, probe};
use crate::cluster::dialect::native::NativeChannels;
use crate::cluster::start::{foreign_channels, redis_settings};
use crate::config::{BusConfig, Config};
use crate::model::NodeId;
use crate::model::random::OsRandom;

/// Joins wait for a round trip; above this people notice.
const SLOW: Duration = Duration::from_millis(20);
/// Leases and logs are compared between machines, in seconds.
const SKEW: f64 = 1.0;
/// Time between two uses of the connection of the lease.
const LEASE_INTERVAL: Duration = Duration::from_secs(10);

const UNREACHED: &str = "bus.redis_url (or bus.sentinels): host and port of a Redis that runs and lets this machine in; see `bind` of the server, and firewalls";
const NO_SOCKET: &str = "bus.redis_url: the socket file of a Redis that runs (`unixsocket` in its configuration), which this user may read and write";
const UNKNOWN_REFUSAL: &str = "the server, or bus.redis_url: another one";

/// Findings, and the names of the nodes that are under way in this cluster.
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
    // Names of nodes have four characters.
    let key = format!("{prefix}:lease:check");
    match probe(&settings, &channels, &key).await {
        Ok(facts) => (judge(&facts, config), facts.nodes(prefix)),
        Err(Trouble { reason, advice }) => {
            let what = format!("redis at {} is out of reach: {reason}", settings.address());
            let by_file = settings.address().starts_with('/');
            let unreached = if by_file { NO_SOCKET } else { UNREACHED };
            without(vec![Finding::error(what, advice.unwrap_or(unreached))])
        }
    }
}

fn judge(facts: &Facts, config: &Config) -> Vec<Finding> {
    let bus = &config.bus;
    let mut findings: Vec<Finding> = facts
        .servers
        .iter()
        .flat_map(|server| judge_server(server, bus))
        .collect();
    let misplaced: Vec<Finding> = facts
        .servers
        .iter()
        .filter_map(|server| judge_mode(server, bus))
        .collect();
    if misplaced.is_empty() {
        findings.extend(judge_refused(&facts.refused));
    } else {
        // What else it refuses follows from that.
        findings.extend(misplaced);
    }
    findings.extend(nodes::judge(facts, config));
    findings
}

fn judge_refused(refused: &[Trouble]) -> Vec<Finding> {
    if refused.is_empty() {
        let what = "redis lets this user publish, subscribe and keep a lease";
        return vec![Finding::fine(what)];
    }
    let refused = refused.iter().map(|Trouble { reason, advice }| {
        let what = format!("redis refuses what a node needs: {reason}");
        Finding::error(what, advice.unwrap_or(UNKNOWN_REFUSAL))
    });
    refused.collect()
}

/// Whether it is the kind of server that the settings say.
fn judge_mode(server: &ServerFacts, bus: &BusConfig) -> Option<Finding> {
    let (what, change) = match server.mode.as_deref()? {
        "cluster" if !bus.cluster => (
            "is part of a Redis Cluster",
            "bus.cluster = true, and bus.redis_url without a number of a database",
        ),
        "sentinel" => (
            "is a Sentinel",
            "bus.sentinels: this address; bus.redis_url: user and password of the master",
        ),
        _ => return None,
    };
    Some(Finding::error(format!("{} {what}", server.address), change))
}

fn judge_server(server: &ServerFacts, bus: &BusConfig) -> Vec<Finding> {
    let address = &server.address;
    let version = server.version.as_deref().unwrap_or("of unknown version");
    let milliseconds = server.latency.as_secs_f64() * 1000.0;
    let what = format!("redis {version} at {address} answers within {milliseconds:.2} ms");
    let mut findings = vec![if server.latency > SLOW {
        Finding::warning(
            what,
            "put redis near the nodes: joins wait for a round trip",
        )
    } else {
        Finding::fine(what)
    }];
    let major = server
        .version
        .as_deref()
        .and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    if bus.cluster && major.is_some_and(|major| major < 7) {
        let what = format!("{address}: redis {version} has no sharded channels");
        findings.push(Finding::error(what, "redis 7 or later, or no bus.cluster"));
    }
    let judged = [
        judge_buffer(server, bus),
        note_buffer(server, bus),
        judge_eviction(server),
        judge_timeout(server, bus),
        judge_clock(server),
    ];
    findings.extend(judged.into_iter().flatten());
    if server.settings.is_empty() {
        let what = format!(
            "{address}: the settings of the server may not be read (CONFIG GET), and were not judged"
        );
        findings.push(Finding::warning(
            what,
            "a user with +config|get in bus.redis_url for this check, if you want them judged",
        ));
    }
    findings
}

/// Of `normal 0 0 0 slave .. pubsub HARD SOFT SECONDS`, the hard and the soft limit.
fn pubsub_limits(server: &ServerFacts) -> Option<(usize, usize)> {
    let limits = server.settings.get("client-output-buffer-limit")?;
    let mut words = limits
        .split_whitespace()
        .skip_while(|word| *word != "pubsub")
        .skip(1);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Notes that other publishers can end the subscriptions of all nodes: unlike nodes, they are not bound by
/// bus.message_limit.
fn note_buffer(server: &ServerFacts, bus: &BusConfig) -> Option<Finding> {
    let (hard, _) = pubsub_limits(server).filter(|(hard, _)| *hard != 0)?;
    let others = if bus.python {
        "python-socketio processes, other programs"
    } else {
        "other programs"
    };
    Some(Finding::fine(format!(
        "{}: nodes publish at most {} bytes a message (bus.message_limit); a message above {hard} bytes (client-output-buffer-limit pubsub) from other publishers ({others}) on any subscribed channel ends the subscriptions of all nodes at once; each node then misses what is published until it has subscribed again (roomwire_bus_gap_seconds)",
        server.address, bus.message_limit
    )))
}

fn judge_buffer(server: &ServerFacts, bus: &BusConfig) -> Option<Finding> {
    let (hard, soft) = pubsub_limits(server)?;
    let needed = 2 * bus.message_limit;
    let too_small = |limit: usize| limit != 0 && limit < needed;
    if !too_small(hard) && !too_small(soft) {
        return None;
    }
    let what = format!(
        "{}: client-output-buffer-limit pubsub is {hard} (soft {soft}): a few messages of bus.message_limit, {} bytes, cut a node's subscription",
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

fn judge_eviction(server: &ServerFacts) -> Option<Finding> {
    let policy = server.settings.get("maxmemory-policy")?;
    if policy == "noeviction" {
        return None;
    }
    let is_limited = server
        .settings
        .get("maxmemory")
        .is_some_and(|bytes| bytes != "0");
    let what = format!(
        "{}: maxmemory-policy {policy} may evict the leases on nodes' names",
        server.address
    );
    let change = "CONFIG SET maxmemory-policy noeviction, or a redis of its own for the bus";
    // Without a limit nothing is evicted yet.
    is_limited.then(|| Finding::error(what, change))
}

fn judge_timeout(server: &ServerFacts, bus: &BusConfig) -> Option<Finding> {
    let seconds: u64 = server.settings.get("timeout")?.parse().ok()?;
    let least = 2 * bus.ping_interval.max(LEASE_INTERVAL);
    if seconds == 0 || Duration::from_secs(seconds) >= least {
        return None;
    }
    let what = format!(
        "{}: timeout {seconds} cuts connections that are quiet between two pings or renewals",
        server.address
    );
    Some(Finding::warning(
        what,
        format!("CONFIG SET timeout 0, or {} and more", least.as_secs()),
    ))
}

fn judge_clock(server: &ServerFacts) -> Option<Finding> {
    let ahead = server.clock_ahead.filter(|ahead| ahead.abs() > SKEW)?;
    let what = format!(
        "{}: its clock is {ahead:+.1} s against this machine's",
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

    fn judged(name: &str, value: &str) -> Option<Finding> {
        let bus = Config::default().bus;
        let mut server = ServerFacts::default();
        server
            .settings
            .insert("maxmemory".to_owned(), "1000000".to_owned());
        server.settings.insert(name.to_owned(), value.to_owned());
        judge_server(&server, &bus)
            .into_iter()
            .find(|finding| finding.severity > Severity::Fine)
    }

    #[test]
    fn settings_of_a_server() {
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
            let finding = judged(name, &value);
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
    fn what_other_publishers_can_do_is_named_where_the_buffer_is_bounded() {
        let notes = |limits: &str| {
            let mut server = ServerFacts::default();
            let limits = format!("normal 0 0 0 slave 0 0 0 pubsub {limits}");
            let name = "client-output-buffer-limit".to_owned();
            server.settings.insert(name, limits);
            let findings = judge_server(&server, &Config::default().bus);
            let is_note = |text: &String| text.contains("a message above 33554432 bytes");
            let texts = findings.iter().map(ToString::to_string);
            texts.filter(is_note).count()
        };
        assert_eq!(notes("33554432 8388608 60"), 1);
        assert_eq!(notes("0 0 0"), 0);
    }

    #[test]
    fn clocks_and_refusals() {
        let server = ServerFacts {
            clock_ahead: Some(-3.0),
            ..ServerFacts::default()
        };
        let facts = Facts {
            servers: vec![server],
            refused: vec![Trouble {
                reason: "NOPERM".to_owned(),
                advice: None,
            }],
            ..Facts::default()
        };
        let findings: Vec<String> = judge(&facts, &Config::default())
            .iter()
            .map(ToString::to_string)
            .collect();
        let text = findings.join("\n");
        assert!(text.contains("warning: : its clock is -3.0 s"), "{text}");
        assert!(
            text.contains("error: redis refuses what a node needs: NOPERM"),
            "{text}"
        );
    }
}
