//! Which origins may connect, and which peers are trusted proxies. Replaced as a whole when the configuration is
//! reloaded.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::header::{self, HeaderMap, HeaderName};
use log::warn;

use super::client_address::{arrived_over_tls, client_address};
use super::handshake::RequestError;
use super::origin::{CorsHeaders, OriginRequest, Origins};
use crate::config::{CorsConfig, IpRange, ServerConfig};
use crate::model::is_private;

/// The rules of `cors.origins` and `server.trusted_proxies`.
#[derive(Debug)]
pub struct AccessPolicy {
    origins: Origins,
    trusted_proxies: Vec<IpRange>,
    /// Whether a peer that is probably a proxy has been logged.
    logged_untrusted_proxy: AtomicBool,
}

impl AccessPolicy {
    /// The rules of a configuration.
    pub fn new(cors: &CorsConfig, server: &ServerConfig) -> Self {
        Self {
            origins: Origins::new(cors),
            trusted_proxies: server.trusted_proxies.clone(),
            logged_untrusted_proxy: AtomicBool::new(false),
        }
    }

    /// Whether `address` is a trusted proxy.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|range| range.contains(address))
    }

    /// The address of the client that sent a request, as reported by trusted proxies.
    pub(super) fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.log_untrusted_proxy(peer, headers);
        client_address(peer, headers, &self.trusted_proxies)
    }

    /// Whether `peer` is a trusted proxy that received the request over TLS.
    pub(super) fn arrived_over_tls(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        arrived_over_tls(peer, headers, &self.trusted_proxies)
    }

    /// Checks the origin of a request. A trusted proxy may report the host that the client requested.
    ///
    /// # Errors
    /// The origin is not allowed.
    pub(super) fn check_origin(
        &self,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<CorsHeaders, RequestError> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let trusted = peer.is_some_and(|peer| self.trusts(peer.ip()));
        let forwarded = text(HeaderName::from_static("x-forwarded-host")).filter(|_| trusted);
        self.origins.check(OriginRequest {
            origin: headers
                .get(header::ORIGIN)
                .map(|value| value.to_str().map_err(|_| ())),
            host: forwarded.or_else(|| text(header::HOST)),
        })
    }

    /// Logs, once per configuration, that a peer in a private network forwards requests but is not trusted: all clients
    /// behind it then share its address and the per-address limits.
    fn log_untrusted_proxy(&self, peer: IpAddr, headers: &HeaderMap) {
        if self.logged_untrusted_proxy.load(Ordering::Relaxed) {
            return;
        }
        let forwards = headers.contains_key(header::X_FORWARDED_FOR)
            || headers.contains_key(header::FORWARDED);
        if !forwards || !is_private(peer) || self.trusts(peer) {
            return;
        }
        if !self.logged_untrusted_proxy.swap(true, Ordering::Relaxed) {
            warn!(
                peer:% = peer.to_canonical();
                "a peer forwards requests but is not in server.trusted_proxies: if it is your proxy, add it; until then all clients behind it share its address and the per-address limits"
            );
        }
    }
}
