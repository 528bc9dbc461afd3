//! Refused requests for the endpoint: counted and logged.

use std::net::IpAddr;

use log::{debug, warn};

use super::endpoint::Endpoint;
use super::handshake::RequestError;
use crate::logging::Burst;
use crate::metrics::labels::RequestRefusal;

/// Counts and logs the refusal of a request. `client` is the address of the client, if it is known.
pub(super) fn record(
    endpoint: &Endpoint,
    label: RequestRefusal,
    reason: &str,
    client: Option<IpAddr>,
) {
    static FORBIDDEN: Burst = Burst::new();
    static UNSUPPORTED: Burst = Burst::new();
    let refused = &endpoint.worker.metrics().requests_refused_total;
    refused.of(label).increment();
    // Reasons for which all clients of a kind are rejected until a setting or the clients change.
    let burst = match label {
        RequestRefusal::Forbidden => Some(&FORBIDDEN),
        RequestRefusal::UnsupportedVersion => Some(&UNSUPPORTED),
        _ => None,
    };
    let client = client
        .map(|address| address.to_string())
        .unwrap_or_default();
    match burst.and_then(Burst::note) {
        Some(others) => warn!(client, reason, others; "request refused"),
        None => debug!(client, reason; "request refused"),
    }
}

/// Counts and logs a request for a session that does not exist.
pub(super) fn record_unknown_session(endpoint: &Endpoint) {
    let error = RequestError::SessionUnknown;
    record(endpoint, error.label(), error.message(), None);
}
