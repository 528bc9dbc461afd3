//! Who a client is, as established by a gate.

use std::time::SystemTime;

use super::{Actions, Grant};

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// Unique name of the user.
    pub user: String,
    /// Id of the token (`jti`), by which it can be revoked.
    pub token: Option<Box<str>>,
    /// Further facts about the user: a JSON object, or empty.
    pub claims: String,
    /// What the token itself permits, in addition to the room rules.
    pub grants: Box<[Grant]>,
    /// When the token was issued; `None` if it does not say.
    pub issued: Option<SystemTime>,
    /// When the identity ends; `None` if it does not.
    pub expires: Option<SystemTime>,
    /// Counts the logins of the user. Of two sessions that claim the same place, the one with the higher generation
    /// is newer.
    pub generation: u64,
}

impl Identity {
    /// The actions that the grants whose pattern `matches` permit, together.
    pub fn granted(&self, matches: impl Fn(&str) -> bool) -> Actions {
        let grants = self.grants.iter().filter(|grant| matches(&grant.rooms));
        grants.fold(Actions::NONE, |all, grant| all | grant.actions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_of_all_matching_grants_are_permitted() {
        let grant = |rooms: &str, actions| Grant {
            rooms: rooms.into(),
            actions,
        };
        let identity = Identity {
            user: "anna".to_owned(),
            grants: Box::new([
                grant("team:*", Actions::JOIN | Actions::EMIT),
                grant("team:1", Actions::HISTORY),
                grant("org:*", Actions::MEMBERS),
            ]),
            ..Identity::default()
        };
        let granted = identity.granted(|pattern| pattern.starts_with("team:"));
        assert_eq!(granted, Actions::JOIN | Actions::EMIT | Actions::HISTORY);
        assert_eq!(identity.granted(|_| false), Actions::NONE);
    }
}
