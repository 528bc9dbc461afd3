//! Drives the stock client `rust_socketio` for `tests/clients/js/rust.test.mjs`.
//!
//! `stock-rust-client URL TRANSPORT`, with the transport `any`, `polling`, `websocket` or `upgrade`. Each line of the input
//! is a JSON array: `["emit", event, argument, …]`, `["ask", event, argument, …]`, or `["bytes", event, [byte, …]]`. Each
//! line of the output is one too: `["connect"]`, `["close"]`, `["error", text]`, `["event", name, argument, …]`,
//! `["bytes", name, [byte, …]]`, or `["ack", argument, …]`.

use std::time::Duration;

use rust_socketio::{ClientBuilder, Event, Payload, TransportType};
use serde_json::{Value, json};

/// Time limit of an ack.
const TIMEOUT: Duration = Duration::from_secs(15);

fn print(line: Vec<Value>) {
    println!("{}", Value::from(line));
}

/// A line for what was received.
fn report(kind: &str, name: Option<&str>, payload: Payload) {
    let mut line: Vec<Value> = name.map(Value::from).into_iter().collect();
    match payload {
        Payload::Text(values) => {
            line.insert(0, kind.into());
            line.extend(values);
        }
        Payload::Binary(bytes) => {
            line.insert(0, "bytes".into());
            line.push(json!(bytes.to_vec()));
        }
        #[allow(deprecated)]
        Payload::String(text) => line.extend([kind.into(), text.into()]),
    }
    print(line);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("a URL");
    let transport = match arguments.next().as_deref() {
        Some("polling") => TransportType::Polling,
        Some("websocket") => TransportType::Websocket,
        Some("upgrade") => TransportType::WebsocketUpgrade,
        _ => TransportType::Any,
    };
    let client = ClientBuilder::new(url)
        .transport_type(transport)
        .reconnect_delay(50, 250)
        .on(Event::Connect, |_, _| print(vec!["connect".into()]))
        .on(Event::Close, |_, _| print(vec!["close".into()]))
        .on(Event::Error, |payload, _| report("error", None, payload))
        .on_any(|event, payload, _| report("event", Some(&String::from(event)), payload))
        .connect()
        .expect("a connection");
    for line in std::io::stdin().lines() {
        let line: Vec<Value> = serde_json::from_str(&line.expect("a line")).expect("an array");
        let [kind, event, arguments @ ..] = &line[..] else {
            panic!("{line:?}");
        };
        let event = event.as_str().expect("a name");
        let sent = match kind.as_str() {
            Some("emit") => client.emit(event, arguments.to_vec()),
            Some("ask") => {
                client.emit_with_ack(event, arguments.to_vec(), TIMEOUT, |payload, _| {
                    report("ack", None, payload);
                })
            }
            Some("bytes") => {
                let bytes: Vec<u8> = serde_json::from_value(arguments[0].clone()).expect("bytes");
                client.emit(event, bytes)
            }
            other => panic!("{other:?}"),
        };
        // While it reconnects, it does not buffer what is emitted.
        if let Err(error) = sent {
            print(vec!["error".into(), error.to_string().into()]);
        }
    }
    let _ = client.disconnect();
}
