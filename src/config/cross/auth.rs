//! `[auth]`: reads the files of keys, and checks what depends on several keys.

use std::path::Path;

use crate::config::auth_values;
use crate::config::checker::Checker;
use crate::config::net::Secret;
use crate::config::tables::{AuthConfig, AuthKeyEntry, Config, StaticKey, jwks_tls};
use crate::token::VerifyingKey;

/// Shorter secrets than the digest of HS256 can be found by trying.
const GOOD_SECRET: usize = 32;

pub(super) fn resolve(config: &mut Config, checker: &mut Checker<'_, '_>) {
    let auth = &mut config.auth;
    auth.static_keys = static_keys(auth, checker);
    let is_on = auth.is_on();
    checker.resolve("auth.required", &mut auth.required, is_on);
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    let auth = &config.auth;
    let keys = [
        "auth.secret",
        "auth.secret_file",
        "auth.public_key_file",
        "auth.keys",
        "auth.jwks_url",
    ];
    if auth.required && !auth.is_on() && checker.sound(&keys) {
        let message = format!("needs a key: set one of {}", keys.join(", "));
        checker.reject("auth.required", message);
    }
    if auth.jwks_ca.is_some()
        && let Err(error) = jwks_tls(auth.jwks_ca.clone())
    {
        checker.reject("auth.jwks_ca", error.to_string());
    }
    let Some(url) = &auth.jwks_url else {
        return;
    };
    let is_local = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() == "http" && !is_local {
        let message = "is fetched without TLS: an attacker on the network can replace the key set and forge tokens";
        checker.warn("auth.jwks_url", message);
    }
}

/// The keys of `[auth]` itself and of every entry.
fn static_keys(auth: &AuthConfig, checker: &mut Checker<'_, '_>) -> Vec<StaticKey> {
    let entry = |secret, secret_file, public_key_file| AuthKeyEntry {
        kid: None,
        secret,
        secret_file,
        public_key_file,
        algorithms: None,
        not_after: None,
    };
    let single = [
        ("auth.secret", entry(auth.secret.clone(), None, None)),
        (
            "auth.secret_file",
            entry(None, auth.secret_file.clone(), None),
        ),
        (
            "auth.public_key_file",
            entry(None, None, auth.public_key_file.clone()),
        ),
    ];
    let mut keys = Vec::new();
    for (path, entry) in single {
        if entry.secret.is_some() || entry.secret_file.is_some() || entry.public_key_file.is_some()
        {
            keys.extend(static_key(path, path, &entry, checker));
        }
    }
    for (index, entry) in auth.keys.iter().enumerate() {
        let path = format!("auth.keys[{index}]");
        let given = [
            ("secret", entry.secret.is_some()),
            ("secret_file", entry.secret_file.is_some()),
            ("public_key_file", entry.public_key_file.is_some()),
        ];
        let mut given = given.iter().filter(|(_, given)| *given);
        match (given.next(), given.next()) {
            (Some((name, _)), None) => {
                let of_value = format!("{path}.{name}");
                keys.extend(static_key(&path, &of_value, entry, checker));
            }
            // A rejected value is missing here.
            (None, _) if !checker.sound(&[&format!("{path}.secret")]) => {}
            _ => checker.reject(
                &path,
                "needs exactly one of `secret`, `secret_file`, `public_key_file`",
            ),
        }
    }
    keys
}

/// The key of an entry; `of_value` is the path of its secret or file, for messages.
fn static_key(
    path: &str,
    of_value: &str,
    entry: &AuthKeyEntry,
    checker: &mut Checker<'_, '_>,
) -> Option<StaticKey> {
    let (key, secret) = match material(entry) {
        Ok(material) => material,
        Err(message) => {
            checker.reject(of_value, message);
            return None;
        }
    };
    if secret
        .as_ref()
        .is_some_and(|it| it.expose().len() < GOOD_SECRET)
    {
        let message = format!(
            "is shorter than {GOOD_SECRET} bytes: anyone with a token can try to guess the secret"
        );
        checker.warn(of_value, message);
    }
    match key.limited_to(entry.algorithms.clone().unwrap_or_default()) {
        Ok(key) => Some(StaticKey {
            key: key.with_id(entry.kid.clone()),
            not_after: entry.not_after,
            secret,
        }),
        Err(error) => {
            checker.reject(&format!("{path}.algorithms"), error.to_string());
            None
        }
    }
}

/// The key of an entry, and its secret if it has one.
fn material(entry: &AuthKeyEntry) -> Result<(VerifyingKey, Option<Secret>), String> {
    let of_secret = |secret: Secret| {
        let key = VerifyingKey::secret(secret.expose().as_bytes());
        (key, Some(secret))
    };
    if let Some(secret) = &entry.secret {
        return Ok(of_secret(secret.clone()));
    }
    if let Some(file) = &entry.secret_file {
        let content = read(file)?;
        let text = String::from_utf8(content)
            .map_err(|_| format!("`{}` is not UTF-8 text", file.display()))?;
        let in_file = |message| format!("the secret in `{}` {message}", file.display());
        return auth_values::secret(text.trim())
            .map(of_secret)
            .map_err(in_file);
    }
    let Some(file) = &entry.public_key_file else {
        return Err("names no key".to_owned());
    };
    let key = VerifyingKey::from_pem(&read(file)?)
        .map_err(|error| format!("`{}` cannot be used: {error}", file.display()))?;
    Ok((key, None))
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("`{}` cannot be read: {error}", file.display()))
}
