//! What this node says on the bus, in each dialect spoken.

use bytes::Bytes;
use log::{debug, warn};

use super::actor::Bridge;
use super::dialect::native::{encode_command, encode_reply};
use super::dialect::python::Fleet;
use super::link::{Channel, Outgoing};
use crate::logging::Burst;
use crate::metrics::labels::BusDrop;
use crate::model::{AckReply, Asker, Command, Emit};

impl Bridge {
    /// Whether the bus takes a message of that size; one that is too large is counted and named.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        let fits = bytes <= self.message_limit;
        if !fits {
            self.refuse_oversized(&format!(
                "{bytes} bytes are over bus.message_limit={}",
                self.message_limit
            ));
        }
        fits
    }

    /// Something is not published because of its size.
    pub(super) fn refuse_oversized(&self, why: &str) {
        self.count_dropped(BusDrop::Oversized);
        static BURST: Burst = Burst::new();
        if let Some(others) = BURST.note() {
            warn!(others; "message not published: {why}");
        }
    }

    fn publish(&mut self, channel: Channel, payload: Bytes, volatile: bool) {
        if !self.takes(payload.len()) {
            return;
        }
        self.directory.metrics().bus_published_total.increment();
        self.link.publish(vec![Outgoing {
            channel,
            payload,
            volatile,
        }]);
    }

    pub(super) fn publish_command(&mut self, command: &Command) {
        let volatile = matches!(command, Command::Emit(Emit { volatile: true, .. }));
        match encode_command(self.directory.node(), command) {
            Ok(payload) => {
                for channel in self.native.of(command) {
                    self.publish(channel, payload.clone(), volatile);
                }
            }
            Err(error) => self.refuse_oversized(&error.to_string()),
        }
        let Some(python) = &self.python else { return };
        match python.fleet.encode(command) {
            Ok(messages) => {
                let channel = Channel::from(python.channels.all());
                for payload in messages {
                    self.publish(channel.clone(), payload, volatile);
                }
            }
            Err(unsupported) => debug!(reason:% = unsupported; "not told to python processes"),
        }
    }

    pub(super) fn publish_reply(&mut self, reply: &AckReply) {
        match &reply.token.asker {
            Asker::Node(node) => match encode_reply(self.directory.node(), reply) {
                Ok(payload) => self.publish(self.native.node(*node), payload, false),
                Err(error) => self.refuse_oversized(&error.to_string()),
            },
            Asker::Python { .. } => {
                let Some(python) = &self.python else { return };
                match Fleet::encode_reply(reply) {
                    Ok(payload) => {
                        self.publish(Channel::from(python.channels.all()), payload, false)
                    }
                    Err(unsupported) => warn!(error:% = unsupported; "answer not published"),
                }
            }
        }
    }
}
