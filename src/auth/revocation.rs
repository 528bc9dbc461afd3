//! A revocation as a value, and its encoding for the store and for other nodes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::model::Identity;
use crate::verbs::RevocationTarget;

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The token with this id (`jti`).
    Token(Box<str>),
    /// The tokens of a user that were issued before a time, in Unix seconds. Tokens without that time are among them.
    User { user: Box<str>, issued_before: u64 },
    /// The tokens with this claim `sid`; or the token of the socket with this id.
    Session(Box<str>),
}

impl Subject {
    /// The tokens of a user that were issued before `time`, or until now.
    pub fn user(user: &str, time: Option<SystemTime>) -> Self {
        // Tokens carry whole seconds: one that was issued in this second may be older than the revocation.
        let issued_before = time.map_or_else(|| seconds(SystemTime::now()) + 1, seconds);
        Self::User {
            user: user.into(),
            issued_before,
        }
    }
}

impl From<RevocationTarget> for Subject {
    fn from(target: RevocationTarget) -> Self {
        match target {
            RevocationTarget::Token(token) => Self::Token(token.into()),
            RevocationTarget::User {
                user,
                issued_before,
            } => Self::user(&user, issued_before),
            RevocationTarget::Session(session) => Self::Session(session.into()),
        }
    }
}

/// A revocation that is remembered until a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub subject: Subject,
    /// In Unix seconds: when the last token that it concerns has expired.
    pub until: u64,
}

impl Revocation {
    /// As text: a letter for the kind, then the numbers, then the name, separated by colons.
    pub fn encode(&self) -> String {
        let until = self.until;
        match &self.subject {
            Subject::Token(token) => format!("t:{until}:{token}"),
            Subject::User {
                user,
                issued_before,
            } => format!("u:{until}:{issued_before}:{user}"),
            Subject::Session(session) => format!("s:{until}:{session}"),
        }
    }

    /// `None` if it is malformed, or of a kind that a later version introduced.
    pub fn decode(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (until, name) = rest.split_once(':')?;
        let subject = match kind {
            "t" => Subject::Token(name.into()),
            "s" => Subject::Session(name.into()),
            "u" => {
                let (issued_before, user) = name.split_once(':')?;
                Subject::User {
                    user: user.into(),
                    issued_before: issued_before.parse().ok()?,
                }
            }
            _ => return None,
        };
        Some(Self {
            subject,
            until: until.parse().ok()?,
        })
    }

    /// Whether it concerns this identity. A session is compared by the claim `sid`.
    pub fn covers(&self, identity: &Identity) -> bool {
        match &self.subject {
            Subject::Token(token) => identity.token.as_deref() == Some(token),
            Subject::User {
                user,
                issued_before,
            } => **user == *identity.user && is_issued_before(identity, *issued_before),
            Subject::Session(session) => is_of_session(identity, session),
        }
    }
}

/// Whether a token was issued before a time; true without the time at which it was issued.
pub(super) fn is_issued_before(identity: &Identity, time: u64) -> bool {
    identity.issued.is_none_or(|issued| seconds(issued) < time)
}

fn is_of_session(identity: &Identity, session: &str) -> bool {
    identity.claims.contains(session) && claimed_session(identity).as_deref() == Some(session)
}

/// The claim `sid` of an identity.
pub(super) fn claimed_session(identity: &Identity) -> Option<String> {
    if !identity.claims.contains(r#""sid""#) {
        return None;
    }
    let claims: Value = serde_json::from_str(&identity.claims).ok()?;
    claims["sid"].as_str().map(str::to_owned)
}

/// A time in Unix seconds, rounded down.
pub(super) fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.as_ref().map_or(0, Duration::as_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(subject: Subject) -> Revocation {
        Revocation { subject, until: 90 }
    }

    #[test]
    fn a_revocation_is_decoded_as_it_was_encoded() {
        let subjects = [
            (Subject::Token("a:b".into()), "t:90:a:b"),
            (Subject::Session("".into()), "s:90:"),
            (
                Subject::User {
                    user: "u:1".into(),
                    issued_before: 7,
                },
                "u:90:7:u:1",
            ),
        ];
        for (subject, text) in subjects {
            let revocation = revocation(subject);
            assert_eq!(revocation.encode(), text);
            assert_eq!(Revocation::decode(text), Some(revocation));
        }
        for text in ["", "t", "t:", "t:x:id", "u:1:user", "u:1:x:user", "v:1:id"] {
            assert_eq!(Revocation::decode(text), None, "{text}");
        }
    }

    #[test]
    fn a_revocation_covers_tokens_by_id_user_and_session() {
        let identity = |issued: Option<u64>| Identity {
            user: "ada".into(),
            token: Some("t1".into()),
            claims: r#"{"sid":"s1","other":"s2"}"#.into(),
            issued: issued.map(|seconds| UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 999)),
            ..Identity::default()
        };
        let user = |name: &str| Subject::User {
            user: name.into(),
            issued_before: 100,
        };
        let cases = [
            (Subject::Token("t1".into()), Some(1), true),
            (Subject::Token("t".into()), Some(1), false),
            (Subject::Session("s1".into()), Some(1), true),
            (Subject::Session("s2".into()), Some(1), false),
            (user("ada"), Some(99), true),
            (user("ada"), Some(100), false),
            (user("ada"), None, true),
            (user("bob"), None, false),
        ];
        for (subject, issued, covered) in cases {
            let revocation = revocation(subject);
            assert_eq!(
                revocation.covers(&identity(issued)),
                covered,
                "{revocation:?}"
            );
        }
        let revoked_now = revocation(Subject::user("ada", None));
        let just_issued = Identity {
            issued: Some(SystemTime::now()),
            ..identity(None)
        };
        assert!(revoked_now.covers(&just_issued));
    }
}
