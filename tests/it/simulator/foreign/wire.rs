//! Messages in msgpack.

use bytes::Bytes;
use roomwire::model::Attachments;
use roomwire::msgpack::{Reader, write_value};
use serde_json::Value;

pub(super) fn pack(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_value(&value.to_string(), &[], &mut bytes);
    bytes
}

/// The value of a message; `None` if it is not exactly one value, which would crash a stock server.
pub(super) fn unpack(message: &Bytes) -> Option<Value> {
    let mut reader = Reader::lenient(message);
    let json = reader.json(&mut Attachments::new(), 1 << 20).ok()?;
    if !reader.is_at_end() {
        return None;
    }
    serde_json::from_slice(&json).ok()
}
