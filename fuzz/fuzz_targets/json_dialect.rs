//! What arrives on the channels of JSON sources is decoded or rejected, and an emit is a valid JSON array.
//!
//! The first byte selects the source.

#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomwire::bus::link::Channel;
use roomwire::cluster::dialect::json::JsonDialect;
use roomwire::cluster::dialect::{Dialect, Inbound};
use roomwire::config::{
    BusConfig, ChannelTemplate, Config, JsonArgs, JsonField, JsonPointer, JsonSource,
};
use roomwire::model::Command;

fn field(text: &str) -> JsonField {
    JsonField::parse(text).expect("a field")
}

fn pointer(text: &str) -> JsonPointer {
    JsonPointer::parse(text).expect("a pointer")
}

static DIALECTS: LazyLock<Vec<(Channel, Arc<dyn Dialect>)>> = LazyLock::new(|| {
    let one = JsonSource {
        key: String::new(),
        channel: ChannelTemplate::parse("events").expect("a channel"),
        event: field("/event"),
        args: JsonArgs::Each(["/message", "/0/a", ""].map(field).to_vec()),
        room: Some(field("/room")),
        namespace: field("/namespace"),
        except: vec![pointer("/not/0")],
        broadcast: true,
    };
    let list = JsonSource {
        channel: ChannelTemplate::parse("list:{namespace}").expect("a channel"),
        event: field("=e"),
        args: JsonArgs::ItemsOf(pointer("/args")),
        ..one.clone()
    };
    let laravel = JsonSource::laravel("", "app-");
    let config = BusConfig {
        json_sources: vec![one, list, laravel],
        ..Config::default().bus
    };
    let channels = ["events", "list:a", "app-room"].map(Channel::from);
    channels
        .into_iter()
        .zip(JsonDialect::configured(&config))
        .collect()
});

fuzz_target!(|input: &[u8]| {
    let [first, message @ ..] = input else {
        return;
    };
    let (channel, dialect) = &DIALECTS[usize::from(*first) % DIALECTS.len()];
    assert!(dialect.owns(channel));
    let decoded = dialect.decode(channel, &Bytes::copy_from_slice(message));
    if let Ok(Inbound::Command(Command::Emit(emit))) = decoded {
        assert!(emit.payload.event_name().is_some());
        let json = emit.payload.json();
        let elements: Vec<&serde_json::value::RawValue> =
            serde_json::from_str(json).expect("a JSON array");
        assert_eq!(elements.len(), emit.payload.elements().count());
    }
});
