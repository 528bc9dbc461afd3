//! Checks of Open WebUI backends: their version, their Redis and their secret key.
//!
//! Backends do not report which Redis they use. But each subscribes to the channel of python-socketio, and one of them
//! holds a lock whose key reveals prefix and database.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use awc::Client;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::upstreams::{self, Reply, get};
use super::{Finding, Severity};
use crate::app::open_webui::Support;
use crate::bus::redis::{RedisDiagnostics, diagnose};
use crate::cluster::start::redis_settings;
use crate::config::{BusConfig, Config, Secret, UpstreamUrl};
use crate::model::Random;
use crate::model::random::OsRandom;

/// The key, after the prefix, of a lock that one of the backends holds while it runs.
const LOCK: &str = "usage_cleanup_lock";
/// Expiry in seconds of the tokens made for the check.
const TOKEN_LIFETIME: u64 = 60;
const URLS: &str = "app.open_webui.upstreams";

/// Checks the backends. `nodes` are the names of the nodes of this cluster.
pub(super) async fn check(config: &Config, nodes: &BTreeSet<String>) -> Vec<Finding> {
    let app = &config.app.open_webui;
    let client = upstreams::client(app.request_timeout);
    let versions = app.upstreams.iter().map(async |url| {
        let reply = get(&client, &format!("{url}/api/version"), None).await;
        evaluate_version(url, &reply)
    });
    let mut findings = join_all(versions).await;
    let is_any_available = findings
        .iter()
        .any(|finding| finding.severity < Severity::Error);
    let connections = app.connections(&config.app.upstream);
    let probes = upstreams::probe_all(config, &connections).await;
    let inspected = inspect_redis(&config.bus, &app.key_prefix).await;
    let evaluated = probes
        .iter()
        .map(|probed| upstreams::evaluate(probed, &connections.path, URLS, nodes));
    findings.extend(evaluated);
    // An unreachable Redis is reported by the check of the bus.
    if let (true, Ok(found)) = (is_any_available, inspected) {
        findings.push(evaluate_redis(&found, nodes.len(), config));
        findings.extend(found.denied.iter().map(denied));
    }
    if let (Some(key), Some(url)) = (&app.secret_key, app.upstreams.first()) {
        findings.extend(check_key(&client, url, key).await);
    }
    findings
}

fn evaluate_version(url: &UpstreamUrl, reply: &Reply) -> Finding {
    let (status, body) = match reply {
        Ok(reply) => reply,
        Err(error) => {
            let change = format!(
                "{URLS}: the host and port at which this backend listens inside its network; check that it runs"
            );
            return Finding::error(format!("{url}: no response: {error}"), change);
        }
    };
    let json = serde_json::from_slice::<Value>(body).ok();
    let version = json
        .as_ref()
        .and_then(|json| json["version"].as_str())
        .filter(|_| *status == 200);
    let Some(version) = version else {
        let what = format!("{url}: /api/version returns no version, but HTTP {status}");
        return Finding::error(what, format!("{URLS}: an Open WebUI, and nothing else"));
    };
    let what = format!("{url}: Open WebUI {version}");
    match Support::of(version) {
        Support::Tested => Finding::fine(what),
        Support::ByDesign => Finding::warning(
            format!("{what}, which should work but is not tested"),
            "the backends: Open WebUI 0.12, with which every change is tested",
        ),
        Support::TooOld => Finding::error(
            format!("{what}, whose messages on Redis are pickled and rejected"),
            "the backends: Open WebUI 0.8 or later, better 0.12",
        ),
        Support::Unknown => Finding::warning(
            format!(
                "{what}, which is newer than this Roomwire supports; unknown events are passed to the backends"
            ),
            "a later Roomwire, if there is one; else try it before your users do",
        ),
    }
}

/// Inspects Redis, and runs the commands of the app on the backends' keys as far as they change nothing.
async fn inspect_redis(bus: &BusConfig, prefix: &str) -> Result<RedisDiagnostics, String> {
    let sessions = format!("{prefix}:session_pool");
    let usage = format!("{prefix}:usage_pool");
    let revoked = format!("{prefix}:auth:token:roomwire-check:revoked");
    let commands: [&[&str]; 5] = [
        &["HGET", &sessions, "roomwire-check"],
        &["HDEL", &sessions, "roomwire-check"],
        &["HSCAN", &sessions, "0", "COUNT", "1"],
        &["HDEL", &usage, "roomwire-check"],
        &["GET", &revoked],
    ];
    match redis_settings(bus) {
        Ok(Some(settings)) => {
            let pattern = format!("*{LOCK}");
            diagnose(&settings, &bus.python_channel, &pattern, &commands).await
        }
        Ok(None) => Err("no Redis is configured".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn denied(reason: &String) -> Finding {
    Finding::error(
        format!("redis denies a command that the app requires: {reason}"),
        "the rule of the ACL user, as in docs/open-webui.md",
    )
}

/// Whether the backends use the same Redis. `nodes` of the subscribers of the channel are nodes of this cluster.
fn evaluate_redis(found: &RedisDiagnostics, nodes: usize, config: &Config) -> Finding {
    let prefix = &config.app.open_webui.key_prefix;
    let database = config
        .bus
        .redis_url
        .as_ref()
        .map_or(0, |url| url.database());
    let channel = &config.bus.python_channel;
    let Some(subscribers) = found.subscribers else {
        let what = "redis does not let this user see whether the backends are there (PUBSUB)";
        return Finding::warning(what, "the rule of the ACL user: +pubsub, to check it");
    };
    let backends = subscribers.saturating_sub(nodes as u64);
    if backends == 0 {
        let what = format!(
            "no backend subscribes to `{channel}` at this redis: no event would pass between nodes and backends"
        );
        let change = "WEBSOCKET_MANAGER=redis and WEBSOCKET_REDIS_URL of every backend; or bus.redis_url here: the same server for all";
        return Finding::error(what, change);
    }
    let lock = format!("{prefix}:{LOCK}");
    let Some(here) = &found.keys else {
        let what = "redis does not let this user look for the backends' keys (SCAN): prefix and database were not compared";
        let change = "the rule of the ACL user: +scan, to compare them";
        return Finding::warning(what, change);
    };
    if here.contains(&lock) {
        return Finding::fine(format!(
            "the backends are at this redis ({backends} of their processes subscribe to `{channel}`), with the prefix `{prefix}` in database {database}"
        ));
    }
    if let Some(other) = here.iter().find_map(|key| prefix_of(key)) {
        let what = format!(
            "the backends' keys begin with `{other}`, here with `{prefix}`: neither sees the other's sessions"
        );
        let change = format!(
            "REDIS_KEY_PREFIX={other} here (app.open_webui.key_prefix), as on the backends"
        );
        return Finding::error(what, change);
    }
    if let Some((number, _)) = found.other_databases.iter().find(|(_, key)| *key == lock) {
        let what = format!(
            "the backends' keys are in database {number}, bus.redis_url names {database}: neither sees the other's sessions"
        );
        let change = format!(
            "WEBSOCKET_REDIS_URL here (bus.redis_url): the backends', which ends with /{number}"
        );
        return Finding::error(what, change);
    }
    Finding::warning(
        format!("backends subscribe to `{channel}`, but `{lock}` is in no database of this redis"),
        "REDIS_KEY_PREFIX and WEBSOCKET_REDIS_URL, the same at all backends and here; right after they start, check again",
    )
}

fn prefix_of(key: &str) -> Option<&str> {
    key.strip_suffix(LOCK)?.strip_suffix(':')
}

/// Compares the responses to two tokens of an unknown user: backends reject one signed with their key differently from
/// one signed with another key.
async fn check_key(client: &Client, url: &UpstreamUrl, key: &Secret) -> Option<Finding> {
    let mut random = [0; 32];
    OsRandom.fill(&mut random);
    let url = format!("{url}/api/v1/auths/");
    let ours = get(
        client,
        &url,
        Some(&token_of_unknown_user(key.expose().as_bytes())?),
    )
    .await;
    let forged = get(client, &url, Some(&token_of_unknown_user(&random)?)).await;
    // An unreachable backend is reported by another check.
    let (ours, forged) = (ours.ok()?, forged.ok()?);
    let rejected = |(status, _): &(u16, Vec<u8>)| (400..500).contains(status);
    if !rejected(&ours) || !rejected(&forged) {
        return None;
    }
    Some(evaluate_key(ours == forged))
}

fn evaluate_key(is_unknown: bool) -> Finding {
    if is_unknown {
        return Finding::error(
            "the backends do not accept tokens signed with WEBUI_SECRET_KEY as it is set here: no browser could join a room",
            "WEBUI_SECRET_KEY here (app.open_webui.secret_key): the backends', or none",
        );
    }
    Finding::fine("WEBUI_SECRET_KEY is that of the backends")
}

/// A token of a user that does not exist.
fn token_of_unknown_user(key: &[u8]) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or(Duration::ZERO).as_secs();
    let body = json!({"id": "roomwire-check", "jti": "roomwire-check", "iat": now, "exp": now + TOKEN_LIFETIME});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        part(&json!({"alg": "HS256", "typ": "JWT"})),
        part(&body)
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Some(format!("{signed}.{signature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_decides_the_severity() {
        let url = UpstreamUrl::parse("http://backend:8080").unwrap();
        let response =
            |version: &str| Ok((200, json!({"version": version}).to_string().into_bytes()));
        let cases = [
            (response("0.12.4"), Severity::Fine, "0.12.4"),
            (response("0.9.1"), Severity::Warning, "is not tested"),
            (response("0.13.0"), Severity::Warning, "a later Roomwire"),
            (response("0.6.5"), Severity::Error, "0.8 or later"),
            (Ok((200, b"<html>".to_vec())), Severity::Error, URLS),
            (Ok((404, b"{}".to_vec())), Severity::Error, "HTTP 404"),
            (
                Err("connection refused".to_owned()),
                Severity::Error,
                "host and port",
            ),
        ];
        for (response, severity, named) in cases {
            let finding = evaluate_version(&url, &response);
            assert_eq!(finding.severity, severity, "{finding}");
            assert!(finding.to_string().contains(named), "{finding}");
        }
    }

    #[test]
    fn a_redis_other_than_that_of_the_backends_is_a_finding() {
        let config = Config::default();
        let lock = |prefix: &str| format!("{prefix}:{LOCK}");
        let seen = |subscribers, here: &[&str], elsewhere: &[(i64, &str)]| RedisDiagnostics {
            subscribers,
            keys: Some(here.iter().map(|prefix| lock(prefix)).collect()),
            denied: BTreeSet::new(),
            other_databases: elsewhere
                .iter()
                .map(|(number, prefix)| (*number, lock(prefix)))
                .collect(),
        };
        let ours = config.app.open_webui.key_prefix.clone();
        let cases = [
            (seen(Some(3), &[&ours], &[]), Severity::Fine, "2 of their"),
            (seen(None, &[], &[]), Severity::Warning, "+pubsub"),
            (
                seen(Some(1), &[], &[]),
                Severity::Error,
                "WEBSOCKET_MANAGER=redis",
            ),
            (
                seen(Some(2), &["theirs"], &[]),
                Severity::Error,
                "REDIS_KEY_PREFIX=theirs",
            ),
            (
                seen(Some(2), &[], &[(1, &ours)]),
                Severity::Error,
                "ends with /1",
            ),
            (
                seen(Some(2), &[], &[(1, "third")]),
                Severity::Warning,
                "in no database",
            ),
        ];
        let unseen = RedisDiagnostics {
            keys: None,
            ..seen(Some(2), &[], &[])
        };
        let unseen = (unseen, Severity::Warning, "+scan");
        for (found, severity, named) in cases.into_iter().chain([unseen]) {
            let finding = evaluate_redis(&found, 1, &config);
            assert_eq!(finding.severity, severity, "{finding}");
            assert!(finding.to_string().contains(named), "{finding}");
        }
    }
}
