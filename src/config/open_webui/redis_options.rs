//! `WEBSOCKET_REDIS_OPTIONS`: a JSON object with arguments of the Python Redis client.
//!
//! Options that Roomwire supports become values of keys, the others are named in a warning. Values are never shown,
//! because one may be a password.

use serde_json::{Map, Value};

use super::reader::Reader;

const NAME: &str = "WEBSOCKET_REDIS_OPTIONS";

/// Members that name files.
const FILES: [(&str, &str); 3] = [
    ("ssl_ca_certs", "bus.tls_ca"),
    ("ssl_certfile", "bus.tls_cert"),
    ("ssl_keyfile", "bus.tls_key"),
];

/// Members that are ignored, because Roomwire has its own timeouts, retries and keepalive.
const IGNORED: [&str; 8] = [
    "health_check_interval",
    "max_connections",
    "retry_on_error",
    "retry_on_timeout",
    "socket_keepalive",
    "socket_keepalive_options",
    "socket_timeout",
    "ssl_cert_reqs",
];

pub(super) fn read(reader: &mut Reader<'_>) {
    let Some(text) = reader.get(NAME) else { return };
    if reader.url_name().is_none() {
        reader.found.unused.push(NAME.to_owned());
        return;
    }
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(options) => options
            .iter()
            .for_each(|(name, value)| option(reader, name, value)),
        Err(_shows_the_text) => reader.reject("bus.redis_url", NAME, "is not a JSON object"),
    }
}

fn option(reader: &mut Reader<'_>, name: &str, value: &Value) {
    let file = FILES.into_iter().find(|(member, _)| *member == name);
    match (name, value) {
        (_, Value::Null) => {}
        ("socket_connect_timeout", Value::Number(seconds)) => {
            reader.seconds_of(NAME, "bus.connect_timeout", &seconds.to_string());
        }
        ("ssl_cert_reqs", Value::String(mode)) if mode == "none" => {
            let message = "`ssl_cert_reqs` = \"none\" has no effect: the certificate of the server is always verified; set its authority in bus.tls_ca";
            reader.warn("bus.tls_ca", NAME, message);
        }
        (name, _) if IGNORED.contains(&name) => {}
        (_, Value::String(path)) if file.is_some() => {
            if let Some((_, key)) = file {
                reader.set(key, path.as_str(), NAME);
            }
        }
        ("username" | "password" | "db", _) => {
            let message = format!("`{name}` has no effect here: set it in the URL");
            reader.warn("bus.redis_url", NAME, message);
        }
        _ => {
            let message = format!("`{name}` has no effect here");
            reader.warn("bus.redis_url", NAME, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::open_webui::tests::{read_all, values};

    const ON: [(&str, &str); 2] = [
        ("WEBSOCKET_MANAGER", "redis"),
        ("WEBSOCKET_REDIS_URL", "redis://a"),
    ];

    #[test]
    fn options_become_values_or_warnings() {
        let options = r#"{"socket_timeout": null, "socket_connect_timeout": 1.5, "ssl_ca_certs": "/ca",
            "ssl_cert_reqs": "none", "password": "s3cret", "retry_on_timeout": true, "colour": "s3cret"}"#;
        let borrowed = read_all(&[&ON[..], &[(super::NAME, options)]].concat());
        assert_eq!(
            values(&borrowed)[1..],
            [("bus.connect_timeout", "1500ms"), ("bus.tls_ca", "/ca")]
        );
        let warnings: Vec<String> = borrowed.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(!warnings.concat().contains("s3cret"));
    }

    #[test]
    fn text_that_is_not_an_object_is_rejected_without_showing_it() {
        let borrowed = read_all(&[&ON[..], &[(super::NAME, "s3cret")]].concat());
        assert_eq!(borrowed.problems.len(), 1);
        assert!(!borrowed.problems[0].to_string().contains("s3cret"));
        let alone = read_all(&[(super::NAME, "s3cret")]);
        assert!(alone.problems.is_empty());
        assert_eq!(alone.unused, [super::NAME]);
    }
}
