//! The packets of a batch side by side: one arena for what goes to several clients, one for what goes to a single one.

/// Capacity that an emptied arena keeps.
const KEPT_CAPACITY: usize = 256 * 1024;

/// Where a packet is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arena {
    /// For several lanes.
    Shared = 0,
    /// For one lane.
    Personal = 1,
}

/// Bytes of an arena; the highest bit of both ends says of which one, so that ranges of two arenas never meet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Range {
    start: u32,
    end: u32,
}

impl Range {
    /// How many bytes it spans.
    #[inline]
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Takes `next` in if it follows without a gap.
    #[inline]
    pub(super) fn extend(&mut self, next: Self) -> bool {
        let follows = self.end == next.start;
        if follows {
            self.end = next.end;
        }
        follows
    }
}

/// The batch's packets, side by side.
#[derive(Default)]
pub(super) struct Arenas([Vec<u8>; 2]);

impl Arenas {
    const PERSONAL: u32 = 1 << 31;

    /// Bytes in both.
    pub(super) fn len(&self) -> usize {
        self.0[0].len() + self.0[1].len()
    }

    /// Copies a packet to the end of an arena.
    pub(super) fn push(&mut self, arena: Arena, bytes: &[u8]) -> Range {
        let flag = arena as u32 * Self::PERSONAL;
        let arena = &mut self.0[arena as usize];
        let start = arena.len() as u32 | flag;
        arena.extend_from_slice(bytes);
        Range {
            start,
            end: arena.len() as u32 | flag,
        }
    }

    /// The bytes of a range.
    #[inline]
    pub(super) fn bytes(&self, range: Range) -> &[u8] {
        let arena = &self.0[(range.start / Self::PERSONAL) as usize];
        &arena[(range.start % Self::PERSONAL) as usize..(range.end % Self::PERSONAL) as usize]
    }

    /// Empties both.
    pub(super) fn clear(&mut self) {
        for arena in &mut self.0 {
            arena.clear();
            if arena.capacity() > KEPT_CAPACITY {
                *arena = Vec::new();
            }
        }
    }
}
