//! The address of the client that sent a request: the peer, or the address reported by trusted proxies.
//!
//! The only place that reads `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded`. Limits by address and logs use it.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{self, HeaderMap};

use crate::config::IpRange;

/// The client's address. IPv4 in IPv6 (`::ffff:1.2.3.4`) is returned as IPv4.
///
/// Each proxy appends the address of its peer, so the chain is read from its right end, and only as long as each address
/// is a trusted proxy: entries to the left of the first untrusted address may be forged by it. An entry that is not an
/// address (`unknown`, `_hidden`) ends the chain at the proxy that wrote it.
///
/// `Forwarded` (RFC 7239) is used only without `X-Forwarded-For`, because most proxies write the latter and forward the
/// former as the client sent it.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpRange]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    for entry in chain(headers).into_iter().rev() {
        let Some(address) = entry else {
            return client;
        };
        client = address;
        if !is_trusted(client) {
            return client;
        }
    }
    client
}

/// Whether a trusted proxy reports that the connection of the client, or of a proxy in front of it, is TLS.
pub fn arrived_over_tls(peer: IpAddr, headers: &HeaderMap, trusted: &[IpRange]) -> bool {
    let peer = peer.to_canonical();
    if !trusted.iter().any(|range| range.contains(peer)) {
        return false;
    }
    let is_https = |name: Option<&str>| name.is_some_and(|name| name.eq_ignore_ascii_case("https"));
    if headers.contains_key(header::X_FORWARDED_PROTO) {
        return entries(headers, header::X_FORWARDED_PROTO, |text| Some(text.trim())).any(is_https);
    }
    let protocol = |entry| Some(parameter(entry, "proto")?.trim().trim_matches('"'));
    entries(headers, header::FORWARDED, protocol).any(is_https)
}

/// The chain of addresses from the client to the last proxy; `None` for an entry that is not an address.
fn chain(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    if headers.contains_key(header::X_FORWARDED_FOR) {
        return entries(headers, header::X_FORWARDED_FOR, address).collect();
    }
    entries(headers, header::FORWARDED, |entry| {
        address(parameter(entry, "for")?)
    })
    .collect()
}

/// The comma-separated entries of all lines of a header, which count as one (RFC 9110 5.3). A line that is not
/// text is an entry that is not an address.
fn entries<'a, T>(
    headers: &'a HeaderMap,
    name: header::HeaderName,
    read: impl Fn(&'a str) -> Option<T> + 'a,
) -> impl Iterator<Item = Option<T>> {
    let lines: Vec<_> = headers.get_all(name).collect();
    lines
        .into_iter()
        .flat_map(|line| line.to_str().unwrap_or_default().split(','))
        .map(read)
}

/// The value of a parameter in an entry of `Forwarded`.
fn parameter<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = entry.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(known, _)| known.trim().eq_ignore_ascii_case(name))?;
    Some(value)
}

/// An address with or without port, brackets and quotes.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let address: Option<IpAddr> = bare.parse().ok().or_else(with_port);
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    /// Two ranges of proxies: `10.0.0.0/8` and `fd00::/8`.
    fn client(peer: &str, lines: &[(&str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|range| IpRange::parse(range).unwrap());
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_reports_tls() {
        let cases = [
            ("192.0.2.1", "x-forwarded-proto", "https", false),
            ("10.0.0.1", "x-forwarded-proto", "https", true),
            ("::ffff:10.0.0.1", "x-forwarded-proto", "HTTPS", true),
            ("10.0.0.1", "x-forwarded-proto", "http", false),
            ("10.0.0.1", "x-forwarded-proto", "https, http", true),
            ("10.0.0.1", "forwarded", "for=1.1.1.1;proto=\"https\"", true),
            ("10.0.0.1", "forwarded", "for=1.1.1.1", false),
            ("10.0.0.1", "accept", "https", false),
        ];
        for (peer, name, value, expected) in cases {
            let mut headers = HeaderMap::new();
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
            let trusted = [IpRange::parse("10.0.0.0/8").unwrap()];
            let seen = arrived_over_tls(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(seen, expected, "{peer} {value}");
        }
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right_up_to_the_first_untrusted_address() {
        let cases = [
            // The peer is not trusted: the header is that of the client.
            ("192.0.2.1", "1.1.1.1", "192.0.2.1"),
            // One proxy.
            ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
            // The client sent a header, and the proxy appended to it.
            ("10.0.0.1", "1.1.1.1, 192.0.2.7", "192.0.2.7"),
            // The client inserted a trusted address, left of its own.
            ("10.0.0.1", "1.1.1.1, 10.9.9.9, 192.0.2.7", "192.0.2.7"),
            // Several proxies.
            ("10.0.0.1", "192.0.2.7, 10.0.0.3,10.0.0.2", "192.0.2.7"),
            ("fd00::1", "1.1.1.1, 2001:db8::7 , 10.0.0.2", "2001:db8::7"),
            // A client in the trusted range: all are trusted, the first is the client.
            ("10.0.0.1", "10.0.0.9, 10.0.0.2", "10.0.0.9"),
            // Ports, brackets, IPv4 in IPv6.
            ("10.0.0.1", "192.0.2.7:4711", "192.0.2.7"),
            ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
            ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
            ("::ffff:10.0.0.1", "::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.1", "1.1.1.1", "192.0.2.1"),
            // An entry that is not an address ends the chain at the proxy that wrote it.
            ("10.0.0.1", "1.1.1.1, unknown", "10.0.0.1"),
            ("10.0.0.1", "1.1.1.1, unknown, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "1.1.1.1,", "10.0.0.1"),
            ("10.0.0.1", "1.1.1.1, 999.1.1.1", "10.0.0.1"),
            ("10.0.0.1", "1.1.1.1, \u{e4}", "10.0.0.1"),
        ];
        for (peer, value, expected) in cases {
            let seen = client(peer, &[("x-forwarded-for", value)]);
            assert_eq!(seen, expected, "{peer} {value}");
        }
    }

    #[test]
    fn forwarded_is_read_like_x_forwarded_for() {
        let cases = [
            ("for=192.0.2.7", "192.0.2.7"),
            ("For=\"192.0.2.7:4711\"; proto=https", "192.0.2.7"),
            ("proto=https;by=10.0.0.1;for=192.0.2.7", "192.0.2.7"),
            ("for=1.1.1.1, for=\"[2001:db8::7]:80\"", "2001:db8::7"),
            ("for=192.0.2.7, for=10.0.0.2", "192.0.2.7"),
            ("for=1.1.1.1, for=_hidden", "10.0.0.1"),
            ("for=1.1.1.1, proto=https", "10.0.0.1"),
            ("for=1.1.1.1, for=", "10.0.0.1"),
        ];
        for (value, expected) in cases {
            let seen = client("10.0.0.1", &[("forwarded", value)]);
            assert_eq!(seen, expected, "{value}");
        }
        assert_eq!(
            client("192.0.2.1", &[("forwarded", "for=1.1.1.1")]),
            "192.0.2.1"
        );
    }

    #[test]
    fn lines_are_joined_and_x_forwarded_for_takes_precedence() {
        let two_lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "192.0.2.7, 10.0.0.2"),
        ];
        assert_eq!(client("10.0.0.1", &two_lines), "192.0.2.7");
        let both = [
            ("forwarded", "for=1.1.1.1"),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        assert_eq!(client("10.0.0.1", &both), "192.0.2.7");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }
}
