//! What waits for one client, bounded in bytes.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::Packet;

/// At most this many buffers go into one vectored write (the kernel takes 1024).
const MAX_SLICES: usize = 64;

/// Packets waiting in order. Holds no memory while empty.
#[derive(Debug, Default)]
pub struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Bytes of the first entry that are already written.
    written: usize,
}

#[derive(Debug)]
enum Entry {
    Packet(Packet),
    /// The rest of a direct write that the socket did not take whole.
    Rest(Box<[u8]>),
}

impl Entry {
    fn wire(&self) -> &[u8] {
        match self {
            Self::Packet(packet) => packet.wire(),
            Self::Rest(rest) => rest,
        }
    }
}

impl Queue {
    /// Bytes waiting.
    pub fn bytes(&self) -> usize {
        self.bytes - self.written
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a packet may be added under `limit` bytes. One packet always fits into an empty queue, so
    /// that a message larger than the limit still reaches a client that reads.
    pub fn has_room(&self, packet: &Packet, limit: usize) -> bool {
        self.is_empty() || self.bytes() + packet.wire().len() <= limit
    }

    /// Adds a packet at the end.
    pub fn push(&mut self, packet: Packet) {
        self.bytes += packet.wire().len();
        self.entries.push_back(Entry::Packet(packet));
    }

    /// Adds the unwritten rest of a direct write.
    pub fn push_rest(&mut self, rest: Vec<u8>) {
        self.bytes += rest.len();
        self.entries.push_back(Entry::Rest(rest.into_boxed_slice()));
    }

    /// The first packet, if it is whole.
    pub fn peek(&self) -> Option<&Packet> {
        match self.entries.front() {
            Some(Entry::Packet(packet)) if self.written == 0 => Some(packet),
            _ => None,
        }
    }

    /// Takes the first packet, if it is whole.
    pub fn pop(&mut self) -> Option<Packet> {
        let packet = self.peek()?.clone();
        self.drop_first();
        Some(packet)
    }

    /// Hands the waiting bytes to `write`, which says how many it took, until it takes less than offered.
    /// Returns whether the queue is empty now.
    pub fn write_to(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<bool> {
        while !self.is_empty() {
            let mut slices = smallvec::SmallVec::<[IoSlice<'_>; MAX_SLICES]>::new();
            let mut offered = 0;
            for (index, entry) in self.entries.iter().take(MAX_SLICES).enumerate() {
                let skip = if index == 0 { self.written } else { 0 };
                let rest = &entry.wire()[skip..];
                offered += rest.len();
                slices.push(IoSlice::new(rest));
            }
            let taken = write(&slices)?;
            drop(slices);
            self.advance(taken);
            if taken < offered {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn advance(&mut self, mut taken: usize) {
        while let Some(first) = self.entries.front() {
            let rest = first.wire().len() - self.written;
            if taken < rest {
                self.written += taken;
                return;
            }
            taken -= rest;
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.entries.pop_front() {
            self.bytes -= first.wire().len();
            self.written = 0;
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_takes_little_gets_everything_in_order() {
        let mut queue = Queue::default();
        let mut expected = Vec::new();
        for n in 0..200 {
            let packet = Packet::text(format!("4{n}"));
            expected.extend_from_slice(packet.wire());
            queue.push(packet);
        }
        let mut seen = Vec::new();
        let mut budget = 7;
        while !queue.is_empty() {
            let before = queue.bytes();
            let mut left = budget;
            let done = queue
                .write_to(|slices| {
                    let mut taken = 0;
                    for slice in slices {
                        let n = slice.len().min(left);
                        seen.extend_from_slice(&slice[..n]);
                        left -= n;
                        taken += n;
                    }
                    Ok(taken)
                })
                .unwrap();
            assert_eq!(queue.bytes(), before - budget.min(before));
            assert_eq!(done, queue.is_empty());
            budget = budget * 3 % 101 + 1;
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_limit_counts_bytes_and_one_packet_always_fits() {
        let mut queue = Queue::default();
        let big = Packet::text("x".repeat(100));
        assert!(queue.has_room(&big, 10));
        queue.push(big.clone());
        assert!(!queue.has_room(&big, 150));
        assert!(queue.has_room(&big, 1000));
        assert_eq!(queue.pop().map(|p| p.wire().len()), Some(big.wire().len()));
        assert!(queue.is_empty() && queue.bytes() == 0);
    }
}
