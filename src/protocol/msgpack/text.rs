//! Packets that clients of Socket.IO 2 with the msgpack parser send as JSON: those without data
//! (docs/protocol.md#28-socketio-2-clients).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::decode::{DecodeError, is_namespace};
use crate::model::Attachments;
use crate::protocol::socket_io::Packet;
use crate::protocol::socket_io::packet::{self, PacketKind};

/// Other fields, such as `options`, are ignored.
#[derive(Deserialize)]
struct TextPacket<'a> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(borrow)]
    nsp: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Decodes a text of a client.
///
/// # Errors
/// The text is no CONNECT and no DISCONNECT.
pub fn decode_text(text: &str) -> Result<Packet<'static>, DecodeError> {
    // The fields of a `struct` may also be in an array.
    if !text.starts_with('{') {
        return Err(DecodeError::NotAMap);
    }
    let packet: TextPacket<'_> = serde_json::from_str(text).map_err(|_| DecodeError::NotAMap)?;
    let kind = match packet.kind {
        0 => PacketKind::Connect,
        1 => PacketKind::Disconnect,
        _ => return Err(DecodeError::Field("type")),
    };
    if !is_namespace(&packet.nsp) {
        return Err(DecodeError::Field("nsp"));
    }
    let data = packet.data.map_or("", RawValue::get);
    Ok(Packet {
        kind: packet::classify(kind, data, None)?,
        namespace: Cow::Owned(packet.nsp.into_owned()),
        id: None,
        data: data.to_owned().into(),
        attachments: Attachments::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from socket.io-client 2.5.0 with socket.io-msgpack-parser 2.2.1.
    #[test]
    fn packets_of_the_stock_client_are_decoded() {
        for (text, kind, namespace) in [
            (
                r#"{"type":0,"query":"token=x","nsp":"/admin?token=x"}"#,
                PacketKind::Connect,
                "/admin?token=x",
            ),
            (
                r#"{"type":1,"nsp":"/admin"}"#,
                PacketKind::Disconnect,
                "/admin",
            ),
        ] {
            let packet = decode_text(text).unwrap();
            assert_eq!((packet.kind, &*packet.namespace), (kind, namespace));
            assert!(packet.id.is_none() && packet.attachments.is_empty());
            assert_eq!(&*packet.data, "");
        }
    }

    #[test]
    fn other_texts_are_rejected() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for (text, error) in [
            ("", DecodeError::NotAMap),
            ("0/admin,", DecodeError::NotAMap),
            (r#"[0,"/admin",null]"#, DecodeError::NotAMap),
            (r#"{"type":0,"nsp":"/admin"} "x""#, DecodeError::NotAMap),
            (r#"{"type":0,"nsp":"/admin""#, DecodeError::NotAMap),
            (r#"{"type":0}"#, DecodeError::NotAMap),
            (r#"{"nsp":"/"}"#, DecodeError::NotAMap),
            (r#"{"type":"0","nsp":"/"}"#, DecodeError::NotAMap),
            (r#"{"type":-1,"nsp":"/"}"#, DecodeError::NotAMap),
            (r#"{"type":1,"type":0,"nsp":"/"}"#, DecodeError::NotAMap),
            (
                r#"{"type":2,"nsp":"/","data":["e"]}"#,
                DecodeError::Field("type"),
            ),
            (
                r#"{"type":4,"nsp":"/","data":"x"}"#,
                DecodeError::Field("type"),
            ),
            (r#"{"type":0,"nsp":"admin"}"#, DecodeError::Field("nsp")),
            (r#"{"type":0,"nsp":"/a,b"}"#, DecodeError::Field("nsp")),
        ] {
            assert_eq!(decode_text(text), Err(error), "{text}");
        }
        for (kind, data) in [(0, "[1]"), (0, "\"x\""), (1, "{}"), (0, &deep)] {
            let text = format!(r#"{{"type":{kind},"nsp":"/","data":{data}}}"#);
            let error = decode_text(&text).unwrap_err();
            assert!(matches!(error, DecodeError::Data(_)), "{error}");
        }
    }
}
