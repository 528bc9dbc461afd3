//! The queue of one client, bounded in bytes.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::chunk::Slice;
use super::replaceable::Replaceable;
use super::unit::Unit;

/// Maximum number of buffers in one vectored write; the kernel accepts 1024.
const MAX_SLICES: usize = 64;
/// Cost of an entry besides its bytes: its slot in a list that grows by doubling.
const ENTRY_COST: usize = 2 * size_of::<Entry>();
/// Maximum size of an entry that collects small packets, in bytes.
const OWN_LIMIT: usize = 16 * 1024;

/// Frames in order. Allocates no memory while empty.
#[derive(Debug, Default)]
pub struct Queue {
    /// The first entry is not vacant.
    pub(super) entries: VecDeque<Entry>,
    pub(super) bytes: usize,
    /// Bytes of the first entry that are already written.
    pub(super) taken: usize,
    /// Bytes in entries of this queue alone.
    own: usize,
    /// The entries that later packets replace; `None` while there are none.
    pub(super) replaceable: Option<Box<Replaceable>>,
}

#[derive(Debug)]
pub(super) enum Entry {
    /// Bytes that other queues may share.
    Shared(Slice),
    /// Copies of small packets: a reference would cost more than a copy, or keep far more memory alive.
    Own(Vec<u8>),
    /// The place of a packet that has been replaced.
    Vacant,
}

impl Entry {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(slice) => slice.bytes(),
            Self::Own(bytes) => bytes,
            Self::Vacant => &[],
        }
    }
}

impl Queue {
    /// Bytes queued.
    pub fn bytes(&self) -> usize {
        self.bytes - self.taken
    }

    /// Weight against the limits of a client: the queued bytes and the entries that hold them.
    pub fn weight(&self) -> usize {
        self.bytes() + self.entry_memory()
    }

    /// Memory of this queue alone, without bytes that other queues may share.
    pub fn own_memory(&self) -> usize {
        self.own + self.entry_memory()
    }

    fn entry_memory(&self) -> usize {
        let replaceable = self.replaceable.as_ref().map_or(0, |it| it.memory());
        self.entries.len() * ENTRY_COST + replaceable
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds frames that other queues may share.
    pub(super) fn push_shared(&mut self, slice: Slice) {
        self.bytes += slice.bytes().len();
        if let Some(Entry::Shared(last)) = self.entries.back_mut()
            && last.extend(&slice)
        {
            return;
        }
        self.entries.push_back(Entry::Shared(slice));
    }

    /// Adds frames by copying them.
    pub fn push_own(&mut self, frames: &[u8]) {
        self.bytes += frames.len();
        self.own += frames.len();
        match self.entries.back_mut() {
            Some(Entry::Own(last)) if last.len() + frames.len() <= OWN_LIMIT => {
                last.extend_from_slice(frames);
            }
            _ => self.entries.push_back(Entry::Own(frames.to_vec())),
        }
    }

    /// The first packet, unless it is partly written.
    pub fn front(&self) -> Option<Unit<'_>> {
        let first = self.entries.front()?;
        let packet = match first {
            Entry::Shared(slice) => slice.as_packet(),
            Entry::Own(_) | Entry::Vacant => None,
        };
        match packet {
            Some(packet) => (self.taken == 0).then_some(Unit::of_packet(packet)),
            None => Unit::of_frames(&first.bytes()[self.taken..]),
        }
    }

    /// Removes the first packet, unless it is partly written.
    pub fn pop(&mut self) {
        if let Some(length) = self.front().map(|unit| unit.wire().len()) {
            self.advance(length);
        }
    }

    /// Passes the queued bytes to `write`, which returns how many it accepted, until it accepts less than it was passed.
    /// Returns whether the queue is empty.
    pub fn write_to(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<bool> {
        while !self.is_empty() {
            let mut slices = smallvec::SmallVec::<[IoSlice<'_>; MAX_SLICES]>::new();
            let mut offered = 0;
            let entries = self.entries.iter().map(Entry::bytes);
            let entries = entries.filter(|bytes| !bytes.is_empty());
            for (index, bytes) in entries.take(MAX_SLICES).enumerate() {
                let skip = if index == 0 { self.taken } else { 0 };
                let rest = &bytes[skip..];
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

    fn advance(&mut self, mut bytes: usize) {
        while let Some(first) = self.entries.front() {
            let rest = first.bytes().len() - self.taken;
            if bytes < rest {
                self.taken += bytes;
                return;
            }
            bytes -= rest;
            self.drop_first();
        }
    }

    pub(super) fn drop_first(&mut self) {
        if let Some(first) = self.entries.pop_front() {
            let length = first.bytes().len();
            self.bytes -= length;
            if let Entry::Own(_) = first {
                self.own -= length;
            }
            self.taken = 0;
        }
        if let Some(replaceable) = &mut self.replaceable {
            replaceable.take_first(false);
            while let Some(Entry::Vacant) = self.entries.front() {
                self.entries.pop_front();
                replaceable.take_first(true);
            }
            self.compact();
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::outbox::Packet;
    use crate::outbox::chunk::{Chunk, Meter};

    #[test]
    fn partial_writes_deliver_everything_in_order() {
        let (mut queue, meter) = (Queue::default(), Meter::default());
        let mut expected = Vec::new();
        for n in 0..200 {
            let packet = Packet::text(format!("4{n}"));
            expected.extend_from_slice(packet.wire());
            match n % 3 {
                0 => queue.push_shared(Slice::whole(Chunk::packet(packet, &meter))),
                _ => queue.push_own(packet.wire()),
            }
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
        assert_eq!(meter.get(), 0, "no chunk is left");
        assert_eq!(queue.own_memory(), 0);
    }

    #[test]
    fn packets_are_taken_out_one_by_one() {
        let (mut queue, meter) = (Queue::default(), Meter::default());
        let batch = [
            Packet::text("4a"),
            Packet::text("x".repeat(300)),
            Packet::binary(b"b"),
        ];
        let frames: Vec<u8> = batch.iter().flat_map(|p| p.wire().to_vec()).collect();
        let chunk = Chunk::frames(&frames, &meter);
        let cut = batch[0].wire().len() as u32;
        // Adjacent parts of a chunk become one entry.
        queue.push_shared(Slice::new(Rc::clone(&chunk), 0, cut));
        queue.push_shared(Slice::new(chunk, cut, frames.len() as u32));
        assert_eq!(queue.weight(), frames.len() + ENTRY_COST);
        let attached = Packet::with_attachments("451-[]", &[bytes::Bytes::from_static(b"\x01")]);
        queue.push_shared(Slice::whole(Chunk::packet(attached.clone(), &meter)));
        queue.push_own(Packet::close(Some(1008), "slow").wire());
        let contents = |unit: Unit<'_>| -> Vec<(crate::outbox::PartKind, Vec<u8>)> {
            let parts = unit.parts();
            parts
                .map(|part| (part.kind, part.content.to_vec()))
                .collect()
        };
        let close = Packet::close(Some(1008), "slow");
        for packet in batch.iter().chain([&attached, &close]) {
            let unit = queue.front().unwrap();
            assert_eq!(unit.wire(), packet.wire());
            assert_eq!(contents(unit), contents(Unit::of_packet(packet)));
            queue.pop();
        }
        assert!(queue.is_empty() && queue.bytes() == 0 && meter.get() == 0);
    }
}
