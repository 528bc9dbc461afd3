//! `[webhook]`: the HTTP backends.

use std::path::Path;

use crate::config::checker::Checker;
use crate::config::net::Secret;
use crate::config::problem::Origin;
use crate::config::tables::{AppKind, Config, WebhookConfig};
use crate::config::values;

pub(super) fn resolve(config: &mut Config, checker: &mut Checker<'_, '_>) {
    let webhook = &mut config.webhook;
    webhook.resolve();
    webhook.signing_secrets.clone_from(&webhook.secrets);
    if let Some(path) = &webhook.secrets_file {
        match secrets_of(path) {
            Ok(secrets) => webhook.signing_secrets.extend(secrets),
            Err(message) => checker.reject("webhook.secrets_file", message),
        }
    }
}

/// The secrets of a file, one on each line.
fn secrets_of(path: &Path) -> Result<Vec<Secret>, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("cannot be read: {error}"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let secrets: Vec<Secret> = lines
        .map(values::signing_secret)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("has a line that {error}"))?;
    if secrets.is_empty() {
        return Err("contains no secret".to_owned());
    }
    Ok(secrets)
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    let webhook = &config.webhook;
    backends(config, checker);
    tls(webhook, checker);
    signatures(webhook, checker);
}

fn backends(config: &Config, checker: &mut Checker<'_, '_>) {
    const URL: &str = "webhook.url";
    let is_used = config.app.uses(AppKind::Webhook);
    let has_urls = !config.webhook.route_table.is_empty();
    if is_used && !has_urls && checker.sound(&[URL, "webhook.routes"]) {
        let message =
            "must name the backend, such as `http://backend:3000/roomwire`, for an app `webhook`";
        checker.reject(URL, message);
    }
    let is_set = checker.layers.origin(URL) != Origin::Default;
    if is_set && has_urls && !is_used && !config.app.relay.decides_by_backend() {
        let kind = config.app.kind.name();
        let message = format!(
            "has no effect with app.kind = \"{kind}\": neither an app `webhook` nor a policy `backend` uses it"
        );
        checker.warn(URL, message);
    }
}

fn tls(webhook: &WebhookConfig, checker: &mut Checker<'_, '_>) {
    let keys = ["webhook.tls_cert", "webhook.tls_key"];
    if !checker.sound(&keys) {
        return;
    }
    match (&webhook.tls_cert, &webhook.tls_key) {
        (Some(_), None) => checker.reject("webhook.tls_cert", "requires webhook.tls_key"),
        (None, Some(_)) => checker.reject("webhook.tls_key", "requires webhook.tls_cert"),
        _ => {}
    }
    let has_tls = webhook.urls().iter().any(|url| url.has_tls());
    let files = [
        ("webhook.tls_ca", webhook.tls_ca.is_some()),
        ("webhook.tls_cert", webhook.tls_cert.is_some()),
    ];
    for (key, _) in files.iter().filter(|(_, is_set)| *is_set && !has_tls) {
        checker.warn(key, "has no effect without a URL that begins with https://");
    }
}

/// A backend that others can reach cannot distinguish unsigned requests of this node from theirs.
fn signatures(webhook: &WebhookConfig, checker: &mut Checker<'_, '_>) {
    let urls = webhook.hook_urls();
    if webhook.signing_secrets.is_empty()
        && checker.sound(&["webhook.secrets", "webhook.secrets_file"])
        && let Some(url) = urls.iter().find(|url| !url.is_loopback())
    {
        let message = format!("is empty: {url} cannot verify that requests come from this node");
        checker.warn("webhook.secrets", message);
    }
}
