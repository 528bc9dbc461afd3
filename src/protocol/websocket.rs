//! WebSocket frames (RFC 6455): a decoder for either side, unmasked headers of a server, masked frames of a client.
//!
//! Decodes inside the read buffer and copies only incomplete frames. Supports one extension, permessage-deflate without
//! context takeover (RFC 7692): `extension` negotiates it, `inflate` decompresses what the peer sends.
//! Pings and closes are left to the owner of the connection, which receives them as `Frame` and `FrameError`.

mod decoder;
mod encode;
pub mod extension;
mod inflate;

use thiserror::Error;

pub use decoder::{DecodeFailure, FrameDecoder};
pub use encode::{
    MAX_SERVER_HEADER, close_frame, encode_compressed_header, encode_header, server_header_len,
    split_header, write_masked,
};
pub use inflate::InflateBudget;

/// The most bytes a control frame can carry (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;
const FIN: u8 = 0x80;
/// Set in the first frame of a compressed message (RFC 7692 section 6).
const RSV1: u8 = 0x40;

/// The type of a frame (RFC 6455 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpCode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl OpCode {
    fn parse(nibble: u8) -> Result<Self, FrameError> {
        Ok(match nibble {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            other => return Err(FrameError::UnknownOpCode(other)),
        })
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// One whole message or control frame; the bytes are those of the read buffer, unmasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// The peer's last frame: what follows it is ignored (RFC 6455 section 5.5.1).
    Close {
        /// `None`: the frame has no code, which other libraries report as 1005.
        code: Option<u16>,
        reason: &'a str,
    },
}

/// How the peer violated the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// RFC 6455 section 5.1.
    #[error("client frame is not masked")]
    Unmasked,
    /// RFC 6455 section 5.1.
    #[error("server frame is masked")]
    Masked,
    /// RFC 6455 section 5.2; set by a client that compresses without having agreed on it, or what must not be compressed.
    #[error("reserved bits {0:#04x} are set in the frame header")]
    ReservedBits(u8),
    /// RFC 6455 section 5.2.
    #[error("frame has the unknown opcode {0:#x}")]
    UnknownOpCode(u8),
    /// RFC 6455 section 5.5.
    #[error("control frame of {0} bytes, at most 125 are allowed")]
    ControlTooLong(u64),
    /// RFC 6455 section 5.5.
    #[error("control frame is fragmented")]
    FragmentedControl,
    /// RFC 6455 section 5.4.
    #[error("continuation frame without a message to continue")]
    UnexpectedContinuation,
    /// RFC 6455 section 5.4.
    #[error("new message before the last fragment of the one before")]
    InterleavedMessage,
    /// RFC 6455 section 5.5.1: a body of one byte.
    #[error("close frame has half a status code")]
    TruncatedCloseCode,
    /// RFC 6455 section 7.4.
    #[error("close frame has the status code {0}, which must not be sent")]
    BadCloseCode(u16),
    /// RFC 6455 section 8.1.
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// RFC 7692 section 7.2.2.
    #[error("compressed message is malformed")]
    InvalidDeflate,
    /// docs/protocol.md#14-websocket; the size is that of the decompressed message.
    #[error("message of {size} bytes or more, at most {limit} are allowed")]
    TooLarge { size: u64, limit: usize },
}

impl FrameError {
    /// The status code with which the connection is closed (RFC 6455 section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::InvalidUtf8 | Self::InvalidDeflate => 1007,
            Self::TooLarge { .. } => 1009,
            Self::Unmasked
            | Self::Masked
            | Self::ReservedBits(_)
            | Self::UnknownOpCode(_)
            | Self::ControlTooLong(_)
            | Self::FragmentedControl
            | Self::UnexpectedContinuation
            | Self::InterleavedMessage
            | Self::TruncatedCloseCode
            | Self::BadCloseCode(_) => 1002,
        }
    }
}

#[cfg(test)]
mod inflate_tests;
#[cfg(test)]
mod tests;
