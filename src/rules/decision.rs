//! The decision about one request: which rule, grant or token allows or rejects it.

use std::fmt;

use super::claims::{claim_contains, claim_is};
use super::pattern::pattern_matches;
use crate::config::{Pattern, PolicyCondition, RelayConfig, RoomPolicy, RoomRule};
use crate::model::{Actions, Identity};

/// What a client can request in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomAction {
    Join,
    Emit,
    /// Emit and receive acks.
    Ask,
    /// Read who is a member.
    Members,
    /// Receive earlier events.
    History,
}

impl RoomAction {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Join,
        Self::Emit,
        Self::Ask,
        Self::Members,
        Self::History,
    ];

    /// Its name in grants, tokens and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Emit => "emit",
            Self::Ask => "ask",
            Self::Members => "members",
            Self::History => "history",
        }
    }

    /// The permission that it requires. `ask` does not require the permission to emit.
    pub fn permission(self) -> Actions {
        match self {
            Self::Join => Actions::JOIN,
            Self::Emit => Actions::EMIT,
            Self::Ask => Actions::ASK,
            Self::Members => Actions::MEMBERS,
            Self::History => Actions::HISTORY,
        }
    }

    /// The policy of `rule` that applies to it.
    pub fn policy(self, rule: &RoomRule) -> &RoomPolicy {
        match self {
            Self::Join => &rule.join,
            Self::Emit => &rule.publish,
            Self::Ask => &rule.ask,
            Self::Members => &rule.members,
            Self::History => &rule.history,
        }
    }

    /// The key of that policy.
    pub fn key(self) -> &'static str {
        match self {
            Self::Emit => "publish",
            other => other.name(),
        }
    }
}

/// A request of a client that the rules decide.
pub struct RoomRequest<'a> {
    pub action: RoomAction,
    pub room: &'a str,
    /// Whether it is the room of a user (`auth.user_room`), to which the conditions of `[app.relay]` itself do not apply.
    pub is_user_room: bool,
    pub identity: Option<&'a Identity>,
    /// Whether the client is a member of the room.
    pub is_member: &'a dyn Fn() -> bool,
    /// What a room token permits the client in this room.
    pub token: &'a dyn Fn() -> Actions,
}

/// The decision about a [`RoomRequest`]. The borrowed rule is the first one whose pattern matches the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomDecision<'r> {
    Allow {
        rule: &'r RoomRule,
        basis: Basis<'r>,
    },
    /// The rule leaves the decision to the backend.
    AskBackend {
        rule: &'r RoomRule,
    },
    Reject {
        rule: &'r RoomRule,
    },
}

/// Why a request is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis<'r> {
    /// The client meets this condition of the rule.
    Condition(&'r PolicyCondition),
    /// A grant of its identity; the pattern of its rooms.
    Grant(&'r str),
    /// Its room token.
    Token,
}

impl fmt::Display for Basis<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condition(condition) => write!(f, "{condition}"),
            Self::Grant(rooms) => write!(f, "the token grants it for `{rooms}`"),
            Self::Token => f.write_str("the room token permits it"),
        }
    }
}

impl<'r> RoomRequest<'r> {
    /// Decides by the rules. `None` if there is no rule at all, which only an unchecked configuration has.
    pub fn decide<'a>(&'a self, rules: &'a RelayConfig) -> Option<RoomDecision<'a>> {
        let mut all = rules.rules.iter();
        let rule = all.find(|rule| pattern_matches(&rule.pattern, self.room, self.identity))?;
        let policy = self.action.policy(rule);
        let is_closed = self.is_user_room && rules.is_default(rule);
        let mut conditions = policy.conditions().iter();
        if !is_closed && let Some(condition) = conditions.find(|it| self.meets(it)) {
            let basis = Basis::Condition(condition);
            return Some(RoomDecision::Allow { rule, basis });
        }
        if let Some(rooms) = self.granted() {
            let basis = Basis::Grant(rooms);
            return Some(RoomDecision::Allow { rule, basis });
        }
        if !policy.includes(&PolicyCondition::Token) && self.has_token() {
            let basis = Basis::Token;
            return Some(RoomDecision::Allow { rule, basis });
        }
        Some(match policy.includes(&PolicyCondition::Backend) {
            true => RoomDecision::AskBackend { rule },
            false => RoomDecision::Reject { rule },
        })
    }

    fn meets(&self, condition: &PolicyCondition) -> bool {
        let claims = || self.identity.map_or("", |identity| &identity.claims);
        match condition {
            PolicyCondition::Anyone => true,
            PolicyCondition::Users => self.identity.is_some(),
            PolicyCondition::Members => (self.is_member)(),
            PolicyCondition::Token => self.has_token(),
            PolicyCondition::Backend => false,
            PolicyCondition::ClaimIs(path, value) => claim_is(claims(), path, value),
            PolicyCondition::ClaimContains(path, value) => claim_contains(claims(), path, value),
        }
    }

    /// The pattern of the first grant that permits it.
    fn granted(&self) -> Option<&'r str> {
        let permission = self.action.permission();
        let mut grants = self.identity?.grants.iter();
        let grant = grants.find(|grant| {
            grant.actions.contains(permission) && Pattern::text_matches(&grant.rooms, self.room)
        });
        grant.map(|grant| &*grant.rooms)
    }

    fn has_token(&self) -> bool {
        (self.token)().contains(self.action.permission())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RoomPattern;
    use crate::model::Grant;

    fn rule(pattern: &str, join: &str, publish: &str) -> RoomRule {
        let policy = |text| RoomPolicy::parse(text).unwrap();
        RoomRule {
            pattern: RoomPattern::parse(pattern).unwrap(),
            join: policy(join),
            publish: policy(publish),
            ask: policy(publish),
            members: policy("members"),
            history: policy("members"),
            events: None,
            conflate: Box::default(),
            max_members: None,
            rate: None,
        }
    }

    fn rules() -> RelayConfig {
        let mut relay = crate::config::Config::default().app.relay;
        relay.rules = vec![
            rule("user:{user}", "users", "anyone"),
            rule("team:{claim.team}:*", "users", "members"),
            rule(
                "staff",
                "claim.role = admin | claim.teams contains staff",
                "nobody",
            ),
            rule("signed:*", "token", "token | members"),
            rule("doc:*", "backend | claim.role = admin", "backend"),
            rule("open:*", "anyone", "anyone"),
            rule("*", "nobody", "nobody"),
        ];
        relay
    }

    fn identity(user: &str, claims: &str, grants: &[(&str, Actions)]) -> Identity {
        let grant = |(rooms, actions): &(&str, Actions)| Grant {
            rooms: (*rooms).into(),
            actions: *actions,
        };
        Identity {
            user: user.to_owned(),
            claims: claims.to_owned(),
            grants: grants.iter().map(grant).collect(),
            ..Identity::default()
        }
    }

    /// The decision in short: `+basis`, `?` or `-`, and the pattern of the rule.
    fn decided(
        action: RoomAction,
        room: &str,
        identity: Option<&Identity>,
        member: bool,
        token: Actions,
    ) -> String {
        let (is_member, token) = (|| member, || token);
        let request = RoomRequest {
            action,
            room,
            is_user_room: room.starts_with("user:"),
            identity,
            is_member: &is_member,
            token: &token,
        };
        let rules = rules();
        match request.decide(&rules).unwrap() {
            RoomDecision::Allow { rule, basis } => format!("+{basis} ({})", rule.pattern),
            RoomDecision::AskBackend { rule } => format!("? ({})", rule.pattern),
            RoomDecision::Reject { rule } => format!("- ({})", rule.pattern),
        }
    }

    #[test]
    fn the_first_matching_rule_decides_who_may_join() {
        let anna = identity("anna", r#"{"team":"red","teams":["staff"]}"#, &[]);
        let admin = identity("bert", r#"{"role":"admin"}"#, &[]);
        for (room, who, expected) in [
            ("user:anna", Some(&anna), "+users (user:{user})"),
            ("user:anna", Some(&admin), "- (*)"),
            ("user:anna", None, "- (*)"),
            ("team:red:1", Some(&anna), "+users (team:{claim.team}:*)"),
            ("team:blue:1", Some(&anna), "- (*)"),
            ("team:red:1", Some(&admin), "- (*)"),
            ("staff", Some(&anna), "+claim.teams contains staff (staff)"),
            ("staff", Some(&admin), "+claim.role = admin (staff)"),
            ("staff", None, "- (staff)"),
            ("signed:1", Some(&admin), "- (signed:*)"),
            ("doc:1", Some(&anna), "? (doc:*)"),
            ("doc:1", Some(&admin), "+claim.role = admin (doc:*)"),
            ("open:1", None, "+anyone (open:*)"),
            ("other", None, "- (*)"),
        ] {
            let join = RoomAction::Join;
            let decision = decided(join, room, who, false, Actions::NONE);
            assert_eq!(decision, expected, "{room} {who:?}");
        }
    }

    #[test]
    fn only_an_entry_a_grant_or_the_backend_opens_the_room_of_a_user() {
        let anna = identity("anna", "", &[]);
        let granted = identity("bert", "", &[("user:anna", Actions::EMIT)]);
        let mut rules = rules();
        let last = rules.rules.len() - 1;
        for (policy, who, expected) in [
            ("anyone", None, "-"),
            ("users | members", Some(&granted), "+user:anna"),
            ("members | token", Some(&anna), "+anyone"),
            ("anyone | backend", None, "?"),
        ] {
            rules.rules[last] = rule("*", policy, policy);
            let request = RoomRequest {
                action: RoomAction::Emit,
                room: "user:anna",
                is_user_room: true,
                identity: who,
                is_member: &|| true,
                token: &|| Actions::NONE,
            };
            let decided = match request.decide(&rules).unwrap() {
                RoomDecision::Allow {
                    basis: Basis::Condition(condition),
                    ..
                } => format!("+{condition}"),
                RoomDecision::Allow {
                    basis: Basis::Grant(rooms),
                    ..
                } => format!("+{rooms}"),
                RoomDecision::Allow { .. } => "+".to_owned(),
                RoomDecision::AskBackend { .. } => "?".to_owned(),
                RoomDecision::Reject { .. } => "-".to_owned(),
            };
            assert_eq!(decided, expected, "{policy}");
        }
    }

    #[test]
    fn members_may_do_what_the_rule_leaves_to_members() {
        let anna = identity("anna", r#"{"team":"red"}"#, &[]);
        for (action, room, member, expected) in [
            (
                RoomAction::Emit,
                "team:red:1",
                true,
                "+members (team:{claim.team}:*)",
            ),
            (
                RoomAction::Emit,
                "team:red:1",
                false,
                "- (team:{claim.team}:*)",
            ),
            (
                RoomAction::Ask,
                "team:red:1",
                true,
                "+members (team:{claim.team}:*)",
            ),
            (RoomAction::Members, "open:1", true, "+members (open:*)"),
            (RoomAction::Members, "open:1", false, "- (open:*)"),
        ] {
            let decision = decided(action, room, Some(&anna), member, Actions::NONE);
            assert_eq!(decision, expected, "{action:?} {room} {member}");
        }
    }

    #[test]
    fn grants_and_room_tokens_allow_in_addition_to_the_rule() {
        let grants = [
            ("other", Actions::JOIN),
            ("news:*", Actions::EMIT | Actions::MEMBERS),
        ];
        let anna = identity("anna", "", &grants);
        let none = Actions::NONE;
        for (action, room, token, expected) in [
            (
                RoomAction::Join,
                "other",
                none,
                "+the token grants it for `other` (*)",
            ),
            (RoomAction::Emit, "other", none, "- (*)"),
            (
                RoomAction::Emit,
                "news:1",
                none,
                "+the token grants it for `news:*` (*)",
            ),
            (RoomAction::Ask, "news:1", none, "- (*)"),
            (
                RoomAction::Members,
                "news:1",
                none,
                "+the token grants it for `news:*` (*)",
            ),
            (RoomAction::Join, "news:1", none, "- (*)"),
            (
                RoomAction::Join,
                "news:1",
                Actions::JOIN,
                "+the room token permits it (*)",
            ),
            (
                RoomAction::Join,
                "signed:1",
                Actions::JOIN,
                "+token (signed:*)",
            ),
            (RoomAction::Emit, "signed:1", Actions::JOIN, "- (signed:*)"),
            (
                RoomAction::Emit,
                "doc:1",
                Actions::EMIT,
                "+the room token permits it (doc:*)",
            ),
            (RoomAction::Emit, "doc:1", none, "? (doc:*)"),
        ] {
            let decision = decided(action, room, Some(&anna), false, token);
            assert_eq!(decision, expected, "{action:?} {room} {token:?}");
        }
    }
}
