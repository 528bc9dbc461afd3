//! The first packet of a session.

use std::time::Duration;

use crate::metrics::labels::ClientKind;
use crate::model::EngineId;
use crate::outbox::Packet;
use crate::protocol::{ServerPacket, WireFormat};

/// The content of the handshake (docs/protocol.md#12-handshake), which sends durations in milliseconds, and the format of
/// this and all later packets.
#[derive(Debug, Clone)]
pub struct OpenPacket {
    pub format: WireFormat,
    /// The library of the client, for metrics.
    pub client: ClientKind,
    /// The auth payload of the namespace `/`, to which the server connects clients of revision 3.
    pub main_auth: String,
    /// Whether the client may upgrade to websocket.
    pub may_upgrade: bool,
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// Maximum size of a POST body or a websocket message in bytes.
    pub max_payload: usize,
}

impl OpenPacket {
    /// The same for a client with this library.
    #[must_use]
    pub fn of_client(self, client: ClientKind) -> Self {
        Self { client, ..self }
    }

    /// The first packet of the session `id`.
    pub(super) fn encode(&self, id: &EngineId) -> Packet {
        let json = format!(
            r#"{{"sid":"{}","upgrades":{},"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            id.as_str(),
            if self.may_upgrade {
                r#"["websocket"]"#
            } else {
                "[]"
            },
            self.ping_interval.as_millis(),
            self.ping_timeout.as_millis(),
            self.max_payload
        );
        Packet::encode(self.format, &ServerPacket::Open { json: &json })
    }
}
