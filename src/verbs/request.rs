//! A request of any verb, and several of them in order.

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::changes::{
    CloseRoomRequest, DisconnectRequest, EmitRequest, ForceReconnectRequest, JoinRequest,
    LeaveRequest,
};
use super::event::CallRequest;
use super::history::HistoryRequest;
use super::parse::{self, parse};
use super::problem::{Code, VerbError};
use super::reads::{InfoRequest, MembersRequest, RoomsRequest, SocketsRequest, UsersRequest};
use super::revoke::RevokeRequest;

/// Declares the verbs by name.
macro_rules! verbs {
    ($($(#[$borrow:meta])? $name:literal => $variant:ident($request:ident $(<$lifetime:lifetime>)?),)*) => {
        /// A request of any verb: `{"VERB":{...}}`.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum VerbRequest<'a> {
            $($(#[$borrow])? $variant($request$(<$lifetime>)?),)*
        }

        impl<'a> PartialSchema for VerbRequest<'a> {
            fn schema() -> RefOr<Schema> {
                OneOfBuilder::new()
                    $(.item(tagged::<$request$(<$lifetime>)?>($name)))*
                    .description(Some("A request of any verb: `{\"VERB\":{...}}`."))
                    .into()
            }
        }

        impl<'a> ToSchema for VerbRequest<'a> {
            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                $(
                    let name = <$request$(<$lifetime>)?>::name().into_owned();
                    schemas.push((name, <$request$(<$lifetime>)?>::schema()));
                    <$request$(<$lifetime>)?>::schemas(schemas);
                )*
            }
        }

        /// The names of all verbs that a batch can contain.
        pub const VERBS: &[&str] = &[$($name),*];

        impl<'a> VerbRequest<'a> {
            /// Parses the body of a request of `verb`.
            ///
            /// # Errors
            /// There is no such verb, or the body is rejected.
            pub fn parse(verb: &str, body: &'a [u8]) -> Result<Self, VerbError> {
                match verb {
                    $($name => parse(body).map(Self::$variant),)*
                    _ => Err(parse::unknown_verb(verb, VERBS)),
                }
            }

            /// The name of the verb.
            pub fn verb(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }
        }
    };
}

verbs! {
    #[serde(borrow)]
    "emit" => Emit(EmitRequest<'a>),
    #[serde(borrow)]
    "call" => Call(CallRequest<'a>),
    #[serde(borrow)]
    "join" => Join(JoinRequest<'a>),
    #[serde(borrow)]
    "leave" => Leave(LeaveRequest<'a>),
    #[serde(borrow)]
    "close_room" => CloseRoom(CloseRoomRequest<'a>),
    #[serde(borrow)]
    "disconnect" => Disconnect(DisconnectRequest<'a>),
    #[serde(borrow)]
    "force_reconnect" => ForceReconnect(ForceReconnectRequest<'a>),
    #[serde(borrow)]
    "sockets" => Sockets(SocketsRequest<'a>),
    #[serde(borrow)]
    "rooms" => Rooms(RoomsRequest<'a>),
    #[serde(borrow)]
    "users" => Users(UsersRequest<'a>),
    #[serde(borrow)]
    "members" => Members(MembersRequest<'a>),
    #[serde(borrow)]
    "history" => History(HistoryRequest<'a>),
    #[serde(borrow)]
    "revoke" => Revoke(RevokeRequest<'a>),
    "info" => Info(InfoRequest),
}

/// The schema of `{"VERB":{...}}`, an object with this field only.
fn tagged<T: ToSchema>(verb: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .property(verb, Ref::from_schema_name(T::name()))
        .required(verb)
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

/// Requests of any verbs, executed in order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest<'a> {
    /// The requests, each with its verb: `{"emit":{...}}`.
    #[serde(borrow)]
    pub items: Vec<VerbRequest<'a>>,
}

impl<'a> VerbRequest<'a> {
    /// Parses `{"VERB":{...}}`.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn parse_tagged(body: &'a [u8]) -> Result<Self, VerbError> {
        parse(body)
    }
}

impl<'a> BatchRequest<'a> {
    /// Parses a batch of at most `limit` items.
    ///
    /// # Errors
    /// The batch is rejected as a whole; the error names the item.
    pub fn parse(body: &'a [u8], limit: usize) -> Result<Self, VerbError> {
        let batch: Self = parse(body).map_err(|error| parse::locate_item(body, error))?;
        if batch.items.len() > limit {
            let message = format!(
                "the batch has {} items, at most {limit} are allowed",
                batch.items.len()
            );
            return Err(VerbError::new(Code::TooManyItems, message));
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_parsed_by_its_name() {
        for verb in VERBS {
            let body = match *verb {
                "emit" | "call" => r#"{"everybody":true,"event":"e"}"#,
                "join" | "leave" => r#"{"everybody":true,"rooms":["r"]}"#,
                "close_room" | "members" | "history" => r#"{"room":"r"}"#,
                "disconnect" | "force_reconnect" | "sockets" => r#"{"everybody":true}"#,
                "revoke" => r#"{"user":"ada"}"#,
                _ => "{}",
            };
            let request = VerbRequest::parse(verb, body.as_bytes()).unwrap();
            assert_eq!(request.verb(), *verb);
            let tagged = serde_json::to_string(&request).unwrap();
            let again = VerbRequest::parse_tagged(tagged.as_bytes()).unwrap();
            assert_eq!(again.verb(), *verb, "{tagged}");
        }
    }

    #[test]
    fn a_problem_of_a_batch_names_its_item() {
        let item = r#"{"emit":{"everybody":true,"event":"e"}}"#;
        let batch = |third: &str| format!(r#"{{"items":[{item},{item},{third}]}}"#);
        let cases = [
            (
                batch(r#"{"emitt":{}}"#),
                Code::UnknownVerb,
                Some(2),
                "did you mean `emit`",
            ),
            (
                batch(r#"{"emit":{"room":["a"],"event":"e"}}"#),
                Code::UnknownField,
                Some(2),
                "did you mean `rooms`",
            ),
            (
                batch(r#"{"emit":{"rooms":"a","event":"e"}}"#),
                Code::InvalidField,
                Some(2),
                "item 2: ",
            ),
            (batch("7"), Code::InvalidField, Some(2), "item 2: "),
            (batch("{"), Code::NotJson, None, "line 1 column"),
            (
                r#"{"item":[]}"#.to_owned(),
                Code::UnknownField,
                None,
                "did you mean `items`",
            ),
            ("[]".to_owned(), Code::InvalidField, None, "object"),
        ];
        for (json, code, item, named) in cases {
            let error = BatchRequest::parse(json.as_bytes(), 10).unwrap_err();
            assert_eq!((error.code, error.item), (code, item), "{json}: {error}");
            assert!(error.message.contains(named), "{json}: {error}");
        }
        let error = BatchRequest::parse(batch(item).as_bytes(), 2).unwrap_err();
        assert_eq!(error.code, Code::TooManyItems);
    }
}
