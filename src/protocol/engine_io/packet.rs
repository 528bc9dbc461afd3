//! One Engine.IO packet as text: a type digit and its data (docs/protocol.md#1-engineio).
//!
//! Binary messages are not packets in this sense: they are frames on a websocket, and `b` and base64 in a polling body.

use thiserror::Error;

/// Maximum size in bytes of the data of a client's packets that are not messages, on a websocket: that of a control frame.
const MAX_CONTROL_DATA: usize = 125;
/// The reason in the close frame, with code 1002, for a packet with more data (docs/protocol.md#14-websocket).
pub const EXCESS_DATA: &str = "packet that is not a message has more than 125 bytes of data";

/// Whether a text of a websocket is a packet that is not a message, with more data than it may have. No limit of events
/// applies to such packets.
pub fn has_excess_data(text: &str) -> bool {
    text.len() > 1 + MAX_CONTROL_DATA && text.starts_with(['0', '1', '2', '3', '5', '6'])
}

/// Whether the text is a packet behind a length, as in polling bodies of revision 3: `6:4hello`.
pub fn is_framed(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < text.len() && rest.starts_with(':')
}

/// A text packet of either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `0`: the server's handshake, JSON.
    Open(&'a str),
    /// `1`: the end of the session.
    Close,
    /// `2`: the heartbeat of the server, or `probe` from a client that upgrades.
    Ping(&'a str),
    /// `3`: the response to a ping, with the same data.
    Pong(&'a str),
    /// `4`: a message of the layer above.
    Message(&'a str),
    /// `5`: the client moves to the probed transport.
    Upgrade,
    /// `6`: no content; completes a pending poll.
    Noop,
}

/// Why a text is not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PacketError {
    /// An empty text frame or body, which closes the session (docs/protocol.md#17-errors).
    #[error("empty packet")]
    Empty,
    #[error("unknown packet type {0:?}")]
    UnknownType(char),
    /// In revision 3 (docs/protocol.md#110-revision-3).
    #[error("binary packet that is not a message")]
    NotABinaryMessage,
    /// It would pass for a packet with the first digit of its length as its type.
    #[error("packet behind its length, as in polling bodies of revision 3")]
    Framed,
}

/// One packet of a polling body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadPacket<'a> {
    Packet(Packet<'a>),
    /// A binary message, decoded.
    Binary(Vec<u8>),
}

/// What is wrong with a packet of a body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PayloadError {
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("text that is not UTF-8")]
    NotText(#[from] std::str::Utf8Error),
    #[error("binary packet is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// In revision 3.
    #[error("length of a packet missing, malformed or larger than the body")]
    Length,
}

impl<'a> Packet<'a> {
    /// Parses one packet. Data after `1`, `5` and `6` is ignored, unless it makes the type a length of revision 3.
    pub fn parse(text: &'a str) -> Result<Self, PacketError> {
        let mut rest = text.chars();
        let kind = rest.next().ok_or(PacketError::Empty)?;
        let data = rest.as_str();
        Ok(match kind {
            '4' => Self::Message(data),
            _ if is_framed(text) => return Err(PacketError::Framed),
            '0' => Self::Open(data),
            '1' => Self::Close,
            '2' => Self::Ping(data),
            '3' => Self::Pong(data),
            '5' => Self::Upgrade,
            '6' => Self::Noop,
            other => return Err(PacketError::UnknownType(other)),
        })
    }

    /// The packet as it stands in a text frame.
    pub fn encode(&self) -> String {
        let (kind, data) = match *self {
            Self::Open(data) => ('0', data),
            Self::Close => ('1', ""),
            Self::Ping(data) => ('2', data),
            Self::Pong(data) => ('3', data),
            Self::Message(data) => ('4', data),
            Self::Upgrade => ('5', ""),
            Self::Noop => ('6', ""),
        };
        let mut text = String::with_capacity(1 + data.len());
        text.push(kind);
        text.push_str(data);
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_type_has_its_digit() {
        for (text, packet) in [
            ("0{\"sid\":1}", Packet::Open("{\"sid\":1}")),
            ("1", Packet::Close),
            ("2", Packet::Ping("")),
            ("2probe", Packet::Ping("probe")),
            ("3probe", Packet::Pong("probe")),
            ("4", Packet::Message("")),
            ("4€ä", Packet::Message("€ä")),
            ("5", Packet::Upgrade),
            ("6", Packet::Noop),
        ] {
            assert_eq!(Packet::parse(text), Ok(packet), "{text}");
            assert_eq!(packet.encode(), text);
        }
    }

    #[test]
    fn any_other_text_is_rejected() {
        for (text, error) in [
            ("", PacketError::Empty),
            ("7", PacketError::UnknownType('7')),
            ("abc", PacketError::UnknownType('a')),
            ("€", PacketError::UnknownType('€')),
            (" 4", PacketError::UnknownType(' ')),
            ("bAQ==", PacketError::UnknownType('b')),
            // What a client of revision 3 posts.
            ("0:", PacketError::Framed),
            ("1:2", PacketError::Framed),
            ("12:42[\"message\"]", PacketError::Framed),
            ("2:40", PacketError::Framed),
            ("3:4ab", PacketError::Framed),
            ("5:4abcd", PacketError::Framed),
            ("6:4hello", PacketError::Framed),
        ] {
            assert_eq!(Packet::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn only_messages_may_have_much_data() {
        let (most, more) = ("a".repeat(125), "a".repeat(126));
        for kind in ["0", "1", "2", "3", "5", "6"] {
            assert!(!has_excess_data(kind));
            assert!(!has_excess_data(&format!("{kind}{most}")), "{kind}");
            assert!(has_excess_data(&format!("{kind}{more}")), "{kind}");
        }
        // A message, one in base64, and what is no packet.
        for kind in ["4", "b", "7", "€"] {
            assert!(!has_excess_data(&format!("{kind}{more}")), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn encoded_packets_are_parsed_back(data in ".*") {
            for packet in [Packet::Open(&data), Packet::Ping(&data), Packet::Pong(&data), Packet::Message(&data)] {
                let text = packet.encode();
                // Only messages may have data that would make a length of the type.
                let is_packet = matches!(packet, Packet::Message(_)) || !is_framed(&text);
                let expected = if is_packet { Ok(packet) } else { Err(PacketError::Framed) };
                prop_assert_eq!(Packet::parse(&text), expected);
            }
        }
    }
}
