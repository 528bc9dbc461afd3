//! Entries that cannot be executed, as they are kept for people.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::rejection::RejectedEntry;
use crate::store::StreamEntry;

#[derive(Serialize)]
struct DeadLetter<'a> {
    /// Id of the entry in its stream.
    entry: &'a str,
    code: &'a str,
    message: &'a str,
    /// How often the entry was delivered.
    deliveries: u64,
    fields: BTreeMap<String, String>,
}

/// The dead letter of an entry, as JSON.
pub(super) fn dead_letter(entry: &StreamEntry, rejection: &RejectedEntry) -> Bytes {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let fields = entry.fields.iter();
    let letter = DeadLetter {
        entry: &entry.id,
        code: rejection.code,
        message: &rejection.message,
        deliveries: entry.earlier + 1,
        fields: fields
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
    };
    // Texts and numbers can be encoded.
    serde_json::to_vec(&letter).unwrap_or_default().into()
}
