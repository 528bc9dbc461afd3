//! Counts and logs what limits reject or delay.

use std::net::IpAddr;

use log::warn;

use super::kind::Limit;
use crate::logging::Burst;
use crate::metrics::Metrics;
use crate::model::is_private;

/// Counts something that a limit rejected or delayed, and logs it once per burst. `address` is the client's, if known.
pub(super) fn record(limit: Limit, address: Option<IpAddr>, metrics: &Metrics) {
    limit.counter(metrics).increment();
    static BURSTS: [Burst; Limit::ALL.len()] = [const { Burst::new() }; Limit::ALL.len()];
    let Some(others) = BURSTS[limit as usize].note() else {
        return;
    };
    let (name, key) = (limit.name(), limit.key());
    match address {
        Some(address) => {
            let message = if may_be_shared(limit, address) {
                "limit reached: if many clients share this address, name their proxy in server.trusted_proxies, or raise the limit if it is a gateway (docs/limits.md)"
            } else {
                "limit reached"
            };
            warn!(limit:% = name, key:%, client:% = address, others; "{message}");
        }
        None => warn!(limit:% = name, key:%, others; "limit reached"),
    }
}

/// Whether a per-address limit was reached by an address in a private network, which can be a proxy or gateway of many
/// clients.
fn may_be_shared(limit: Limit, address: IpAddr) -> bool {
    let of_address = matches!(
        limit,
        Limit::ConnectionsPerIp | Limit::HandshakesPerIp | Limit::HttpConnectionsPerIp
    );
    of_address && is_private(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_address_limits_of_private_addresses_may_be_shared() {
        let cases = [
            (Limit::ConnectionsPerIp, "172.17.0.1", true),
            (Limit::HandshakesPerIp, "::ffff:10.0.0.1", true),
            (Limit::HttpConnectionsPerIp, "fd00::1", true),
            (Limit::HandshakesPerIp, "127.0.0.1", true),
            (Limit::ConnectionsPerIp, "203.0.113.7", false),
            (Limit::Connections, "172.17.0.1", false),
            (Limit::Payload, "172.17.0.1", false),
        ];
        for (limit, address, expected) in cases {
            let shared = may_be_shared(limit, address.parse().unwrap());
            assert_eq!(shared, expected, "{limit:?} {address}");
        }
    }
}
