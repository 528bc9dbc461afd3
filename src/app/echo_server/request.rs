//! What clients send.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::elements::decode_string;

/// The argument of `subscribe` and `unsubscribe`.
#[derive(Debug, Deserialize)]
pub struct ChannelRequest<'a> {
    /// The name of the channel.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// `options.auth` of Echo; `{headers}` as far as it matters.
    #[serde(borrow, default)]
    auth: Option<&'a RawValue>,
}

/// The argument of `client event`.
#[derive(Debug, Deserialize)]
pub struct ClientEvent<'a> {
    /// The channel whose other members receive the event.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// The name of the event.
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    /// Its argument, as the client encoded it.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
}

impl ChannelRequest<'_> {
    /// The headers that the client chooses, by their names in `allowed`. Values that are not text are ignored.
    pub fn headers<'n>(&self, allowed: &'n [String]) -> Vec<(&'n str, String)> {
        let auth = self.auth.map_or("{}", RawValue::get);
        let auth: serde_json::Value = serde_json::from_str(auth).unwrap_or_default();
        let Some(chosen) = auth.get("headers").and_then(|headers| headers.as_object()) else {
            return Vec::new();
        };
        let value = |name: &'n String| {
            let mut chosen = chosen.iter();
            let (_, value) = chosen.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            Some((name.as_str(), value.as_str()?.to_owned()))
        };
        allowed.iter().filter_map(value).collect()
    }
}

/// Reads the argument of a request: an object, or a string that contains one, which is kept in `text`.
pub fn with_argument<'a, T: Deserialize<'a>>(argument: &'a str, text: &'a mut String) -> Option<T> {
    match decode_string(argument) {
        Some(decoded) => {
            *text = decoded.into_owned();
            serde_json::from_str(text).ok()
        }
        None => serde_json::from_str(argument).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(argument: &str, allowed: &[&str]) -> Option<(String, Vec<(String, String)>)> {
        let mut text = String::new();
        let request: ChannelRequest<'_> = with_argument(argument, &mut text)?;
        let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let headers = request.headers(&allowed).into_iter();
        let headers = headers.map(|(name, value)| (name.to_owned(), value));
        Some((request.channel.clone().into_owned(), headers.collect()))
    }

    #[test]
    fn only_allowed_headers_are_read() {
        let argument = r#"{"channel":"private-a\u002eb","auth":{"headers":{"X-CSRF-TOKEN":"t","Authorization":"Bearer x","Host":"evil","X-N":5}}}"#;
        let (name, headers) = channel(argument, &["authorization", "x-csrf-token", "x-n"]).unwrap();
        assert_eq!(name, "private-a.b");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [pair("authorization", "Bearer x"), pair("x-csrf-token", "t")];
        assert_eq!(headers, expected);
        for argument in [
            r#"{"channel":"a"}"#,
            r#"{"channel":"a","auth":null}"#,
            r#"{"channel":"a","auth":[]}"#,
            r#"{"channel":"a","auth":{"headers":"x"}}"#,
            r#"{"channel":"a","auth":{}}"#,
        ] {
            assert_eq!(
                channel(argument, &["x"]),
                Some(("a".to_owned(), vec![])),
                "{argument}"
            );
        }
        for argument in ["", "null", "5", "\"x\"", r#"{"channel":5}"#, "{}", "[]"] {
            assert_eq!(channel(argument, &["x"]), None, "{argument}");
        }
    }

    #[test]
    fn a_client_event_can_be_encoded_twice_and_its_data_stays_as_it_is() {
        let plain = r#"{"channel":"private-a","event":"client-x","data":{"n":1.0,"s":"\ud800"}}"#;
        let twice = serde_json::Value::from(plain).to_string();
        for argument in [plain, &twice] {
            let mut text = String::new();
            let event: ClientEvent<'_> = with_argument(argument, &mut text).unwrap();
            assert_eq!((&*event.channel, &*event.event), ("private-a", "client-x"));
            assert_eq!(event.data.unwrap().get(), r#"{"n":1.0,"s":"\ud800"}"#);
        }
        let mut text = String::new();
        let event: ClientEvent<'_> =
            with_argument(r#"{"channel":"c","event":"e"}"#, &mut text).unwrap();
        assert!(event.data.is_none());
    }
}
