//! What stock servers and emitters published, as `tests/vectors/node/record.mjs` recorded it.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::hex;
use super::servers::{NO_SOCKETS, text, us};
use crate::bus::link::{Channel, Outgoing};
use crate::cluster::dialect::node::message::vectors::{merged, names, payload, selection};
use crate::cluster::dialect::{Inbound, Outbound};
use crate::model::{AckToken, Command, Emit, NodeId, Query, ReplyTo};
use crate::msgpack::string;

const VECTORS: &str = include_str!("../../../../../../tests/vectors/node-pubsub.json");

/// A command of Redis that a stock server or emitter sent (`tests/vectors/node/record.mjs`).
#[derive(Deserialize)]
struct Record {
    dialect: String,
    step: String,
    channel: Option<String>,
    hex: Option<String>,
    means: Option<Value>,
}

fn emit_meaning(emit: &Emit) -> Value {
    let more = json!({"volatile": emit.volatile, "ack": emit.ack.is_some()});
    merged([selection("emit", &emit.to), payload(&emit.payload), more])
}

/// What a decoded message means, in the form of [`Record::means`]; `None` for one without effect on this node.
fn meaning(inbound: &Inbound) -> Option<Value> {
    Some(match inbound {
        Inbound::Command(Command::Emit(emit)) => emit_meaning(emit),
        Inbound::CountedEmit { emit, .. } => emit_meaning(emit),
        Inbound::Command(Command::Join { selector, rooms }) => {
            merged([selection("join", selector), json!({"into": names(rooms)})])
        }
        Inbound::Command(Command::Leave { selector, rooms }) => {
            merged([selection("leave", selector), json!({"into": names(rooms)})])
        }
        Inbound::Command(Command::Disconnect { selector, close }) => {
            merged([selection("disconnect", selector), json!({"close": close})])
        }
        Inbound::ForeignQuery { reply_to, query } => {
            let Query::Details { selector, .. } = query else {
                panic!("{query:?}");
            };
            let response = us()
                .encode(&Outbound::ForeignAnswer {
                    reply_to,
                    answer: &NO_SOCKETS,
                })
                .unwrap();
            match text(&response[0]).contains(r#""rooms":[]"#) {
                true => json!({"kind": "all rooms", "nsp": selector.namespace.as_str()}),
                false => selection("fetch", selector),
            }
        }
        Inbound::ServerEvent { event, reply_to } => merged([
            payload(&event.payload),
            json!({
                "kind": "server event",
                "nsp": event.namespace.as_str(),
                "answer": reply_to.is_some(),
            }),
        ]),
        // To other servers.
        Inbound::Ignored => return None,
        other => panic!("{other:?}"),
    })
}

/// The command as this node publishes it, with the ids of the stock server.
fn published(inbound: &Inbound, stock: &Bytes) -> Option<Outgoing> {
    let (command, ours) = match inbound {
        Inbound::Command(command) => (command.clone(), us()),
        Inbound::CountedEmit { emit, .. } => {
            let token = AckToken {
                reply_to: ReplyTo::Node(NodeId::parse("abcd").unwrap()),
                id: 0xab,
            };
            let emit = Emit {
                ack: Some(token),
                ..emit.clone()
            };
            (Command::Emit(emit), us())
        }
        _ => return None,
    };
    let [mut outgoing] = ours
        .encode(&Outbound::Command(&command))
        .unwrap()
        .try_into()
        .unwrap();
    let uid = "roomwire:roomwire:0:abcd";
    if outgoing.payload.starts_with(b"{") {
        let stock: Value = serde_json::from_slice(stock).unwrap();
        let text = text(&outgoing).replacen(uid, stock["uid"].as_str().unwrap(), 1);
        outgoing.payload = text.into();
        return Some(outgoing);
    }
    let request = format!("{uid}:00000000000000ab");
    let mut bytes = outgoing.payload.to_vec();
    for ours in [request.as_str(), uid] {
        let mut with_header = Vec::new();
        string(ours, &mut with_header);
        let at = bytes
            .windows(with_header.len())
            .position(|window| window == with_header);
        let Some(at) = at else { continue };
        let theirs = if stock[0] == 0x93 {
            &stock[1..8]
        } else if ours == uid {
            &stock[5..12]
        } else {
            &stock[22..29]
        };
        bytes.splice(at..at + with_header.len(), theirs.iter().copied());
    }
    outgoing.payload = bytes.into();
    Some(outgoing)
}

#[test]
fn recorded_messages_are_decoded_and_published_with_the_same_bytes() {
    let records: Vec<Record> = serde_json::from_str(VECTORS).unwrap();
    let (mut decoded, mut exact) = (0, 0);
    for record in records {
        let Some(mut means) = record.means else {
            continue;
        };
        let (channel, bytes) = (record.channel.unwrap(), hex(&record.hex.unwrap()));
        let fields = means.as_object_mut().unwrap();
        let is_exact = fields.remove("exact") != Some(Value::Bool(false));
        if let Some(args) = fields.get_mut("args") {
            *args = serde_json::from_str(args.as_str().unwrap()).unwrap();
        }
        let step = format!("{} {}", record.dialect, record.step);
        let inbound = us().decode(&Channel::from(channel.as_str()), &bytes);
        let inbound = inbound.unwrap_or_else(|error| panic!("{step}: {}", error.cause));
        let Some(meaning) = meaning(&inbound) else {
            assert!(channel.starts_with("socket.io-response#"), "{step}");
            continue;
        };
        decoded += 1;
        if record.step == "emit of undefined" {
            // Not in the message.
            means["args"] = json!(["values", null, {}]);
        }
        assert_eq!(meaning, means, "{step}");
        let is_stock_server = record.dialect.starts_with("pubsub");
        // Node sends a timeout, which only a receiver in Roomwire uses.
        let has_acks = matches!(inbound, Inbound::CountedEmit { .. });
        if is_stock_server
            && is_exact
            && let Some(outgoing) = published(&inbound, &bytes)
        {
            assert_eq!(outgoing.channel.as_str(), channel, "{step}");
            if has_acks {
                let until_flags = outgoing.payload.len() - 1;
                assert_eq!(
                    outgoing.payload[..until_flags],
                    bytes[..until_flags],
                    "{step}"
                );
            } else {
                assert_eq!(outgoing.payload, bytes, "{step}");
            }
            exact += 1;
        }
    }
    assert!(decoded > 60 && exact > 40, "{decoded} {exact}");
}
