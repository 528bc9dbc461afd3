//! A python-socketio process on the bus of a test: publishes and receives the JSON of its manager.

use bytes::Bytes;
use roomwire::bus::link::{Channel, Link, LinkEvent, LinkEvents, Outgoing};
use roomwire::bus::memory::{Hub, MemoryLink};
use serde_json::Value;

use super::within_deadline;

/// Its `host_id`, in the form that a manager generates.
pub const HOST: &str = "0123456789abcdef0123456789abcdef";

/// A foreign member of the bus.
pub struct PythonProcess {
    link: std::sync::Arc<MemoryLink>,
    events: LinkEvents,
}

impl PythonProcess {
    /// Joins the bus and subscribes to the channel of all messages.
    pub fn join(hub: &Hub) -> Self {
        let (link, events) = hub.join();
        link.subscribe(vec![Channel::from("socketio")]);
        Self { link, events }
    }

    /// Publishes bytes on a channel.
    pub fn publish_raw(&self, channel: &str, payload: impl Into<Bytes>) {
        let message = Outgoing::new(Channel::from(channel.to_owned()), payload);
        self.link.publish(vec![message]);
    }

    /// Publishes a message on the channel of all messages; `fields` follow the method.
    pub fn publish(&self, method: &str, fields: &str) {
        self.publish_on("socketio", method, fields);
    }

    /// The same on another channel.
    pub fn publish_on(&self, channel: &str, method: &str, fields: &str) {
        self.publish_raw(
            channel,
            format!(r#"{{"method":"{method}",{fields},"host_id":"{HOST}"}}"#),
        );
    }

    /// The next message that the process has not published itself.
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
