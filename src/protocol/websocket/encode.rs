//! Writes frames, never fragmented: unmasked ones of a server, masked ones of a client (RFC 6455 section 5.1).

use super::decoder::mask;
use super::{FIN, MAX_CONTROL, OpCode, RSV1};

const MASK_BIT: u8 = 0x80;

/// The longest header of a server frame, in bytes.
pub const MAX_SERVER_HEADER: usize = 10;

/// Bytes of the header of an unfragmented server frame of `length` payload bytes.
pub fn server_header_len(length: usize) -> usize {
    header_bytes(OpCode::Text, length).1
}

/// Appends the header of an unfragmented server frame of `length` payload bytes.
pub fn encode_header(opcode: OpCode, length: usize, out: &mut Vec<u8>) {
    let (header, size) = header_bytes(opcode, length);
    out.extend_from_slice(&header[..size]);
}

/// The same header for a compressed message of `length` compressed bytes (RFC 7692 section 6).
pub fn encode_compressed_header(opcode: OpCode, length: usize, out: &mut Vec<u8>) {
    let (mut header, size) = header_bytes(opcode, length);
    header[0] |= RSV1;
    out.extend_from_slice(&header[..size]);
}

/// Appends a client's frame of the concatenated `parts`, masked with `key`, which must be unpredictable
/// (RFC 6455 section 10.3).
pub fn write_masked(opcode: OpCode, key: [u8; 4], parts: &[&[u8]], out: &mut Vec<u8>) {
    let length = parts.iter().map(|part| part.len()).sum();
    let (mut header, size) = header_bytes(opcode, length);
    header[1] |= MASK_BIT;
    out.reserve(size + key.len() + length);
    out.extend_from_slice(&header[..size]);
    out.extend_from_slice(&key);
    let start = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    mask(&mut out[start..], key);
}

/// A close frame; without a code it is empty, as the reference server sends it (docs/protocol.md#14-websocket).
/// A reason too long for a control frame is cut at a character.
pub fn close_frame(code: Option<u16>, reason: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + MAX_CONTROL);
    let Some(code) = code else {
        encode_header(OpCode::Close, 0, &mut out);
        return out;
    };
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL - 2)];
    encode_header(OpCode::Close, 2 + reason.len(), &mut out);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
    out
}

/// The inverse of [`encode_header`] and [`encode_compressed_header`]: the opcode, the length of the header and the length of the payload after it.
pub fn split_header(frame: &[u8]) -> Option<(OpCode, usize, usize)> {
    let (&first, &short) = (frame.first()?, frame.get(1)?);
    let opcode = OpCode::parse(first & !(FIN | RSV1)).ok()?;
    let (header, length) = match short {
        126 => {
            let length = frame.get(2..4)?.try_into().ok()?;
            (4, usize::from(u16::from_be_bytes(length)))
        }
        127 => {
            let length = u64::from_be_bytes(frame.get(2..10)?.try_into().ok()?);
            (10, usize::try_from(length).ok()?)
        }
        short => (2, usize::from(short)),
    };
    Some((opcode, header, length))
}

/// The header in a fixed buffer, and its length.
fn header_bytes(opcode: OpCode, length: usize) -> ([u8; MAX_SERVER_HEADER], usize) {
    let mut header = [0; MAX_SERVER_HEADER];
    header[0] = FIN | opcode as u8;
    let size = if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        header[1] = short;
        2
    } else if let Ok(medium) = u16::try_from(length) {
        header[1] = 126;
        header[2..4].copy_from_slice(&medium.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..].copy_from_slice(&(length as u64).to_be_bytes());
        10
    };
    (header, size)
}
