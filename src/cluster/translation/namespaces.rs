//! The namespaces that the translating node subscribes to by name.
//!
//! Sharded channels have no patterns, and a subscription to every possible namespace is impossible. So the node
//! subscribes to the namespaces that its configuration names and those in which foreign programs publish.

use hashbrown::HashSet;

use crate::model::Namespace;

/// Maximum number of namespaces, so that a foreign program that invents names cannot exhaust the memory of the node.
const LIMIT: usize = 1024;

/// The namespaces of one node.
#[derive(Debug, Default)]
pub(super) struct TranslatedNamespaces {
    known: HashSet<Namespace>,
    /// Namespaces that are not subscribed yet.
    due: Vec<Namespace>,
}

impl TranslatedNamespaces {
    /// Records that the node must subscribe to a namespace.
    pub(super) fn note(&mut self, namespace: &Namespace) {
        if !self.known.contains(namespace) && self.known.len() < LIMIT {
            self.known.insert(namespace.clone());
            self.due.push(namespace.clone());
        }
    }

    /// Removes and returns the namespaces to subscribe to.
    pub(super) fn take_due(&mut self) -> Vec<Namespace> {
        std::mem::take(&mut self.due)
    }

    /// Forgets all namespaces, because the node no longer translates.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.due.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_namespace_is_due_once_up_to_a_limit() {
        let mut namespaces = TranslatedNamespaces::default();
        for _ in 0..2 {
            for number in 0..LIMIT + 10 {
                namespaces.note(&Namespace::from(format!("/{number}")));
            }
        }
        assert_eq!(namespaces.take_due().len(), LIMIT);
        assert!(namespaces.take_due().is_empty());
        namespaces.clear();
        namespaces.note(&Namespace::main());
        assert_eq!(namespaces.take_due(), [Namespace::main()]);
    }
}
