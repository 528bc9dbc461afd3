//! The position of a logged event as it travels with the event between nodes (docs/bus.md#extensions).

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use crate::model::{Epoch, Position};

/// The tag of the extension with the position of a message.
pub const POSITION_TAG: u16 = 2;
/// Stands for the log of the namespace in place of the index of a room.
pub const BROADCAST: u16 = u16::MAX;

/// Epoch and number.
const FIXED_LENGTH: usize = Epoch::LENGTH + 8;
/// Index of a room and number of the entry before.
const ITEM_LENGTH: usize = 2 + 8;

/// The position of an event, and the entry before it in each of its logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    pub position: Position,
    /// For each log the index of its room in the rooms of the selector, or [`BROADCAST`], and the number of the entry before
    /// (0 = none).
    pub prevs: SmallVec<[(u16, u64); 1]>,
}

impl Stamp {
    /// Reads the value of the extension; `None` if it is malformed.
    pub fn read(value: &[u8]) -> Option<Self> {
        let (fixed, items) = value.split_at_checked(FIXED_LENGTH)?;
        let (epoch, n) = fixed.split_at(Epoch::LENGTH);
        let epoch = Epoch::parse(epoch)?;
        let n = u64::from_le_bytes(n.try_into().ok()?);
        let items = items.chunks(ITEM_LENGTH).map(|item| {
            let (index, prev) = item.split_first_chunk::<2>()?;
            let prev: [u8; 8] = prev.try_into().ok()?;
            Some((u16::from_le_bytes(*index), u64::from_le_bytes(prev)))
        });
        let prevs = items.collect::<Option<_>>()?;
        let position = Position { epoch, n };
        Some(Self { position, prevs })
    }

    /// Appends the whole extension to a message: tag, length and value. Redis writes the same bytes (`bus/redis`).
    pub fn write(&self, message: &mut BytesMut) {
        let length = FIXED_LENGTH + ITEM_LENGTH * self.prevs.len();
        message.put_u16_le(POSITION_TAG);
        message.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
        message.put_slice(self.position.epoch.as_bytes());
        message.put_u64_le(self.position.n);
        for (index, prev) in &self.prevs {
            message.put_u16_le(*index);
            message.put_u64_le(*prev);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::random::OsRandom;

    proptest! {
        #[test]
        fn a_stamp_is_read_as_it_is_written(n: u64, prevs: Vec<(u16, u64)>) {
            let epoch = Epoch::random(&OsRandom);
            let stamp = Stamp { position: Position { epoch, n }, prevs: prevs.into() };
            let mut message = BytesMut::new();
            stamp.write(&mut message);
            prop_assert_eq!(&message[..2], &POSITION_TAG.to_le_bytes());
            prop_assert_eq!(message.len() - 6, message[2] as usize + 256 * message[3] as usize);
            prop_assert_eq!(Stamp::read(&message[6..]), Some(stamp));
        }

        #[test]
        fn any_bytes_are_a_stamp_or_rejected(value: Vec<u8>) {
            if let Some(stamp) = Stamp::read(&value) {
                let mut message = BytesMut::new();
                stamp.write(&mut message);
                prop_assert_eq!(&message[6..], &value[..]);
            }
        }
    }
}
