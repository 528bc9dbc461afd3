//! The namespaces that a session has joined or requested (docs/protocol.md#21-connect).

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::model::Namespace;

/// A CONNECT that repeats an earlier one within this time is assumed to have been sent before the response arrived: a
/// page that leaves a namespace and comes back at once sends two CONNECTs in separate frames, and the second may be
/// read after the response to the first.
const REPEAT_WINDOW: Duration = Duration::from_secs(1);

/// Number of a namespace within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u8);

impl Slot {
    /// As an index.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// The state of a CONNECT that arrived at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NamespaceState {
    /// The app has not responded yet; until then, packets for the namespace are an error.
    Requested(Instant),
    Joined(Instant),
}

/// The namespaces of one session. The slot of a namespace that was left is reused.
#[derive(Debug, Default)]
pub struct Namespaces {
    slots: SmallVec<[Option<(Namespace, NamespaceState)>; 1]>,
}

impl Namespaces {
    /// Records that the client requested a namespace at `now`. `None` if the session has `limit` (at most 255) of them.
    /// A client that requests one twice occupies two slots until the second is joined.
    pub fn request(&mut self, name: Namespace, limit: usize, now: Instant) -> Option<Slot> {
        let entry = Some((name, NamespaceState::Requested(now)));
        if let Some(free) = self.slots.iter().position(Option::is_none) {
            self.slots[free] = entry;
            return Some(Slot(free as u8));
        }
        if self.slots.len() >= limit.min(usize::from(u8::MAX)) {
            return None;
        }
        self.slots.push(entry);
        Some(Slot(self.slots.len() as u8 - 1))
    }

    /// The app accepted the client.
    pub fn joined(&mut self, slot: Slot) {
        if let Some((_, membership)) = self.slots.get_mut(slot.get()).and_then(Option::as_mut)
            && let NamespaceState::Requested(at) = *membership
        {
            *membership = NamespaceState::Joined(at);
        }
    }

    /// The namespace was rejected or left.
    pub fn remove(&mut self, slot: Slot) -> Option<Namespace> {
        self.slots.get_mut(slot.get())?.take().map(|(name, _)| name)
    }

    /// The slot of a joined namespace.
    pub fn find(&self, name: &str) -> Option<Slot> {
        let joined = |entry: &Option<(Namespace, NamespaceState)>| matches!(entry, Some((n, NamespaceState::Joined(_))) if n.as_str() == name);
        self.slots
            .iter()
            .position(joined)
            .map(|index| Slot(index as u8))
    }

    /// Whether the namespace was joined by a CONNECT that arrived more than [`REPEAT_WINDOW`] before `now`, so that
    /// another CONNECT is a protocol error.
    pub fn is_established(&self, name: &str, now: Instant) -> bool {
        let is_established = |(n, membership): &(Namespace, NamespaceState)| {
            n.as_str() == name
                && matches!(membership, NamespaceState::Joined(at) if now.saturating_duration_since(*at) > REPEAT_WINDOW)
        };
        self.slots.iter().flatten().any(is_established)
    }

    /// Whether this is the namespace `/`, and it is requested or joined.
    pub fn uses_main(&self, name: &str) -> bool {
        let mut used = self.slots.iter().flatten();
        name == "/" && used.any(|(used, _)| used.as_str() == name)
    }

    /// The name in a slot.
    pub fn name(&self, slot: Slot) -> Option<&Namespace> {
        self.slots.get(slot.get())?.as_ref().map(|(name, _)| name)
    }

    /// Whether any namespace is joined.
    pub fn any_joined(&self) -> bool {
        self.slots
            .iter()
            .flatten()
            .any(|(_, membership)| matches!(membership, NamespaceState::Joined(_)))
    }

    /// Every slot in use.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        let used = |(index, entry): (usize, &Option<_>)| entry.as_ref().map(|_| Slot(index as u8));
        self.slots.iter().enumerate().filter_map(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_joined_only_after_the_app_has_accepted_it() {
        let mut namespaces = Namespaces::default();
        let now = Instant::now();
        let slot = namespaces.request(Namespace::main(), 2, now).unwrap();
        assert!(namespaces.find("/").is_none() && !namespaces.any_joined());
        namespaces.joined(slot);
        assert_eq!(namespaces.find("/"), Some(slot));
        assert!(namespaces.request(Namespace::from("/a"), 2, now).is_some());
        assert!(
            namespaces.request(Namespace::from("/b"), 2, now).is_none(),
            "over the limit"
        );
        assert_eq!(namespaces.remove(slot), Some(Namespace::main()));
        assert_eq!(
            namespaces.request(Namespace::from("/b"), 2, now),
            Some(slot),
            "the free slot is used again"
        );
    }

    #[test]
    fn a_namespace_requested_twice_has_two_slots_and_is_established_after_the_repeat_window() {
        let mut namespaces = Namespaces::default();
        let now = Instant::now();
        let first = namespaces.request(Namespace::main(), 2, now).unwrap();
        let second = namespaces.request(Namespace::main(), 2, now).unwrap();
        namespaces.joined(second);
        assert_eq!(namespaces.find("/"), Some(second));
        assert!(!namespaces.is_established("/", now + REPEAT_WINDOW));
        let late = now + REPEAT_WINDOW + Duration::from_millis(1);
        assert!(namespaces.is_established("/", late));
        namespaces.remove(second);
        namespaces.joined(first);
        assert_eq!(namespaces.find("/"), Some(first));
    }
}
