//! Requests for the endpoint that are refused: counted, and logged.

use std::net::IpAddr;

use log::{debug, warn};

use super::edge::Edge;
use crate::logging::Burst;
use crate::metrics::labels::RequestRefusal;

/// Notes that a request of `client`, if its address is known, is refused.
pub(super) fn note(edge: &Edge, label: RequestRefusal, reason: &str, client: Option<IpAddr>) {
    static FORBIDDEN: Burst = Burst::new();
    static OLD: Burst = Burst::new();
    let refused = &edge.worker.metrics().requests_refused_total;
    refused.of(label).increment();
    // What every client of a kind meets until somebody changes a setting, or the client.
    let burst = match label {
        RequestRefusal::Forbidden => Some(&FORBIDDEN),
        RequestRefusal::UnsupportedVersion => Some(&OLD),
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
