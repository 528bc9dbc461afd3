//! The body of a backend's response.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::failure::{HookFailure, HookRejection};
use crate::verbs::{Base64Text, Name, VerbRequest, parse, whole_number};

/// What a backend decides: a JSON object, or nothing, which accepts the request and does nothing else.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HookAnswer<'a> {
    /// Rejects the request; everything else in the response is ignored.
    #[serde(default)]
    pub error: Option<HookRejection>,
    /// Unique name of the user as whom the client is identified from now on.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    pub user: Option<Name<'a>>,
    /// Further facts about the user, an object; room rules can refer to them. Only together with `user`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Object>)]
    pub claims: Option<&'a RawValue>,
    /// What the user may do in rooms beyond the room rules: an object of room patterns, each with a list of actions, as
    /// in the claim `can` of tokens. Only together with `user`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<std::collections::HashMap<String, Vec<String>>>)]
    pub can: Option<&'a RawValue>,
    /// When the identity ends, in seconds since 1970. Only together with `user`.
    #[serde(default, deserialize_with = "whole_number")]
    pub expires_at: Option<u64>,
    /// Data that later requests for this socket contain, an object. Absent = as before.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Object>)]
    pub session: Option<&'a RawValue>,
    /// What the node does, in this order: `emit`, `join`, `leave`, `close_room`, `disconnect` and `force_reconnect`
    /// as in a batch of the HTTP API. Without a target, it does so for the socket itself.
    #[serde(borrow, default)]
    pub actions: Vec<VerbRequest<'a>>,
    /// Arguments of the ack, an array. Absent = none.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    pub ack: Option<&'a RawValue>,
    /// Binary values of `ack` as base64, in the order of their placeholders' numbers, at most 10.
    #[serde(borrow, default)]
    #[schema(value_type = Vec<Base64Text>, max_items = 10)]
    pub attachments: Vec<Name<'a>>,
}

impl<'a> HookAnswer<'a> {
    /// Parses the body of a successful response.
    ///
    /// # Errors
    /// It is not such an object, or rejects the request.
    pub fn parse(body: &'a [u8]) -> Result<Self, HookFailure> {
        if body.is_empty() {
            let detail =
                "the response has no body, and neither the status 204 nor `Content-Length: 0`";
            return Err(HookFailure::bad_answer(detail));
        }
        let answer: Self =
            parse(body).map_err(|error| HookFailure::bad_answer(error.to_string()))?;
        match answer.error {
            Some(rejection) => Err(HookFailure::rejected(rejection, "error in the response")),
            None => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_accepts_and_an_error_rejects() {
        for body in ["{}", " {}\n"] {
            let answer = HookAnswer::parse(body.as_bytes()).unwrap();
            assert!(answer.actions.is_empty() && answer.ack.is_none(), "{body}");
        }
        let failure = HookAnswer::parse(br#"{"error":{"message":"no"}}"#).unwrap_err();
        assert_eq!(
            (&*failure.code, &*failure.message),
            ("backend_rejected", "no")
        );
    }

    #[test]
    fn garbage_is_a_bad_answer_that_names_the_problem() {
        let cases = [
            ("", "no body"),
            ("<html>", "line 1"),
            ("[]", "object"),
            (r#"{"sesion":{}}"#, "session"),
            (r#"{"actions":[{"emitt":{}}]}"#, "emit"),
            (r#"{"user":5}"#, "string"),
            (r#"{"user":"a""#, "line 1"),
        ];
        for (body, named) in cases {
            let failure = HookAnswer::parse(body.as_bytes()).unwrap_err();
            assert_eq!(failure.code, "backend_bad_answer", "{body}");
            assert!(failure.detail.contains(named), "{body}: {}", failure.detail);
            assert!(!failure.temporary, "{body}");
        }
    }
}
