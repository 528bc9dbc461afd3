//! `[server]`, `[drain]` and `[log]`.

use std::time::SystemTime;

use crate::config::checker::Checker;
use crate::config::problem::Origin;
use crate::config::room_policy::PolicyCondition;
use crate::config::tables::{AppKind, Config, PublicProbes};
use crate::config::values;
use crate::tls::{Certificate, TlsFiles};

pub(super) fn resolve(config: &mut Config, checker: &mut Checker<'_, '_>) {
    let has_internal_bind = config.server.internal_bind.is_some();
    let probes = match has_internal_bind {
        true => PublicProbes::Plain,
        false => PublicProbes::Full,
    };
    checker.resolve(
        "server.public_probes",
        &mut config.server.public_probes,
        probes,
    );
    let is_loopback = config.server.bind.is_loopback();
    checker.resolve("server.demo", &mut config.server.demo, is_loopback);
    if config.server.demo
        && let Some(reason) = demo_obstacle(config)
    {
        config.server.demo = false;
        if !checker.is_auto("server.demo") {
            checker.warn("server.demo", format!("has no effect: {reason}"));
        }
    }
    config.server.tls = tls(config, checker);
}

/// The reason why the demo page cannot work, if any: it uses the events of the relay in the namespace `/`.
fn demo_obstacle(config: &Config) -> Option<String> {
    if !config.app.relays() {
        let kind = config.app.kind.name();
        return Some(format!(
            "the page emits roomwire:* events, which this node does not handle with app.kind = \"{kind}\""
        ));
    }
    let mut namespaces = config.socket.namespaces.iter();
    let has_root = namespaces.any(|pattern| pattern.matches("/"));
    (!has_root).then(|| {
        "the page connects to the namespace `/`, which is not in socket.namespaces".to_owned()
    })
}

/// The certificate of the public listener, which is loaded once to verify it.
fn tls(config: &Config, checker: &mut Checker<'_, '_>) -> Option<TlsFiles> {
    let files = match (&config.server.tls_cert, &config.server.tls_key) {
        (None, None) => return None,
        (Some(certificate), Some(key)) => TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        (None, Some(_)) => {
            checker.reject("server.tls_cert", "is missing: server.tls_key requires it");
            return None;
        }
        (Some(_), None) => {
            checker.reject("server.tls_key", "is missing: server.tls_cert requires it");
            return None;
        }
    };
    if let Err(error) = Certificate::load(&files, SystemTime::now()) {
        let key = match error.concerns_key() {
            true => "server.tls_key",
            false => "server.tls_cert",
        };
        checker.reject(key, error.to_string());
    }
    Some(files)
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    public_bind(config, checker);
    client_files(config, checker);
    proxies(config, checker);
    internal_bind(config, checker);
    drain(config, checker);
    log_filter(config, checker);
}

fn public_bind(config: &Config, checker: &mut Checker<'_, '_>) {
    if config.server.bind.is_loopback() || !checker.sound(&["server.bind"]) {
        return;
    }
    let bind = &config.server.bind;
    if config.server.demo {
        let message = format!("the demo page is open to everyone who can reach {bind}");
        checker.warn("server.demo", message);
    }
    let is_shipped = |key: &str| checker.layers.origin(key) == Origin::Default;
    let is_open = config.app.relay.rules.last().is_some_and(|rule| {
        let join = rule.join.includes(&PolicyCondition::Anyone) && is_shipped("app.relay.join");
        let publish =
            rule.publish.includes(&PolicyCondition::Anyone) && is_shipped("app.relay.publish");
        join || publish
    });
    if config.app.uses(AppKind::Relay) && is_open {
        let message = format!(
            "by default, everyone who can reach {bind} can join any room and emit to it; \
             set app.relay.join and app.relay.publish (to `anyone`, if that is intended)"
        );
        checker.warn("app.relay", message);
    }
}

fn client_files(config: &Config, checker: &mut Checker<'_, '_>) {
    let Some(directory) = &config.server.client_dir else {
        return;
    };
    let names = ["socket.io.min.js", "socket.io.js"];
    if !names.iter().any(|name| directory.join(name).is_file()) {
        checker.warn(
            "server.client_dir",
            "contains no socket.io.min.js; use the directory socket.io-client/dist",
        );
    }
}

fn proxies(config: &Config, checker: &mut Checker<'_, '_>) {
    let server = &config.server;
    let has_none = server.trusted_proxies.is_empty() && checker.sound(&["server.trusted_proxies"]);
    if server.proxy_protocol && has_none {
        let message =
            "requires server.trusted_proxies: connections from other addresses are closed";
        checker.reject("server.proxy_protocol", message);
    }
    let ranges = server.trusted_proxies.iter();
    let wide: Vec<String> = ranges
        .filter(|range| range.is_wide())
        .map(ToString::to_string)
        .collect();
    if !wide.is_empty() {
        let message = format!(
            "trusts every machine in {}: each of them can claim the address of any client and so evade per-address \
             limits; list only your proxies",
            wide.join(", ")
        );
        checker.warn("server.trusted_proxies", message);
    }
}

fn internal_bind(config: &Config, checker: &mut Checker<'_, '_>) {
    let server = &config.server;
    if server.internal_bind.as_ref() == Some(&server.bind) && server.bind.port != 0 {
        checker.reject("server.internal_bind", "is the same address as server.bind");
    }
    let probes_are_off = server.public_probes == PublicProbes::Off;
    if probes_are_off
        && server.internal_bind.is_none()
        && checker.sound(&["server.public_probes", "server.internal_bind"])
    {
        let message = "no listener serves probes: server.internal_bind is not set";
        checker.warn("server.public_probes", message);
    }
    if !checker.sound(&["server.internal_bind", "server.drain_token"]) {
        return;
    }
    match &server.internal_bind {
        None if server.drain_token.is_some() => {
            let message = "has no effect without server.internal_bind";
            checker.warn("server.drain_token", message);
        }
        Some(bind) if !bind.is_loopback() && server.drain_token.is_none() => {
            let message = format!(
                "everyone who can reach {bind} can read the metrics: restrict access by a firewall or a NetworkPolicy; \
                 without server.drain_token only this machine can drain the node"
            );
            checker.warn("server.internal_bind", message);
        }
        _ => {}
    }
}

fn drain(config: &Config, checker: &mut Checker<'_, '_>) {
    let sound = checker.sound(&["drain.timeout", "drain.grace"]);
    if sound && config.drain.grace >= config.drain.timeout {
        checker.reject("drain.grace", "must be less than drain.timeout");
    }
}

/// Warns about a filter that misspells a module or names a module of another program: every Rust program reads
/// `RUST_LOG`.
fn log_filter(config: &Config, checker: &mut Checker<'_, '_>) {
    const KEY: &str = "log.filter";
    let filter = &config.log.filter;
    if checker.sound(&[KEY]) && !values::shows_errors(filter) {
        let message = format!(
            "`{filter}` hides all log lines of Roomwire, even errors: its modules begin with `roomwire`; a level alone applies to all modules"
        );
        checker.warn(KEY, message);
    }
}
