//! Engine.IO revision 4: single packets and polling bodies (protocol notes 1).

pub mod packet;
pub mod payload;
pub mod state;

pub use packet::{Packet, PacketError};
pub use payload::{PayloadError, PayloadPacket, PayloadWriter};
