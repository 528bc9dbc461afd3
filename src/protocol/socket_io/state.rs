//! Which namespaces a session has joined (protocol notes 2.1 and 2.4).

use std::time::Instant;

use smallvec::SmallVec;

use crate::model::Namespace;

/// Number of a namespace within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u8);

impl Slot {
    /// As an index.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// What became of a CONNECT that came at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Membership {
    /// The app has not answered yet; packets for the namespace are an error until then.
    Asked(Instant),
    /// The app lets the client in, which is not told yet. Its packets are taken.
    Welcome(Instant),
    Joined(Instant),
}

/// The namespaces of one session. A slot that was left is used again.
#[derive(Debug, Default)]
pub struct Namespaces {
    slots: SmallVec<[Option<(Namespace, Membership)>; 1]>,
}

impl Namespaces {
    /// Notes that the client asked for a namespace at `now`. `None` if the session has `limit` (at most 255) of them;
    /// a client that asks twice has two until the second is joined.
    pub fn ask(&mut self, name: Namespace, limit: usize, now: Instant) -> Option<Slot> {
        let entry = Some((name, Membership::Asked(now)));
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

    /// The app will let the client in: its packets need not wait for the answer.
    pub fn welcome(&mut self, slot: Slot) {
        if let Some((_, membership)) = self.slots.get_mut(slot.get()).and_then(Option::as_mut)
            && let Membership::Asked(at) = *membership
        {
            *membership = Membership::Welcome(at);
        }
    }

    /// The app let the client in.
    pub fn joined(&mut self, slot: Slot) {
        if let Some((_, membership)) = self.slots.get_mut(slot.get()).and_then(Option::as_mut)
            && let Membership::Asked(at) | Membership::Welcome(at) = *membership
        {
            *membership = Membership::Joined(at);
        }
    }

    /// The namespace was refused or left.
    pub fn remove(&mut self, slot: Slot) -> Option<Namespace> {
        self.slots.get_mut(slot.get())?.take().map(|(name, _)| name)
    }

    /// The slot that packets for a namespace are for.
    pub fn find(&self, name: &str) -> Option<Slot> {
        let welcome = |entry: &Option<(Namespace, Membership)>| matches!(entry, Some((n, Membership::Welcome(_))) if n.as_str() == name);
        self.find_joined(name).or_else(|| {
            let index = self.slots.iter().position(welcome);
            index.map(|index| Slot(index as u8))
        })
    }

    /// The slot of a joined namespace.
    pub fn find_joined(&self, name: &str) -> Option<Slot> {
        let joined = |entry: &Option<(Namespace, Membership)>| matches!(entry, Some((n, Membership::Joined(_))) if n.as_str() == name);
        self.slots
            .iter()
            .position(joined)
            .map(|index| Slot(index as u8))
    }

    /// Whether the namespace was joined by a CONNECT before `now`, the time of the packets read at once: its answer is
    /// on its way.
    pub fn is_answered(&self, name: &str, now: Instant) -> bool {
        let answered = |(n, membership): &(Namespace, Membership)| matches!(membership, Membership::Joined(at) if *at != now && n.as_str() == name);
        self.slots.iter().flatten().any(answered)
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
            .any(|(_, membership)| matches!(membership, Membership::Joined(_)))
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
    fn a_namespace_counts_only_once_the_app_has_let_it_in() {
        let mut namespaces = Namespaces::default();
        let now = Instant::now();
        let slot = namespaces.ask(Namespace::main(), 2, now).unwrap();
        assert!(namespaces.find("/").is_none() && !namespaces.any_joined());
        namespaces.joined(slot);
        assert_eq!(namespaces.find("/"), Some(slot));
        assert!(namespaces.ask(Namespace::from("/a"), 2, now).is_some());
        assert!(
            namespaces.ask(Namespace::from("/b"), 2, now).is_none(),
            "over the limit"
        );
        assert_eq!(namespaces.remove(slot), Some(Namespace::main()));
        assert_eq!(
            namespaces.ask(Namespace::from("/b"), 2, now),
            Some(slot),
            "the free slot is used again"
        );
    }

    #[test]
    fn a_namespace_asked_for_twice_has_two_slots_and_is_answered_only_later() {
        let mut namespaces = Namespaces::default();
        let now = Instant::now();
        let first = namespaces.ask(Namespace::main(), 2, now).unwrap();
        let second = namespaces.ask(Namespace::main(), 2, now).unwrap();
        namespaces.welcome(second);
        assert_eq!(namespaces.find("/"), Some(second));
        assert_eq!(namespaces.find_joined("/"), None);
        namespaces.joined(second);
        assert_eq!(namespaces.find_joined("/"), Some(second));
        assert!(!namespaces.is_answered("/", now), "in the same batch");
        assert!(namespaces.is_answered("/", now + std::time::Duration::from_millis(1)));
        namespaces.remove(second);
        namespaces.joined(first);
        assert_eq!(namespaces.find("/"), Some(first));
    }
}
