//! Events that backends publish.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::elements::decode_string;
use crate::model::{Command, Emit, Namespace, Payload, Room, Selector, SocketId};

/// Maximum number of channels of one event.
pub const MAX_CHANNELS: usize = 100;
/// Maximum size of the data of an event for all of its channels, in bytes.
const MAX_DATA: usize = 16 * 1024 * 1024;
/// The error of an incomplete event, as laravel-echo-server words it.
const INCOMPLETE: &str = "Event must include channel, event name and data";

/// The body of a request. Other members are ignored: backends send more.
#[derive(Deserialize)]
struct EventBody<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    channels: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    /// The socket that does not receive the event.
    #[serde(default)]
    socket_id: Option<String>,
}

/// The emits of an event: to each of its channels, with the name of the channel and the data.
///
/// # Errors
/// Why the event is rejected, for the backend.
pub fn emits(body: &[u8], namespace: &Namespace, max_depth: usize) -> Result<Vec<Command>, String> {
    let body: EventBody<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let channels = body.channels.or_else(|| Some(vec![body.channel?]));
    let (Some(name), Some(channels), Some(data)) = (body.name, channels, body.data) else {
        return Err(INCOMPLETE.to_owned());
    };
    let is_empty = name.is_empty() || channels.iter().any(|channel| channel.is_empty());
    if is_empty || channels.is_empty() || matches!(data.get(), "null" | "false" | "0" | "\"\"") {
        return Err(INCOMPLETE.to_owned());
    }
    if channels.len() > MAX_CHANNELS {
        return Err(format!("An event has at most {MAX_CHANNELS} channels"));
    }
    let data = data_of(data.get());
    if data.len().saturating_mul(channels.len()) > MAX_DATA {
        return Err("The data is too large for so many channels".to_owned());
    }
    let sender = body.socket_id.filter(|socket| SocketId::has_room(socket));
    let emit = |channel: Cow<'_, str>| {
        let quoted = Value::from(&*channel).to_string();
        let payload = Payload::event(&name, [&*quoted, &*data]);
        payload
            .check_event(max_depth)
            .map_err(|unfit| unfit.to_string())?;
        let mut to = Selector::room(namespace.clone(), Room::from(&*channel));
        if let Some(sender) = &sender {
            to = to.except(Room::from(sender.as_str()));
        }
        Ok(Command::Emit(Emit {
            to,
            payload,
            volatile: false,
            ack: None,
            conflate: None,
        }))
    };
    channels.into_iter().map(emit).collect()
}

/// The data for clients: the JSON that a string contains, or the data itself.
fn data_of(data: &str) -> Cow<'_, str> {
    let Some(text) = decode_string(data) else {
        return Cow::Borrowed(data);
    };
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(inner) => Cow::Owned(inner.get().to_owned()),
        Err(_) => Cow::Borrowed(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeId;
    use crate::model::random::OsRandom;

    fn emitted(body: &str) -> Result<Vec<(String, String, Vec<String>)>, String> {
        let commands = emits(body.as_bytes(), &Namespace::main(), 5)?.into_iter();
        let shown = commands.map(|command| {
            let Command::Emit(emit) = command else {
                panic!("an emit")
            };
            let except = emit.to.except.iter().map(ToString::to_string);
            let room = emit.to.rooms[0].to_string();
            (room, emit.payload.json().to_owned(), except.collect())
        });
        Ok(shown.collect())
    }

    #[test]
    fn an_event_is_emitted_to_each_channel_with_its_name_and_the_data() {
        let socket = SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom);
        // Clients of Socket.IO 2 name their sockets by the namespace, too.
        for sender in [socket.to_string(), format!("/shop#{socket}")] {
            let body = format!(
                r#"{{"name":"App\\E","channels":["a","private-b"],"data":"{{\"n\":1.0}}","socket_id":"{sender}","info":1}}"#
            );
            let event = |channel: &str| {
                let payload = format!(r#"["App\\E","{channel}",{{"n":1.0}}]"#);
                (channel.to_owned(), payload, vec![sender.clone()])
            };
            assert_eq!(emitted(&body), Ok(vec![event("a"), event("private-b")]));
        }
        for (data, expected) in [
            (r#"{"a":1.50}"#, r#"{"a":1.50}"#),
            (r#""text""#, r#""text""#),
            (r#""\"text\"""#, r#""text""#),
            ("[1]", "[1]"),
        ] {
            let body = format!(r#"{{"name":"e","channel":"c","data":{data},"socket_id":"1.2"}}"#);
            let payload = format!(r#"["e","c",{expected}]"#);
            assert_eq!(
                emitted(&body),
                Ok(vec![("c".to_owned(), payload, vec![])]),
                "{data}"
            );
        }
    }

    #[test]
    fn large_data_for_many_channels_is_rejected() {
        let data = "x".repeat(400_000);
        for (channels, is_accepted) in [(41, true), (42, false)] {
            let channels = vec!["c"; channels];
            let body = serde_json::json!({"name": "e", "channels": channels, "data": data});
            assert_eq!(emitted(&body.to_string()).is_ok(), is_accepted);
        }
    }

    #[test]
    fn incomplete_and_unfit_events_are_rejected() {
        for body in [
            "{}",
            r#"{"name":"e","channel":"c"}"#,
            r#"{"name":"e","channel":"c","data":null}"#,
            r#"{"name":"e","channel":"c","data":""}"#,
            r#"{"name":"","channel":"c","data":1}"#,
            r#"{"channel":"c","data":1}"#,
            r#"{"name":"e","data":1}"#,
            r#"{"name":"e","channels":[],"data":1}"#,
            r#"{"name":"e","channels":["a",""],"data":1}"#,
        ] {
            assert_eq!(emitted(body), Err(INCOMPLETE.to_owned()), "{body}");
        }
        let many = vec!["c"; 101];
        let body = serde_json::json!({"name": "e", "channels": many, "data": 1}).to_string();
        let deep = r#"{"name":"e","channel":"c","data":[[[[[1]]]]]}"#;
        let reserved = r#"{"name":"disconnect","channel":"c","data":1}"#;
        for (body, named) in [
            (&*body, "100 channels"),
            (deep, "5"),
            (reserved, "reserved"),
            ("[]", ""),
            ("{", ""),
            (r#"{"name":5}"#, "string"),
        ] {
            let error = emitted(body).unwrap_err();
            assert!(error.contains(named), "{body}: {error}");
        }
    }
}
