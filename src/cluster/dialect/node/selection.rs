//! Which sockets a message of a server or emitter concerns.
//!
//! Ports of the emitter differ in what they leave out and how they write what is empty: `except` may be missing, and
//! `rooms` may be missing, null, an empty text, list or map.
//!
//! Servers pass on what an app passes as a room, also by mistake, as in `io.to(undefined)`: null, a truth value, a map. No
//! socket is in such a room. A message to such rooms alone concerns no socket, as at servers, and must not be taken for
//! one without rooms, which concerns all.

use serde_json::Value;
use smallvec::SmallVec;

use crate::model::{Namespace, Room, Selector};

pub(super) type Rooms = SmallVec<[Room; 1]>;

/// A list of rooms.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RoomList {
    /// Those of its items that name a room.
    pub(super) names: Rooms,
    /// Whether it has no items at all.
    is_empty: bool,
}

impl RoomList {
    /// Reads a list; `None` if the value is not one.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let items = match value {
            Value::Null => &[][..],
            Value::String(text) if text.is_empty() => &[],
            Value::Object(map) if map.is_empty() => &[],
            Value::Array(items) => items,
            _ => return None,
        };
        Some(Self {
            names: items.iter().filter_map(room).collect(),
            is_empty: items.is_empty(),
        })
    }

    /// Whether it restricts a message to rooms that no socket is in.
    pub(super) fn is_of_nobody(&self) -> bool {
        self.names.is_empty() && !self.is_empty
    }
}

/// The name of a room, which may be a number.
pub(super) fn room(value: &Value) -> Option<Room> {
    match value {
        Value::String(name) => Some(Room::from(name.as_str())),
        Value::Number(number) => Some(Room::from(number.to_string())),
        _ => None,
    }
}

/// The sockets that the options of a message select; `None` if these are none in any case.
///
/// # Errors
/// The name of the option that is not a list of rooms.
pub(super) fn selected(
    namespace: &Namespace,
    options: &Value,
) -> Result<Option<Selector>, &'static str> {
    let list = |name| RoomList::read(&options[name]).ok_or(name);
    let (rooms, except) = (list("rooms")?, list("except")?);
    Ok((!rooms.is_of_nobody()).then(|| Selector {
        namespace: namespace.clone(),
        rooms: rooms.names,
        except: except.names,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The names of the rooms, and of those that are excepted.
    type Names = (Vec<String>, Vec<String>);

    fn select(options: &Value) -> Result<Option<Names>, &'static str> {
        let names = |rooms: &[Room]| rooms.iter().map(Room::to_string).collect();
        let selected = selected(&Namespace::main(), options)?;
        Ok(selected.map(|selector| (names(&selector.rooms), names(&selector.except))))
    }

    #[test]
    fn names_are_texts_and_numbers_and_what_is_empty_has_many_forms() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (options, rooms, except) in [
            (json!({}), &[][..], &[][..]),
            (json!({"rooms": "", "except": ""}), &[], &[]),
            (json!({"rooms": {}, "except": null}), &[], &[]),
            (json!({"rooms": ["a", 7, ""]}), &["a", "7", ""], &[]),
            (
                json!({"rooms": [], "except": [1.5, "x"]}),
                &[],
                &["1.5", "x"],
            ),
        ] {
            let expected = Ok(Some((names(rooms), names(except))));
            assert_eq!(select(&options), expected, "{options}");
        }
        for (options, name) in [
            (json!({"rooms": "a"}), "rooms"),
            (json!({"rooms": 5}), "rooms"),
            (json!({"except": {"a": 1}}), "except"),
        ] {
            assert_eq!(select(&options), Err(name), "{options}");
        }
    }

    #[test]
    fn what_names_no_room_selects_and_excepts_nobody() {
        for item in [json!(null), json!(true), json!({"a": 1}), json!(["a"])] {
            assert_eq!(select(&json!({"rooms": [item, item]})), Ok(None), "{item}");
            let beside = json!({"rooms": [item, "a"], "except": [item, "x"]});
            let expected = Ok(Some((vec!["a".to_owned()], vec!["x".to_owned()])));
            assert_eq!(select(&beside), expected, "{item}");
            let except = select(&json!({"rooms": [], "except": [item]}));
            assert_eq!(except, Ok(Some((Vec::new(), Vec::new()))), "{item}");
        }
    }
}
