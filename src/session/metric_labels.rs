//! Metric labels of transports, revisions and close reasons.

use crate::metrics::labels::{Disconnect, Revision, Transport};
use crate::model::TransportName;
use crate::protocol::engine_io::EngineRevision;
use crate::protocol::engine_io::state::CloseReason;

/// The label of a transport.
pub(super) fn transport(name: TransportName) -> Transport {
    match name {
        TransportName::Polling => Transport::Polling,
        TransportName::Websocket => Transport::Websocket,
    }
}

/// The label of a close reason.
pub(super) fn disconnect(reason: CloseReason) -> Disconnect {
    match reason {
        CloseReason::TransportClose => Disconnect::TransportClose,
        CloseReason::TransportError => Disconnect::TransportError,
        CloseReason::PingTimeout => Disconnect::PingTimeout,
        CloseReason::ParseError => Disconnect::ParseError,
        CloseReason::ForcedClose => Disconnect::ForcedClose,
        CloseReason::ServerDisconnect => Disconnect::ServerDisconnect,
        CloseReason::ServerShuttingDown => Disconnect::ServerShuttingDown,
        CloseReason::SlowConsumer => Disconnect::SlowConsumer,
        CloseReason::MessageTooLarge => Disconnect::MessageTooLarge,
        CloseReason::InboxOverflow => Disconnect::InboxOverflow,
        CloseReason::NestedTooDeeply => Disconnect::NestedTooDeeply,
        CloseReason::ConnectTimeout => Disconnect::ConnectTimeout,
        CloseReason::UpstreamLost => Disconnect::UpstreamLost,
        CloseReason::IdentityExpired => Disconnect::IdentityExpired,
        CloseReason::IdentityRevoked => Disconnect::IdentityRevoked,
        CloseReason::ReconnectRequested => Disconnect::ReconnectRequested,
        CloseReason::NodeFenced => Disconnect::NodeFenced,
    }
}

/// The label of a revision of Engine.IO.
pub(super) fn revision(revision: EngineRevision) -> Revision {
    match revision {
        EngineRevision::V4 => Revision::V4,
        EngineRevision::V3 | EngineRevision::V3Base64 => Revision::V3,
    }
}
