//! `[app]` and the tables in it.

use crate::config::checker::Checker;
use crate::config::tables::Config;

pub(super) fn resolve(config: &mut Config, checker: &mut Checker<'_, '_>) {
    let upstream = &mut config.app.upstream;
    if upstream.path.is_empty() {
        upstream.path.clone_from(&config.engine.path);
    }
    upstream.max_pending_acks = config.socket.max_pending_acks.max(1);
    upstream.max_depth = config.socket.max_depth.max(1);
    config.app.webhook.max_depth = config.socket.max_depth.max(1);
    checker.resolve(
        "app.upstream.max_connections_per_ip",
        &mut upstream.max_connections_per_ip,
        config.limits.connections_per_ip,
    );
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    routes(config, checker);
    upstream(config, checker);
    open_webui(config, checker);
}

/// A namespace with a route must be one that clients may connect to.
fn routes(config: &Config, checker: &mut Checker<'_, '_>) {
    if !checker.sound(&["app.routes", "socket.namespaces"]) {
        return;
    }
    for (number, route) in config.app.routes.iter().enumerate() {
        let name = route.namespace.as_str();
        let allowed = &config.socket.namespaces;
        if !allowed.iter().any(|pattern| pattern.matches(name)) {
            let message = format!("no client can connect to `{name}`: add it to socket.namespaces");
            checker.warn(&format!("app.routes[{number}].namespace"), message);
        }
    }
}

fn upstream(config: &Config, checker: &mut Checker<'_, '_>) {
    const URLS: &str = "app.upstream.urls";
    let upstream = &config.app.upstream;
    let is_upstream = config.app.uses_upstream();
    if !checker.sound(&[URLS]) {
        return;
    }
    if is_upstream && upstream.urls.is_empty() {
        let message = "must name the server behind this node, such as `http://backend:3000`, for an app `upstream`";
        checker.reject(URLS, message);
    } else if !is_upstream && !upstream.urls.is_empty() {
        checker.warn(
            URLS,
            "has no effect without an app `upstream`, by app.kind or app.routes",
        );
    }
    if is_upstream && upstream.forward.is_empty() {
        let message = "is empty: clients receive no event of the server behind this node";
        checker.warn("app.upstream.forward", message);
    }
}

fn open_webui(config: &Config, checker: &mut Checker<'_, '_>) {
    const KEY: &str = "app.open_webui.upstreams";
    if !config.app.is_open_webui() {
        return;
    }
    if config.app.open_webui.upstreams.is_empty() && checker.sound(&[KEY]) {
        checker.reject(
            KEY,
            "must name at least one backend, such as `http://open-webui:8080`",
        );
    }
    if !config.bus.python && checker.sound(&["bus.python"]) {
        checker.reject(
            "bus.python",
            "cannot be off with app.kind = \"open_webui\": events of the backends arrive only that way",
        );
    }
}
