//! Protects loopback listeners from DNS rebinding.
//!
//! A web page can rebind its own name to 127.0.0.1 once it is loaded. In the visitor's browser, requests for that name
//! then reach listeners on loopback and count as same-origin, so the page can read the responses. Such requests have
//! the name in `Host`. An address cannot be rebound.

use std::net::{IpAddr, Ipv6Addr};

use actix_web::HttpRequest;
use actix_web::http::header;

/// Whether the request came over loopback with a `Host` that is neither an address, nor `localhost`, nor `own`.
pub(super) fn is_rebound(request: &HttpRequest, own: &str) -> bool {
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    // Only HTTP/1.0 allows a request without `Host`, and no browser uses it.
    let host = request.headers().get(header::HOST);
    peer.is_some_and(|peer| peer.is_loopback())
        && host.is_some_and(|host| !host.to_str().is_ok_and(|host| is_local(host, own)))
}

fn is_local(host: &str, own: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.split(']').next().unwrap_or_default();
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.split(':').next().unwrap_or_default();
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    let below_localhost = || name.to_ascii_lowercase().ends_with(".localhost");
    name.parse::<IpAddr>().is_ok() || is("localhost") || is(own) || below_localhost()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_the_configured_name_are_accepted() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9090",
            "10.0.0.7:9090",
            "[::1]:9090",
            "[::1]",
            "localhost:9090",
            "LOCALHOST",
            "node.localhost:9090",
            "Metrics.example.org:9090",
        ] {
            assert!(is_local(host, "metrics.example.org"), "{host}");
        }
        for host in [
            "evil.example:9090",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evillocalhost",
            "[evil]",
            "",
        ] {
            assert!(!is_local(host, "metrics.example.org"), "{host}");
        }
    }
}
