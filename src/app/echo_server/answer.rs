//! Responses of the backend to auth requests.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A user in a presence channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EchoMember {
    /// `user_id` as text.
    pub user: String,
    /// `{"user_id":…,"user_info":…}`, the values as the backend encoded them.
    pub data: String,
}

/// The body of a response that admits a client.
#[derive(Deserialize)]
struct AuthAnswer<'a> {
    #[serde(borrow, default)]
    channel_data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChannelData<'a> {
    #[serde(borrow)]
    user_id: &'a RawValue,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
}

/// Whether the body of a response with the status 200 admits a client: JSON, such as `true`, an object or a JSON string
/// that contains one.
pub fn admits(body: &[u8]) -> bool {
    let body: Result<Value, _> = serde_json::from_slice(body);
    body.is_ok_and(|body| !matches!(body, Value::Bool(false) | Value::Null))
}

/// The member of a presence channel in the body of such a response. `channel_data` is an object, or a JSON string that
/// contains one.
pub fn member(body: &[u8]) -> Option<EchoMember> {
    let body = std::str::from_utf8(body).ok()?;
    let unwrapped = unwrapped(body);
    let admission: AuthAnswer<'_> = serde_json::from_str(&unwrapped).ok()?;
    let data = self::unwrapped(admission.channel_data?.get());
    let data: ChannelData<'_> = serde_json::from_str(&data).ok()?;
    let user = match serde_json::from_str(data.user_id.get()).ok()? {
        Value::String(user) if !user.is_empty() => user,
        Value::Number(_) => data.user_id.get().to_owned(),
        _ => return None,
    };
    let info = data.user_info.map_or("null", RawValue::get);
    let id = data.user_id.get();
    let data = format!(r#"{{"user_id":{id},"user_info":{info}}}"#);
    Some(EchoMember { user, data })
}

/// The text that a JSON string contains, or the JSON itself if it is not a string.
fn unwrapped(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(Value::String(text)) => text,
        _ => json.to_owned(),
    }
}

/// The arguments of `presence:subscribed`, as JSON: the members of a channel by user with their data.
pub(super) fn listed(members: impl Iterator<Item = String>) -> String {
    let mut list = String::from("[");
    for member in members {
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(&member);
    }
    list.push(']');
    list
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    json!(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laravel_admits_by_true_an_object_or_a_json_string() {
        for body in [
            "true",
            "{}",
            r#"{"auth":"key:signature"}"#,
            r#""{\"auth\":\"x\"}""#,
            "1",
        ] {
            assert!(admits(body.as_bytes()), "{body}");
        }
        for body in ["", "false", "null", "<!DOCTYPE html>", "OK", "tru"] {
            assert!(!admits(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_member_has_an_id_and_its_data_as_encoded() {
        let cases = [
            (
                r#"{"channel_data":{"user_id":1,"user_info":{"name":"Ada","n":1.0}}}"#,
                ("1", r#"{"user_id":1,"user_info":{"name":"Ada","n":1.0}}"#),
            ),
            (
                r#"{"auth":"k:s","channel_data":"{\"user_id\":\"7\",\"user_info\":[\"\\u00e9\"]}"}"#,
                ("7", r#"{"user_id":"7","user_info":["\u00e9"]}"#),
            ),
            (
                r#""{\"channel_data\":{\"user_id\":\"a\\u0062\"}}""#,
                ("ab", r#"{"user_id":"a\u0062","user_info":null}"#),
            ),
        ];
        for (body, (user, data)) in cases {
            let expected = EchoMember {
                user: user.to_owned(),
                data: data.to_owned(),
            };
            assert_eq!(member(body.as_bytes()), Some(expected), "{body}");
        }
        for body in [
            "true",
            "{}",
            "",
            r#"{"channel_data":{}}"#,
            r#"{"channel_data":{"user_id":null}}"#,
            r#"{"channel_data":{"user_id":""}}"#,
            r#"{"channel_data":{"user_id":{"a":1}}}"#,
            r#"{"channel_data":"x"}"#,
        ] {
            assert_eq!(member(body.as_bytes()), None, "{body}");
        }
    }
}
