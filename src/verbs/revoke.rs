//! Revocation of tokens, users and sessions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::bounds::checked;
use super::name::Name;
use super::problem::{Code, VerbError};
use super::text_schema::NameText;
use super::whole_number::whole_number;

/// Revokes a token, all tokens of a user issued before some time, or a session. Exactly one of `token`, `user` and
/// `session` is present.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest<'a> {
    /// Id of a token: its claim `jti`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NameText>)]
    pub token: Option<Name<'a>>,
    /// A user, of whom all tokens issued before `issued_before` are revoked.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NameText>)]
    pub user: Option<Name<'a>>,
    /// Unix time in seconds; with `user` only. Absent = now.
    #[serde(
        default,
        deserialize_with = "whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(maximum = 253402300799_u64)]
    pub issued_before: Option<u64>,
    /// Id of a session: the claim `sid` of its tokens, or the id of a socket.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NameText>)]
    pub session: Option<Name<'a>>,
    /// Unix time in seconds until which the revocation is kept: when the last token that it concerns expires. Absent =
    /// `auth.revocation_ttl` from now.
    #[serde(
        default,
        deserialize_with = "whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(maximum = 253402300799_u64)]
    pub expires: Option<u64>,
}

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationTarget {
    /// The token with this id.
    Token(String),
    /// Tokens of a user issued before a time; `None` = before now.
    User {
        user: String,
        issued_before: Option<SystemTime>,
    },
    /// The tokens of the session with this id.
    Session(String),
}

impl RevokeRequest<'_> {
    /// What is revoked, and until when that is kept, if the request contains a time.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self) -> Result<(RevocationTarget, Option<SystemTime>), VerbError> {
        let target = match (&self.token, &self.user, &self.session) {
            (Some(token), None, None) => {
                RevocationTarget::Token(checked(token, "token")?.to_owned())
            }
            (None, Some(user), None) => RevocationTarget::User {
                user: checked(user, "user")?.to_owned(),
                issued_before: self.issued_before.map(time).transpose()?,
            },
            (None, None, Some(session)) => {
                RevocationTarget::Session(checked(session, "session")?.to_owned())
            }
            (None, None, None) => {
                let message = "no target: name `token`, `user` or `session`";
                return Err(VerbError::new(Code::MissingTarget, message));
            }
            _ => {
                let message = "`token`, `user` and `session` exclude each other";
                return Err(VerbError::new(Code::InvalidField, message));
            }
        };
        if self.issued_before.is_some() && self.user.is_none() {
            let message = "`issued_before` applies to a `user` only";
            return Err(VerbError::new(Code::InvalidField, message));
        }
        Ok((target, self.expires.map(time).transpose()?))
    }
}

fn time(seconds: u64) -> Result<SystemTime, VerbError> {
    /// The year 9999.
    const LAST: u64 = 253_402_300_799;
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds.min(LAST)));
    time.filter(|_| seconds <= LAST)
        .ok_or_else(|| VerbError::new(Code::InvalidField, "a time is in Unix seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_names_one_token_user_or_session() {
        let check = |json: &str| {
            let request: RevokeRequest<'_> = crate::verbs::parse(json.as_bytes())?;
            request.check()
        };
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let user = |issued_before| RevocationTarget::User {
            user: "ada".into(),
            issued_before,
        };
        let cases = [
            (
                r#"{"token":"t"}"#,
                Ok((RevocationTarget::Token("t".into()), None)),
            ),
            (
                r#"{"session":"s","expires":9}"#,
                Ok((RevocationTarget::Session("s".into()), Some(at(9)))),
            ),
            (r#"{"user":"ada"}"#, Ok((user(None), None))),
            (
                r#"{"user":"ada","issued_before":7}"#,
                Ok((user(Some(at(7))), None)),
            ),
            ("{}", Err(Code::MissingTarget)),
            (r#"{"token":"t","user":"ada"}"#, Err(Code::InvalidField)),
            (
                r#"{"token":"t","issued_before":7}"#,
                Err(Code::InvalidField),
            ),
            (
                r#"{"user":"ada","issued_before":1e3}"#,
                Ok((user(Some(at(1000))), None)),
            ),
            (
                r#"{"user":"ada","issued_before":1000.5}"#,
                Err(Code::InvalidField),
            ),
            (
                r#"{"token":"t","expires":99999999999999}"#,
                Err(Code::InvalidField),
            ),
            (r#"{"token":""}"#, Err(Code::InvalidName)),
        ];
        for (json, expected) in cases {
            assert_eq!(check(json).map_err(|error| error.code), expected, "{json}");
        }
    }
}
