//! `[[bus.json]]`: the sources of events in JSON, and channels on which messages of two kinds could arrive.

use crate::config::channel_template::ChannelNames;
use crate::config::checker::Checker;
use crate::config::json_source::{JsonArgs, JsonField, JsonSource};
use crate::config::tables::{BusConfig, Config, JsonSourceEntry, NodeAdapter};
use crate::model::Payload;

pub(super) fn resolve(config: &mut Config) {
    let entries = config.bus.json.iter().enumerate();
    config.bus.json_sources = entries
        .map(|(number, entry)| source(number, entry))
        .chain(broadcasts(config))
        .collect();
}

/// The broadcasts of the backend of the app `echo_server`.
fn broadcasts(config: &Config) -> Option<JsonSource> {
    let app = &config.app.echo_server;
    let is_used = config.app.uses_echo_server() && app.redis && !app.redis_prefix.is_empty();
    is_used.then(|| JsonSource {
        namespace: JsonField::Constant(app.namespace.clone()),
        ..JsonSource::laravel("app.echo_server.redis_prefix", &app.redis_prefix)
    })
}

fn key(number: usize, name: &str) -> String {
    format!("bus.json[{number}].{name}")
}

fn source(number: usize, entry: &JsonSourceEntry) -> JsonSource {
    let entry = entry.clone();
    JsonSource {
        key: key(number, "channel"),
        channel: entry.channel,
        event: entry.event,
        args: match entry.args_from {
            Some(list) => JsonArgs::ItemsOf(list),
            None => JsonArgs::Each(entry.args.unwrap_or_default()),
        },
        room: entry.room,
        namespace: entry
            .namespace
            .unwrap_or_else(|| JsonField::Constant("/".to_owned())),
        except: entry.except.unwrap_or_default(),
        broadcast: entry.broadcast.unwrap_or(false),
    }
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    for (number, entry) in config.bus.json.iter().enumerate() {
        check_entry(number, entry, checker);
    }
    if config.bus.redis_url.is_none() && !config.bus.json.is_empty() {
        checker.warn("bus.json", "has no effect without bus.redis_url");
    }
    overlaps(&config.bus, checker);
}

fn check_entry(number: usize, entry: &JsonSourceEntry, checker: &mut Checker<'_, '_>) {
    // Its problem was reported when the key was read.
    if entry.channel == Default::default() {
        return;
    }
    let (has_room, has_namespace) = (entry.channel.has_room(), entry.channel.has_namespace());
    let is_room_sound = checker.sound(&[&key(number, "room")]);
    let mut reject = |name, message: &str| checker.reject(&key(number, name), message);
    if entry.args.is_some() && entry.args_from.is_some() {
        reject("args_from", "cannot be set together with args");
    }
    if has_room && entry.room.is_some() {
        reject("room", "cannot be set: the room is part of the channel");
    }
    if has_namespace && entry.namespace.is_some() {
        let message = "cannot be set: the namespace is part of the channel";
        reject("namespace", message);
    }
    let constant = |field: &JsonField| match field {
        JsonField::Constant(text) => Some(text.clone()),
        _ => None,
    };
    if let Some(event) = constant(&entry.event)
        && let Err(message) = check_event(&event)
    {
        reject("event", &message);
    }
    if entry.room.as_ref().and_then(constant).as_deref() == Some("") {
        reject("room", "must name a room after `=`");
    }
    let broadcasts = entry.broadcast == Some(true);
    if has_room && broadcasts {
        let message = "cannot be true: every message has the room of its channel";
        reject("broadcast", message);
    }
    if is_room_sound && !has_room && entry.room.is_none() && !broadcasts {
        let message = "is for nobody: set room, use {room} in the channel, or set broadcast = true for all sockets of the namespace";
        reject("channel", message);
    }
}

/// Whether clients can receive events of this name.
fn check_event(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("must name an event after `=`".to_owned());
    }
    let payload = Payload::event(name, ["0"; 0]);
    let checked = payload.check_event(usize::MAX);
    checked.map_err(|unfit| format!("cannot be sent to clients: {unfit}"))
}

/// The channels of the cluster itself and of each dialect, with the key that names them.
fn channels(bus: &BusConfig) -> Vec<(String, ChannelNames)> {
    let beginning = ChannelNames::beginning;
    let mut claimed = vec![(
        "bus.prefix".to_owned(),
        beginning(format!("{}:", bus.channel_prefix)),
    )];
    let mut claim = |key: &str, names| claimed.push((key.to_owned(), names));
    if bus.python {
        claim("bus.python_channel", ChannelNames::one(&bus.python_channel));
        let rooms = format!("{}#", bus.python_channel);
        claim("bus.python_channel", beginning(rooms));
    }
    let ends: &[&str] = match bus.node_adapter {
        NodeAdapter::None => &[],
        NodeAdapter::Emitters => &["#", "-request#"],
        NodeAdapter::PubSub => &["#", "-request#", "-response#"],
        NodeAdapter::Sharded | NodeAdapter::Streams => &["#"],
    };
    for end in ends {
        let names = beginning(format!("{}{end}", bus.node_key));
        claim("bus.node_key", names);
    }
    for source in &bus.json_sources {
        claim(&source.key, source.channel.names());
    }
    claimed
}

/// A message is decoded in one dialect only, so no channel can be of two.
fn overlaps(bus: &BusConfig, checker: &mut Checker<'_, '_>) {
    let claimed = channels(bus);
    for (number, (key, names)) in claimed.iter().enumerate() {
        let others = &claimed[..number];
        let other = others
            .iter()
            .find(|(other, theirs)| other != key && names.overlaps(theirs));
        if let Some((other, _)) = other
            && checker.sound(&[key, other])
        {
            let message = format!(
                "overlaps with the channels of {other}: messages on a channel are of one kind"
            );
            checker.reject(key, message);
        }
    }
}
