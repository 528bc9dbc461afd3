//! The Redis of laravel-echo-server, which is that of Laravel.

use std::fmt::Write as _;

use serde_json::Value;

use super::{ConvertedFile, Options, bracketed, text_of};

/// `database` and `databaseConfig`.
pub(super) fn redis(options: &mut Options, file: &mut ConvertedFile) {
    if options.text("database").as_deref() == Some("sqlite") {
        file.note("database: members of presence channels are in Redis, or in memory on a node without Redis");
    }
    let mut database = options.object("databaseConfig", "databaseConfig.");
    // The file of SQLite.
    database.take("sqlite");
    if database.flag("publishPresence") == Some(true) {
        file.note("databaseConfig.publishPresence: use the notices `joined` and `left` (docs/webhooks.md#notices)");
    }
    let mut redis = database.object("redis", "databaseConfig.redis.");
    file.note_rest(database);
    let user = redis.text("username").unwrap_or_default();
    let password = redis.text("password");
    if let Some(sentinels) = redis.list("sentinels") {
        let address = |sentinel: &Value| {
            let host = sentinel.get("host").and_then(text_of)?;
            let port = sentinel.get("port").and_then(text_of);
            Some(format!(
                "{host}:{}",
                port.unwrap_or_else(|| "26379".to_owned())
            ))
        };
        let addresses: Vec<String> = sentinels.iter().filter_map(address).collect();
        file.set("bus", "sentinels", addresses);
        if let Some(name) = redis.text("name") {
            file.set("bus", "sentinel_service", name);
        }
        if let Some(password) = redis.text("sentinelPassword") {
            file.set("bus", "sentinel_password", password);
        }
    }
    let url = url(&mut redis, &user, password.as_deref(), file);
    file.set("bus", "redis_url", url);
    match redis.text("keyPrefix") {
        Some(prefix) => file.set("app.echo_server", "redis_prefix", prefix),
        None => file.note(
            "databaseConfig.redis.keyPrefix is empty: app.echo_server.redis_prefix cannot be; set `prefix` in config/database.php of Laravel, and the same here (as shipped laravel-database-)",
        ),
    }
    // Its default.
    redis.take("family");
    file.note_rest(redis);
}

/// The URL of the server: a socket file, as `path` or as a host that is one, or a host and a port.
fn url(
    redis: &mut Options,
    user: &str,
    password: Option<&str>,
    file: &mut ConvertedFile,
) -> String {
    let host = redis.text("host").unwrap_or_else(|| "localhost".to_owned());
    let port = redis.text("port").unwrap_or_else(|| "6379".to_owned());
    let is_path = host.starts_with('/');
    let path = redis.text("path").or_else(|| is_path.then(|| host.clone()));
    let database = redis.text("db").filter(|number| number != "0");
    let has_tls = match redis.take("tls") {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(_) => {
            file.note("databaseConfig.redis.tls: its certificates are bus.tls_ca, bus.tls_cert and bus.tls_key");
            true
        }
    };
    if let Some(path) = path {
        let user = password.map(|_| user).filter(|user| !user.is_empty());
        let options = [
            ("username", user),
            ("password", password),
            ("db", database.as_deref()),
        ];
        let options = options
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", encoded(value?))));
        let options: Vec<String> = options.collect();
        return match options.is_empty() {
            true => format!("unix://{path}"),
            false => format!("unix://{path}?{}", options.join("&")),
        };
    }
    let scheme = if has_tls { "rediss" } else { "redis" };
    let credentials = password.map_or_else(String::new, |password| {
        format!("{}:{}@", encoded(user), encoded(password))
    });
    let database = database.map_or_else(String::new, |number| format!("/{number}"));
    format!(
        "{scheme}://{credentials}{}:{port}{database}",
        bracketed(host)
    )
}

/// A part of a URL with percent encoding.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}
