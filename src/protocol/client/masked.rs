//! Frames of a client, whose contents are masked.

use bytes::Bytes;

use crate::model::Random;
use crate::protocol::server_packet::MessageWriter;
use crate::protocol::websocket::{OpCode, write_masked};

/// Collects messages as the frames of a client.
pub(super) struct MaskedFrames<'a> {
    random: &'a dyn Random,
    bytes: Vec<u8>,
}

impl<'a> MaskedFrames<'a> {
    /// No frames; `random` makes their masking keys.
    pub(super) fn new(random: &'a dyn Random) -> Self {
        Self {
            random,
            bytes: Vec::new(),
        }
    }

    /// The frames, in order.
    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn push(&mut self, opcode: OpCode, content: &[u8]) {
        let mask = random_mask(self.random);
        write_masked(opcode, mask, &[content], &mut self.bytes);
    }
}

impl MessageWriter for MaskedFrames<'_> {
    fn text(&mut self, attachments: &[Bytes], write: impl FnOnce(&mut Vec<u8>)) {
        let mut text = Vec::new();
        write(&mut text);
        self.push(OpCode::Text, &text);
        for attachment in attachments {
            self.push(OpCode::Binary, attachment);
        }
    }

    fn binary(&mut self, content: &[u8]) {
        self.push(OpCode::Binary, content);
    }
}

/// A masking key.
pub(super) fn random_mask(random: &dyn Random) -> [u8; 4] {
    let mut mask = [0; 4];
    random.fill(&mut mask);
    mask
}
