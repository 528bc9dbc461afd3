//! The newest logged events that a worker has delivered.

use crate::model::{Namespace, Position};

/// The positions of the newest logged events that a worker has applied. The logs of rooms have one order; each shared
/// namespace has that of its stream.
#[derive(Debug, Default)]
pub struct NewestPositions {
    of_logs: Option<Position>,
    of_streams: Vec<(Namespace, Position)>,
}

impl NewestPositions {
    /// Records that an event was applied. Replayed events of logs can be older than the newest one; events of a stream
    /// are applied in order. Returns whether the stream has begun anew at an earlier position, because Redis has lost
    /// it.
    pub fn note(&mut self, namespace: &Namespace, position: Position) -> bool {
        if !position.is_of_stream() {
            advance(self.of_logs.get_or_insert(position), position);
            return false;
        }
        let mut streams = self.of_streams.iter_mut();
        match streams.find(|(known, _)| known == namespace) {
            Some((_, newest)) => std::mem::replace(newest, position).n > position.n,
            None => {
                self.of_streams.push((namespace.clone(), position));
                false
            }
        }
    }

    /// The newest position in the logs of rooms.
    pub fn of_logs(&self) -> Option<Position> {
        self.of_logs
    }

    /// The newest position of a shared namespace.
    pub fn of_stream(&self, namespace: &Namespace) -> Option<Position> {
        let mut streams = self.of_streams.iter();
        let found = streams.find(|(known, _)| known == namespace);
        found.map(|(_, newest)| *newest)
    }
}

fn advance(newest: &mut Position, position: Position) {
    if newest.epoch != position.epoch || newest.n < position.n {
        *newest = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shared_namespace_has_a_position_besides_that_of_the_logs() {
        let mut newest = NewestPositions::default();
        let namespaces = ["/", "/a", "/b"].map(Namespace::from);
        let texts = ["abcdef-9", "1764412345678-3", "1764412345679-0"];
        let positions = texts.map(|text| text.parse::<Position>().unwrap());
        assert!(!newest.note(&namespaces[0], positions[0]));
        assert!(!newest.note(&namespaces[1], positions[1]));
        assert!(!newest.note(&namespaces[1], positions[2]));
        assert_eq!(newest.of_logs(), Some(positions[0]));
        assert_eq!(newest.of_stream(&namespaces[1]), Some(positions[2]));
        assert!(newest.note(&namespaces[1], positions[1]), "it begins anew");
        assert_eq!(newest.of_stream(&namespaces[1]), Some(positions[1]));
        assert_eq!(newest.of_stream(&namespaces[2]), None);
        // A new epoch of the logs begins with any number.
        let epoch = "ABCDEF-1".parse().unwrap();
        newest.note(&namespaces[0], epoch);
        newest.note(&namespaces[0], "ABCDEF-0".parse().unwrap());
        assert_eq!(newest.of_logs(), Some(epoch));
    }
}
