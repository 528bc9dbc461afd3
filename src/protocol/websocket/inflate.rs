//! Decompresses messages (RFC 7692 section 7.2.2), each with an empty window: the peer has no context takeover.
//!
//! A thread has one decompressor and one buffer for all of its connections, which own no memory for it.

use std::cell::Cell;

use flate2::{Decompress, FlushDecompress, Status};

use super::FrameError;

/// The last bytes of every message, which are not sent (RFC 7692 section 7.2.1), and an empty final block, which shows that
/// the message ended between two blocks.
const TAIL: [u8; 6] = [0, 0, 0xff, 0xff, 0x03, 0];
/// The window in bits: a peer may use the largest.
const WINDOW_BITS: u8 = 15;
/// Bytes by which the buffer grows at least.
const STEP: usize = 4096;
/// Capacity that the buffer of a thread keeps, in bytes.
const KEPT_CAPACITY: usize = 64 * 1024;

/// How much may be decompressed before other connections have their turn, and how much was. A few bytes of a client can
/// decompress to a thousand times as many.
#[derive(Debug)]
pub struct InflateBudget {
    /// Decompressed bytes that are left.
    left: usize,
    excess: usize,
}

impl InflateBudget {
    /// A budget of `bytes` decompressed bytes. The message that exhausts it may exceed it.
    pub fn new(bytes: usize) -> Self {
        Self {
            left: bytes,
            excess: 0,
        }
    }

    pub(super) fn spend(&mut self, compressed: usize, decompressed: usize) {
        self.left = self.left.saturating_sub(decompressed);
        let excess = decompressed.saturating_sub(compressed);
        self.excess = self.excess.saturating_add(excess);
    }

    /// Whether nothing is left.
    pub fn is_exhausted(&self) -> bool {
        self.left == 0
    }

    /// By how many bytes the messages so far became larger.
    pub fn excess(&self) -> usize {
        self.excess
    }
}

/// The decompressor of a thread.
struct Inflater {
    stream: Decompress,
    buffer: Vec<u8>,
}

impl Inflater {
    fn new() -> Self {
        Self {
            stream: Decompress::new_with_window_bits(false, WINDOW_BITS),
            buffer: Vec::new(),
        }
    }
}

thread_local! {
    static INFLATER: Cell<Option<Box<Inflater>>> = const { Cell::new(None) };
}

/// Passes the decompressed message to `deliver`.
///
/// # Errors
/// The message has more than `limit` bytes, or is not a sequence of whole DEFLATE blocks.
pub(super) fn inflate<T>(
    payload: &[u8],
    limit: usize,
    deliver: impl FnOnce(&[u8]) -> T,
) -> Result<T, FrameError> {
    // Taken out of its place, so that `deliver` may decode other connections.
    let mut inflater = INFLATER.take().unwrap_or_else(|| Box::new(Inflater::new()));
    inflater.buffer.clear();
    let outcome = inflater.run(payload, limit);
    let outcome = outcome.map(|()| deliver(&inflater.buffer));
    if inflater.buffer.capacity() > KEPT_CAPACITY {
        inflater.buffer = Vec::new();
    }
    INFLATER.set(Some(inflater));
    outcome
}

impl Inflater {
    fn run(&mut self, payload: &[u8], limit: usize) -> Result<(), FrameError> {
        self.stream.reset(false);
        // A peer that ends a message with a final block may omit the rest of the tail.
        let ended = self.feed(payload, limit)?;
        if ended || self.feed(&TAIL, limit)? {
            return Ok(());
        }
        Err(FrameError::InvalidDeflate)
    }

    /// Decompresses `input`; returns whether it ended with a final block.
    fn feed(&mut self, mut input: &[u8], limit: usize) -> Result<bool, FrameError> {
        loop {
            let Self { stream, buffer } = self;
            if buffer.len() == buffer.capacity() {
                // One byte beyond the limit, to detect larger messages.
                let room = limit.saturating_add(1).saturating_sub(buffer.len());
                let more = buffer.len().max(input.len()).max(STEP);
                buffer.reserve_exact(more.min(room));
            }
            let before = stream.total_in();
            let status = stream
                .decompress_vec(input, buffer, FlushDecompress::Sync)
                .map_err(|_| FrameError::InvalidDeflate)?;
            let used = (stream.total_in() - before) as usize;
            input = &input[used..];
            if buffer.len() > limit {
                return Err(FrameError::TooLarge {
                    size: buffer.len() as u64,
                    limit,
                });
            }
            let full = buffer.len() == buffer.capacity();
            match status {
                Status::StreamEnd if input.is_empty() => return Ok(true),
                // What follows a final block is a stream of its own.
                Status::StreamEnd => stream.reset(false),
                Status::Ok | Status::BufError if full => {}
                Status::Ok | Status::BufError if input.is_empty() => return Ok(false),
                Status::Ok | Status::BufError if used > 0 => {}
                Status::Ok | Status::BufError => return Err(FrameError::InvalidDeflate),
            }
        }
    }
}
