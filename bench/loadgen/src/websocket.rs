//! Websocket framing (RFC 6455), both directions, without I/O.
//! Strict about what a server could do wrong: reserved bits, unknown opcodes, long
//! or fragmented control frames and lengths not in their shortest form are errors.
//! Called by the load generator's `client` and by the raw writer.

use thiserror::Error;

/// The key of every handshake: RFC 6455's sample, so that the response is a constant.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The `Sec-WebSocket-Accept` of [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The longest frame head: 2 bytes, 8 bytes of length, 4 bytes of mask.
const LONGEST_HEAD: usize = 14;
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// The first frame of a compressed message (RFC 7692).
const COMPRESSED: u8 = 0x40;
const MASKED: u8 = 0x80;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum FramingError {
    #[error("reserved bits are set in a frame head (first byte {0:#04x})")]
    ReservedBits(u8),
    #[error("unknown opcode {0}")]
    Opcode(u8),
    #[error("a control frame is fragmented or longer than 125 bytes")]
    Control,
    #[error("the length {0} is not in its shortest form")]
    Length(u64),
    #[error("the frame's mask is {0}")]
    Mask(&'static str),
    #[error("unexpected continuation, or a message begins within another")]
    Continuation,
    #[error("a text message is not UTF-8")]
    Utf8,
    #[error("a compressed message is malformed")]
    Deflate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Result<Self, FramingError> {
        match bits {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            other => Err(FramingError::Opcode(other)),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Which end sent the bytes: a client's frames are masked, a server's are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Client,
    Server,
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub last: bool,
    pub opcode: Opcode,
    /// Whether it is the first frame of a compressed message.
    pub compressed: bool,
    pub mask: Option<[u8; 4]>,
    /// Bytes of the head itself.
    pub size: usize,
    /// Bytes of the payload that follows.
    pub payload: usize,
}

impl Head {
    /// Reads the head at the start of `bytes`; `None` while it is incomplete.
    pub fn parse(bytes: &[u8], sender: Sender) -> Result<Option<Self>, FramingError> {
        Self::parse_with(bytes, sender, 0)
    }

    /// The same on a connection with permessage-deflate.
    pub fn parse_deflate(bytes: &[u8], sender: Sender) -> Result<Option<Self>, FramingError> {
        Self::parse_with(bytes, sender, COMPRESSED)
    }

    fn parse_with(bytes: &[u8], sender: Sender, allowed: u8) -> Result<Option<Self>, FramingError> {
        let &[first, second, ..] = bytes else {
            return Ok(None);
        };
        let opcode = Opcode::from_bits(first & 0x0f);
        let allowed = match opcode {
            Ok(Opcode::Text | Opcode::Binary) => allowed,
            _ => 0,
        };
        if first & RESERVED & !allowed != 0 {
            return Err(FramingError::ReservedBits(first));
        }
        let opcode = opcode?;
        let last = first & FIN != 0;
        let Some((payload, mut size)) = parse_length(second & 0x7f, &bytes[2..])? else {
            return Ok(None);
        };
        if opcode.is_control() && (!last || payload > 125) {
            return Err(FramingError::Control);
        }
        let mask = match (sender, second & MASKED != 0) {
            (Sender::Server, false) => None,
            (Sender::Client, true) => {
                let Some(mask) = bytes[size..].first_chunk::<4>() else {
                    return Ok(None);
                };
                size += 4;
                Some(*mask)
            }
            (Sender::Server, true) => return Err(FramingError::Mask("set")),
            (Sender::Client, false) => return Err(FramingError::Mask("missing")),
        };
        Ok(Some(Self {
            last,
            opcode,
            compressed: first & COMPRESSED != 0,
            mask,
            size,
            payload,
        }))
    }

    /// Bytes of head and payload together.
    pub fn total(&self) -> usize {
        self.size + self.payload
    }
}

/// The payload length and the bytes of head before the mask, from the 7 bits of
/// length and what follows them.
fn parse_length(short: u8, rest: &[u8]) -> Result<Option<(usize, usize)>, FramingError> {
    let (length, size, least) = match short {
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 4, 126),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 10, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), 2, 0),
    };
    let payload = usize::try_from(length).unwrap_or(usize::MAX);
    if length < least || payload > isize::MAX as usize {
        return Err(FramingError::Length(length));
    }
    Ok(Some((payload, size)))
}

/// Appends one whole frame; a mask is applied to the payload.
pub fn push_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    out.reserve(LONGEST_HEAD + payload.len());
    out.push(FIN | opcode.bits());
    let masked = if mask.is_some() { MASKED } else { 0 };
    match payload.len() {
        length @ 0..=125 => out.push(masked | length as u8),
        length @ 126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        out.extend_from_slice(&mask);
    }
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut out[start..], mask);
    }
}

/// Masks or unmasks a payload in place.
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_form_are_decoded_as_encoded() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            for (sender, mask) in [
                (Sender::Server, None),
                (Sender::Client, Some([1, 2, 3, 250])),
            ] {
                let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
                let mut bytes = Vec::new();
                push_frame(&mut bytes, Opcode::Binary, &payload, mask);
                let head = Head::parse(&bytes, sender).unwrap().unwrap();
                assert_eq!((head.opcode, head.last), (Opcode::Binary, true));
                assert_eq!((head.payload, head.mask), (length, mask));
                assert_eq!(head.total(), bytes.len());
                let mut body = bytes.split_off(head.size);
                apply_mask(&mut body, mask.unwrap_or([0; 4]));
                assert_eq!(body, payload);
            }
        }
    }

    #[test]
    fn an_incomplete_head_is_not_an_error() {
        for bytes in [
            &[][..],
            &[0x81],
            &[0x81, 126, 1],
            &[0x81, 127, 0, 0, 0, 0, 0, 1, 0],
        ] {
            assert_eq!(Head::parse(bytes, Sender::Server), Ok(None), "{bytes:?}");
        }
        assert_eq!(
            Head::parse(&[0x81, 0x81, 1, 2, 3], Sender::Client),
            Ok(None)
        );
    }

    #[test]
    fn invalid_frames_of_a_server_are_errors() {
        let table = [
            (&[0xc1, 0][..], FramingError::ReservedBits(0xc1)),
            (&[0x83, 0], FramingError::Opcode(3)),
            (&[0x09, 0], FramingError::Control),
            (&[0x89, 126, 0, 200], FramingError::Control),
            (&[0x81, 126, 0, 125], FramingError::Length(125)),
            (
                &[0x81, 127, 0, 0, 0, 0, 0, 0, 1, 0],
                FramingError::Length(256),
            ),
            (&[0x81, 0x81, 0, 0, 0, 0, 0], FramingError::Mask("set")),
        ];
        for (bytes, error) in table {
            assert_eq!(Head::parse(bytes, Sender::Server), Err(error), "{bytes:?}");
        }
    }
}
