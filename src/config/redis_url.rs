//! The URL of a Redis, with the options that redis-py reads from its query.
//!
//! Roomwire and Python processes often share one URL. If an option were ignored silently, they could use different
//! databases (`?db=2`). So options that Roomwire supports are applied, options that concern only the Python client are
//! ignored, and all others are rejected by name. Values are never shown.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::net::SecretUrl;

/// Options of redis-py that are accepted without effect.
const IGNORED: [&str; 17] = [
    "client_name",
    "decode_responses",
    "encoding",
    "encoding_errors",
    "health_check_interval",
    "lib_name",
    "lib_version",
    "max_connections",
    "protocol",
    "retry_on_error",
    "retry_on_timeout",
    "single_connection_client",
    "socket_keepalive",
    "socket_keepalive_options",
    "socket_read_size",
    "socket_timeout",
    "timeout",
];

/// Values that redis-py reads as false.
const FALSE: [&str; 5] = ["0", "f", "false", "n", "no"];

/// A URL without its options, and the settings from the options.
#[derive(Debug)]
pub(super) struct RedisUrl {
    pub(super) url: SecretUrl,
    /// `ssl_ca_certs`
    pub(super) ca: Option<PathBuf>,
    /// `ssl_certfile`, and `ssl_keyfile` or the same file.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    /// `socket_connect_timeout`
    pub(super) connect_timeout: Option<Duration>,
}

/// Checks a URL and its options; returns it without those that are not for the client library.
pub(super) fn without_options(text: &str) -> Result<SecretUrl, String> {
    read(text).map(|read| read.url)
}

/// Reads a URL and its options.
pub(super) fn read(text: &str) -> Result<RedisUrl, String> {
    let text = text.trim();
    let Ok(mut url) = Url::parse(text) else {
        let error = SecretUrl::parse_redis(text).err().unwrap_or_default();
        return Err(unencoded(text).unwrap_or(error));
    };
    let is_file = url.scheme().contains("unix");
    if is_file && url.has_host() && url.host_str().is_some_and(|host| !host.is_empty()) {
        let message = "names a host: a socket file is `unix:///path`, with `?username=` and `?password=` for its user";
        return Err(message.to_owned());
    }
    // Checked before the options: a URL that is not for Redis has options of its own.
    SecretUrl::parse_redis(text).map_err(|error| unencoded(text).unwrap_or(error))?;
    let options = Options::of(&url, text)?;
    let (ca, identity) = options.files(&url)?;
    let connect_timeout = options.connect_timeout()?;
    options.move_into(&mut url, is_file)?;
    Ok(RedisUrl {
        url: SecretUrl::parse_redis(url.as_str())?,
        ca,
        identity,
        connect_timeout,
    })
}

/// Options by name. As in redis-py, the first of several counts, and an option without a value is ignored.
struct Options(HashMap<String, String>);

impl Options {
    fn of(url: &Url, text: &str) -> Result<Self, String> {
        let mut options = HashMap::new();
        for (name, value) in url.query_pairs().filter(|(_, value)| !value.is_empty()) {
            check(&name, &value, text)?;
            options
                .entry(name.into_owned())
                .or_insert_with(|| value.into_owned());
        }
        Ok(Self(options))
    }

    fn get(&self, names: &[&str]) -> Option<&str> {
        names
            .iter()
            .find_map(|name| self.0.get(*name).map(String::as_str))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(&[name]).map(PathBuf::from)
    }

    #[expect(clippy::type_complexity, reason = "two fields of the one caller")]
    fn files(&self, url: &Url) -> Result<(Option<PathBuf>, Option<(PathBuf, PathBuf)>), String> {
        let names = ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"];
        let given = names.into_iter().find(|name| self.0.contains_key(*name));
        if let Some(name) = given.filter(|_| !matches!(url.scheme(), "rediss" | "valkeys")) {
            return Err(format!("has the option `{name}`, which needs `rediss://`"));
        }
        let (certificate, key) = (self.path("ssl_certfile"), self.path("ssl_keyfile"));
        if certificate.is_none() && key.is_some() {
            return Err("has the option `ssl_keyfile`, which needs `ssl_certfile`".to_owned());
        }
        let identity = certificate.map(|file| (file.clone(), key.unwrap_or(file)));
        Ok((self.path("ssl_ca_certs"), identity))
    }

    fn connect_timeout(&self) -> Result<Option<Duration>, String> {
        let Some(seconds) = self.get(&["socket_connect_timeout"]) else {
            return Ok(None);
        };
        let timeout = seconds.parse().ok().map(Duration::try_from_secs_f64);
        match timeout {
            Some(Ok(timeout)) if !timeout.is_zero() => Ok(Some(timeout)),
            _ => Err(
                "has an option `socket_connect_timeout` that is not a number of seconds".to_owned(),
            ),
        }
    }

    /// Moves database, user and password to where the client library reads them. As in redis-py, user and password
    /// before the host take precedence over options, but the `db` option over a database in the path.
    fn move_into(&self, url: &mut Url, is_file: bool) -> Result<(), String> {
        let (db, user, password) = (
            self.get(&["db"]),
            self.get(&["username", "user"]),
            self.get(&["password", "pass"]),
        );
        if db.is_some_and(|db| db.parse::<u16>().is_err()) {
            return Err("has an option `db` that is not a database number".to_owned());
        }
        url.set_query(None);
        if is_file {
            let options = [("db", db), ("user", user), ("pass", password)];
            let given: Vec<_> = options
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            if !given.is_empty() {
                url.query_pairs_mut().extend_pairs(given);
            }
            return Ok(());
        }
        if let Some(db) = db {
            url.set_path(db);
        }
        let user = user.filter(|_| url.username().is_empty());
        let password = password.filter(|_| url.password().is_none());
        let set = user.is_none_or(|user| url.set_username(user).is_ok())
            && password.is_none_or(|password| url.set_password(Some(password)).is_ok());
        if set {
            Ok(())
        } else {
            Err("cannot have a user or a password".to_owned())
        }
    }
}

/// Rejects an option that is unknown, or whose value is not supported.
fn check(name: &str, value: &str, text: &str) -> Result<(), String> {
    let is_false = FALSE.contains(&value.to_lowercase().as_str());
    match name {
        "db" | "username" | "user" | "password" | "pass" | "socket_connect_timeout"
        | "ssl_ca_certs" | "ssl_certfile" | "ssl_keyfile" => Ok(()),
        "ssl_cert_reqs" if matches!(value, "required" | "CERT_REQUIRED" | "2") => Ok(()),
        "ssl_cert_reqs" => Err(
            "has the option `ssl_cert_reqs` with another value than `required`, which is not supported: the server's certificate is always verified; name its authority in bus.tls_ca"
                .to_owned(),
        ),
        "ssl_check_hostname" if !is_false => Ok(()),
        "ssl_check_hostname" => Err(
            "switches `ssl_check_hostname` off, which is not supported: the server's certificate must be for the host of the URL"
                .to_owned(),
        ),
        name if IGNORED.contains(&name) => Ok(()),
        // Before an `@`, or with other characters, the name may be part of a password, so it is not shown.
        name => Err(unencoded(text).unwrap_or_else(|| {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.len() <= 40 && name.bytes().all(is_word) {
                format!(
                    "has the option `{name}`, which is not supported; docs/bus.md lists the supported ones"
                )
            } else {
                "has text after `?` that is not an option such as `db=2`".to_owned()
            }
        })),
    }
}

/// The message for a URL whose user or password contains a delimiter that is not percent-encoded.
fn unencoded(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("://")?;
    let (before, _) = rest.rsplit_once('@')?;
    let character = before.chars().find(|c| "#/?".contains(*c))?;
    Some(format!(
        "has a `{character}` in its user or password: percent-encode it there, as `%{:02X}`",
        u32::from(character)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> String {
        let read = read(text).unwrap();
        read.url.expose().to_owned()
    }

    fn error_of(text: &str) -> String {
        let error = read(text).unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
        error
    }

    #[test]
    fn options_of_redis_py_with_a_meaning_here_are_applied() {
        for (text, expected) in [
            ("redis://cache?db=2", "redis://cache/2"),
            ("redis://cache:7000/1?db=2", "redis://cache:7000/2"),
            ("redis://cache/1?db=", "redis://cache/1"),
            ("redis://cache?db=2&db=3", "redis://cache/2"),
            (
                "redis://cache/4?username=ann&password=a%20%23b",
                "redis://ann:a%20%23b@cache/4",
            ),
            (
                "redis://ann:own@cache?username=bob&password=other",
                "redis://ann:own@cache",
            ),
            (
                "unix:///run/redis.sock?db=3&username=ann&password=s",
                "unix:///run/redis.sock?db=3&user=ann&pass=s",
            ),
            (
                "unix:///run/redis.sock?db=3&pass=s",
                "unix:///run/redis.sock?db=3&pass=s",
            ),
            (
                "redis://cache/1?health_check_interval=30&protocol=3&decode_responses=true&ssl_check_hostname=True",
                "redis://cache/1",
            ),
        ] {
            assert_eq!(url(text), expected, "{text}");
        }
    }

    #[test]
    fn files_and_the_timeout_of_an_url_are_read() {
        let text = "rediss://cache?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&socket_connect_timeout=1.5&ssl_cert_reqs=required";
        let read = read(text).unwrap();
        assert_eq!(read.url.expose(), "rediss://cache");
        assert_eq!(read.ca, Some(PathBuf::from("/ca.pem")));
        let file = PathBuf::from("/c.pem");
        assert_eq!(read.identity, Some((file.clone(), file)));
        assert_eq!(read.connect_timeout, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn unsupported_options_are_rejected_by_name_without_their_values() {
        for (text, named) in [
            ("rediss://cache?ssl_cert_reqs=none", "`ssl_cert_reqs`"),
            (
                "rediss://cache?ssl_check_hostname=false",
                "`ssl_check_hostname`",
            ),
            ("redis://cache?ssl_ca_certs=/ca", "needs `rediss://`"),
            ("rediss://cache?ssl_keyfile=/k", "needs `ssl_certfile`"),
            ("redis://cache?colour=s3cret", "`colour`"),
            ("redis://cache?PASSWORD=s3cret", "`PASSWORD`"),
            ("redis://cache?db=s3cret", "`db`"),
            (
                "redis://cache?socket_connect_timeout=-1",
                "`socket_connect_timeout`",
            ),
            (
                "redis://:s3#cret@cache/0",
                "percent-encode it there, as `%23`",
            ),
            (
                "redis://ann:s3cret#@cache/0",
                "percent-encode it there, as `%23`",
            ),
            (
                "redis://ann:12?s3cret=1@cache/0",
                "percent-encode it there, as `%3F`",
            ),
            (
                "redis://ann:s3/cret@cache/0",
                "percent-encode it there, as `%2F`",
            ),
            ("unix://run/redis.sock", "`unix:///path`"),
        ] {
            let error = error_of(text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
