//! The revocations that a node enforces: looked up for every client that connects. Pure.

use std::collections::HashMap;

use super::revocation::{Revocation, Subject, claimed_session, is_issued_before};
use crate::model::Identity;

/// Revocations, indexed by what they revoke, up to a limit.
pub(super) struct RevocationSet {
    /// Ends by id of the token.
    tokens: HashMap<Box<str>, u64>,
    users: HashMap<Box<str>, RevokedUser>,
    /// Ends by claim `sid`.
    sessions: HashMap<Box<str>, u64>,
    limit: usize,
}

/// All revocations of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RevokedUser {
    issued_before: u64,
    until: u64,
}

/// The result of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It revokes something that was not revoked before.
    New,
    /// An earlier revocation covers it.
    Known,
    /// The limit is reached.
    Full,
}

impl RevocationSet {
    /// An empty set for at most `limit` tokens, users and sessions.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            tokens: HashMap::new(),
            users: HashMap::new(),
            sessions: HashMap::new(),
            limit,
        }
    }

    /// The number of tokens, users and sessions.
    pub(super) fn len(&self) -> usize {
        self.tokens.len() + self.users.len() + self.sessions.len()
    }

    /// Whether a revocation would change nothing.
    pub(super) fn contains(&self, revocation: &Revocation) -> bool {
        let lasts = |until: Option<&u64>| until.is_some_and(|until| *until >= revocation.until);
        match &revocation.subject {
            Subject::Token(token) => lasts(self.tokens.get(token)),
            Subject::Session(session) => lasts(self.sessions.get(session)),
            Subject::User {
                user,
                issued_before,
            } => self.users.get(user).is_some_and(|known| {
                known.issued_before >= *issued_before && known.until >= revocation.until
            }),
        }
    }

    /// Whether a revocation is within the limit.
    pub(super) fn has_room_for(&self, revocation: &Revocation) -> bool {
        self.len() < self.limit || self.is_listed(&revocation.subject)
    }

    fn is_listed(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Token(token) => self.tokens.contains_key(token),
            Subject::Session(session) => self.sessions.contains_key(session),
            Subject::User { user, .. } => self.users.contains_key(user),
        }
    }

    /// Adds a revocation. The later of two ends counts.
    pub(super) fn insert(&mut self, revocation: &Revocation) -> Inserted {
        if self.contains(revocation) {
            return Inserted::Known;
        }
        if !self.has_room_for(revocation) {
            return Inserted::Full;
        }
        let until = revocation.until;
        match &revocation.subject {
            Subject::Token(token) => extend(&mut self.tokens, token, until),
            Subject::Session(session) => extend(&mut self.sessions, session, until),
            Subject::User {
                user,
                issued_before,
            } => {
                let known = self.users.entry(user.clone()).or_insert(RevokedUser {
                    issued_before: 0,
                    until: 0,
                });
                known.issued_before = known.issued_before.max(*issued_before);
                known.until = known.until.max(until);
            }
        }
        Inserted::New
    }

    /// Whether an identity is revoked.
    pub(super) fn covers(&self, identity: &Identity) -> bool {
        let token = identity.token.as_ref();
        let by_session = || {
            let session = claimed_session(identity);
            session.is_some_and(|session| self.sessions.contains_key(&*session))
        };
        token.is_some_and(|token| self.tokens.contains_key(token))
            || self
                .users
                .get(&*identity.user)
                .is_some_and(|known| is_issued_before(identity, known.issued_before))
            || !self.sessions.is_empty() && by_session()
    }

    /// Removes the revocations that have ended at `now`, in Unix seconds.
    pub(super) fn prune(&mut self, now: u64) {
        self.tokens.retain(|_, until| *until > now);
        self.sessions.retain(|_, until| *until > now);
        self.users.retain(|_, known| known.until > now);
    }

    /// All revocations, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Revocation> {
        let tokens = self.tokens.iter().map(|(token, until)| Revocation {
            subject: Subject::Token(token.clone()),
            until: *until,
        });
        let sessions = self.sessions.iter().map(|(session, until)| Revocation {
            subject: Subject::Session(session.clone()),
            until: *until,
        });
        let users = self.users.iter().map(|(user, known)| Revocation {
            subject: Subject::User {
                user: user.clone(),
                issued_before: known.issued_before,
            },
            until: known.until,
        });
        tokens.chain(sessions).chain(users)
    }
}

fn extend(ends: &mut HashMap<Box<str>, u64>, name: &str, until: u64) {
    let known = ends.entry(name.into()).or_insert(0);
    *known = (*known).max(until);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str, until: u64) -> Revocation {
        Revocation {
            subject: Subject::Token(id.into()),
            until,
        }
    }

    fn user(issued_before: u64, until: u64) -> Revocation {
        Revocation {
            subject: Subject::User {
                user: "ada".into(),
                issued_before,
            },
            until,
        }
    }

    #[test]
    fn a_revocation_is_new_unless_a_known_one_covers_it() {
        let mut known = RevocationSet::new(10);
        assert_eq!(known.insert(&token("a", 5)), Inserted::New);
        assert_eq!(known.insert(&token("a", 4)), Inserted::Known);
        assert_eq!(known.insert(&token("a", 6)), Inserted::New);
        assert_eq!(known.insert(&user(10, 5)), Inserted::New);
        assert_eq!(known.insert(&user(9, 5)), Inserted::Known);
        assert_eq!(known.insert(&user(11, 5)), Inserted::New);
        assert_eq!(known.len(), 2);
        let all: Vec<Revocation> = known.iter().collect();
        assert_eq!(all, [token("a", 6), user(11, 5)]);
    }

    #[test]
    fn the_set_is_bounded_and_shrinks_as_revocations_end() {
        let mut known = RevocationSet::new(2);
        assert_eq!(known.insert(&token("a", 5)), Inserted::New);
        assert_eq!(known.insert(&user(1, 6)), Inserted::New);
        assert_eq!(known.insert(&token("b", 9)), Inserted::Full);
        assert_eq!(
            known.insert(&token("a", 6)),
            Inserted::New,
            "listed already"
        );
        known.prune(6);
        assert_eq!(known.len(), 0);
        assert_eq!(known.insert(&token("b", 9)), Inserted::New);
        let identity = |token: &str| Identity {
            token: Some(token.into()),
            ..Identity::default()
        };
        assert!(known.covers(&identity("b")) && !known.covers(&identity("a")));
    }
}
