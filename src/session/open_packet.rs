//! The first packet of a session.

use std::time::Duration;

use crate::model::EngineId;

/// The content of the handshake (protocol notes 1.2).
#[derive(Debug, Clone)]
pub struct OpenPacket {
    /// Whether the client may upgrade to websocket.
    pub may_upgrade: bool,
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    pub max_payload: usize,
}

impl OpenPacket {
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
