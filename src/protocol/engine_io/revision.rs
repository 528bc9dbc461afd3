//! The revisions of Engine.IO, and what differs between them in single messages (docs/protocol.md#110-revision-3).

use bytes::Bytes;

use super::packet::{Packet, PacketError, PayloadError, PayloadPacket};
use crate::model::base64::decode_lenient;

/// A revision of the Engine.IO protocol. Packets have the same text in all of them; binary messages and the bodies of
/// polling differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum EngineRevision {
    /// `EIO=4`: the server sends pings.
    #[default]
    V4,
    /// `EIO=3`: the client sends pings. Binary messages begin with the type of their packet.
    V3,
    /// `EIO=3&b64=1`: the client receives binary messages as base64, in text.
    V3Base64,
}

/// The first byte of a binary message of revision 3, the number of a message packet.
const MESSAGE: u8 = 4;
/// The prefix of a binary message of revision 3 in text.
const BASE64_MESSAGE: &str = "b4";

/// How binary messages are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryForm {
    /// As they are; in a polling body as `b` and base64.
    Bare,
    /// With the type of the packet as their first byte.
    Typed,
    /// As text: `b4` and base64.
    Base64,
}

impl EngineRevision {
    /// The number in the query of a request.
    pub fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V3 | Self::V3Base64 => 3,
        }
    }

    /// Whether it is revision 3.
    #[inline]
    pub fn is_v3(self) -> bool {
        self != Self::V4
    }

    /// Revision 3 for a client that receives binary messages as base64, or as they are.
    pub fn v3(base64: bool) -> Self {
        match base64 {
            true => Self::V3Base64,
            false => Self::V3,
        }
    }

    /// How binary messages are encoded for the client.
    pub fn binary_form(self) -> BinaryForm {
        match self {
            Self::V4 => BinaryForm::Bare,
            Self::V3 => BinaryForm::Typed,
            Self::V3Base64 => BinaryForm::Base64,
        }
    }

    /// Parses a text message of a websocket, or a text packet of a polling body.
    ///
    /// # Errors
    /// It is not a packet.
    #[inline]
    pub fn parse_text(self, text: &str) -> Result<PayloadPacket<'_>, PayloadError> {
        match text.strip_prefix('b') {
            Some(packet) if self.is_v3() => match packet.strip_prefix('4') {
                Some(encoded) => Ok(PayloadPacket::Binary(decode_lenient(encoded.as_bytes())?)),
                None => Err(PacketError::NotABinaryMessage.into()),
            },
            _ => Ok(PayloadPacket::Packet(Packet::parse(text)?)),
        }
    }

    /// The content of a binary message of a websocket.
    ///
    /// # Errors
    /// It is not the packet of a message.
    pub fn parse_binary(self, mut message: Bytes) -> Result<Bytes, PacketError> {
        if self.is_v3() {
            binary_content(&message)?;
            drop(message.split_to(1));
        }
        Ok(message)
    }
}

/// The content of a binary message of revision 3.
///
/// # Errors
/// It is not the packet of a message.
pub(super) fn binary_content(message: &[u8]) -> Result<&[u8], PacketError> {
    match message.split_first() {
        Some((&MESSAGE, content)) => Ok(content),
        Some(_) => Err(PacketError::NotABinaryMessage),
        None => Err(PacketError::Empty),
    }
}

impl BinaryForm {
    /// What precedes the content, which follows as it is or as base64.
    pub fn prefix(self) -> &'static [u8] {
        match self {
            Self::Bare => &[],
            Self::Typed => &[MESSAGE],
            Self::Base64 => BASE64_MESSAGE.as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_messages_of_revision_3_have_the_type_of_their_packet() {
        for revision in [EngineRevision::V3, EngineRevision::V3Base64] {
            let parsed = revision.parse_binary(Bytes::from_static(&[4, 1, 2]));
            assert_eq!(parsed, Ok(Bytes::from_static(&[1, 2])));
            let empty = revision.parse_binary(Bytes::from_static(&[4]));
            assert_eq!(empty, Ok(Bytes::new()));
            for other in [0, 1, 2, 3, 5, 6, 0x34] {
                let parsed = revision.parse_binary(Bytes::copy_from_slice(&[other, 1]));
                assert_eq!(parsed, Err(PacketError::NotABinaryMessage), "{other}");
            }
            let parsed = revision.parse_binary(Bytes::new());
            assert_eq!(parsed, Err(PacketError::Empty));
        }
        let bare = Bytes::from_static(&[9, 1]);
        assert_eq!(EngineRevision::V4.parse_binary(bare.clone()), Ok(bare));
    }

    #[test]
    fn base64_in_text_is_a_binary_message_in_revision_3_only() {
        let (v4, v3) = (EngineRevision::V4, EngineRevision::V3);
        let binary = Ok(PayloadPacket::Binary(vec![1, 2, 3, 4]));
        assert_eq!(v3.parse_text("b4AQIDBA=="), binary);
        assert_eq!(
            v4.parse_text("b4AQIDBA=="),
            Err(PacketError::UnknownType('b').into())
        );
        for other in ["b", "b2", "bAQIDBA==", "b€"] {
            let error = Err(PacketError::NotABinaryMessage.into());
            assert_eq!(v3.parse_text(other), error, "{other}");
        }
        assert!(matches!(v3.parse_text("b4*"), Err(PayloadError::Base64(_))));
        for revision in [v4, v3] {
            let packet = Ok(PayloadPacket::Packet(Packet::Message("x")));
            assert_eq!(revision.parse_text("4x"), packet);
            assert_eq!(revision.parse_text(""), Err(PacketError::Empty.into()));
        }
    }
}
