//! The first packet of a session.

use std::time::Duration;

use crate::model::EngineId;

/// The content of the handshake (docs/protocol.md#12-handshake). Durations are sent in milliseconds.
#[derive(Debug, Clone)]
pub struct OpenPacket {
    /// Whether the client may upgrade to websocket.
    pub may_upgrade: bool,
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// Maximum size of a POST body or a websocket message in bytes.
    pub max_payload: usize,
}

impl OpenPacket {
    /// The text packet, with the id of the session.
    pub(super) fn encode(&self, id: &EngineId) -> String {
        format!(
            r#"0{{"sid":"{}","upgrades":{},"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            id.as_str(),
            if self.may_upgrade {
                r#"["websocket"]"#
            } else {
                "[]"
            },
            self.ping_interval.as_millis(),
            self.ping_timeout.as_millis(),
            self.max_payload
        )
    }
}
