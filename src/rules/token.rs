//! Room tokens: a token that the backend signed for one room, which its bearer can join without any other check.

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::metrics::labels::RelayErrorCode;
use crate::model::{Actions, Identity};

/// What a valid room token permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomToken {
    /// The only room for which it is valid.
    room: String,
    /// The only user for whom it is valid; `None` = anyone who has it.
    user: Option<String>,
    actions: Actions,
}

/// Why a room token is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomTokenRejection {
    pub code: RelayErrorCode,
    /// Contains no part of the token.
    pub message: &'static str,
    /// Whether the same token may be accepted later.
    pub temporary: bool,
}

/// Verifies room tokens; shared by all threads.
pub trait RoomTokenVerifier: Send + Sync {
    /// Verifies a token with the keys at hand. `None`: its key may have to be fetched first.
    fn verify_now(&self, token: &str) -> Option<Result<RoomToken, RoomTokenRejection>>;

    /// Verifies a token, after its key is fetched if that is necessary.
    fn verify(&self, token: String) -> BoxFuture<'static, Result<RoomToken, RoomTokenRejection>>;
}

impl RoomTokenRejection {
    /// A rejection that is final.
    pub fn new(code: RelayErrorCode, message: &'static str) -> Self {
        Self {
            code,
            message,
            temporary: false,
        }
    }
}

impl RoomToken {
    /// Reads the claims `room`, `sub` and `can` of a token whose signature and times are valid. `expires`: it has an
    /// `exp`, which a room token must have.
    ///
    /// # Errors
    /// A claim is missing or has the wrong form.
    pub fn read<'a>(
        claim: impl Fn(&str) -> Option<&'a Value>,
        expires: bool,
    ) -> Result<Self, RoomTokenRejection> {
        let malformed = |message| {
            Err(RoomTokenRejection::new(
                RelayErrorCode::RoomTokenMalformed,
                message,
            ))
        };
        let Some(Value::String(room)) = claim("room") else {
            return malformed("the token is not a room token: it has no `room`");
        };
        if !expires {
            return malformed("the room token has no `exp`");
        }
        let user = match claim("sub") {
            None => None,
            Some(Value::String(user)) => Some(user.clone()),
            Some(Value::Number(user)) if !user.is_f64() => Some(user.to_string()),
            Some(_) => return malformed("`sub` of the room token is not the name of a user"),
        };
        let Some(actions) = permitted(claim("can")) else {
            return malformed("`can` of the room token is not a list of actions");
        };
        Ok(Self {
            room: room.clone(),
            user,
            actions: Actions::JOIN | actions,
        })
    }

    /// The only room for which the token is valid.
    pub fn room(&self) -> &str {
        &self.room
    }

    /// What it permits in its room.
    pub fn actions(&self) -> Actions {
        self.actions
    }

    /// The only user for whom the token is valid; `None` = anyone who has it.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// What the token permits a client in a room: to join it, and what `can` lists.
    ///
    /// # Errors
    /// It is for another room or user.
    pub fn permits(
        &self,
        room: &str,
        identity: Option<&Identity>,
    ) -> Result<Actions, RoomTokenRejection> {
        if self.room != room {
            return Err(RoomTokenRejection::new(
                RelayErrorCode::RoomTokenRoom,
                "the room token is for another room",
            ));
        }
        let user = identity.map(|identity| &identity.user);
        if self
            .user
            .as_ref()
            .is_some_and(|wanted| Some(wanted) != user)
        {
            return Err(RoomTokenRejection::new(
                RelayErrorCode::RoomTokenUser,
                "the room token is for another user",
            ));
        }
        Ok(self.actions)
    }
}

fn permitted(can: Option<&Value>) -> Option<Actions> {
    let Some(can) = can else {
        return Some(Actions::NONE);
    };
    let mut all = Actions::NONE;
    for action in can.as_array()? {
        all |= Actions::named(action.as_str()?)?;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(claims: &Value) -> Result<RoomToken, RoomTokenRejection> {
        RoomToken::read(|name| claims.get(name), claims.get("exp").is_some())
    }

    #[test]
    fn a_token_permits_its_room_to_its_user() {
        let token = json!({"room": "a", "sub": "anna", "exp": 1, "can": ["emit", "members"]});
        let token = read(&token).unwrap();
        let user = |user: &str| Identity {
            user: user.to_owned(),
            ..Identity::default()
        };
        let (anna, bert) = (user("anna"), user("bert"));
        let actions = Actions::JOIN | Actions::EMIT | Actions::MEMBERS;
        assert_eq!(token.permits("a", Some(&anna)), Ok(actions));
        for (room, identity, code) in [
            ("b", Some(&anna), RelayErrorCode::RoomTokenRoom),
            ("a*", Some(&anna), RelayErrorCode::RoomTokenRoom),
            ("a", Some(&bert), RelayErrorCode::RoomTokenUser),
            ("a", None, RelayErrorCode::RoomTokenUser),
        ] {
            assert_eq!(token.permits(room, identity).unwrap_err().code, code);
        }
        let bearer = read(&json!({"room": "*", "exp": 1})).unwrap();
        assert_eq!(bearer.permits("*", None), Ok(Actions::JOIN));
        assert!(bearer.permits("a", None).is_err(), "a room, not a pattern");
        let seven = read(&json!({"room": "a", "sub": 7, "exp": 1})).unwrap();
        assert!(seven.permits("a", Some(&user("7"))).is_ok());
    }

    #[test]
    fn tokens_without_room_or_end_or_with_claims_of_another_form_are_malformed() {
        for claims in [
            json!({"sub": "anna", "exp": 1}),
            json!({"room": ["a"], "exp": 1}),
            json!({"room": "a"}),
            json!({"room": "a", "exp": 1, "sub": null}),
            json!({"room": "a", "exp": 1, "sub": 1.5}),
            json!({"room": "a", "exp": 1, "can": "emit"}),
            json!({"room": "a", "exp": 1, "can": ["emit", "fly"]}),
            json!({"room": "a", "exp": 1, "can": null}),
        ] {
            let rejection = read(&claims).unwrap_err();
            assert_eq!(
                rejection.code,
                RelayErrorCode::RoomTokenMalformed,
                "{claims}"
            );
        }
    }
}
