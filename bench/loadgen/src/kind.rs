//! The kinds of clients in one room: how each encodes packets and reads messages. A client works with the text packets
//! of the default parser; the other kinds convert.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use flate2::{Decompress, FlushDecompress};
use roomwire_loadgen::websocket::FramingError;
use serde_json::{Value, json};

/// Messages that are kept converted: members of a room receive the same.
const RECENT: usize = 32;
/// The largest message once decompressed.
const LARGEST: usize = 4 << 20;

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// Engine.IO 4 with the default parser.
    #[default]
    Json,
    /// The same, offering permessage-deflate as browsers do.
    Deflate,
    /// With the msgpack parser.
    Msgpack,
    /// Engine.IO 3, Socket.IO 2.
    Eio3,
}

impl Kind {
    /// The value of `EIO` in its requests.
    pub(crate) fn revision(self) -> u8 {
        match self {
            Self::Json | Self::Deflate | Self::Msgpack => 4,
            Self::Eio3 => 3,
        }
    }

    /// Its additional request headers.
    pub(crate) fn headers(self) -> &'static str {
        match self {
            Self::Deflate => {
                "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
            }
            Self::Json | Self::Msgpack | Self::Eio3 => "",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "json" => Self::Json,
            "deflate" => Self::Deflate,
            "msgpack" => Self::Msgpack,
            "eio3" => Self::Eio3,
            _ => return Err(format!("no kind of client: {name}")),
        })
    }
}

/// The kinds of the members of a room, taken in turn, as `json,deflate`.
#[derive(Debug, Clone)]
pub(crate) struct Mix(Vec<Kind>);

impl Mix {
    /// The kinds of `members` members.
    pub(crate) fn kinds(&self, members: usize) -> impl Iterator<Item = Kind> {
        self.0.iter().copied().cycle().take(members)
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(names: &str) -> Result<Self, String> {
        names
            .split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

thread_local! {
    static CONVERTED: RefCell<VecDeque<(Vec<u8>, String)>> = const { RefCell::new(VecDeque::new()) };
}

/// What `convert` makes of a message; converted once for all members that receive it.
fn shared<E>(message: &[u8], convert: impl FnOnce() -> Result<String, E>) -> Result<String, E> {
    CONVERTED.with_borrow_mut(|recent| {
        if let Some((_, text)) = recent.iter().rev().find(|(known, _)| known == message) {
            return Ok(text.clone());
        }
        let text = convert()?;
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((message.to_vec(), text.clone()));
        Ok(text)
    })
}

/// The decompressor of a connection.
pub(crate) struct Inflater {
    stream: Decompress,
    /// Whether the server keeps a window from message to message.
    has_context: bool,
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inflater")
    }
}

impl Inflater {
    /// For a server that keeps its window, or not.
    pub(crate) fn new(has_context: bool) -> Self {
        Self {
            stream: Decompress::new(false),
            has_context,
        }
    }

    /// The text of a compressed message.
    pub(crate) fn text(&mut self, message: &[u8]) -> Result<String, FramingError> {
        if self.has_context {
            return self.inflate(message);
        }
        shared(message, || {
            self.stream.reset(false);
            self.inflate(message)
        })
    }

    fn inflate(&mut self, message: &[u8]) -> Result<String, FramingError> {
        let whole = [message, &[0, 0, 0xff, 0xff]].concat();
        let mut out = Vec::with_capacity(8 * message.len() + 64);
        let mut rest = &whole[..];
        while out.len() < LARGEST {
            let before = self.stream.total_in();
            let outcome = self
                .stream
                .decompress_vec(rest, &mut out, FlushDecompress::Sync);
            outcome.map_err(|_| FramingError::Deflate)?;
            rest = &rest[(self.stream.total_in() - before) as usize..];
            if rest.is_empty() && out.len() < out.capacity() {
                return String::from_utf8(out).map_err(|_| FramingError::Utf8);
            }
            out.reserve(out.len());
        }
        Err(FramingError::Deflate)
    }
}

/// The msgpack encoding of a text packet without attachments; `None` for other text.
pub(crate) fn to_msgpack(text: &str) -> Option<Vec<u8>> {
    let rest = text.strip_prefix('4')?;
    let kind = rest.chars().next()?.to_digit(10)?;
    let rest = &rest[1..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (id, data) = rest.split_at(digits);
    let mut packet = json!({ "type": kind, "nsp": "/" });
    if !id.is_empty() {
        packet["id"] = json!(id.parse::<u64>().ok()?);
    }
    if !data.is_empty() {
        packet["data"] = serde_json::from_str(data).ok()?;
    }
    rmp_serde::to_vec_named(&packet).ok()
}

/// The text packet that a binary message of msgpack stands for.
pub(crate) fn from_msgpack(message: &[u8]) -> Result<String, String> {
    shared(message, || {
        let packet: Value = rmp_serde::from_slice(message).map_err(|error| error.to_string())?;
        let field = |name| packet.get(name).filter(|value| !value.is_null());
        let text = |name| field(name).map(Value::to_string).unwrap_or_default();
        Ok(format!("4{}{}{}", text("type"), text("id"), text("data")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_converted_to_msgpack_and_back() {
        for text in [
            r#"42["e",{"a":1,"b":["x"]}]"#,
            r#"430[{"ok":true}]"#,
            r#"4217["e"]"#,
            "40",
        ] {
            let message = to_msgpack(text).unwrap();
            assert_eq!(from_msgpack(&message), Ok(text.to_owned()));
        }
        assert_eq!(to_msgpack("3"), None);
    }

    #[test]
    fn members_of_a_mix_take_its_kinds_in_turn() {
        let mix: Mix = "json,eio3".parse().unwrap();
        let kinds: Vec<_> = mix.kinds(3).collect();
        assert_eq!(kinds, [Kind::Json, Kind::Eio3, Kind::Json]);
        assert!("json,other".parse::<Mix>().is_err());
    }

    #[test]
    fn compressed_messages_are_read_with_and_without_the_window_of_earlier_ones() {
        use flate2::{Compress, Compression, FlushCompress};
        for has_context in [true, false] {
            let mut stream = Compress::new(Compression::fast(), false);
            let mut inflater = Inflater::new(has_context);
            for text in ["first message", "first message again", "first message"] {
                if !has_context {
                    stream.reset();
                }
                let mut out = Vec::with_capacity(100);
                stream
                    .compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync)
                    .unwrap();
                out.truncate(out.len() - 4);
                assert_eq!(inflater.text(&out), Ok(text.to_owned()));
            }
        }
    }
}
