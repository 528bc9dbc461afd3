//! Rooms that earlier requests of a sequence have joined.

use std::collections::HashSet;

use crate::model::{Command, Namespace, Room, Selector};

/// The rooms that the requests of a batch have joined so far.
///
/// A node subscribes to the channel of a room when it executes the join, too late for a message that follows at once on
/// that channel. Later requests for such a room are therefore published to all nodes.
#[derive(Debug, Default)]
pub struct EarlierJoins(HashSet<(Namespace, Room)>);

impl EarlierJoins {
    /// Prepares the next command of the sequence.
    pub fn prepare(&mut self, command: &mut Command) {
        match command {
            Command::Emit(emit) => self.widen(&mut emit.to),
            Command::Leave { selector, .. } | Command::Disconnect { selector, .. } => {
                self.widen(selector);
            }
            Command::Join { selector, rooms } => {
                self.widen(selector);
                let namespace = &selector.namespace;
                let rooms = rooms.iter();
                self.0
                    .extend(rooms.map(|room| (namespace.clone(), room.clone())));
            }
            Command::CloseRoom { .. } => {}
        }
    }

    /// Makes a command or query with this selector reach all nodes if it selects one of the rooms.
    pub fn widen(&self, selector: &mut Selector) {
        if let [room] = selector.rooms.as_slice()
            && self.0.contains(&(selector.namespace.clone(), room.clone()))
        {
            selector.publish_to_all_nodes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Target;

    #[test]
    fn commands_for_rooms_that_were_joined_are_published_to_all_nodes() {
        let of = |room: &str| Selector::room(Namespace::main(), Room::from(room));
        let leave = |room: &str| Command::Leave {
            selector: of(room),
            rooms: vec![Room::from("x")],
        };
        let mut joined = EarlierJoins::default();
        let mut join = Command::Join {
            selector: of("old"),
            rooms: vec![Room::from("new")],
        };
        let mut before = leave("new");
        joined.prepare(&mut before);
        joined.prepare(&mut join);
        let (mut new, mut old) = (leave("new"), leave("old"));
        joined.prepare(&mut new);
        joined.prepare(&mut old);
        assert_eq!(before.target(), Target::Room(&Room::from("new")));
        assert_eq!(join.target(), Target::Room(&Room::from("old")));
        assert_eq!(new.target(), Target::Many);
        assert_eq!(old.target(), Target::Room(&Room::from("old")));
    }
}
