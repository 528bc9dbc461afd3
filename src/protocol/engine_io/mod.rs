//! Engine.IO revisions 4 and 3: single packets and polling bodies (docs/protocol.md#1-engineio).

pub mod packet;
pub mod payload;
pub mod payload_v3;
pub mod revision;
pub mod state;

pub use packet::{Packet, PacketError, PayloadError, PayloadPacket};
pub use payload::PayloadWriter;
pub use revision::EngineRevision;
