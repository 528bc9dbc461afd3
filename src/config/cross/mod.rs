//! Values and checks that depend on several keys: what `auto` stands for, values derived from several keys, values that
//! must fit together, and warnings about combinations that are allowed.
//!
//! Called by `load` after each key has been read on its own. Looks at files only for the certificate, the client
//! files, the keys of tokens and the secrets of webhooks.

mod api;
mod app;
mod auth;
mod bus;
mod bus_json;
mod clients;
mod echo_server;
mod limits;
mod recovery;
mod relay;
mod server;
mod stream;
mod webhook;

use super::checker::Checker;
use super::tables::Config;

/// Replaces every `auto`, and computes the derived values.
pub(super) fn resolve(config: &mut Config, checker: &mut Checker<'_, '_>) {
    bus::resolve(config, checker);
    server::resolve(config, checker);
    limits::resolve(config, checker);
    app::resolve(config, checker);
    echo_server::resolve(config, checker);
    bus_json::resolve(config);
    api::resolve(config, checker);
    auth::resolve(config, checker);
    relay::resolve(config, checker);
    recovery::resolve(config, checker);
    clients::resolve(config, checker);
    webhook::resolve(config, checker);
}

/// Reports values that do not fit together.
pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    limits::check(config, checker);
    clients::check(config, checker);
    bus::check(config, checker);
    bus_json::check(config, checker);
    app::check(config, checker);
    echo_server::check(config, checker);
    relay::check(config, checker);
    api::check(config, checker);
    auth::check(config, checker);
    server::check(config, checker);
    stream::check(config, checker);
    webhook::check(config, checker);
    recovery::check(config, checker);
}
