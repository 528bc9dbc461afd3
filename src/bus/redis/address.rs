//! Addresses of Redis servers and Sentinels.

use std::fmt;
use std::path::PathBuf;

use redis::ConnectionAddr;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Address {
    pub(super) fn tcp(host: &str, port: u16) -> Self {
        Self::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    /// Parses `host`, `host:port` or `[ipv6]:port`; `default_port` applies where no port is given.
    pub(super) fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, default_port),
            Some((host, rest)) => (host, rest.strip_prefix(':')?.parse().ok()?),
            None => match text.split_once(':') {
                // More than one colon without brackets: an IPv6 address without a port.
                Some((_, rest)) if rest.contains(':') => (text, default_port),
                Some((host, port)) => (host, port.parse().ok()?),
                None => (text, default_port),
            },
        };
        let has_space = host.chars().any(char::is_whitespace);
        (!host.is_empty() && !has_space).then(|| Self::tcp(host, port))
    }

    pub(super) fn of(address: &ConnectionAddr) -> Option<Self> {
        match address {
            ConnectionAddr::Tcp(host, port) => Some(Self::tcp(host, *port)),
            ConnectionAddr::Unix(path) => Some(Self::Unix(path.clone())),
            _ => None,
        }
    }

    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => Some(host),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_displayed() {
        for (text, shown) in [
            ("cache", "cache:7"),
            ("cache:26379", "cache:26379"),
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("[::1]", "[::1]:7"),
            ("[::1]:9", "[::1]:9"),
            ("fd00::1", "[fd00::1]:7"),
        ] {
            let address = Address::parse(text, 7).map(|address| address.to_string());
            assert_eq!(address.as_deref(), Some(shown));
        }
        for text in ["", ":1", "cache:", "cache:99999", "a b", "[::1]x"] {
            assert_eq!(Address::parse(text, 7), None, "{text}");
        }
    }
}
