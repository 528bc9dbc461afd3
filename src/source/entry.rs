//! What an entry of the stream requests. Pure.

use bytes::Bytes;

use super::rejection::RejectedEntry;
use crate::store::StreamEntry;
use crate::verbs::Code;

/// Longest key of an entry, in bytes.
const MAX_KEY: usize = 255;

/// The request in an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EntryRequest<'a> {
    pub(super) verb: &'a str,
    pub(super) body: &'a [u8],
    /// Entries with the same key are executed once.
    pub(super) key: Option<&'a str>,
}

/// The request in the fields `verb`, `body` and `key`, of which the last is optional.
pub(super) fn request(entry: &StreamEntry) -> Result<EntryRequest<'_>, RejectedEntry> {
    let (mut verb, mut body, mut key) = (None, None, None);
    for (name, value) in &entry.fields {
        let field = match &name[..] {
            b"verb" => &mut verb,
            b"body" => &mut body,
            b"key" => &mut key,
            _ => return Err(unknown(name)),
        };
        if field.replace(&value[..]).is_some() {
            let message = format!("the field `{}` occurs twice", shown(name));
            return Err(RejectedEntry::new(Code::InvalidField.name(), message));
        }
    }
    Ok(EntryRequest {
        verb: text(required(verb, "verb")?, "verb")?,
        body: required(body, "body")?,
        key: key.map(checked_key).transpose()?,
    })
}

fn required<'a>(value: Option<&'a [u8]>, name: &str) -> Result<&'a [u8], RejectedEntry> {
    value.ok_or_else(|| {
        let message = format!("the entry has no field `{name}`");
        RejectedEntry::new(Code::MissingField.name(), message)
    })
}

fn text<'a>(value: &'a [u8], name: &str) -> Result<&'a str, RejectedEntry> {
    std::str::from_utf8(value).map_err(|_| {
        let message = format!("the field `{name}` is not UTF-8");
        RejectedEntry::new(Code::InvalidField.name(), message)
    })
}

fn checked_key(value: &[u8]) -> Result<&str, RejectedEntry> {
    let key = text(value, "key")?;
    if (1..=MAX_KEY).contains(&key.len()) {
        return Ok(key);
    }
    let message = format!("the field `key` has 1 to {MAX_KEY} bytes");
    Err(RejectedEntry::new(Code::InvalidField.name(), message))
}

fn unknown(name: &Bytes) -> RejectedEntry {
    let message = format!(
        "the entry has a field `{}`; the fields are `verb`, `body` and `key`",
        shown(name)
    );
    RejectedEntry::new(Code::UnknownField.name(), message)
}

fn shown(name: &Bytes) -> String {
    String::from_utf8_lossy(name).chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&'static str, &'static [u8])]) -> StreamEntry {
        let fields = fields
            .iter()
            .map(|(name, value)| (Bytes::from(*name), Bytes::from(*value)));
        StreamEntry {
            id: "1-0".to_owned(),
            fields: fields.collect(),
            earlier: 0,
        }
    }

    #[test]
    fn an_entry_has_a_verb_a_body_and_perhaps_a_key() {
        let whole = entry(&[("verb", b"emit"), ("body", b"{}"), ("key", b"order 7")]);
        let (verb, body) = ("emit", &b"{}"[..]);
        let key = Some("order 7");
        assert_eq!(request(&whole), Ok(EntryRequest { verb, body, key }));
        let bare = entry(&[("body", b"{}"), ("verb", b"emit")]);
        let key = None;
        assert_eq!(request(&bare), Ok(EntryRequest { verb, body, key }));
    }

    #[test]
    fn entries_with_other_fields_are_rejected() {
        type Fields<'a> = &'a [(&'a str, &'a [u8])];
        let cases: [(Fields<'_>, &str, &str); 7] = [
            (&[], "field_missing", "`verb`"),
            (&[("verb", b"emit")], "field_missing", "`body`"),
            (&[("data", b"{}")], "field_unknown", "`data`"),
            (
                &[("verb", b"emit"), ("verb", b"emit"), ("body", b"{}")],
                "field_invalid",
                "`verb` occurs twice",
            ),
            (
                &[("verb", b"\xff"), ("body", b"{}")],
                "field_invalid",
                "UTF-8",
            ),
            (
                &[("verb", b"emit"), ("body", b"{}"), ("key", b"")],
                "field_invalid",
                "`key`",
            ),
            (
                &[("verb", b"emit"), ("body", b"{}"), ("key", &[b'k'; 256])],
                "field_invalid",
                "`key`",
            ),
        ];
        for (fields, code, named) in cases {
            let entry = StreamEntry {
                id: "1-0".to_owned(),
                fields: fields
                    .iter()
                    .map(|(name, value)| {
                        let name = Bytes::copy_from_slice(name.as_bytes());
                        (name, Bytes::copy_from_slice(value))
                    })
                    .collect(),
                earlier: 0,
            };
            let rejection = request(&entry).unwrap_err();
            assert_eq!(rejection.code, code, "{rejection:?}");
            assert!(rejection.message.contains(named), "{rejection:?}");
        }
    }
}
