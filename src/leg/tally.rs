//! How many legs a node and each user have. Shared by the workers of a node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use thiserror::Error;

/// Why no further leg may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OverLimit {
    #[error("this node has as many connections to the server behind it as it may")]
    Node,
    #[error("you have as many connections to the server behind this one as you may")]
    User,
}

impl OverLimit {
    /// Its name for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Node => "too_many_legs",
            Self::User => "too_many_legs_of_user",
        }
    }

    /// The key of the configuration that sets it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Node => "app.upstream.max_legs",
            Self::User => "app.upstream.max_legs_per_user",
        }
    }
}

/// The counts.
pub(super) struct Tally {
    per_node: usize,
    per_user: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    users: HashMap<Box<str>, usize>,
}

/// A leg's place in the counts, given back when dropped.
pub(super) struct Place {
    tally: Arc<Tally>,
    user: Option<Box<str>>,
}

impl Tally {
    pub(super) fn new(per_node: usize, per_user: usize) -> Arc<Self> {
        Arc::new(Self {
            per_node,
            per_user,
            counts: Mutex::default(),
        })
    }

    pub(super) fn take(self: &Arc<Self>, user: Option<&str>) -> Result<Place, OverLimit> {
        let mut counts = self.counts();
        if counts.all >= self.per_node {
            return Err(OverLimit::Node);
        }
        if let Some(user) = user {
            let of_user = counts.users.entry(user.into()).or_insert(0);
            if *of_user >= self.per_user {
                return Err(OverLimit::User);
            }
            *of_user += 1;
        }
        counts.all += 1;
        Ok(Place {
            tally: Arc::clone(self),
            user: user.map(Into::into),
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.tally.counts();
        counts.all -= 1;
        let Some(user) = &self.user else { return };
        if let Some(of_user) = counts.users.get_mut(user) {
            *of_user -= 1;
            if *of_user == 0 {
                counts.users.remove(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let tally = Tally::new(3, 2);
        let first = tally.take(Some("a")).unwrap();
        let _second = tally.take(Some("a")).unwrap();
        assert_eq!(tally.take(Some("a")).err(), Some(OverLimit::User));
        let _nobodys = tally.take(None).unwrap();
        assert_eq!(tally.take(None).err(), Some(OverLimit::Node));
        assert_eq!(tally.take(Some("b")).err(), Some(OverLimit::Node));
        drop(first);
        let third = tally.take(Some("b")).unwrap();
        drop(third);
        assert!(!tally.counts().users.contains_key("b"));
    }
}
