//! Decodes messages of a source. What is passed on to clients is copied as written, so numbers and escapes stay as they are.

use std::borrow::Cow;

use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::members::members;
use crate::config::{ChannelTarget, JsonArgs, JsonField, JsonPointer, JsonSource};
use crate::model::elements::{Elements, decode_string};
use crate::model::{Emit, Namespace, Payload, Room, Selector};

/// The message cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum MalformedJson {
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the {0} is missing")]
    Missing(&'static str),
    #[error("the {0} is malformed")]
    Malformed(&'static str),
}

type Rooms = SmallVec<[Room; 1]>;
type Json<'m> = Cow<'m, str>;

/// A source, prepared for decoding.
pub(super) struct JsonDecoder {
    source: JsonSource,
    /// The first tokens of all pointers of the source, each once.
    names: Vec<String>,
}

/// A message that is being decoded.
struct JsonMessage<'m> {
    text: &'m [u8],
    names: &'m [String],
    /// The values of `names`.
    values: Vec<Option<&'m RawValue>>,
    channel: &'m str,
}

impl JsonDecoder {
    pub(super) fn new(source: JsonSource) -> Self {
        let mut names: Vec<String> = Vec::new();
        for pointer in pointers(&source) {
            if let Some(first) = pointer.tokens.first()
                && !names.contains(first)
            {
                names.push(first.clone());
            }
        }
        Self { source, names }
    }

    pub(super) fn source(&self) -> &JsonSource {
        &self.source
    }

    /// Decodes a message that was published on `channel`, which stands for `target`. Returns `None` if it is for an empty
    /// list of rooms.
    pub(super) fn emit(
        &self,
        channel: &str,
        target: &ChannelTarget<'_>,
        text: &[u8],
    ) -> Result<Option<Emit>, MalformedJson> {
        let message = JsonMessage {
            text,
            names: &self.names,
            values: members(text, &self.names)?,
            channel,
        };
        let namespace = match target.namespace {
            Some(name) => Namespace::from(format!("/{name}")),
            None => message.namespace(&self.source.namespace)?,
        };
        let rooms = match (target.room, &self.source.room) {
            (Some(room), _) => Some(Rooms::from_iter([Room::from(room)])),
            (None, Some(field)) => message.rooms_of(field)?,
            (None, None) => None,
        };
        let rooms = match rooms {
            Some(rooms) if rooms.is_empty() => return Ok(None),
            Some(rooms) => rooms,
            None if self.source.broadcast => Rooms::new(),
            None => return Err(MalformedJson::Missing("room")),
        };
        let mut except = Rooms::new();
        for pointer in &self.source.except {
            if let Some(value) = message.at(pointer)? {
                except.extend(rooms_in(value, "exception")?.unwrap_or_default());
            }
        }
        let to = Selector {
            namespace,
            rooms,
            except,
        };
        Ok(Some(Emit {
            payload: self.payload(&message, &to)?,
            to,
            volatile: false,
            ack: None,
            conflate: None,
        }))
    }

    fn payload(&self, message: &JsonMessage<'_>, to: &Selector) -> Result<Payload, MalformedJson> {
        let event = message.value(&self.source.event, to)?;
        let event = event.ok_or(MalformedJson::Missing("event"))?;
        // A name is a text that is not empty.
        if !event.starts_with('"') || event.len() < 3 {
            return Err(MalformedJson::Malformed("event"));
        }
        match &self.source.args {
            JsonArgs::Each(fields) => {
                let mut elements = Vec::with_capacity(1 + fields.len());
                elements.push(event);
                for field in fields {
                    let value = message.value(field, to)?;
                    elements.push(value.unwrap_or(Cow::Borrowed("null")));
                }
                Ok(Payload::array(elements.iter().map(AsRef::as_ref)))
            }
            JsonArgs::ItemsOf(pointer) => {
                let items = match message.at(pointer)? {
                    None => "[]",
                    Some(list) if list.starts_with('[') => list,
                    Some(_) => return Err(MalformedJson::Malformed("list of arguments")),
                };
                let elements = std::iter::once(&*event).chain(Elements::of(items));
                Ok(Payload::array(elements))
            }
        }
    }
}

impl<'m> JsonMessage<'m> {
    /// The value at a pointer as written; `None` if it is missing or null.
    fn at(&self, pointer: &JsonPointer) -> Result<Option<&'m str>, MalformedJson> {
        let Some((first, rest)) = pointer.tokens.split_first() else {
            let whole = std::str::from_utf8(self.text).map(str::trim_ascii);
            let whole = whole.map_err(|_| MalformedJson::Malformed("text"))?;
            return Ok(Some(whole).filter(|whole| *whole != "null"));
        };
        let index = self.names.iter().position(|name| name == first);
        let mut value = index.and_then(|index| *self.values.get(index)?);
        for token in rest {
            let Some(outer) = value else { break };
            let found = members(outer.get().as_bytes(), std::slice::from_ref(token))?;
            value = found.first().copied().flatten();
        }
        Ok(value.map(RawValue::get).filter(|value| *value != "null"))
    }

    /// The JSON of a field; `None` if it is missing or null.
    fn value(&self, field: &JsonField, to: &Selector) -> Result<Option<Json<'m>>, MalformedJson> {
        Ok(match field {
            JsonField::Pointer(pointer) => self.at(pointer)?.map(Cow::Borrowed),
            JsonField::Constant(text) => Some(text_as_json(text)),
            JsonField::Channel => Some(text_as_json(self.channel)),
            JsonField::Namespace => Some(text_as_json(&to.namespace)),
            JsonField::Room => match &to.rooms[..] {
                [] => None,
                [room] => Some(text_as_json(room)),
                rooms => {
                    let rooms: Vec<&str> = rooms.iter().map(Room::as_str).collect();
                    Some(serde_json::Value::from(rooms).to_string().into())
                }
            },
        })
    }

    fn namespace(&self, field: &JsonField) -> Result<Namespace, MalformedJson> {
        let name = match field {
            JsonField::Constant(name) => Cow::Borrowed(name.as_str()),
            JsonField::Pointer(pointer) => {
                let value = self.at(pointer)?;
                let value = value.ok_or(MalformedJson::Missing("namespace"))?;
                decode_string(value)
                    .filter(|name| !name.is_empty())
                    .ok_or(MalformedJson::Malformed("namespace"))?
            }
            _ => return Err(MalformedJson::Missing("namespace")),
        };
        Ok(match name.starts_with('/') {
            true => Namespace::from(&*name),
            false => Namespace::from(format!("/{name}")),
        })
    }

    /// The rooms of a field; `None` if it is missing or names no room.
    fn rooms_of(&self, field: &JsonField) -> Result<Option<Rooms>, MalformedJson> {
        match field {
            JsonField::Constant(room) => Ok(Some(Rooms::from_iter([Room::from(room.as_str())]))),
            JsonField::Pointer(pointer) => match self.at(pointer)? {
                Some(value) => rooms_in(value, "room"),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

/// One name, or a list of names in which null has no effect; `None` for an empty text. Numbers are names as written.
fn rooms_in(value: &str, part: &'static str) -> Result<Option<Rooms>, MalformedJson> {
    let malformed = || MalformedJson::Malformed(part);
    if value.starts_with('[') {
        let names = Elements::of(value).filter(|item| *item != "null");
        let rooms = names.map(|name| room(name).ok_or_else(malformed));
        return rooms.collect::<Result<_, _>>().map(Some);
    }
    if value == "\"\"" {
        return Ok(None);
    }
    let room = room(value).ok_or_else(malformed)?;
    Ok(Some(Rooms::from_iter([room])))
}

fn room(value: &str) -> Option<Room> {
    match value.as_bytes().first()? {
        b'"' => decode_string(value).map(|name| Room::from(&*name)),
        b'-' | b'0'..=b'9' => Some(Room::from(value)),
        _ => None,
    }
}

fn text_as_json(text: &str) -> Json<'static> {
    serde_json::Value::from(text).to_string().into()
}

fn pointers(source: &JsonSource) -> impl Iterator<Item = &JsonPointer> {
    let (fields, list) = match &source.args {
        JsonArgs::Each(fields) => (&fields[..], None),
        JsonArgs::ItemsOf(pointer) => (&[][..], Some(pointer)),
    };
    let others = [&source.event, &source.namespace];
    let fields = fields.iter().chain(others).chain(&source.room);
    fields
        .filter_map(JsonField::pointer)
        .chain(list)
        .chain(&source.except)
}
