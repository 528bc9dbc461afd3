//! Addresses to listen on, ranges of proxies, and secrets, among them the Redis URL.
//!
//! Pure: no names are resolved and no connections opened.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use url::Url;

/// Address to listen on, in the form `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindAddress {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// 0 = any free port.
    pub port: u16,
}

impl BindAddress {
    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        let address: Option<IpAddr> = self.host.parse().ok();
        address.map_or(self.host == "localhost", |address| address.is_loopback())
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rejected = || {
            let text = quoted(text);
            format!("{text} is not `host:port`, such as `0.0.0.0:8080` or `[::]:8080`")
        };
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(rejected)?;
        let port = port.parse().map_err(|_| rejected())?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_name = |host: &str| {
            host.chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        let host = match bracketed {
            Some(address)
                if address
                    .parse::<IpAddr>()
                    .is_ok_and(|address| address.is_ipv6()) =>
            {
                address
            }
            None if !host.is_empty() && is_name(host) => host,
            _ => return Err(rejected()),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl Default for BindAddress {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: 0,
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A range of IP addresses, such as `10.0.0.0/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange {
    address: IpAddr,
    bits: u32,
}

impl IpRange {
    /// Whether `address` is in the range. An IPv4-mapped IPv6 address is treated as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= self.bits
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }

    /// Whether the range is a whole private network or larger, rather than the addresses of a few proxies.
    pub(super) fn is_wide(self) -> bool {
        const WIDE_V4: u32 = 16;
        const WIDE_V6: u32 = 48;
        self.bits
            <= if self.address.is_ipv4() {
                WIDE_V4
            } else {
                WIDE_V6
            }
    }

    /// Parses an address or a range.
    ///
    /// # Errors
    /// A message with the text and the expected form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rejected = || format!("`{text}` is not an address, nor a range such as `10.0.0.0/8`");
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| rejected())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| rejected())?;
        if bits > most {
            return Err(rejected());
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Shown in place of a secret.
const MASK: &str = "***";

/// Quotes a text for a message, unless it may contain a password.
pub(super) fn quoted(text: &str) -> String {
    if text.contains("://") || text.contains('@') {
        return "the value (not shown: it may contain a password)".to_owned();
    }
    format!("`{text}`")
}

/// A secret text. `Debug` masks it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// A URL that may contain a password. `Debug` and `Display` mask it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// The URL with its password.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }

    /// The number of the database; 0 if the URL has none.
    pub fn database(&self) -> i64 {
        let in_query = || {
            self.0
                .query_pairs()
                .find(|(name, _)| name == "db")
                .map(|(_, number)| number.into_owned())
        };
        let in_path = self.0.path().trim_matches('/').parse().ok();
        in_path.or_else(|| in_query()?.parse().ok()).unwrap_or(0)
    }

    /// Whether it is the path of a Unix socket.
    pub fn is_file(&self) -> bool {
        self.0.scheme().contains("unix")
    }

    /// Whether its scheme requires TLS.
    pub fn has_tls(&self) -> bool {
        matches!(self.0.scheme(), "rediss" | "valkeys")
    }

    pub(super) fn parse_redis(text: &str) -> Result<Self, String> {
        // The text may contain a password, so no message repeats it. `cache:6379` would be a URL of the scheme `cache`.
        if !text.contains("://") && !text.trim().starts_with("unix:") {
            let schemes = "`redis://`, `rediss://` or `unix://`";
            return Err(format!(
                "must begin with {schemes}: a URL such as `redis://localhost:6379/0`"
            ));
        }
        let url = Url::parse(text.trim())
            .map_err(|error| format!("is not a URL such as `redis://localhost:6379/0`: {error}"))?;
        match url.scheme() {
            "redis" | "valkey" | "rediss" | "valkeys" => {}
            "unix" | "redis+unix" | "valkey+unix" => return Ok(Self(url)),
            _ => return Err("is not a URL of a Redis; use `redis://`".to_owned()),
        }
        let has_host = url.host_str().is_some_and(|host| !host.is_empty());
        if !has_host {
            return Err("names no host".to_owned());
        }
        if url.fragment().is_some() {
            return Err(
                "has a part after `#`, which is not supported (`#insecure` would take any server's certificate: \
                 name its authority in bus.tls_ca; a `#` in a password is written `%23`)"
                    .to_owned(),
            );
        }
        let database = url.path().trim_matches('/');
        if !database.is_empty() && database.parse::<u16>().is_err() {
            return Err(
                "must have the number of a database, or nothing, after the host".to_owned(),
            );
        }
        Ok(Self(url))
    }
}

/// Parameters of a Redis URL whose values are shown. All others may be secrets.
const SHOWN_PARAMETERS: [&str; 2] = ["db", "protocol"];

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut masked = self.0.clone();
        if masked.query().is_some() {
            let pairs = self.0.query_pairs().map(|(name, text)| {
                let is_shown = SHOWN_PARAMETERS.contains(&&*name.to_lowercase());
                match (is_shown, text.is_empty()) {
                    (true, _) => (name, text),
                    (false, false) => (name, MASK.into()),
                    // `?s3cret`
                    (false, true) => (MASK.into(), text),
                }
            });
            masked.query_pairs_mut().clear().extend_pairs(pairs);
        }
        let has_fragment = masked.fragment().is_some();
        masked.set_fragment(has_fragment.then_some(MASK));
        let masks = match (self.0.username(), self.0.password()) {
            ("", None) => Ok(()),
            // Without a colon it is a user name, but it is often a password by mistake.
            (_, None) => masked.set_username(MASK),
            (_, Some(_)) => masked.set_password(Some(MASK)),
        };
        // Masking fails only for a URL without a host, which cannot contain a password.
        match masks {
            Ok(()) => f.write_str(masked.as_str()),
            Err(()) => f.write_str(MASK),
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_masks_secrets() {
        let secret = Secret::from("word");
        assert_eq!(
            (secret.expose(), format!("{secret:?}")),
            ("word", "***".to_owned())
        );
    }

    #[test]
    fn bind_addresses_are_parsed_and_printed() {
        let cases = [
            ("127.0.0.1:8080", true),
            ("127.0.0.5:0", true),
            ("localhost:1", true),
            ("[::1]:80", true),
            ("0.0.0.0:80", false),
            ("[::]:80", false),
            ("node-1.internal:80", false),
        ];
        for (text, is_loopback) in cases {
            let address = BindAddress::parse(text).unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.is_loopback(), is_loopback, "{text}");
        }
        for text in [
            "",
            "8080",
            ":8080",
            "host",
            "host:",
            "host:99999",
            "::1:80",
            "[::1]",
            "a b:1",
            "[x]:1",
        ] {
            assert!(BindAddress::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_contains_addresses_with_its_prefix() {
        let cases = [
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.8", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("fd00::/8", "fd12::1", true),
            ("::1", "::2", false),
        ];
        for (range, address, inside) in cases {
            let range = IpRange::parse(range).unwrap();
            assert_eq!(
                range.contains(address.parse().unwrap()),
                inside,
                "{range:?} {address}"
            );
        }
        for text in ["", "10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "host"] {
            assert!(IpRange::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn urls_are_printed_without_passwords() {
        let cases = [
            (
                "redis://:secret@cache:6379/2",
                "redis://:***@cache:6379/2",
                2,
            ),
            ("redis://me:secret@cache", "redis://me:***@cache", 0),
            ("rediss://me:secret@cache/7", "rediss://me:***@cache/7", 7),
            ("redis://cache:6379", "redis://cache:6379", 0),
            (
                "unix:///run/redis.sock?db=3&pass=secret",
                "unix:///run/redis.sock?db=3&pass=***",
                3,
            ),
            ("redis://secret@cache", "redis://***@cache", 0),
            (
                "redis://cache?PASSWORD=secret",
                "redis://cache?PASSWORD=***",
                0,
            ),
            (
                "redis://cache?auth=secret&db=1",
                "redis://cache?auth=***&db=1",
                1,
            ),
            ("redis://cache?secret", "redis://cache?***=", 0),
            (
                "unix:///run/redis.sock#secret",
                "unix:///run/redis.sock#***",
                0,
            ),
        ];
        for (text, masked, database) in cases {
            let url = SecretUrl::parse_redis(text).unwrap();
            assert_eq!(
                (url.to_string().as_str(), url.database()),
                (masked, database)
            );
            assert_eq!(url.expose(), text);
            assert!(!format!("{url:?}").contains("secret"));
        }
        for text in [
            "",
            "cache:6379",
            "http://:secret@cache",
            "redis:///0",
            "rediss://:secret@cache/#insecure",
            "redis://cache/x",
            "redis://me:12/secret@cache/0",
            "secret:x@cache",
        ] {
            let message = SecretUrl::parse_redis(text).unwrap_err();
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
