//! Values that are not decoded.

use rmp::Marker;

use super::read::{Reader, ValueError};

impl<'a> Reader<'a> {
    /// The encoded bytes of a value of any type. Keys of maps can be of any type too.
    ///
    /// Not recursive, so that nesting cannot overflow the stack.
    pub fn raw(&mut self) -> Result<&'a [u8], ValueError> {
        let start = self.rest();
        // Each value has at least one byte, so a length beyond the end of the input fails at once.
        let mut values = 1_u64;
        while values > 0 {
            values -= 1;
            let marker = self.marker()?;
            if let Some(entries) = self.map_length(marker)? {
                values += 2 * u64::from(entries);
            } else if let Some(elements) = self.array_length(marker)? {
                values += u64::from(elements);
            } else if self.text_bytes(marker)?.is_none() && self.integer(marker)?.is_none() {
                self.skip_scalar(marker)?;
            }
        }
        Ok(&start[..start.len() - self.rest().len()])
    }

    /// Skips the rest of a value after its marker. The value is neither a container nor text nor an integer.
    fn skip_scalar(&mut self, marker: Marker) -> Result<(), ValueError> {
        let length = match marker {
            Marker::Null | Marker::True | Marker::False => 0,
            Marker::F32 => 4,
            Marker::F64 => 8,
            Marker::Bin8 => usize::from(u8::from_be_bytes(self.take()?)),
            Marker::Bin16 => usize::from(u16::from_be_bytes(self.take()?)),
            Marker::Bin32 => u32::from_be_bytes(self.take()?) as usize,
            // An extension has one more byte, for its type.
            Marker::FixExt1 => 2,
            Marker::FixExt2 => 3,
            Marker::FixExt4 => 5,
            Marker::FixExt8 => 9,
            Marker::FixExt16 => 17,
            Marker::Ext8 => 1 + usize::from(u8::from_be_bytes(self.take()?)),
            Marker::Ext16 => 1 + usize::from(u16::from_be_bytes(self.take()?)),
            Marker::Ext32 => (u32::from_be_bytes(self.take()?) as usize).saturating_add(1),
            _ => return Err(ValueError::Reserved),
        };
        self.bytes(length)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn values_of_every_kind_are_taken_whole() {
        for value in [
            &[0x00][..],
            &[0xff],
            &[0xc0],
            &[0xc3],
            &[0xa2, b'a', b'b'],
            &[0xcf, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0xca, 0, 0, 0, 0],
            &[0xcb, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xc4, 2, 1, 2],
            &[0xc5, 0, 1, 1],
            &[0xd4, 0, 0],
            &[0xd6, 0xff, 0, 0, 0, 60],
            &[0xd8; 18],
            &[0xc7, 1, 5, 9],
            &[0x92, 0x81, 0xa1, b'k', 0x90, 0xc4, 1, 7],
            &[0x81, 0x91, 1, 0xa1, 0xff],
        ] {
            let message = Bytes::from([value, &[0xc0]].concat());
            let mut reader = Reader::new(&message);
            assert_eq!(reader.raw(), Ok(value));
            assert_eq!(reader.raw(), Ok(&[0xc0][..]));
            assert!(reader.is_at_end());
        }
        let deep = Bytes::from([&[0x91; 100_000][..], &[0]].concat());
        assert_eq!(Reader::new(&deep).raw(), Ok(&deep[..]));
    }

    #[test]
    fn incomplete_values_are_rejected() {
        for value in [
            &[][..],
            &[0xc1],
            &[0x92, 1],
            &[0xc4, 2, 1],
            &[0xc9, 0xff, 0xff, 0xff, 0xff, 1],
            &[0xdd, 0xff, 0xff, 0xff, 0xff],
            &[0xda, 0, 9, b'a'],
        ] {
            let message = Bytes::copy_from_slice(value);
            assert!(Reader::new(&message).raw().is_err(), "{value:x?}");
        }
    }
}
