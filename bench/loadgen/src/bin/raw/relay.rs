//! The relay app by prefixes: text message in, what to do out. No IO.

use std::io::Write;

/// The one room that can have members; any other is taken for empty.
const ROOM: &[u8] = b"bench";
pub(crate) const OPEN: &[u8] = br#"0{"sid":"raw","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
const CONNECTED: &[u8] = br#"40{"sid":"raw"}"#;

/// What a message asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    Join,
    Leave,
    /// Broadcast of these arguments, without the bracket that opens them.
    Publish(&'a [u8]),
    Nothing,
}

/// Reads one message; the answer to its sender is put into `answer`.
pub(crate) fn read<'a>(text: &'a [u8], answer: &mut Vec<u8>) -> Request<'a> {
    answer.clear();
    if text == b"40" {
        answer.extend_from_slice(CONNECTED);
        return Request::Nothing;
    }
    let Some(event) = text.strip_prefix(b"42") else {
        return Request::Nothing;
    };
    let digits = event
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (id, event) = event.split_at(digits);
    if !id.is_empty() {
        answer.extend_from_slice(b"43");
        answer.extend_from_slice(id);
        // Writing into a Vec cannot fail.
        let _ = answer.write_all(br#"[{"ok":true}]"#);
    }
    let Some(call) = event.strip_prefix(br#"["roomwire:"#) else {
        return Request::Nothing;
    };
    match call {
        [b'j', ..] => Request::Join,
        [b'l', ..] => Request::Leave,
        _ => publish(call),
    }
}

fn publish(call: &[u8]) -> Request<'_> {
    let Some(room) = call.strip_prefix(br#"emit",""#) else {
        return Request::Nothing;
    };
    match room
        .strip_prefix(ROOM)
        .and_then(|rest| rest.strip_prefix(br#"","#))
    {
        Some(arguments) => Request::Publish(arguments),
        None => Request::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers() {
        let ok = r#"[{"ok":true}]"#;
        let table = [
            ("40", Request::Nothing, CONNECTED.to_vec()),
            (
                r#"420["roomwire:join","bench"]"#,
                Request::Join,
                format!("430{ok}").into(),
            ),
            (
                r#"42["roomwire:leave","bench"]"#,
                Request::Leave,
                Vec::new(),
            ),
            (
                r#"4217["roomwire:emit","bench","b",1]"#,
                Request::Publish(br#""b",1]"#),
                format!("4317{ok}").into(),
            ),
            (
                r#"421["roomwire:emit","own-1","b",1]"#,
                Request::Nothing,
                format!("431{ok}").into(),
            ),
            ("3", Request::Nothing, Vec::new()),
        ];
        let mut answer = Vec::new();
        for (text, request, expected) in table {
            assert_eq!(read(text.as_bytes(), &mut answer), request, "{text}");
            assert_eq!(answer, expected, "{text}");
        }
    }
}
