//! What a server says while a connection begins: its open packet, and its answer to a CONNECT.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::End;

/// The longest silence we wait for, whatever a server announces.
const LONGEST_SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Open {
    ping_interval: u64,
    ping_timeout: u64,
}

/// Ping interval and timeout together, from the data of an open packet.
pub(super) fn silence(data: &str) -> Result<Duration, String> {
    let open: Open = serde_json::from_str(data).map_err(|error| format!("open packet: {error}"))?;
    let silence = Duration::from_millis(open.ping_interval.saturating_add(open.ping_timeout));
    Ok(silence.min(LONGEST_SILENCE))
}

#[derive(Deserialize)]
struct Joined {
    sid: Box<str>,
}

/// The socket id a server gave us.
pub(super) fn sid(data: &str) -> Result<Box<str>, String> {
    serde_json::from_str::<Joined>(data)
        .map(|joined| joined.sid)
        .map_err(|error| {
            format!("CONNECT without sid, as of a server of an older protocol: {error}")
        })
}

#[derive(Deserialize)]
struct Refused<'a> {
    message: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// A CONNECT_ERROR: an object with `message` and maybe `data`, or only a text (python-socketio).
pub(super) fn refusal(data: &str) -> End {
    if let Ok(refused) = serde_json::from_str::<Refused<'_>>(data) {
        return End::Refused {
            message: refused.message,
            data: refused.data.map(|data| data.get().to_owned()),
        };
    }
    End::Refused {
        message: serde_json::from_str(data).unwrap_or_else(|_| data.to_owned()),
        data: None,
    }
}
