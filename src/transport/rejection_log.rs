//! Counts and logs rejected requests to the endpoint.

use std::net::IpAddr;

use log::{debug, warn};

use super::endpoint::Endpoint;
use super::handshake::RequestError;
use crate::logging::Burst;
use crate::metrics::labels::RequestRejection;

/// Counts and logs the rejection of a request. `client` is the address of the client, if it is known.
pub(super) fn record(
    endpoint: &Endpoint,
    label: RequestRejection,
    reason: &str,
    client: Option<IpAddr>,
) {
    static FORBIDDEN: Burst = Burst::new();
    static UNSUPPORTED: Burst = Burst::new();
    let rejected = &endpoint.worker.metrics().requests_rejected_total;
    rejected.of(label).increment();
    // Reasons for which all clients of a kind are rejected until a setting or the clients change.
    let burst = match label {
        RequestRejection::Forbidden => Some(&FORBIDDEN),
        RequestRejection::UnsupportedVersion => Some(&UNSUPPORTED),
        _ => None,
    };
    let client = client
        .map(|address| address.to_string())
        .unwrap_or_default();
    match burst.and_then(Burst::note) {
        Some(others) => warn!(client, reason, others; "request rejected"),
        None => debug!(client, reason; "request rejected"),
    }
}

/// Counts and logs a request for a session that does not exist.
pub(super) fn record_unknown_session(endpoint: &Endpoint) {
    let error = RequestError::SessionUnknown;
    record(endpoint, error.label(), error.message(), None);
}
