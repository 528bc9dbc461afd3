//! A python-socketio process on the bus of a test: says and hears the JSON of its manager.

use bytes::Bytes;
use roomwire::bus::link::{Channel, Link, LinkEvent, LinkEvents, Outgoing};
use roomwire::bus::memory::{Hub, MemoryLink};
use serde_json::Value;

use super::within_deadline;

/// Its name on the bus, as a manager draws it.
pub const HOST: &str = "0123456789abcdef0123456789abcdef";

/// A foreign member of the bus.
pub struct PythonProcess {
    link: std::sync::Arc<MemoryLink>,
    events: LinkEvents,
}

impl PythonProcess {
    /// Joins the bus and hears the channel of all.
    pub fn join(hub: &Hub) -> Self {
        let (link, events) = hub.join();
        link.subscribe(vec![Channel::from("socketio")]);
        Self { link, events }
    }

    /// Says any bytes on any channel.
    pub fn publish_raw(&self, channel: &str, payload: impl Into<Bytes>) {
        let message = Outgoing {
            channel: Channel::from(channel.to_owned()),
            payload: payload.into(),
            volatile: false,
            translation: None,
        };
        self.link.publish(vec![message]);
    }

    /// Says a message on the channel of all; `fields` follow the method.
    pub fn publish(&self, method: &str, fields: &str) {
        self.publish_on("socketio", method, fields);
    }

    /// The same on any channel.
    pub fn publish_on(&self, channel: &str, method: &str, fields: &str) {
        self.publish_raw(
            channel,
            format!(r#"{{"method":"{method}",{fields},"host_id":"{HOST}"}}"#),
        );
    }

    /// The next message heard that is not its own.
    pub async fn receive(&mut self) -> Value {
        loop {
            let event = within_deadline("a message on the bus", self.events.next())
                .await
                .unwrap();
            let LinkEvent::Message { payload, .. } = event else {
                continue;
            };
            let Ok(message) = serde_json::from_slice::<Value>(&payload) else {
                continue;
            };
            if message["host_id"] != HOST || message["method"] == "callback" {
                return message;
            }
        }
    }
}
