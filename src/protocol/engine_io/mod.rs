//! Engine.IO revision 4: single packets and polling bodies (docs/protocol.md#1-engineio).

pub mod packet;
pub mod payload;
pub mod state;

pub use packet::{Packet, PacketError};
pub use payload::{PayloadError, PayloadPacket, PayloadWriter};
