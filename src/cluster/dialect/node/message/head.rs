//! Reads who awaits the response to a message in msgpack that cannot be decoded as a whole, such as an event with more
//! binary values than clients accept.

use bytes::Bytes;

use crate::cluster::dialect::node::MAX_ID;
use crate::msgpack::Reader;

/// A request of a server, without what it requests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub(super) kind: u64,
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) request: String,
}

impl RequestHead {
    /// `None` if the message is malformed, or no request.
    pub(super) fn read(message: &Bytes) -> Option<Self> {
        let mut head = Self::default();
        let mut reader = Reader::new(message);
        each_field(&mut reader, |name, reader| {
            match name {
                "type" => head.kind = kind(reader)?,
                "uid" => head.uid = id(reader)?,
                "nsp" => head.namespace = id(reader)?,
                "data" => each_field(reader, |name, reader| {
                    match name {
                        "requestId" => head.request = id(reader)?,
                        _ => skip(reader)?,
                    }
                    Some(())
                })?,
                _ => skip(reader)?,
            }
            Some(())
        })?;
        (reader.is_at_end() && !head.request.is_empty()).then_some(head)
    }
}

/// Calls `read` for each field of a map, which must read its value.
fn each_field<'a>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&str, &mut Reader<'a>) -> Option<()>,
) -> Option<()> {
    let marker = reader.marker().ok()?;
    for _ in 0..reader.map_length(marker).ok()?? {
        let marker = reader.marker().ok()?;
        let name = reader.text(marker).ok()??;
        read(name, reader)?;
    }
    Some(())
}

fn kind(reader: &mut Reader<'_>) -> Option<u64> {
    let marker = reader.marker().ok()?;
    u64::try_from(reader.integer(marker).ok()??).ok()
}

fn id(reader: &mut Reader<'_>) -> Option<String> {
    let marker = reader.marker().ok()?;
    let text = reader.text(marker).ok()??;
    (text.len() <= MAX_ID).then(|| text.to_owned())
}

fn skip(reader: &mut Reader<'_>) -> Option<()> {
    reader.raw().ok().map(|_| ())
}
