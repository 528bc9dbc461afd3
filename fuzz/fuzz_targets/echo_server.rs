//! What the app for Laravel Echo decodes: requests of clients, broadcasts, responses of the backend to auth requests, and
//! the bodies and paths of HTTP requests. Each is read or rejected without a panic, and what reaches clients is fit for them.
//!
//! The first byte selects the decoder.

#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomwire::app::echo_server::answer::{admits, member};
use roomwire::app::echo_server::request::{ChannelRequest, ClientEvent, with_argument};
use roomwire::bus::link::Channel;
use roomwire::cluster::dialect::json::JsonDialect;
use roomwire::cluster::dialect::{Dialect, Inbound};
use roomwire::config::{BusConfig, Config, JsonSource};
use roomwire::echo_api::event::{MAX_CHANNELS, emits};
use roomwire::echo_api::{EchoRoute, is_echo_api};
use roomwire::model::{Command, Emit, Namespace, SocketId};
use serde_json::value::RawValue;

const MAX_DEPTH: usize = 20;

static BROADCASTS: LazyLock<Arc<dyn Dialect>> = LazyLock::new(|| {
    let config = BusConfig {
        json_sources: vec![JsonSource::laravel("", "app-")],
        ..Config::default().bus
    };
    let mut dialects = JsonDialect::configured(&config).into_iter();
    dialects.next().expect("one dialect")
});

/// Checks that an emit has a name and two arguments, of which the first is the name of the channel.
fn check_arguments(emit: &Emit, channel: &str) {
    let event: Vec<&RawValue> = serde_json::from_str(emit.payload.json()).expect("a JSON array");
    assert_eq!(event.len(), 3);
    assert_eq!(event.len(), emit.payload.elements().count());
    assert!(emit.payload.event_name().is_some());
    assert_eq!(text_of(event[1].get()).as_deref(), Some(channel));
}

/// The text in a JSON string.
fn text_of(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn channel_request(text: &str) {
    let mut buffer = String::new();
    let Some(request) = with_argument::<ChannelRequest<'_>>(text, &mut buffer) else {
        return;
    };
    let allowed = ["authorization".to_owned(), "x-csrf-token".to_owned()];
    let headers = request.headers(&allowed);
    assert!(headers.len() <= allowed.len());
    for (name, _) in headers {
        assert!(allowed.iter().any(|known| known == name));
    }
}

fn client_event(text: &str) {
    let mut buffer = String::new();
    let Some(event) = with_argument::<ClientEvent<'_>>(text, &mut buffer) else {
        return;
    };
    if let Some(data) = event.data {
        let inner = text_of(text);
        assert!(inner.as_deref().unwrap_or(text).contains(data.get()));
    }
}

fn auth_response(body: &[u8]) {
    let Some(member) = member(body) else {
        return;
    };
    assert!(admits(body), "a member is admitted");
    assert!(!member.user.is_empty());
    let data: BTreeMap<&str, &RawValue> = serde_json::from_str(&member.data).expect("an object");
    assert!(data.keys().eq(["user_id", "user_info"].iter()));
    let id = data["user_id"].get();
    assert_eq!(text_of(id).as_deref().unwrap_or(id), member.user);
}

fn http_event(body: &[u8]) {
    let commands = match emits(body, &Namespace::main(), MAX_DEPTH) {
        Ok(commands) => commands,
        Err(error) => return assert!(!error.is_empty()),
    };
    assert!((1..=MAX_CHANNELS).contains(&commands.len()));
    for command in commands {
        let Command::Emit(emit) = command else {
            panic!("an event is an emit");
        };
        assert!(emit.payload.check_event(MAX_DEPTH).is_ok());
        let [room] = &emit.to.rooms[..] else {
            panic!("one channel");
        };
        assert!(emit.to.except.len() <= 1);
        for except in &emit.to.except {
            assert!(SocketId::parse(except.as_str()).is_some());
        }
        check_arguments(&emit, room.as_str());
    }
}

fn path(text: &str) {
    let path = format!("/apps/{text}");
    assert!(is_echo_api(&path));
    match EchoRoute::of(&path) {
        Some((app, EchoRoute::Channel(name) | EchoRoute::Users(name))) => {
            assert!(!app.is_empty());
            assert!(name.len() <= text.len() * 3);
        }
        Some((app, _)) => assert!(!app.is_empty()),
        None => {}
    }
}

fn broadcast(message: &[u8]) {
    let channel = Channel::from("app-room");
    let decoded = BROADCASTS.decode(&channel, &Bytes::copy_from_slice(message));
    let Ok(Inbound::Command(Command::Emit(emit))) = decoded else {
        return;
    };
    check_arguments(&emit, "room");
}

fuzz_target!(|input: &[u8]| {
    let [first, input @ ..] = input else {
        return;
    };
    match first % 6 {
        0 => auth_response(input),
        1 => http_event(input),
        2 => broadcast(input),
        decoder => {
            let Ok(text) = std::str::from_utf8(input) else {
                return;
            };
            match decoder {
                3 => channel_request(text),
                4 => client_event(text),
                _ => path(text),
            }
        }
    }
});
