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
    let app = &config.app.echo_server;
    if !config.app.uses_echo_server() {
        return;
    }
    if checker.sound(&[NAMESPACE, "app.routes"]) && !config.app.is_echo_server(&app.namespace) {
        let message = format!(
            "is `{}`, which another app handles: name the namespace of the app `echo_server`",
            app.namespace
        );
        checker.reject(NAMESPACE, message);
    }
    if app.redis && config.bus.redis_url.is_none() {
        let message = "the backend cannot broadcast: there is no bus.redis_url";
        checker.warn("app.echo_server.redis", message);
    }
}
