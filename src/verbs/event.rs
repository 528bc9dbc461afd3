//! Events for clients, and the verb that collects their acks.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::bounds::CheckRules;
use super::name::Name;
use super::problem::{Code, VerbError};
use super::target::targeted;
use super::text_schema::Base64Text;
use super::whole_number::{whole, whole_number};
use crate::model::base64::decode_lenient;
use crate::model::elements::Elements;
use crate::model::{Attachments, Emit, Payload};

/// The longest time limit of a call.
pub const MAX_CALL_TIME: Duration = Duration::from_secs(60);
/// The time limit of a call that names none.
const DEFAULT_CALL_TIME: Duration = Duration::from_secs(5);

targeted! {
    /// Sends an event to the selected sockets and waits for the acks of their clients.
    CallRequest(rooms) {
        /// Name of the event.
        #[serde(borrow)]
        #[schema(value_type = String, example = "confirm")]
        event: Name<'a>,
        /// Arguments of the event. A value `{"_placeholder":true,"num":N}` stands for attachment `N`.
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<Vec<serde_json::Value>>)]
        args: Option<&'a RawValue>,
        /// Binary values as base64, in the order of their placeholders' numbers, at most 10.
        #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
        #[schema(value_type = Vec<Base64Text>, max_items = 10)]
        attachments: Vec<Name<'a>>,
        /// Acks to wait for: `all`, `first` or a number.
        #[serde(default)]
        acks: AcksWanted,
        /// Always rejected: a client that acks must receive the event.
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        #[schema(ignore)]
        conflate: Option<Name<'a>>,
        /// Time limit in milliseconds, 1 to 60000. Absent = 5000.
        #[serde(default, deserialize_with = "whole_number", skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 60000)]
        timeout_ms: Option<u64>,
    }
}

/// Number of acks for which a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcksWanted {
    /// One of every selected socket.
    #[default]
    All,
    First,
    /// At least 1.
    Count(usize),
}

/// A call in the form that the broker executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedCall {
    pub emit: Emit,
    pub acks: AcksWanted,
    pub time: Duration,
}

impl CallRequest<'_> {
    /// The event, its recipients and when the call ends.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self, rules: &CheckRules<'_>) -> Result<CheckedCall, VerbError> {
        let time = self
            .timeout_ms
            .map_or(DEFAULT_CALL_TIME, Duration::from_millis);
        if time.is_zero() || time > MAX_CALL_TIME {
            let message = format!("`timeout_ms` is 1 to {}", MAX_CALL_TIME.as_millis());
            return Err(VerbError::new(Code::InvalidField, message));
        }
        if self.conflate.is_some() {
            let message = "an event that requests acks cannot be conflated";
            return Err(VerbError::new(Code::InvalidConflation, message));
        }
        Ok(CheckedCall {
            emit: Emit {
                to: self.target().selector(rules)?,
                payload: event_payload(&self.event, self.args, &self.attachments, rules)?,
                volatile: false,
                ack: None,
                conflate: None,
            },
            acks: self.acks,
            time,
        })
    }
}

/// The payload of an event for clients.
pub(super) fn event_payload(
    event: &str,
    args: Option<&RawValue>,
    attachments: &[Name<'_>],
    rules: &CheckRules<'_>,
) -> Result<Payload, VerbError> {
    let args = args.map_or("[]", RawValue::get);
    let payload = with_attachments(args, event_json(event, args), attachments)?;
    let checked = payload.check_event(rules.max_depth);
    checked.map_err(|unfit| VerbError::new(Code::InvalidEvent, unfit.to_string()))?;
    Ok(payload)
}

/// The payload of an ack for a client, from its arguments.
///
/// # Errors
/// The arguments are not an array, or clients cannot receive them.
pub fn ack_payload(
    args: &RawValue,
    attachments: &[Name<'_>],
    rules: &CheckRules<'_>,
) -> Result<Payload, VerbError> {
    let args = args.get();
    let payload = with_attachments(args, args.to_owned(), attachments)?;
    let checked = payload.check_ack(rules.max_depth);
    checked.map_err(|unfit| VerbError::new(Code::InvalidEvent, unfit.to_string()))?;
    Ok(payload)
}

/// The payload `json`, which contains `args`, with the attachments that they refer to.
fn with_attachments(
    args: &str,
    json: String,
    attachments: &[Name<'_>],
) -> Result<Payload, VerbError> {
    if !args.starts_with('[') {
        let message = "`args` is not an array: even a single argument is written `[argument]`";
        return Err(VerbError::new(Code::InvalidField, message));
    }
    let mut payload = Payload::text(json);
    if !attachments.is_empty() {
        let attachments: Attachments = attachments.iter().map(decoded).collect::<Result<_, _>>()?;
        check_placeholders(args, attachments.len())?;
        payload = payload.with_attachments(attachments);
    }
    Ok(payload)
}

/// `["name",args...]`, with the arguments as written.
fn event_json(event: &str, args: &str) -> String {
    let mut json = String::with_capacity(event.len() + args.len() + 4);
    json.push('[');
    let plain = event
        .bytes()
        .all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
    if plain {
        json.push('"');
        json.push_str(event);
        json.push('"');
    } else {
        json.push_str(&Value::from(event).to_string());
    }
    let rest = args.get(1..).unwrap_or_default().trim_ascii_start();
    if !rest.starts_with(']') {
        json.push(',');
    }
    json.push_str(rest);
    json
}

fn decoded(text: &Name<'_>) -> Result<Bytes, VerbError> {
    let bytes = decode_lenient(text.as_bytes());
    bytes.map(Bytes::from).map_err(|error| {
        let message = format!("an attachment is not base64: {error}");
        VerbError::new(Code::InvalidAttachment, message)
    })
}

/// Checks that every placeholder has an attachment and every attachment a placeholder: stock clients close their
/// connection otherwise.
fn check_placeholders(args: &str, attachments: usize) -> Result<(), VerbError> {
    let mut used = vec![false; attachments];
    for element in Elements::of(args) {
        let value: Value = serde_json::from_str(element)
            .map_err(|error| VerbError::new(Code::NotJson, format!("`args`: {error}")))?;
        mark_placeholders(&value, &mut used)?;
    }
    match used.iter().position(|used| !used) {
        None => Ok(()),
        Some(number) => {
            let message = format!("attachment {number} has no placeholder in `args`");
            Err(VerbError::new(Code::InvalidAttachment, message))
        }
    }
}

fn mark_placeholders(value: &Value, used: &mut [bool]) -> Result<(), VerbError> {
    match value {
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| mark_placeholders(item, used)),
        Value::Object(fields) if fields.get("_placeholder") == Some(&Value::Bool(true)) => {
            let number = fields.get("num").and_then(Value::as_u64);
            let slot = number.and_then(|number| used.get_mut(usize::try_from(number).ok()?));
            let Some(slot) = slot else {
                let message = format!("the placeholder {value} has no attachment");
                return Err(VerbError::new(Code::InvalidAttachment, message));
            };
            *slot = true;
            Ok(())
        }
        Value::Object(fields) => fields
            .values()
            .try_for_each(|item| mark_placeholders(item, used)),
        _ => Ok(()),
    }
}

impl Serialize for AcksWanted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::First => serializer.serialize_str("first"),
            Self::Count(count) => serializer.serialize_u64(*count as u64),
        }
    }
}

impl<'de> Deserialize<'de> for AcksWanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AcksVisitor)
    }
}

struct AcksVisitor;

impl Visitor<'_> for AcksVisitor {
    type Value = AcksWanted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`all`, `first` or a number from 1")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<AcksWanted, E> {
        match text {
            "all" => Ok(AcksWanted::All),
            "first" => Ok(AcksWanted::First),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<AcksWanted, E> {
        match usize::try_from(count) {
            Ok(count @ 1..) => Ok(AcksWanted::Count(count)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(count), &self)),
        }
    }

    fn visit_f64<E: Error>(self, count: f64) -> Result<AcksWanted, E> {
        match whole(count) {
            Some(count) => self.visit_u64(count),
            None => Err(E::invalid_value(Unexpected::Float(count), &self)),
        }
    }
}

impl PartialSchema for AcksWanted {
    fn schema() -> RefOr<Schema> {
        let words = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["all", "first"]));
        let count = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1));
        OneOfBuilder::new().item(words).item(count).into()
    }
}

impl ToSchema for AcksWanted {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Room;

    #[test]
    fn a_call_has_acks_and_a_time_limit() {
        let rules = CheckRules {
            max_depth: 4,
            user_room: &|user| Room::from(user),
            own_socket: None,
        };
        let check = |rest: &str| {
            let json = format!(r#"{{"rooms":["r"],"event":"e"{rest}}}"#);
            let request: CallRequest<'_> = crate::verbs::parse(json.as_bytes())?;
            let call = request.check(&rules)?;
            Ok::<_, VerbError>((call.acks, call.time.as_millis()))
        };
        let cases = [
            ("", Ok((AcksWanted::All, 5000))),
            (
                r#","acks":"first","timeout_ms":1"#,
                Ok((AcksWanted::First, 1)),
            ),
            (
                r#","acks":3,"timeout_ms":60000"#,
                Ok((AcksWanted::Count(3), 60_000)),
            ),
            (
                r#","acks":3.0,"timeout_ms":6e4"#,
                Ok((AcksWanted::Count(3), 60_000)),
            ),
            (r#","acks":2.5"#, Err(Code::InvalidField)),
            (r#","acks":0"#, Err(Code::InvalidField)),
            (r#","acks":"some""#, Err(Code::InvalidField)),
            (r#","timeout_ms":0"#, Err(Code::InvalidField)),
            (r#","timeout_ms":60001"#, Err(Code::InvalidField)),
            (r#","timeout_ms":-1"#, Err(Code::InvalidField)),
        ];
        for (rest, expected) in cases {
            assert_eq!(check(rest).map_err(|error| error.code), expected, "{rest}");
        }
    }
}
