//! Entries of Redis Streams as the payloads of messages. Pure.
//!
//! The payload of a message to publish has the names and values of the fields in turn; that of a received message
//! begins with the id of the entry. So an odd number of parts means that there is an id.

use bytes::{BufMut, Bytes, BytesMut};

/// Length of what precedes each part: its own length, little-endian.
const HEADER: usize = 4;

/// The field of an entry that may be a repetition: the connection broke after an earlier attempt to add it.
pub const AGAIN: &str = "again";

/// A decoded entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position in the stream; `None` if it was not read from one.
    pub id: Option<Bytes>,
    /// Names and values in order; both are any bytes.
    pub fields: Vec<(Bytes, Bytes)>,
}

/// The payload with these parts.
pub fn encode<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let mut payload = BytesMut::new();
    for part in parts {
        // A part of more than 4 GiB is beyond every limit of messages.
        payload.put_u32_le(u32::try_from(part.len()).unwrap_or(u32::MAX));
        payload.put_slice(part);
    }
    payload.freeze()
}

/// The parts of a payload; `None` if it is not that of an entry.
pub fn parts(payload: &Bytes) -> Option<Vec<Bytes>> {
    let mut rest = payload.clone();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (length, _) = rest.split_first_chunk::<HEADER>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let end = HEADER.checked_add(length)?;
        if end > rest.len() {
            return None;
        }
        parts.push(rest.slice(HEADER..end));
        rest = rest.slice(end..);
    }
    Some(parts)
}

/// The entry of a payload; `None` if the payload is not that of an entry.
pub fn decode(payload: &Bytes) -> Option<Entry> {
    let mut parts = parts(payload)?;
    let id = (parts.len() % 2 == 1).then(|| parts.remove(0));
    let pairs = parts.chunks_exact(2);
    let fields = pairs.map(|pair| (pair[0].clone(), pair[1].clone()));
    Some(Entry {
        id,
        fields: fields.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_decoded_with_and_without_an_id() {
        let fields = vec![(Bytes::from("a"), Bytes::new())];
        for (parts, id) in [
            (&["a", ""][..], None),
            (&["1-0", "a", ""], Some(Bytes::from("1-0"))),
        ] {
            let payload = encode(parts.iter().map(|part| part.as_bytes()));
            let fields = fields.clone();
            assert_eq!(decode(&payload), Some(Entry { id, fields }));
            for length in 1..payload.len() {
                // Never a panic, whatever is missing.
                let _ = decode(&payload.slice(..length));
            }
        }
        assert_eq!(decode(&Bytes::from_static(&[9, 0, 0, 0, 1])), None);
        assert_eq!(decode(&Bytes::from_static(&[255; 6])), None);
    }
}
