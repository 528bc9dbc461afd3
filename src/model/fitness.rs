//! Payloads that break stock clients: their parser closes the connection, or their stack overflows.
//!
//! `protocol::socket_io` applies the same rules to packets from clients. These checks are for payloads from the bus and
//! from upstream servers.

use thiserror::Error;

use super::Payload;
use super::payload::RESERVED_EVENTS;

/// Maximum number of attachments of one packet (`docs/protocol.md#2-socketio`).
pub const MAX_ATTACHMENTS: usize = 10;

/// Why a payload must not be sent to clients.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfit {
    #[error("event {0:?} is reserved")]
    Reserved(String),
    #[error("{0} attachments, at most {MAX_ATTACHMENTS} are allowed")]
    TooManyAttachments(usize),
    #[error("JSON nested deeper than {0} (socket.max_depth)")]
    TooDeep(usize),
    #[error("JSON of more than {0} bytes")]
    TooLarge(usize),
    #[error("event without a name")]
    NoName,
    #[error("a placeholder has no attachment")]
    Placeholder,
}

impl Payload {
    /// Checks it as an event for clients, whose JSON may be nested `max_depth` levels deep.
    ///
    /// # Errors
    /// Stock clients would close their connections or crash.
    pub fn check_event(&self, max_depth: usize) -> Result<(), Unfit> {
        if let Some(name) = self.event_name()
            && RESERVED_EVENTS.contains(&&*name)
        {
            return Err(Unfit::Reserved(name.into_owned()));
        }
        self.check_ack(max_depth)
    }

    /// Checks it as an ack for clients.
    ///
    /// # Errors
    /// Stock clients would close their connections or crash.
    pub fn check_ack(&self, max_depth: usize) -> Result<(), Unfit> {
        if self.attachments().len() > MAX_ATTACHMENTS {
            return Err(Unfit::TooManyAttachments(self.attachments().len()));
        }
        if is_deeper(self.json(), max_depth) {
            return Err(Unfit::TooDeep(max_depth));
        }
        Ok(())
    }
}

/// Whether JSON nests arrays and objects deeper than `limit`.
///
/// Takes two passes without allocation. Few texts have more than `limit` opening brackets, and the compiler vectorizes
/// the pass that counts them. For text that is not JSON the result is unspecified.
pub fn is_deeper(json: &str, limit: usize) -> bool {
    let bytes = json.as_bytes();
    // Each level takes two bytes.
    bytes.len() / 2 > limit && opening_brackets(bytes) > limit && nests_deeper(bytes, limit)
}

fn opening_brackets(bytes: &[u8]) -> usize {
    // `[` and `{` differ in one bit. The block length keeps the sum within a byte.
    let block = |block: &[u8]| {
        let bracket = |byte: &u8| u8::from(byte | 0x20 == b'{');
        usize::from(block.iter().map(bracket).sum::<u8>())
    };
    bytes.chunks(192).map(block).sum()
}

fn nests_deeper(bytes: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => skip_string(&mut rest),
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Skips to the end of a string whose opening quote has been consumed.
fn skip_string(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                rest.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn depth_is_the_maximum_number_of_open_brackets_outside_strings() {
        let mixed = r#"{"a":["#.repeat(50) + &"]}".repeat(50);
        let wide = format!("[{}[]]", "[],".repeat(1000));
        let text = format!("[\"{}\"]", "[".repeat(1000));
        let escapes = format!(r#"["\\",{},"\"{}\\\""]"#, nested(99), "{".repeat(300));
        for (json, depth) in [
            (String::new(), 0),
            ("7".to_owned(), 0),
            (nested(1), 1),
            (nested(100), 100),
            (nested(101), 101),
            (nested(8000), 8000),
            (mixed, 100),
            (wide, 2),
            (text, 1),
            (escapes, 100),
        ] {
            for limit in [1, 2, 99, 100, 101, 10_000] {
                let shown = &json[..json.len().min(40)];
                assert_eq!(is_deeper(&json, limit), depth > limit, "{limit} {shown}");
            }
        }
    }

    #[test]
    fn payloads_that_end_a_stock_client_are_rejected() {
        let event = |json: &str| Payload::text(json.to_owned());
        assert_eq!(event(r#"["connected",{}]"#).check_event(2), Ok(()));
        assert_eq!(
            event(r#"[ "\u0064isconnect" ]"#).check_event(2),
            Err(Unfit::Reserved("disconnect".into()))
        );
        assert_eq!(event(r#"["disconnect"]"#).check_ack(2), Ok(()));
        assert_eq!(
            event(r#"["e",[[]]]"#).check_event(2),
            Err(Unfit::TooDeep(2))
        );
        let attached = |count| event(r#"["e"]"#).with_attachments(vec![Default::default(); count]);
        assert_eq!(attached(MAX_ATTACHMENTS).check_event(2), Ok(()));
        let many = attached(MAX_ATTACHMENTS + 1);
        assert_eq!(many.check_ack(2), Err(Unfit::TooManyAttachments(11)));
    }
}
