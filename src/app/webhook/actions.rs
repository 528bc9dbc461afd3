//! The actions in a response of a backend, all checked before any takes effect.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::value::RawValue;

use super::request::HookSubject;
use crate::app::Effect;
use crate::auth::user_room;
use crate::config::UserRoom;
use crate::model::{Command, Emit, Grant, Identity, Payload, Room, Selector};
use crate::verbs::{CheckRules, OwnSocket, VerbError, VerbRequest, ack_payload};
use crate::webhook::{HookAnswer, HookFailure};

/// A checked response.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) identity: Option<Box<Identity>>,
    pub(super) session: Option<Box<RawValue>>,
    pub(super) actions: Vec<HookAction>,
    pub(super) ack: Option<Payload>,
}

/// One action, in the form in which the session applies it.
#[derive(Debug)]
pub(super) enum HookAction {
    /// The socket itself joins rooms.
    Join(Vec<Room>),
    Other(Effect),
}

/// What responses are checked against.
#[derive(Clone)]
pub(super) struct AnswerRules {
    pub(super) user_room: UserRoom,
    /// `socket.max_depth`.
    pub(super) max_depth: usize,
    /// Size limit of `session` in bytes.
    pub(super) session_limit: usize,
}

impl AnswerRules {
    /// Reads the body of a successful response to a request about `subject`.
    ///
    /// # Errors
    /// The response rejects the request, or contains an invalid action.
    pub(super) fn read(&self, subject: &HookSubject, body: &[u8]) -> Result<Decided, HookFailure> {
        let answer = HookAnswer::parse(body)?;
        let user_room = |user: &str| user_room(&self.user_room, user);
        let rules = CheckRules {
            max_depth: self.max_depth,
            user_room: &user_room,
            own_socket: Some(OwnSocket {
                id: subject.socket,
                namespace: &subject.namespace,
            }),
        };
        let actions = answer.actions.iter().enumerate().map(|(index, action)| {
            let bad =
                |problem: String| HookFailure::bad_answer(format!("action {index}: {problem}"));
            if let VerbRequest::ForceReconnect(reconnect) = action {
                let selector = reconnect.check(&rules);
                let selector = selector.map_err(|error| bad(error.to_string()))?;
                let effect = Effect::ForceReconnect(Box::new(selector));
                return Ok(HookAction::Other(effect));
            }
            let command = command(action, subject, &rules)
                .ok_or_else(|| bad(format!("a response cannot contain `{}`", action.verb())))?;
            let command = command.map_err(|error| bad(error.to_string()))?;
            Ok(of_command(command, subject))
        });
        let actions = actions.collect::<Result<_, _>>()?;
        let ack = answer
            .ack
            .map(|args| ack_payload(args, &answer.attachments, &rules));
        let ack = ack.transpose();
        Ok(Decided {
            identity: identity(&answer)?,
            session: self.session(answer.session)?,
            actions,
            ack: ack.map_err(|error| HookFailure::bad_answer(format!("`ack`: {error}")))?,
        })
    }

    fn session(&self, session: Option<&RawValue>) -> Result<Option<Box<RawValue>>, HookFailure> {
        let Some(session) = session else {
            return Ok(None);
        };
        let length = session.get().len();
        if length > self.session_limit {
            let limit = self.session_limit;
            return Err(HookFailure::bad_answer(format!(
                "`session` has {length} bytes, at most {limit} are allowed (app.webhook.session_limit)"
            )));
        }
        object(session, "session")?;
        Ok(Some(session.to_owned()))
    }
}

fn object(value: &RawValue, name: &str) -> Result<(), HookFailure> {
    match value.get().starts_with('{') {
        true => Ok(()),
        false => Err(HookFailure::bad_answer(format!(
            "`{name}` is not an object"
        ))),
    }
}

/// The identity that a response establishes.
fn identity(answer: &HookAnswer<'_>) -> Result<Option<Box<Identity>>, HookFailure> {
    let Some(user) = &answer.user else {
        if answer.claims.is_some() || answer.can.is_some() || answer.expires_at.is_some() {
            let detail = "`claims`, `can` and `expires_at` require `user`";
            return Err(HookFailure::bad_answer(detail));
        }
        return Ok(None);
    };
    if user.is_empty() || user.len() > crate::verbs::MAX_NAME {
        let detail = format!("`user` has {} bytes", user.len());
        return Err(HookFailure::bad_answer(detail));
    }
    if let Some(claims) = answer.claims {
        object(claims, "claims")?;
    }
    let expires = answer.expires_at.map(Duration::from_secs);
    Ok(Some(Box::new(Identity {
        user: user.to_string(),
        claims: answer
            .claims
            .map_or_else(String::new, |raw| raw.get().to_owned()),
        grants: grants(answer.can)?,
        issued: Some(SystemTime::now()),
        expires: expires.and_then(|since| UNIX_EPOCH.checked_add(since)),
        ..Identity::default()
    })))
}

/// The grants of the identity.
fn grants(can: Option<&RawValue>) -> Result<Box<[Grant]>, HookFailure> {
    let Some(can) = can else {
        return Ok(Box::default());
    };
    let can = serde_json::from_str(can.get()).unwrap_or_default();
    Grant::read_all(can).map_err(|problem| HookFailure::bad_answer(format!("`can`: {problem}")))
}

/// The command of an action; `None` for a verb that is not available as an action.
fn command(
    action: &VerbRequest<'_>,
    subject: &HookSubject,
    rules: &CheckRules<'_>,
) -> Option<Result<Command, VerbError>> {
    Some(match action {
        VerbRequest::Emit(emit) => emit.check(rules).map(Command::Emit),
        VerbRequest::Join(join) => join.check(rules),
        VerbRequest::Leave(leave) => leave.check(rules),
        VerbRequest::Disconnect(disconnect) => disconnect.check(rules),
        VerbRequest::CloseRoom(close) => close.check().map(|command| match command {
            Command::CloseRoom { room, .. } if close.namespace.is_none() => Command::CloseRoom {
                namespace: subject.namespace.clone(),
                room,
            },
            other => other,
        }),
        _ => return None,
    })
}

/// The action of a command; without a detour for the socket itself.
fn of_command(command: Command, subject: &HookSubject) -> HookAction {
    let is_own = |selector: &Selector| {
        selector.except.is_empty()
            && selector.single_socket() == Some(subject.socket)
            && selector.namespace == subject.namespace
    };
    HookAction::Other(match command {
        Command::Join { selector, rooms } if is_own(&selector) => return HookAction::Join(rooms),
        Command::Leave { selector, rooms } if is_own(&selector) => Effect::Leave(rooms),
        Command::Disconnect { selector, close } if is_own(&selector) => {
            Effect::Disconnect { close }
        }
        Command::Emit(Emit {
            to,
            payload,
            volatile: false,
            conflate: None,
            ..
        }) if is_own(&to) => Effect::Emit(payload),
        other => Effect::dispatch(other),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;
    use crate::model::random::OsRandom;
    use crate::model::{Namespace, NodeId, SocketId};

    fn subject() -> HookSubject {
        let node = NodeId::random(&OsRandom);
        HookSubject {
            socket: SocketId::random(node, Default::default(), &OsRandom),
            namespace: Namespace::from("/chat"),
            node,
            identity: None,
        }
    }

    fn read(subject: &HookSubject, answer: &Value) -> Result<Decided, HookFailure> {
        let rules = AnswerRules {
            user_room: Config::default().identity.user_room,
            max_depth: 5,
            session_limit: 20,
        };
        rules.read(subject, answer.to_string().as_bytes())
    }

    fn action(subject: &HookSubject, action: &Value) -> HookAction {
        let mut decided = read(subject, &json!({"actions": [action]})).unwrap();
        decided.actions.remove(0)
    }

    #[test]
    fn an_action_without_a_target_concerns_the_socket_itself_and_is_applied_directly() {
        let subject = subject();
        let own = subject.socket.as_str();
        for target in [json!({}), json!({"sockets": [own], "namespace": "/chat"})] {
            let with = |fields: Value| {
                let (mut fields, target) = (fields, target.as_object().unwrap());
                fields.as_object_mut().unwrap().extend(target.clone());
                fields
            };
            let join = action(&subject, &json!({"join": with(json!({"rooms": ["r"]}))}));
            assert!(matches!(join, HookAction::Join(rooms) if rooms == [Room::from("r")]));
            let leave = action(&subject, &json!({"leave": with(json!({"rooms": ["r"]}))}));
            assert!(matches!(leave, HookAction::Other(Effect::Leave(rooms)) if rooms.len() == 1));
            let emit = action(
                &subject,
                &json!({"emit": with(json!({"event": "e", "args": [1]}))}),
            );
            let HookAction::Other(Effect::Emit(payload)) = emit else {
                panic!("{emit:?}")
            };
            assert_eq!(payload.json(), r#"["e",1]"#);
            let disconnect = action(
                &subject,
                &json!({"disconnect": with(json!({"close": true}))}),
            );
            assert!(matches!(
                disconnect,
                HookAction::Other(Effect::Disconnect { close: true })
            ));
        }
    }

    #[test]
    fn other_actions_are_commands_in_the_namespace_of_the_socket() {
        let subject = subject();
        let own = subject.socket.as_str();
        for (verb, namespace) in [
            (json!({"emit": {"rooms": ["r"], "event": "e"}}), "/chat"),
            (
                json!({"emit": {"rooms": ["r"], "event": "e", "namespace": "/"}}),
                "/",
            ),
            (json!({"emit": {"event": "e", "volatile": true}}), "/chat"),
            (json!({"emit": {"event": "e", "conflate": "k"}}), "/chat"),
            (json!({"emit": {"event": "e", "except": ["r"]}}), "/chat"),
            (
                json!({"join": {"rooms": ["r"], "sockets": [own], "namespace": "/"}}),
                "/",
            ),
            (json!({"close_room": {"room": "r"}}), "/chat"),
            (json!({"close_room": {"room": "r", "namespace": "/"}}), "/"),
            (json!({"disconnect": {"users": ["ada"]}}), "/chat"),
        ] {
            let HookAction::Other(Effect::Dispatch(command)) = action(&subject, &verb) else {
                panic!("{verb}")
            };
            assert_eq!(command.namespace().as_str(), namespace, "{verb}");
            let Command::Emit(emit) = &*command else {
                continue;
            };
            let key = verb["emit"]["conflate"].as_str();
            assert_eq!(emit.conflate.as_deref(), key);
        }
    }

    #[test]
    fn a_response_with_anything_that_cannot_be_done_is_a_bad_answer_as_a_whole() {
        let subject = subject();
        let good = json!({"emit": {"event": "e"}});
        for (answer, named) in [
            (
                json!({"actions": [good, {"call": {"rooms": ["r"], "event": "e"}}]}),
                "action 1",
            ),
            (json!({"actions": [{"info": {}}]}), "`info`"),
            (
                json!({"actions": [{"emit": {"event": "connect"}}]}),
                "reserved",
            ),
            (json!({"actions": [{"join": {"rooms": []}}]}), "`rooms`"),
            (json!({"ack": 5}), "`ack`"),
            (json!({"ack": [[[[[[1]]]]]]}), "deeper than 5"),
            (
                json!({"ack": [{"_placeholder": true, "num": 0}], "attachments": ["AA==", "AA=="]}),
                "attachment",
            ),
            (
                json!({"session": {"a": "0123456789012345"}}),
                "session_limit",
            ),
            (json!({"session": "text"}), "`session`"),
            (json!({"user": ""}), "`user`"),
            (json!({"user": "x".repeat(256)}), "256 bytes"),
            (json!({"claims": {}}), "require `user`"),
            (json!({"can": {"r": ["emit"]}}), "require `user`"),
            (json!({"user": "ada", "can": {"r": ["fly"]}}), "`can`"),
            (json!({"user": "ada", "can": ["r"]}), "`can`"),
            (
                json!({"actions": [{"force_reconnect": {"sockets": ["x"]}}]}),
                "action 0",
            ),
            (json!({"user": "ada", "claims": []}), "`claims`"),
        ] {
            let failure = read(&subject, &answer).unwrap_err();
            assert_eq!(failure.code, "backend_bad_answer", "{answer}");
            assert!(
                failure.detail.contains(named),
                "{answer}: {}",
                failure.detail
            );
        }
    }

    #[test]
    fn a_user_has_claims_and_an_end() {
        let answer = json!({"user": "ada", "claims": {"team": 7}, "expires_at": 2_000_000_000});
        let identity = read(&subject(), &answer).unwrap().identity.unwrap();
        assert_eq!(
            (&*identity.user, &*identity.claims),
            ("ada", r#"{"team":7}"#)
        );
        let end = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        assert_eq!(identity.expires, Some(end));
        assert!(identity.issued.is_some());
        assert!(read(&subject(), &json!({})).unwrap().identity.is_none());
    }
}
