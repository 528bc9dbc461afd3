//! What is kept of the request that opens a session, and the gates that check it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix_web::http::header::{self, HeaderMap};

use super::endpoint::{Endpoint, takes_part_in_recovery};
use super::handshake::RequestError;
use crate::model::Handshake;
use crate::protocol::engine_io::EngineRevision;
use crate::session::Credentials;

/// What is kept of a query that only recovery reads.
const RECOVER_QUERY: &str = "recover=1";

/// A request that opens a session.
pub(super) struct OpeningRequest<'a> {
    /// The query string, empty if there is none.
    pub(super) query: &'a str,
    pub(super) revision: EngineRevision,
    pub(super) headers: &'a HeaderMap,
    pub(super) peer: Option<SocketAddr>,
    /// The address of the client, as reported by trusted proxies.
    pub(super) client: Option<IpAddr>,
}

/// Lets the gates check the request. Returns what the session keeps of it; `None` if nothing reads it.
///
/// # Errors
/// A gate rejects the client.
pub(super) async fn check(
    endpoint: &Endpoint,
    request: OpeningRequest<'_>,
) -> Result<Option<Credentials>, RequestError> {
    let names = match endpoint.worker.handshake_headers() {
        Some(names) => names,
        None if recovers(endpoint, &request) => &[],
        None => return Ok(None),
    };
    let handshake = handshake(endpoint, &request, names);
    let identity = endpoint.worker.gates.open(&handshake).await;
    Ok(Some(Credentials {
        identity: identity.map_err(RequestError::Gate)?,
        handshake: Arc::new(handshake),
    }))
}

/// Whether the session can be recovered because of its query.
fn recovers(endpoint: &Endpoint, request: &OpeningRequest<'_>) -> bool {
    endpoint.worker.recovers() && takes_part_in_recovery(request.query)
}

fn handshake(
    endpoint: &Endpoint,
    request: &OpeningRequest<'_>,
    names: &[&'static str],
) -> Handshake {
    let headers = request.headers;
    let values = |name: &str| {
        let values = headers.get_all(name);
        values.filter_map(|value| value.to_str().ok().map(str::to_owned))
    };
    Handshake {
        query: match endpoint.worker.keeps_query() {
            true => request.query.to_owned(),
            false if recovers(endpoint, request) => RECOVER_QUERY.to_owned(),
            false => String::new(),
        },
        headers: names
            .iter()
            .flat_map(|name| values(name).map(|value| (*name, value)))
            .collect(),
        cookies: match endpoint.worker.keeps_cookies() {
            true => values(header::COOKIE.as_str())
                .collect::<Vec<_>>()
                .join("; "),
            false => String::new(),
        },
        address: request.client,
        secure: endpoint.settings.is_secure(headers, request.peer),
        revision: request.revision.number(),
    }
}
