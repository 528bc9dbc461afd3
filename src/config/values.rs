//! Parsers of single values that are neither durations, sizes nor addresses: paths, names, files, filters.
//!
//! An error is a text that stands after the key in a message.

use std::path::PathBuf;

use super::net::{BindAddress, Secret, quoted};
use super::pattern::Pattern;
use crate::model::base64::decode_lenient;

/// Maximum number of workers: one character of an id names the worker (`WorkerIndex::LIMIT`).
pub(super) const MAX_WORKERS: usize = 64;

/// The number of worker threads for `configured`; 0 = one per core.
pub(super) fn workers(configured: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if configured == 0 { cores() } else { configured };
    workers.clamp(1, MAX_WORKERS)
}

/// A directory that exists.
pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_dir() {
        Ok(path)
    } else {
        Err(format!("`{text}` is not a directory that can be read"))
    }
}

/// A path that is checked when it is opened.
pub(super) fn any_path(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text.trim()))
}

/// A file that can be read.
pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match std::fs::File::open(&path) {
        Ok(_) if path.is_file() => Ok(path),
        Ok(_) => Err(format!("`{text}` is not a file")),
        Err(error) => Err(format!("`{text}` cannot be read: {error}")),
    }
}

/// `host` or `host:port` of a Sentinel, an IPv6 address in brackets.
pub(super) fn sentinel(text: &str) -> Result<String, String> {
    let is_whole = BindAddress::parse(text).is_ok_and(|address| address.port > 0);
    let is_host = || BindAddress::parse(&format!("{text}:1")).is_ok();
    if is_whole || is_host() {
        Ok(text.trim().to_owned())
    } else {
        let text = quoted(text);
        Err(format!("{text} is not `host:port` of a Sentinel"))
    }
}

/// A bearer token (RFC 6750) that cannot be guessed.
pub(super) fn token(text: &str) -> Result<Secret, String> {
    const MIN_LENGTH: usize = 16;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if text.len() < MIN_LENGTH {
        return Err(format!("must have at least {MIN_LENGTH} characters"));
    }
    if !text.bytes().all(is_token) {
        return Err("must consist of letters, digits and `-._~+/=`".to_owned());
    }
    Ok(Secret::from(text))
}

/// A secret that signs webhooks: a text that cannot be guessed, or `whsec_` and base64 as Standard Webhooks writes it.
pub(super) fn signing_secret(text: &str) -> Result<Secret, String> {
    const MIN_LENGTH: usize = 16;
    let text = text.trim();
    let length = match text.strip_prefix("whsec_") {
        Some(encoded) => match decode_lenient(encoded.as_bytes()) {
            Ok(key) => key.len(),
            Err(_) => return Err("is not base64 after `whsec_`".to_owned()),
        },
        None => text.len(),
    };
    if length < MIN_LENGTH {
        return Err(format!("must have at least {MIN_LENGTH} bytes"));
    }
    Ok(Secret::from(text))
}

/// A name in which `*` stands for any text.
pub(super) fn pattern(text: &str) -> Result<Pattern, String> {
    match text.trim() {
        "" => Err("must not be empty".to_owned()),
        text => Ok(Pattern::from(text)),
    }
}

/// Parses the name of a header that other servers of the cluster may receive; returns it in lower case.
pub(super) fn shown_header(text: &str) -> Result<String, String> {
    /// Headers with credentials of clients.
    const SECRET: [&str; 4] = ["authorization", "cookie", "set-cookie", "x-csrf-token"];
    let name = forwarded_header(text)?;
    match SECRET.contains(&&*name) {
        true => Err(format!(
            "`{name}` contains credentials, which other servers must not receive"
        )),
        false => Ok(name),
    }
}

/// The name of a header that may be passed on, in lower case.
pub(super) fn forwarded_header(text: &str) -> Result<String, String> {
    /// Headers that belong to one connection, or that the node itself sends.
    const OWN: [&str; 10] = [
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let name = text.trim().to_ascii_lowercase();
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err(format!("`{text}` is not the name of a header"));
    }
    let is_own = OWN.contains(&&*name) || name.starts_with("webhook-");
    match is_own || name.starts_with("proxy-") {
        true => Err(format!("`{name}` cannot be passed on")),
        false => Ok(name),
    }
}

/// A code for programs, such as `payment_required`.
pub(super) fn error_code(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if text.is_empty() || text.len() > 64 || !text.chars().all(is_plain) {
        return Err(format!(
            "`{text}` must consist of at most 64 lower-case letters, digits and `_`"
        ));
    }
    Ok(text.to_owned())
}

/// A path with its leading and without a trailing slash.
pub(super) fn path(text: &str) -> Result<String, String> {
    let bare = text.trim().trim_start_matches('/');
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '~');
    if bare.is_empty() || bare.contains("//") || bare.ends_with('/') || !bare.chars().all(is_plain)
    {
        return Err(format!("`{text}` is not a path such as `/socket.io`"));
    }
    Ok(format!("/{bare}"))
}

/// The name of a cookie.
pub(super) fn cookie(text: &str) -> Result<String, String> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !text.is_empty() && text.chars().all(is_token) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a cookie name"))
    }
}

/// A namespace. The leading slash is optional.
pub(super) fn single_namespace(text: &str) -> Result<String, String> {
    let namespace = namespace(text)?;
    if namespace.as_str().contains('*') {
        return Err(format!("`{text}` is a pattern; one namespace is required"));
    }
    Ok(namespace.as_str().to_owned())
}

/// A namespace or a pattern of namespaces. The leading slash is optional.
pub(super) fn namespace(text: &str) -> Result<Pattern, String> {
    let text = text.trim();
    // In a packet, a comma ends the name; in a CONNECT of old clients, a question mark does.
    if text.is_empty() || text.contains([',', '?']) {
        return Err(format!(
            "`{text}` is not a namespace such as `/` or `/chat-*`"
        ));
    }
    let has_slash = text.starts_with('/') || text.starts_with('*');
    Ok(Pattern::from(
        if has_slash {
            text.to_owned()
        } else {
            format!("/{text}")
        }
        .as_str(),
    ))
}

/// A name for channels, keys and subscription patterns of Redis.
pub(super) fn channel_name(text: &str) -> Result<String, String> {
    let has_meaning = |c: char| c.is_whitespace() || c.is_control() || "*?[]{}#\\".contains(c);
    if text.is_empty() || text.contains(has_meaning) {
        return Err(format!(
            "`{text}` must be a name without spaces and without any of * ? [ ] {{ }} # \\"
        ));
    }
    Ok(text.to_owned())
}

/// Levels and modules separated by commas, such as `warn,roomwire::cluster=debug`; after a slash, a text that
/// a line must contain.
///
/// `env_logger` interprets a word that is not a level as a module, so a misspelt level would silence everything. Here a
/// module must have a level, or be a module of Roomwire.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let is_level = |level: &str| level.parse::<log::LevelFilter>().is_ok();
    let directives = text.split('/').next().unwrap_or_default();
    for directive in directives.split(',').map(str::trim) {
        let is_own = directive == "roomwire" || directive.starts_with("roomwire::");
        match directive.split_once('=') {
            Some((_, level)) if level.is_empty() || is_level(level.trim()) => {}
            Some((_, level)) => return Err(format!("`{level}` is not one of {LEVELS}")),
            None if directive.is_empty() || is_own || is_level(directive) => {}
            None => {
                return Err(format!(
                    "`{directive}` is not one of {LEVELS}; a module needs a level, as in `module=debug`"
                ));
            }
        }
    }
    match env_filter::Builder::new().try_parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether a filter shows errors of Roomwire, or is `off`.
pub(super) fn shows_errors(filter: &str) -> bool {
    let directives = filter.split('/').next().unwrap_or_default();
    let is_own = |module: &str| "roomwire".starts_with(module) || module.starts_with("roomwire::");
    let is_off = |level: &str| level.trim().eq_ignore_ascii_case("off");
    let mut directives = directives
        .split(',')
        .map(str::trim)
        .filter(|d| !d.is_empty());
    directives.clone().next().is_none()
        || filter.trim().eq_ignore_ascii_case("off")
        || directives.any(|directive| match directive.split_once('=') {
            Some((module, level)) => is_own(module.trim()) && !is_off(level),
            None => !is_off(directive),
        })
}

const LEVELS: &str = "off, error, warn, info, debug, trace";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_with_credentials_are_not_shown_to_servers() {
        assert_eq!(shown_header("User-Agent"), Ok("user-agent".to_owned()));
        for name in [
            "cookie",
            "Authorization",
            "proxy-authorization",
            "host",
            "a b",
        ] {
            assert!(shown_header(name).is_err(), "{name}");
        }
        let reason = shown_header("cookie").unwrap_err();
        assert!(reason.contains("credentials"), "{reason}");
    }

    #[test]
    fn paths_are_normalised() {
        let cases = [
            ("/socket.io", "/socket.io"),
            ("ws/socket.io/", "/ws/socket.io"),
            ("/a", "/a"),
        ];
        for (text, expected) in cases {
            assert_eq!(path(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "/", "//", "/a//b", "/a b", "/a?b", "/{a}", "/a//"] {
            assert!(path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn namespaces_have_a_slash() {
        let cases = [
            ("/", "/"),
            ("chat", "/chat"),
            (" /a-* ", "/a-*"),
            ("*", "*"),
        ];
        for (text, expected) in cases {
            assert_eq!(namespace(text).unwrap().as_str(), expected, "{text}");
        }
        assert!(namespace("").is_err() && namespace("/a,b").is_err());
    }

    #[test]
    fn names_and_log_filters_are_checked() {
        assert_eq!(cookie("io"), Ok("io".to_owned()));
        for text in ["", "a b", "a=b"] {
            assert!(cookie(text).is_err(), "{text}");
        }
        assert!(channel_name("open-webui:roomwire").is_ok());
        assert!(
            channel_name("").is_err()
                && channel_name("a*").is_err()
                && channel_name("a b").is_err()
        );
        for text in [
            "info",
            "INFO",
            "",
            "off",
            "warn,roomwire::cluster=debug",
            "info, roomwire::sessions=off",
            "roomwire",
            "roomwire::cluster",
            "roomwire=",
            "actix_http=debug,info",
            "info/a=b",
            // Text to find in a line, no pattern.
            "info/(",
        ] {
            assert!(log_filter(text).is_ok(), "{text}");
        }
        for (text, named) in [
            ("verbose", "`verbose`"),
            ("bogus", "`bogus`"),
            ("info,debgu", "`debgu`"),
            ("roomwire=loud", "`loud`"),
            ("actix_http", "`module=debug`"),
            ("info debug", "`info debug`"),
            ("info/a/b", "info/a/b"),
        ] {
            let error = log_filter(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_filter_that_hides_errors_of_the_node_is_detected() {
        for filter in [
            "",
            "info",
            "off",
            "roomwire=info",
            "roomwire::cluster=debug",
            "mio=off,warn",
            "room=info",
        ] {
            assert!(shows_errors(filter), "{filter}");
        }
        for filter in [
            "roomwrie=debug",
            "hyper=info",
            "roomwire=off",
            "off,mio=info",
        ] {
            assert!(!shows_errors(filter), "{filter}");
        }
    }

    #[test]
    fn signing_secrets_cannot_be_guessed() {
        for text in [
            "sixteen-letters!",
            " whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw ",
        ] {
            assert_eq!(
                signing_secret(text),
                Ok(Secret::from(text.trim())),
                "{text}"
            );
        }
        for text in ["", "fifteen-letters", "whsec_c2hvcnQ=", "whsec_!!"] {
            let error = signing_secret(text).unwrap_err();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        assert_eq!(forwarded_header(" X-Tenant"), Ok("x-tenant".to_owned()));
        for name in ["", "a b", "Host", "webhook-signature", "Content-Length"] {
            assert!(forwarded_header(name).is_err(), "{name}");
        }
        assert!(error_code("a_1").is_ok() && error_code("A b").is_err());
    }

    #[test]
    fn workers_stay_in_range() {
        assert_eq!((workers(3), workers(1000)), (3, MAX_WORKERS));
        assert!((1..=MAX_WORKERS).contains(&workers(0)));
    }
}
