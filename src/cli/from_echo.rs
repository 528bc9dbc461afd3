//! `roomwire config --from-echo FILE`: the configuration of laravel-echo-server as one of Roomwire.
//!
//! Also applies the environment variables of laravel-echo-server, as it does. What has no equivalent is named in comments.

mod database;

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::config::WebhookUrl;

/// The environment variables of laravel-echo-server, and the paths of their options.
const VARIABLES: [(&str, &str); 12] = [
    ("LARAVEL_ECHO_SERVER_AUTH_HOST", "authHost"),
    ("LARAVEL_ECHO_SERVER_DEBUG", "devMode"),
    ("LARAVEL_ECHO_SERVER_HOST", "host"),
    ("LARAVEL_ECHO_SERVER_PORT", "port"),
    (
        "LARAVEL_ECHO_SERVER_REDIS_HOST",
        "databaseConfig.redis.host",
    ),
    (
        "LARAVEL_ECHO_SERVER_REDIS_PORT",
        "databaseConfig.redis.port",
    ),
    (
        "LARAVEL_ECHO_SERVER_REDIS_PASSWORD",
        "databaseConfig.redis.password",
    ),
    ("LARAVEL_ECHO_SERVER_PROTO", "protocol"),
    ("LARAVEL_ECHO_SERVER_SSL_CERT", "sslCertPath"),
    ("LARAVEL_ECHO_SERVER_SSL_KEY", "sslKeyPath"),
    ("LARAVEL_ECHO_SERVER_SSL_CHAIN", "sslCertChainPath"),
    ("LARAVEL_ECHO_SERVER_SSL_PASS", "sslPassphrase"),
];

/// The shortest key of a client.
const MIN_KEY: usize = 16;

/// Options of laravel-echo-server that are still to be converted. Each is taken out once.
struct Options {
    /// The prefix of the names of its members, such as `socketio.`.
    prefix: &'static str,
    members: Map<String, Value>,
    /// Options whose values have the wrong type.
    mistyped: Vec<String>,
}

impl Options {
    fn new(prefix: &'static str, members: Map<String, Value>) -> Self {
        Self {
            prefix,
            members,
            mistyped: Vec::new(),
        }
    }

    /// The option, unless it has no effect: missing, null, empty text, or an empty list or object.
    fn take(&mut self, name: &str) -> Option<Value> {
        let value = self.members.remove(name)?;
        let is_empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        };
        (!is_empty).then_some(value)
    }

    /// A text, or a number as text.
    fn text(&mut self, name: &str) -> Option<String> {
        let value = self.take(name)?;
        text_of(&value).or_else(|| self.mistyped(name))
    }

    fn mistyped<T>(&mut self, name: &str) -> Option<T> {
        self.mistyped.push(name.to_owned());
        None
    }

    /// Whether it is true, also as a text.
    fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(flag) => Some(flag),
            Value::String(text) => Some(text == "true" || text == "1"),
            _ => self.mistyped(name),
        }
    }

    fn object(&mut self, name: &str, prefix: &'static str) -> Self {
        let members = match self.take(name) {
            Some(Value::Object(members)) => Some(members),
            Some(_) => self.mistyped(name),
            None => None,
        };
        Self::new(prefix, members.unwrap_or_default())
    }

    /// A list; none if the option is missing.
    fn list(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(items) => Some(items),
            _ => self.mistyped(name),
        }
    }

    /// The texts of an option that is one or a list of them.
    fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let value = self.take(name)?;
        let texts = match &value {
            Value::Array(items) => items.iter().map(text_of).collect(),
            other => text_of(other).map(|text| vec![text]),
        };
        texts.or_else(|| self.mistyped(name))
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A configuration file in the making.
#[derive(Default)]
struct ConvertedFile {
    /// The tables in their order, with the lines of their keys.
    tables: Vec<(&'static str, Vec<String>)>,
    notes: Vec<String>,
}

impl ConvertedFile {
    fn set(&mut self, table: &'static str, key: &str, value: impl Into<Value>) {
        let line = format!("{key} = {}", toml_of(&value.into()));
        match self.tables.iter_mut().find(|(name, _)| *name == table) {
            Some((_, lines)) => lines.push(line),
            None => self.tables.push((table, vec![line])),
        }
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Names the options that are left, and those that could not be read.
    fn note_rest(&mut self, mut options: Options) {
        for name in std::mem::take(&mut options.mistyped) {
            let note = format!(
                "{}{name}: a value of this type has no equivalent",
                options.prefix
            );
            self.note(note);
        }
        let names: Vec<String> = options.members.keys().cloned().collect();
        for name in names {
            if options.take(&name).is_some() {
                self.note(format!("{}{name}: has no equivalent", options.prefix));
            }
        }
    }
}

/// A text, a list of texts, a number or a boolean in TOML, where strings of JSON are basic strings.
fn toml_of(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_of).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// Converts a file of laravel-echo-server to one of Roomwire; `variable` is the environment.
///
/// # Errors
/// The text is no JSON object.
pub(super) fn convert(
    json: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let members: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let Value::Object(members) = members else {
        return Err("the file is no JSON object".to_owned());
    };
    let mut options = Options::new("", members);
    apply_environment(&mut options.members, variable);
    let mut file = ConvertedFile::default();
    file.set("app", "kind", "echo_server");
    listener(&mut options, &mut file);
    let pages = backend(&mut options, &mut file);
    clients(&mut options, &mut file);
    database::redis(&mut options, &mut file);
    socket_io(&mut options, &mut file, &pages);
    others(&mut options, &mut file);
    file.note_rest(options);
    Ok(printed(&file))
}

/// Replaces options by variables, as laravel-echo-server does: a value `${NAME}` refers to another variable.
fn apply_environment(members: &mut Map<String, Value>, variable: impl Fn(&str) -> Option<String>) {
    for (name, path) in VARIABLES {
        let Some(value) = variable(name).filter(|value| !value.is_empty()) else {
            continue;
        };
        let reference = value
            .split_once("${")
            .and_then(|(_, rest)| rest.split_once('}'));
        let value = match reference {
            Some((other, _)) => variable(other).unwrap_or_default(),
            None => value,
        };
        let mut steps: Vec<&str> = path.split('.').collect();
        let last = steps.pop().unwrap_or_default();
        let mut target = &mut *members;
        for step in steps {
            let inner = target.entry(step).or_insert_with(|| Map::new().into());
            if !inner.is_object() {
                *inner = Map::new().into();
            }
            let Value::Object(inner) = inner else {
                return;
            };
            target = inner;
        }
        target.insert(last.to_owned(), value.into());
    }
}

fn listener(options: &mut Options, file: &mut ConvertedFile) {
    let host = options.text("host").unwrap_or_else(|| "0.0.0.0".to_owned());
    let port = options.text("port").unwrap_or_else(|| "6001".to_owned());
    // It uses the digits at the end, as of a URL.
    let digits = port.trim_end_matches('/').rsplit(':').next();
    let number = digits.and_then(|port| port.parse::<u16>().ok());
    if number.is_none() {
        file.note(format!("port: `{port}` is no port; server.bind has 6001"));
    }
    let host = bracketed(host);
    file.set(
        "server",
        "bind",
        format!("{host}:{}", number.unwrap_or(6001)),
    );
    let is_secure = options.text("protocol").as_deref() == Some("https");
    let files = [options.text("sslCertPath"), options.text("sslKeyPath")];
    let chain = options.text("sslCertChainPath");
    let passphrase = options.text("sslPassphrase");
    if !is_secure {
        return;
    }
    if files.iter().any(Option::is_none) {
        file.note("protocol is https without sslCertPath or sslKeyPath: without server.tls_cert and server.tls_key the node serves http");
    }
    for (key, path) in ["tls_cert", "tls_key"].into_iter().zip(files) {
        if let Some(path) = path {
            file.set("server", key, path);
        }
    }
    if let Some(chain) = chain {
        file.note(format!(
            "sslCertChainPath: append {chain} to the file of server.tls_cert"
        ));
    }
    if passphrase.is_some() {
        file.note("sslPassphrase: server.tls_key must not be encrypted");
    }
}

/// A host before a port: an IPv6 address is in brackets.
fn bracketed(host: String) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host,
    }
}

/// The backend; returns the origins of its pages.
fn backend(options: &mut Options, file: &mut ConvertedFile) -> Vec<String> {
    const TABLE: &str = "app.echo_server";
    let hosts = options.texts("authHost");
    let hosts = hosts.unwrap_or_else(|| vec!["http://localhost".to_owned()]);
    let mut valid = Vec::new();
    for (number, host) in hosts.into_iter().enumerate() {
        match WebhookUrl::parse(&host) {
            Ok(_) => valid.push(host),
            // It may contain a password.
            Err(_) if host.contains('@') => file.note(format!(
                "authHost: entry {} contains credentials, which app.echo_server.auth_hosts cannot contain; set the URL there without credentials",
                number + 1
            )),
            Err(_) => file.note(format!(
                "authHost: `{host}` is no URL; name each host of the backend in app.echo_server.auth_hosts"
            )),
        }
    }
    let origins = valid.iter().filter_map(|host| url::Url::parse(host).ok());
    let origins = origins.map(|url| url.origin().ascii_serialization());
    let origins = origins.collect();
    if !valid.is_empty() {
        file.set(TABLE, "auth_hosts", valid);
    }
    let endpoint = options.text("authEndpoint");
    let endpoint = endpoint.unwrap_or_else(|| "/broadcasting/auth".to_owned());
    file.set(TABLE, "auth_endpoint", endpoint);
    file.note(
        "auth headers of clients: app.echo_server.client_headers names those that reach the backend",
    );
    file.note("certificates of the backend are verified; webhook.tls_ca names other authorities");
    origins
}

fn clients(options: &mut Options, file: &mut ConvertedFile) {
    let mut subscribers = options.object("subscribers", "subscribers.");
    let http = subscribers.flag("http").unwrap_or(true);
    if subscribers.flag("redis") == Some(false) {
        file.set("app.echo_server", "redis", "off");
    }
    file.note_rest(subscribers);
    let Some(clients) = options.list("clients") else {
        return;
    };
    if !http {
        file.note("subscribers.http is false: clients are left out, which also closes the other routes below /apps/");
        return;
    }
    for client in clients {
        let app = client.get("appId").and_then(text_of).unwrap_or_default();
        let key = client.get("key").and_then(text_of).unwrap_or_default();
        if key.len() < MIN_KEY {
            file.note(format!(
                "clients: the key of `{app}` has fewer than {MIN_KEY} characters; choose another one"
            ));
            continue;
        }
        file.tables.push((
            "[app.echo_server.clients]",
            vec![
                format!("app_id = {}", Value::from(app)),
                format!("key = {}", Value::from(key)),
            ],
        ));
    }
}

/// The options of Socket.IO; `pages` are the origins of the backend's pages.
fn socket_io(options: &mut Options, file: &mut ConvertedFile, pages: &[String]) {
    let mut engine = options.object("socketio", "socketio.");
    // Its clients are of Socket.IO 2.
    file.set("engine", "eio3", true);
    file.note(
        "engine.eio3 can be switched off once no client of Socket.IO 2 is left (docs/clients.md)",
    );
    if let Some(path) = engine.text("path") {
        file.set("engine", "path", path);
    }
    for (name, key) in [
        ("pingInterval", "ping_interval"),
        ("pingTimeout", "ping_timeout"),
    ] {
        if let Some(time) = engine.text(name) {
            file.set("engine", key, format!("{time}ms"));
        }
    }
    if let Some(size) = engine.text("maxHttpBufferSize") {
        file.set("engine", "max_payload", format!("{size}B"));
    }
    compression(&mut engine, file);
    if let Some(transports) = engine.texts("transports") {
        file.set("engine", "transports", transports);
    }
    let origins = engine.texts("origins");
    let origins = origins.unwrap_or_else(|| vec!["*:*".to_owned()]);
    let origins: Vec<&str> = origins
        .iter()
        .flat_map(|text| text.split_whitespace())
        .collect();
    if origins.iter().any(|origin| origin.contains('*')) {
        file.note("socketio.origins: pages of any origin could connect; now those of the backend can, add others to cors.origins");
        let pages = pages.iter().map(String::as_str);
        let origins: Vec<&str> = ["same"].into_iter().chain(pages).collect();
        file.set("cors", "origins", origins);
    } else {
        file.set("cors", "origins", origins);
    }
    file.set("cors", "credentials", true);
    file.note_rest(engine);
}

/// `perMessageDeflate`: a flag, or an object with a threshold.
fn compression(engine: &mut Options, file: &mut ConvertedFile) {
    const KEY: &str = "websocket_compression";
    match engine.take("perMessageDeflate") {
        None | Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) => file.set("engine", KEY, true),
        Some(Value::Object(members)) => {
            file.set("engine", KEY, true);
            let mut options = Options::new("socketio.perMessageDeflate.", members);
            if let Some(size) = options.text("threshold") {
                file.set(
                    "engine",
                    "websocket_compression_threshold",
                    format!("{size}B"),
                );
            }
            file.note_rest(options);
        }
        Some(_) => engine.mistyped.push("perMessageDeflate".to_owned()),
    }
}

fn others(options: &mut Options, file: &mut ConvertedFile) {
    if options.flag("devMode") == Some(true) {
        file.set("log", "filter", "debug");
    }
    let mut cors = options.object("apiOriginAllow", "apiOriginAllow.");
    let is_allowed = cors.flag("allowCors") == Some(true);
    // They belong to it.
    cors.members.clear();
    file.note_rest(cors);
    if is_allowed {
        file.note("apiOriginAllow: the routes below /apps/ are for backends; their responses have no CORS headers");
    }
    // Their default.
    options.members.remove("secureOptions");
}

fn printed(file: &ConvertedFile) -> String {
    let mut text = String::from(
        "# Converted from laravel-echo-server (docs/echo.md#from-laravel-echo-server).\n",
    );
    for note in &file.notes {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# {note}");
    }
    for (table, lines) in &file.tables {
        let _ = write!(text, "\n[{table}]\n{}\n", lines.join("\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Sources, load};

    fn converted(json: &str, variables: &[(&str, &str)]) -> String {
        let variable = |name: &str| {
            let mut variables = variables.iter();
            let found = variables.find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        };
        convert(json, variable).unwrap()
    }

    /// The converted file as a node reads it.
    fn loaded(name: &str, text: &str) -> Config {
        let path =
            std::env::temp_dir().join(format!("roomwire-echo-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let loaded = load(&Sources {
            file: Some(path.clone()),
            environment: Environment::default(),
        });
        std::fs::remove_file(path).unwrap();
        loaded
            .unwrap_or_else(|rejected| panic!("{rejected}\n{text}"))
            .config
    }

    /// The file that `laravel-echo-server init` writes.
    const INITIAL: &str = r#"{
        "authHost": "https://app.test", "authEndpoint": "/broadcasting/auth",
        "clients": [{"appId": "c4f3", "key": "0123456789abcdef0123456789abcdef"}],
        "database": "redis",
        "databaseConfig": {"redis": {}, "sqlite": {"databasePath": "/database/laravel-echo-server.sqlite"}},
        "devMode": false, "host": null, "port": "6001", "protocol": "http", "socketio": {},
        "secureOptions": 67108864, "sslCertPath": "", "sslKeyPath": "", "sslCertChainPath": "",
        "sslPassphrase": "", "subscribers": {"http": true, "redis": true},
        "apiOriginAllow": {"allowCors": false, "allowOrigin": "", "allowMethods": "", "allowHeaders": ""}
    }"#;

    #[test]
    fn the_initial_file_becomes_a_configuration_that_is_valid() {
        let text = converted(INITIAL, &[]);
        let config = loaded("initial", &text);
        assert_eq!(config.app.kind.name(), "echo_server");
        assert_eq!(config.server.bind.port, 6001);
        let echo = &config.app.echo_server;
        assert_eq!(
            echo.auth_urls[0].as_str(),
            "https://app.test/broadcasting/auth"
        );
        assert_eq!(echo.clients[0].app_id, "c4f3");
        assert!(echo.redis && config.bus.redis_url.is_some());
        assert!(config.cors.credentials && config.engine.eio3);
        assert!(
            text.contains(r#"origins = ["same", "https://app.test"]"#),
            "{text}"
        );
        assert!(
            text.contains("# databaseConfig.redis.keyPrefix is empty"),
            "{text}"
        );
        assert!(!text.contains("has no equivalent"), "{text}");
    }

    #[test]
    fn options_become_keys_and_the_others_are_named() {
        let json = r#"{
            "authHost": ["http://a.test:81/app", ".b.test"], "authEndpoint": "/auth",
            "clients": [{"appId": "x", "key": "short"}, {"appId": "y", "key": "a \"key\" of 20 bytes"}],
            "databaseConfig": {"publishPresence": true, "redis": {
                "host": "redis.test", "port": 6380, "password": "p@ss/w", "db": 2, "keyPrefix": "shop_database_",
                "sentinels": [{"host": "s1", "port": 26380}, {"host": "s2"}], "name": "primary",
                "retryStrategy": 5}},
            "devMode": true, "host": "127.0.0.1", "port": 443, "protocol": "https",
            "sslCertPath": "/c.pem", "sslKeyPath": "/k.pem", "sslCertChainPath": "/chain.pem", "sslPassphrase": "x",
            "socketio": {"path": "/ws", "pingInterval": 5000, "maxHttpBufferSize": 5000000,
                "perMessageDeflate": {"threshold": 2048, "zlibDeflateOptions": {"level": 3}}, "origins": "https://a.test https://b.test", "cookie": "io"},
            "subscribers": {"redis": false}, "headers": {"X": "1"}, "apiOriginAllow": {"allowCors": true}
        }"#;
        let text = converted(json, &[]);
        for line in [
            r#"auth_hosts = ["http://a.test:81/app"]"#,
            r#"auth_endpoint = "/auth""#,
            r#"redis = "off""#,
            r#"redis_prefix = "shop_database_""#,
            r#"redis_url = "redis://:p%40ss%2Fw@redis.test:6380/2""#,
            r#"sentinels = ["s1:26380", "s2:26379"]"#,
            r#"sentinel_service = "primary""#,
            r#"bind = "127.0.0.1:443""#,
            r#"tls_cert = "/c.pem""#,
            r#"tls_key = "/k.pem""#,
            r#"path = "/ws""#,
            r#"ping_interval = "5000ms""#,
            r#"max_payload = "5000000B""#,
            "websocket_compression = true",
            r#"websocket_compression_threshold = "2048B""#,
            r#"origins = ["https://a.test", "https://b.test"]"#,
            r#"filter = "debug""#,
            r#"app_id = "y""#,
            r#"key = "a \"key\" of 20 bytes""#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        for note in [
            "# authHost: `.b.test` is no URL",
            "# clients: the key of `x` has fewer than 16",
            "# databaseConfig.publishPresence: use the notices",
            "# databaseConfig.redis.retryStrategy: has no equivalent",
            "# sslCertChainPath: append /chain.pem",
            "# sslPassphrase: server.tls_key",
            "# socketio.cookie: has no equivalent",
            "# socketio.perMessageDeflate.zlibDeflateOptions: has no equivalent",
            "# headers: has no equivalent",
            "# apiOriginAllow: ",
        ] {
            assert!(text.contains(note), "{note}\n{text}");
        }
        assert!(!text.contains("short"), "{text}");
    }

    #[test]
    fn the_redis_can_be_a_socket_file_or_have_tls() {
        let url = |redis: &str| {
            let json = format!(r#"{{"databaseConfig":{{"redis":{redis}}}}}"#);
            let text = converted(&json, &[]);
            let config = loaded("redis", &text);
            assert!(config.bus.redis_url.is_some(), "{text}");
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("redis_url = "));
            (line.unwrap().trim_matches('"').to_owned(), text.clone())
        };
        for (redis, expected) in [
            (r#"{"path":"/run/redis.sock"}"#, "unix:///run/redis.sock"),
            (
                r#"{"host":"/run/redis.sock","port":6379,"username":"me","password":"p&s","db":2}"#,
                "unix:///run/redis.sock?username=me&password=p%26s&db=2",
            ),
            (r#"{"host":"::1"}"#, "redis://[::1]:6379"),
            (r#"{"host":"r","tls":false}"#, "redis://r:6379"),
            (r#"{"host":"r","tls":true,"db":"3"}"#, "rediss://r:6379/3"),
        ] {
            let (found, text) = url(redis);
            assert_eq!(found, expected);
            assert!(!text.contains("# databaseConfig.redis.tls"), "{text}");
        }
        let (found, text) = url(r#"{"host":"r","tls":{"ca":"x"}}"#);
        assert_eq!(found, "rediss://r:6379");
        assert!(
            text.contains("# databaseConfig.redis.tls: its certificates are bus.tls_ca"),
            "{text}"
        );
    }

    #[test]
    fn values_that_cannot_be_converted_are_named_without_secrets() {
        let json = r#"{
            "authHost": ["https://user:secret@a.test", "http://b.test"], "authEndpoint": {"a": 1}, "clients": {"appId": "x"},
            "databaseConfig": {"redis": [{"host": "r"}]}, "devMode": 5, "port": "x1", "protocol": "https",
            "socketio": {"origins": 5, "transports": {"a": 1}, "path": true}, "subscribers": "http", "apiOriginAllow": 1
        }"#;
        let text = converted(json, &[]);
        let type_of = |name| format!("# {name}: a value of this type has no equivalent");
        for name in [
            "authEndpoint",
            "clients",
            "databaseConfig.redis",
            "devMode",
            "socketio.transports",
            "socketio.path",
            "subscribers",
            "apiOriginAllow",
        ] {
            assert!(text.contains(&type_of(name)), "{name}\n{text}");
        }
        for note in [
            "# authHost: entry 1 contains credentials",
            "# port: `x1` is no port; server.bind has 6001",
            "# protocol is https without sslCertPath or sslKeyPath",
        ] {
            assert!(text.contains(note), "{note}\n{text}");
        }
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains(r#"auth_hosts = ["http://b.test"]"#), "{text}");
    }

    #[test]
    fn variables_replace_options_and_can_refer_to_others() {
        let variables = [
            ("LARAVEL_ECHO_SERVER_AUTH_HOST", "http://php"),
            ("LARAVEL_ECHO_SERVER_REDIS_HOST", "${REDIS_HOST}"),
            ("REDIS_HOST", "redis"),
            ("LARAVEL_ECHO_SERVER_REDIS_PORT", "7000"),
            ("LARAVEL_ECHO_SERVER_DEBUG", "true"),
            ("LARAVEL_ECHO_SERVER_PORT", "6002"),
        ];
        for json in [INITIAL, "{}"] {
            let text = converted(json, &variables);
            let config = loaded("variables", &text);
            assert_eq!(
                config.app.echo_server.auth_urls[0].as_str(),
                "http://php/broadcasting/auth"
            );
            assert_eq!(config.server.bind.port, 6002);
            assert_eq!(config.log.filter, "debug");
            assert!(
                text.contains(r#"redis_url = "redis://redis:7000""#),
                "{text}"
            );
        }
        for json in ["", "[]", "{"] {
            assert!(convert(json, |_| None).is_err(), "{json}");
        }
    }
}
