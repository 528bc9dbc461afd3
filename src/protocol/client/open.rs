//! Parses what a server sends when a connection starts: the open packet, and the response to the CONNECT.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::EndReason;

/// Upper bound of the ping deadline, even if a server announces a later one.
const SILENCE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Open {
    ping_interval: u64,
    ping_timeout: u64,
}

/// The ping interval plus the ping timeout, from the data of an open packet.
pub(super) fn max_silence(data: &str) -> Result<Duration, String> {
    let open: Open = serde_json::from_str(data).map_err(|error| format!("open packet: {error}"))?;
    let silence = Duration::from_millis(open.ping_interval.saturating_add(open.ping_timeout));
    Ok(silence.min(SILENCE_LIMIT))
}

#[derive(Deserialize)]
struct Connected {
    sid: Box<str>,
}

/// The socket id in the response to a CONNECT.
pub(super) fn sid(data: &str) -> Result<Box<str>, String> {
    serde_json::from_str::<Connected>(data)
        .map(|connected| connected.sid)
        .map_err(|error| {
            format!("CONNECT without sid, as servers of an older protocol send: {error}")
        })
}

#[derive(Deserialize)]
struct ConnectErrorBody<'a> {
    message: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// The data of a CONNECT_ERROR: an object with `message` and optionally `data`, or a string (python-socketio).
pub(super) fn rejection(data: &str) -> EndReason {
    if let Ok(rejected) = serde_json::from_str::<ConnectErrorBody<'_>>(data) {
        return EndReason::Rejected {
            message: rejected.message,
            data: rejected.data.map(|data| data.get().to_owned()),
        };
    }
    EndReason::Rejected {
        message: serde_json::from_str(data).unwrap_or_else(|_| data.to_owned()),
        data: None,
    }
}
