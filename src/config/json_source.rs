//! How the messages of a backend on Redis channels become events, as `[[bus.json]]` describes it. Pure.

use super::channel_template::ChannelTemplate;

/// Messages in JSON on some channels, and where the parts of an event are in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonSource {
    /// The key of the configuration that the source is from, for errors.
    pub key: String,
    pub channel: ChannelTemplate,
    /// The name of the event, a text.
    pub event: JsonField,
    pub args: JsonArgs,
    /// A room, a list of rooms, or nothing; unless the room is part of the channel.
    pub room: Option<JsonField>,
    /// The namespace, with or without its first slash; unless it is part of the channel.
    pub namespace: JsonField,
    /// Rooms and sockets that do not receive the event: each a text, a list of texts, null or missing.
    pub except: Vec<JsonPointer>,
    /// Whether a message without room is for all sockets of the namespace.
    pub broadcast: bool,
}

/// The arguments of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonArgs {
    /// One argument each; null where a value is missing.
    Each(Vec<JsonField>),
    /// The items of a list; none if it is missing or null.
    ItemsOf(JsonPointer),
}

/// Where a part of an event is taken from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum JsonField {
    /// From the message.
    Pointer(JsonPointer),
    /// A text that is the same for all messages.
    Constant(String),
    /// The room that the event is for.
    #[default]
    Room,
    /// The namespace that the event is for, with its first slash.
    Namespace,
    /// The channel of the message.
    Channel,
}

/// A JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonPointer {
    /// The reference tokens without escapes. None: the whole message.
    pub tokens: Vec<String>,
}

impl JsonSource {
    /// Laravel's broadcasts: `{"event", "data", "socket"}` on a channel named after `prefix` and the room.
    /// Clients in the main namespace receive the event with the name of the room and the data, as those of
    /// laravel-echo-server do.
    pub fn laravel(key: &str, prefix: &str) -> Self {
        Self {
            key: key.to_owned(),
            channel: ChannelTemplate::of_rooms(prefix),
            event: JsonField::Pointer(JsonPointer::member("event")),
            args: JsonArgs::Each(vec![
                JsonField::Room,
                JsonField::Pointer(JsonPointer::member("data")),
            ]),
            room: None,
            namespace: JsonField::Constant("/".to_owned()),
            except: vec![JsonPointer::member("socket")],
            broadcast: false,
        }
    }
}

impl JsonField {
    /// Parses a JSON pointer, `=` and a constant, or one of `$room`, `$namespace` and `$channel`.
    ///
    /// # Errors
    /// The text is something else. The error is worded to follow the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "$room" => return Ok(Self::Room),
            "$namespace" => return Ok(Self::Namespace),
            "$channel" => return Ok(Self::Channel),
            _ => {}
        }
        if let Some(constant) = text.strip_prefix('=') {
            return Ok(Self::Constant(constant.to_owned()));
        }
        JsonPointer::parse(text).map(Self::Pointer).map_err(|_| {
            format!(
                "`{text}` is neither a JSON pointer such as `/event`, nor `=` and a constant, nor $room, $namespace or $channel"
            )
        })
    }

    /// The pointer of a part of the message.
    pub fn pointer(&self) -> Option<&JsonPointer> {
        match self {
            Self::Pointer(pointer) => Some(pointer),
            _ => None,
        }
    }

    /// As [`JsonField::parse`], without the parts of the event itself.
    ///
    /// # Errors
    /// It is neither a JSON pointer nor a constant.
    pub fn parse_target(text: &str) -> Result<Self, String> {
        match Self::parse(text) {
            Ok(field @ (Self::Pointer(_) | Self::Constant(_))) => Ok(field),
            _ => Err(format!(
                "`{text}` is neither a JSON pointer such as `/room` nor `=` and a constant"
            )),
        }
    }
}

impl JsonPointer {
    /// Parses a pointer.
    ///
    /// # Errors
    /// It does not begin with a slash, or has a `~` that is neither `~0` nor `~1`. The text stands after the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("`{text}` is not a JSON pointer such as `/data/0`");
        if text.is_empty() {
            return Ok(Self::default());
        }
        let tokens = text.strip_prefix('/').ok_or_else(invalid)?.split('/');
        let tokens = tokens.map(|token| {
            let rest = token.replace("~0", "").replace("~1", "");
            let is_valid = !rest.contains('~');
            is_valid.then(|| token.replace("~1", "/").replace("~0", "~"))
        });
        let tokens = tokens.collect::<Option<_>>().ok_or_else(invalid)?;
        Ok(Self { tokens })
    }

    fn member(name: &str) -> Self {
        Self {
            tokens: vec![name.to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_have_escapes() {
        for (text, tokens) in [
            ("", &[][..]),
            ("/", &[""]),
            ("/a/0", &["a", "0"]),
            ("/a~1b/~01", &["a/b", "~1"]),
            ("/~0~1", &["~/"]),
        ] {
            assert_eq!(JsonPointer::parse(text).unwrap().tokens, tokens, "{text}");
        }
        for text in ["a", "/a~", "/~2", "$x"] {
            assert!(JsonPointer::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_field_is_a_pointer_a_constant_or_a_part_of_the_event() {
        let pointer = JsonField::Pointer(JsonPointer::member("event"));
        assert_eq!(JsonField::parse("/event"), Ok(pointer));
        let constant = JsonField::Constant("/chat".to_owned());
        assert_eq!(JsonField::parse_target("=/chat"), Ok(constant));
        assert_eq!(JsonField::parse("$room"), Ok(JsonField::Room));
        assert_eq!(JsonField::parse("$namespace"), Ok(JsonField::Namespace));
        assert_eq!(JsonField::parse("$channel"), Ok(JsonField::Channel));
        for text in ["event", "$rooms"] {
            assert!(JsonField::parse(text).is_err(), "{text}");
        }
        assert!(JsonField::parse_target("$room").is_err());
    }
}
