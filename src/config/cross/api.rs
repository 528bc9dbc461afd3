//! `[api]`: the keys with their secrets, and what fits together.

use std::path::Path;
use std::time::SystemTime;

use ::config::ValueKind;

use crate::config::checker::Checker;
use crate::config::entry::{Entry, tables};
use crate::config::net::Secret;
use crate::config::schema::nearest_hint;
use crate::config::tables::{ApiKey, ApiKeyEntry, Config};
use crate::config::{toml, values};
use crate::tls::{Certificate, TlsFiles};

pub(super) fn resolve(config: &mut Config, checker: &mut Checker<'_, '_>) {
    let mut credentials = Vec::new();
    if let Some(key) = &config.api.key {
        credentials.push(ApiKey {
            name: "default".to_owned(),
            secret: key.clone(),
            scopes: Vec::new(),
            rooms: Vec::new(),
            expires: None,
            requests_per_second: None,
        });
    }
    let mut add = |entries: &[ApiKeyEntry], key: &str, path: &str| {
        for (index, entry) in entries.iter().enumerate() {
            match credential(entry) {
                Ok(credential) => credentials.push(credential),
                Err(message) if path.is_empty() => {
                    checker.reject(&format!("{key}[{index}]"), message);
                }
                Err(message) => checker.reject(key, format!("{path}[{index}]: {message}")),
            }
        }
    };
    add(&config.api.keys, "api.keys", "");
    if let Some(file) = &config.api.keys_file {
        match read_keys(file) {
            Ok(entries) => add(&entries, "api.keys_file", "keys"),
            Err(message) => checker.reject("api.keys_file", message),
        }
    }
    config.api.credentials = credentials;
    config.api.tls = tls(config, checker);
    match (&config.api.client_cert, &config.api.client_key) {
        (Some(_), None) => checker.reject("api.client_cert", "requires api.client_key"),
        (None, Some(_)) => checker.reject("api.client_key", "requires api.client_cert"),
        _ => {}
    }
}

/// The key of an entry; its secret may be in a file.
fn credential(entry: &ApiKeyEntry) -> Result<ApiKey, String> {
    let secret = match (&entry.key, &entry.key_file) {
        (Some(key), None) => key.clone(),
        (None, Some(file)) => secret_of(file)?,
        (None, None) => return Err("has neither `key` nor `key_file`".to_owned()),
        (Some(_), Some(_)) => return Err("has both `key` and `key_file`".to_owned()),
    };
    Ok(ApiKey {
        name: entry.name.clone(),
        secret,
        scopes: entry.scopes.clone().unwrap_or_default(),
        rooms: entry.rooms.clone().unwrap_or_default(),
        expires: entry.expires,
        requests_per_second: entry.requests_per_second,
    })
}

fn secret_of(file: &Path) -> Result<Secret, String> {
    let text = read(file)?;
    values::token(text.trim())
        .map_err(|message| format!("the key in `{}` {message}", file.display()))
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file)
        .map_err(|error| format!("`{}` cannot be read: {error}", file.display()))
}

/// The entries `[[keys]]` of a file.
fn read_keys(file: &Path) -> Result<Vec<ApiKeyEntry>, String> {
    let entries = toml::parse(&read(file)?)?;
    let mut keys = Vec::new();
    for (name, value) in entries {
        if name != "keys" {
            return Err(format!("contains `{name}`, which is not `[[keys]]`"));
        }
        check_names(&value.kind)?;
        let mut rejections = Vec::new();
        let read = tables::<ApiKeyEntry>().read(&value, &mut rejections);
        if let Some(rejection) = rejections.first() {
            return Err(format!("keys{}: {}", rejection.at, rejection.message));
        }
        keys.extend(read.unwrap_or_default());
    }
    Ok(keys)
}

/// Rejects names that an entry does not have: a misspelt `rooms` would allow all rooms.
fn check_names(value: &ValueKind) -> Result<(), String> {
    let ValueKind::Array(entries) = value else {
        return Err("`keys` is not a list of tables".to_owned());
    };
    let known: Vec<&str> = ApiKeyEntry::keys().iter().map(|key| key.name).collect();
    for (index, entry) in entries.iter().enumerate() {
        let ValueKind::Table(table) = &entry.kind else {
            return Err(format!("keys[{index}] is not a table"));
        };
        if let Some(name) = table.keys().find(|name| !known.contains(&name.as_str())) {
            let meant = nearest_hint(name, known.iter().copied());
            let known = known.join(", ");
            return Err(format!("keys[{index}].{name} is none of {known}{meant}"));
        }
        if !table.contains_key("name") {
            return Err(format!("keys[{index}] has no name"));
        }
    }
    Ok(())
}

fn tls(config: &Config, checker: &mut Checker<'_, '_>) -> Option<TlsFiles> {
    let files = match (&config.api.tls_cert, &config.api.tls_key) {
        (None, None) => return None,
        (Some(certificate), Some(key)) => TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        (None, Some(_)) => {
            checker.reject("api.tls_cert", "is missing: api.tls_key requires it");
            return None;
        }
        (Some(_), None) => {
            checker.reject("api.tls_key", "is missing: api.tls_cert requires it");
            return None;
        }
    };
    if let Err(error) = Certificate::load(&files, SystemTime::now()) {
        let key = match error.concerns_key() {
            true => "api.tls_key",
            false => "api.tls_cert",
        };
        checker.reject(key, error.to_string());
    }
    Some(files)
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    let api = &config.api;
    if api.tls.is_some() && api.bind.is_none() {
        checker.warn("api.tls_cert", "has no effect without api.bind");
    }
    if api.client_ca.is_some() && api.tls.is_none() {
        checker.reject("api.client_ca", "requires api.tls_cert");
    }
    let is_served = api.bind.is_some() || api.public || config.server.internal_bind.is_some();
    if !api.credentials.is_empty() && !is_served {
        let key = match &api.key {
            Some(_) => "api.key",
            None if api.keys_file.is_some() => "api.keys_file",
            None => "api.keys",
        };
        let message = "has no effect: neither api.bind, server.internal_bind nor api.public is set";
        checker.warn(key, message);
    }
    let is_plain = api.tls.is_none();
    if let Some(bind) = api
        .bind
        .as_ref()
        .filter(|bind| is_plain && !bind.is_loopback())
    {
        let message = format!("keys cross the network to {bind} unencrypted without api.tls_cert");
        checker.warn("api.bind", message);
    }
    if api.public && config.server.tls.is_none() && !config.server.bind.is_loopback() {
        let message = "the public listener has no TLS: put a proxy with TLS in front of it";
        checker.warn("api.public", message);
    }
}
