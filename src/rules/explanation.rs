//! The decision about a request in words, for `roomwire check --room`.

use std::fmt;

use super::decision::{RoomAction, RoomDecision, RoomRequest};
use crate::config::{RelayConfig, RoomRule};

/// A request, its decision, and the rules that made it.
pub struct Explanation<'a> {
    pub request: &'a RoomRequest<'a>,
    pub rules: &'a RelayConfig,
    pub decision: RoomDecision<'a>,
}

impl Explanation<'_> {
    fn rule(&self) -> &RoomRule {
        match self.decision {
            RoomDecision::Allow { rule, .. }
            | RoomDecision::AskBackend { rule }
            | RoomDecision::Reject { rule } => rule,
        }
    }

    /// The key of the rule: an entry, or the defaults.
    fn key(&self) -> String {
        let rules = &self.rules.rules;
        let number = rules
            .iter()
            .position(|rule| std::ptr::eq(rule, self.rule()));
        let number = number.filter(|number| number + 1 < rules.len());
        match number {
            Some(number) => format!("app.relay.rooms[{number}]"),
            None => "app.relay".to_owned(),
        }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RoomRequest {
            action,
            room,
            identity,
            ..
        } = self.request;
        let rule = self.rule();
        match identity {
            Some(identity) => write!(f, "user `{}`", identity.user)?,
            None => f.write_str("client without identity")?,
        }
        writeln!(f, ", {} `{room}`", action.name())?;
        writeln!(
            f,
            "rule: {}, pattern `{}`, {} = {}",
            self.key(),
            rule.pattern,
            action.key(),
            action.policy(rule)
        )?;
        if let (RoomAction::Emit, false) = (action, rule.conflate.is_empty()) {
            let entries: Vec<String> = rule.conflate.iter().map(ToString::to_string).collect();
            writeln!(f, "latest wins: conflate = {entries:?}")?;
        }
        let is_closed = self.request.is_user_room && self.rules.is_default(rule);
        match self.decision {
            RoomDecision::Allow { basis, .. } => write!(f, "allowed: {basis}"),
            RoomDecision::AskBackend { .. } => {
                f.write_str("the backend decides: no other condition applies")
            }
            RoomDecision::Reject { .. } if is_closed => f.write_str(
                "rejected: only an entry of app.relay.rooms or a grant opens the room of a user",
            ),
            RoomDecision::Reject { .. } => f.write_str(
                "rejected: no condition of the rule applies, and no token grants the action",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, RoomPattern, RoomPolicy};
    use crate::model::{Actions, Identity};

    #[test]
    fn the_rule_that_applies_is_named_with_what_decided() {
        let rule = |pattern: &str, publish: &str| RoomRule {
            pattern: RoomPattern::parse(pattern).unwrap(),
            join: RoomPolicy::nobody(),
            publish: RoomPolicy::parse(publish).unwrap(),
            ask: RoomPolicy::nobody(),
            members: RoomPolicy::nobody(),
            history: RoomPolicy::nobody(),
            events: None,
            conflate: Box::default(),
            max_members: None,
            rate: None,
        };
        let mut rules = Config::default().app.relay;
        rules.rules = vec![rule("a:{user}", "members | users"), rule("*", "backend")];
        let anna = Identity {
            user: "anna".to_owned(),
            ..Identity::default()
        };
        let explain = |room, identity, action| {
            let request = RoomRequest {
                action,
                room,
                is_user_room: room == "user:anna",
                identity,
                is_member: &|| false,
                token: &|| Actions::NONE,
            };
            let decision = request.decide(&rules).unwrap();
            let (request, rules) = (&request, &rules);
            Explanation {
                request,
                rules,
                decision,
            }
            .to_string()
        };
        assert_eq!(
            explain("a:anna", Some(&anna), RoomAction::Emit),
            "user `anna`, emit `a:anna`\n\
             rule: app.relay.rooms[0], pattern `a:{user}`, publish = members | users\n\
             allowed: users"
        );
        assert_eq!(
            explain("a:anna", None, RoomAction::Emit),
            "client without identity, emit `a:anna`\n\
             rule: app.relay, pattern `*`, publish = backend\n\
             the backend decides: no other condition applies"
        );
        assert_eq!(
            explain("user:anna", None, RoomAction::Members),
            "client without identity, members `user:anna`\n\
             rule: app.relay, pattern `*`, members = nobody\n\
             rejected: only an entry of app.relay.rooms or a grant opens the room of a user"
        );
        assert_eq!(
            explain("a:anna", Some(&anna), RoomAction::Join),
            "user `anna`, join `a:anna`\n\
             rule: app.relay.rooms[0], pattern `a:{user}`, join = nobody\n\
             rejected: no condition of the rule applies, and no token grants the action"
        );
    }
}
