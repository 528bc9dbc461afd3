//! The relay app, by prefixes: decodes a text message into a request. No I/O.

use std::io::Write;

/// The only room that can have members; any other is treated as empty.
const ROOM: &[u8] = b"bench";
pub(crate) const OPEN: &[u8] = br#"0{"sid":"raw","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
const CONNECTED: &[u8] = br#"40{"sid":"raw"}"#;

/// The request in a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    Join,
    Leave,
    /// Broadcast of these arguments, without the opening bracket.
    Publish(&'a [u8]),
    Nothing,
}

/// Decodes one message; writes the response to its sender into `response`.
pub(crate) fn read<'a>(text: &'a [u8], response: &mut Vec<u8>) -> Request<'a> {
    response.clear();
    if text == b"40" {
        response.extend_from_slice(CONNECTED);
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
        response.extend_from_slice(b"43");
        response.extend_from_slice(id);
        // Writing into a Vec cannot fail.
        let _ = response.write_all(br#"[{"ok":true}]"#);
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
    fn requests_are_decoded_and_acked() {
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
        let mut response = Vec::new();
        for (text, request, expected) in table {
            assert_eq!(read(text.as_bytes(), &mut response), request, "{text}");
            assert_eq!(response, expected, "{text}");
        }
    }
}
