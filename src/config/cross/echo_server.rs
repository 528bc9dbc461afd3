//! `[app.echo_server]`: the app for Laravel Echo.

use crate::config::checker::Checker;
use crate::config::tables::Config;

pub(super) fn resolve(config: &mut Config, checker: &mut Checker<'_, '_>) {
    let is_used = config.app.uses_echo_server();
    let app = &mut config.app.echo_server;
    checker.resolve("app.echo_server.redis", &mut app.redis, is_used);
    app.max_depth = config.socket.max_depth.max(1);
    let hosts = app.auth_hosts.iter();
    app.auth_urls = hosts.map(|host| host.below(&app.auth_endpoint)).collect();
    if is_used {
        config.webhook.app_urls.clone_from(&app.auth_urls);
    }
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    const NAMESPACE: &str = "app.echo_server.namespace";
    const CLIENTS: &str = "app.echo_server.clients";
    let app = &config.app.echo_server;
    if !config.app.uses_echo_server() {
        if !app.clients.is_empty() && checker.sound(&[CLIENTS]) {
            checker.warn(
                CLIENTS,
                "have no effect without an app `echo_server`, by app.kind or app.routes",
            );
        }
        return;
    }
    if checker.sound(&[NAMESPACE, "app.routes"]) && !config.app.is_echo_server(&app.namespace) {
        let message = format!(
            "is `{}`, which another app handles: name the namespace of the app `echo_server`",
            app.namespace
        );
        checker.reject(NAMESPACE, message);
    }
    for (index, client) in app.clients.iter().enumerate() {
        let earlier = &app.clients[..index];
        if earlier.iter().any(|other| other.app_id == client.app_id) {
            let message = format!("`{}` is the app of two entries", client.app_id);
            checker.reject(&format!("{CLIENTS}[{index}].app_id"), message);
        }
    }
    if app.redis && config.bus.redis_url.is_none() && app.clients.is_empty() {
        let message = "the backend cannot broadcast: there is neither bus.redis_url nor an entry in app.echo_server.clients";
        checker.warn("app.echo_server.redis", message);
    }
}
