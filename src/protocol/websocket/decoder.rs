//! Reads a peer's byte stream into frames (RFC 6455 sections 5 to 8): of clients, whose frames are masked, or of servers.
//!
//! Works inside the read buffer; only incomplete frames are copied.

use std::mem;
use std::str;

use thiserror::Error;

use super::inflate::{InflateBudget, inflate};
use super::{FIN, Frame, FrameError, MAX_CONTROL, OpCode, RSV1};
use crate::protocol::wire_format::Compression;

const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Why decoding ended before the input did.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeFailure<E> {
    /// The peer violated the framing.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The callback stopped it.
    #[error("decoding was stopped")]
    Stopped(E),
}

/// The fragments of a message so far.
#[derive(Debug)]
struct Fragments {
    opcode: OpCode,
    compressed: bool,
    data: Vec<u8>,
}

/// Decodes the bytes of the peer into frames. Holds no buffer unless a frame or message is incomplete.
#[derive(Debug)]
pub struct FrameDecoder {
    max_message: usize,
    /// Whether the peer is a client, whose frames are masked.
    masked: bool,
    /// How messages of the peer may be compressed.
    compression: Compression,
    /// The beginning of a frame, still masked, whose end has not arrived.
    tail: Vec<u8>,
    fragments: Option<Box<Fragments>>,
    finished: bool,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    opcode: OpCode,
    compressed: bool,
    last: bool,
    /// Zero bytes where the peer does not mask.
    mask: [u8; 4],
    length: usize,
    payload: usize,
}

impl Header {
    fn frame_length(&self) -> usize {
        self.length.saturating_add(self.payload)
    }
}

enum HeaderRead {
    Complete(Header),
    /// The header needs this many bytes in all.
    Needs(usize),
}

impl FrameDecoder {
    /// A decoder for the frames of a client. It rejects messages of more than `max_message` bytes, all
    /// fragments together.
    pub fn new(max_message: usize) -> Self {
        Self::of_peer(max_message, true)
    }

    /// A decoder for the frames of a server, with the same limit.
    pub fn of_server(max_message: usize) -> Self {
        Self::of_peer(max_message, false)
    }

    fn of_peer(max_message: usize, masked: bool) -> Self {
        Self {
            max_message,
            masked,
            compression: Compression::None,
            tail: Vec::new(),
            fragments: None,
            finished: false,
        }
    }

    /// The same decoder for a peer that may compress its messages in this way. The limit applies to decompressed
    /// messages, too.
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Self {
        Self {
            compression,
            ..self
        }
    }

    /// How the peer may compress its messages.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Decodes everything in `input`, the next bytes of the stream, and keeps an incomplete end for the next call.
    ///
    /// `input` is unmasked in place. After a close frame, an error, or an `Err` of `on_frame`, the rest of
    /// the stream is ignored: nothing after the end of a connection may have an effect.
    pub fn decode<E>(
        &mut self,
        input: &mut [u8],
        on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), DecodeFailure<E>> {
        let mut unlimited = InflateBudget::new(usize::MAX);
        self.decode_within(&mut unlimited, input, on_frame)?;
        Ok(())
    }

    /// Like [`FrameDecoder::decode`], but stops after the message that exhausts `budget`. Returns the number of bytes of
    /// `input` that were decoded; those after them belong at the start of the next input.
    ///
    /// # Errors
    /// Those of [`FrameDecoder::decode`].
    pub fn decode_within<E>(
        &mut self,
        budget: &mut InflateBudget,
        input: &mut [u8],
        on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<usize, DecodeFailure<E>> {
        if self.finished {
            return Ok(input.len());
        }
        let outcome = self.decode_open(budget, input, on_frame);
        if self.finished || outcome.is_err() {
            self.finished = true;
            self.tail = Vec::new();
            self.fragments = None;
        }
        outcome
    }

    /// Whether the stream has ended for this decoder (close frame, error, or stopped by the callback).
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Returns the number of decoded bytes, as [`FrameDecoder::decode_within`].
    fn decode_open<E>(
        &mut self,
        budget: &mut InflateBudget,
        input: &mut [u8],
        on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<usize, DecodeFailure<E>> {
        let length = input.len();
        let used = self.finish_tail(budget, input, on_frame)?;
        let mut rest = &mut input[used..];
        while !rest.is_empty() && !self.finished {
            if budget.is_exhausted() {
                return Ok(length - rest.len());
            }
            let header = match self.read_header(rest)? {
                HeaderRead::Complete(header) if header.frame_length() <= rest.len() => header,
                HeaderRead::Complete(_) | HeaderRead::Needs(_) => {
                    self.tail.extend_from_slice(rest);
                    break;
                }
            };
            let (frame, behind) = rest.split_at_mut(header.frame_length());
            self.accept(header, &mut frame[header.length..], budget, on_frame)?;
            rest = behind;
        }
        Ok(length)
    }

    /// Completes the frame of an earlier call, if there is one. Returns the number of bytes of `input` that it took.
    fn finish_tail<E>(
        &mut self,
        budget: &mut InflateBudget,
        input: &[u8],
        on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<usize, DecodeFailure<E>> {
        if self.tail.is_empty() {
            return Ok(0);
        }
        let mut used = 0;
        loop {
            let read = self.read_header(&self.tail)?;
            let needed = match &read {
                HeaderRead::Complete(header) => header.frame_length(),
                HeaderRead::Needs(length) => *length,
            };
            let missing = needed.saturating_sub(self.tail.len());
            let taken = missing.min(input.len() - used);
            self.tail.extend_from_slice(&input[used..used + taken]);
            used += taken;
            if taken < missing {
                return Ok(used);
            }
            if let HeaderRead::Complete(header) = read {
                let mut frame = mem::take(&mut self.tail);
                self.accept(header, &mut frame[header.length..], budget, on_frame)?;
                return Ok(used);
            }
        }
    }

    /// Decodes and checks a header, before any of its payload has arrived. Lengths that a shorter form could
    /// hold are accepted: they are unambiguous.
    fn read_header(&self, bytes: &[u8]) -> Result<HeaderRead, FrameError> {
        let &[first, second, ..] = bytes else {
            return Ok(HeaderRead::Needs(2));
        };
        let opcode = self.check_start(first, second)?;
        let short = second & !MASKED;
        let size_end = match short {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let length = if self.masked { size_end + 4 } else { size_end };
        let (Some(fields), Some(mask)) = (bytes.get(2..size_end), bytes.get(size_end..length))
        else {
            return Ok(HeaderRead::Needs(length));
        };
        let size = if fields.is_empty() {
            u64::from(short)
        } else {
            fields.iter().fold(0, |size, &b| size << 8 | u64::from(b))
        };
        Ok(HeaderRead::Complete(Header {
            opcode,
            compressed: first & RSV1 != 0,
            last: first & FIN != 0,
            mask: mask.try_into().unwrap_or_default(),
            length,
            payload: self.check_size(opcode, size)?,
        }))
    }

    /// Checks the first two bytes of a frame.
    fn check_start(&self, first: u8, second: u8) -> Result<OpCode, FrameError> {
        let opcode = OpCode::parse(first & 0x0f);
        // The first frame of a message shows whether the message is compressed.
        let allowed = match (self.compression, opcode) {
            (Compression::Deflate, Ok(OpCode::Text | OpCode::Binary)) => RSV1,
            _ => 0,
        };
        let reserved = first & RESERVED;
        if reserved & !allowed != 0 {
            return Err(FrameError::ReservedBits(reserved));
        }
        let opcode = opcode?;
        match (second & MASKED != 0, self.masked) {
            (false, true) => return Err(FrameError::Unmasked),
            (true, false) => return Err(FrameError::Masked),
            _ => {}
        }
        if opcode.is_control() {
            if first & FIN == 0 {
                return Err(FrameError::FragmentedControl);
            }
        } else if opcode == OpCode::Continuation && self.fragments.is_none() {
            return Err(FrameError::UnexpectedContinuation);
        } else if opcode != OpCode::Continuation && self.fragments.is_some() {
            return Err(FrameError::InterleavedMessage);
        }
        Ok(opcode)
    }

    fn check_size(&self, opcode: OpCode, size: u64) -> Result<usize, FrameError> {
        if opcode.is_control() {
            return match usize::try_from(size) {
                Ok(payload) if payload <= MAX_CONTROL => Ok(payload),
                _ => Err(FrameError::ControlTooLong(size)),
            };
        }
        let before = self.fragments.as_ref().map_or(0, |f| f.data.len());
        match usize::try_from(size) {
            Ok(payload) if payload <= self.max_message.saturating_sub(before) => Ok(payload),
            _ => Err(FrameError::TooLarge {
                size: size.saturating_add(before as u64),
                limit: self.max_message,
            }),
        }
    }

    /// Takes a complete frame: delivers it, or adds it to its message.
    fn accept<E>(
        &mut self,
        header: Header,
        payload: &mut [u8],
        budget: &mut InflateBudget,
        on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), DecodeFailure<E>> {
        if self.masked {
            mask(payload, header.mask);
        }
        let payload = &*payload;
        let Header {
            opcode, compressed, ..
        } = header;
        let frame = match (opcode, header.last) {
            (OpCode::Close, _) => {
                self.finished = true;
                parse_close(payload)?
            }
            (OpCode::Ping, _) => Frame::Ping(payload),
            (OpCode::Pong, _) => Frame::Pong(payload),
            (OpCode::Text | OpCode::Binary, true) => {
                return self.message((opcode, compressed), payload, budget, on_frame);
            }
            (OpCode::Text | OpCode::Binary, false) => {
                self.fragments = Some(Box::new(Fragments {
                    opcode,
                    compressed,
                    data: payload.to_vec(),
                }));
                return Ok(());
            }
            (OpCode::Continuation, last) => {
                return self.add_fragment(payload, last, budget, on_frame);
            }
        };
        on_frame(frame).map_err(DecodeFailure::Stopped)
    }

    fn add_fragment<E>(
        &mut self,
        payload: &[u8],
        last: bool,
        budget: &mut InflateBudget,
        on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), DecodeFailure<E>> {
        let Some(mut fragments) = self.fragments.take() else {
            return Err(FrameError::UnexpectedContinuation.into());
        };
        fragments.data.extend_from_slice(payload);
        if !last {
            self.fragments = Some(fragments);
            return Ok(());
        }
        let Fragments {
            opcode,
            compressed,
            data,
        } = &*fragments;
        self.message((*opcode, *compressed), data, budget, on_frame)
    }

    /// Delivers a complete message, which may be compressed.
    fn message<E>(
        &self,
        (opcode, compressed): (OpCode, bool),
        payload: &[u8],
        budget: &mut InflateBudget,
        on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), DecodeFailure<E>> {
        let mut deliver = |payload: &[u8]| {
            let frame = data_frame(opcode, payload)?;
            on_frame(frame).map_err(DecodeFailure::Stopped)
        };
        if compressed {
            inflate(payload, self.max_message, |message| {
                budget.spend(payload.len(), message.len());
                deliver(message)
            })?
        } else {
            deliver(payload)
        }
    }
}

fn data_frame(opcode: OpCode, payload: &[u8]) -> Result<Frame<'_>, FrameError> {
    if opcode == OpCode::Binary {
        return Ok(Frame::Binary(payload));
    }
    let text = str::from_utf8(payload).map_err(|_| FrameError::InvalidUtf8)?;
    Ok(Frame::Text(text))
}

fn parse_close(payload: &[u8]) -> Result<Frame<'_>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(Frame::Close {
                code: None,
                reason: "",
            }),
            _ => Err(FrameError::TruncatedCloseCode),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(FrameError::BadCloseCode(code));
    }
    let reason = str::from_utf8(reason).map_err(|_| FrameError::InvalidUtf8)?;
    Ok(Frame::Close {
        code: Some(code),
        reason,
    })
}

/// XORs with the repeated mask (RFC 6455 section 5.3), 8 bytes per step: single bytes would take several times as long.
/// Masking and unmasking are the same.
pub(super) fn mask(data: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = data.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}
