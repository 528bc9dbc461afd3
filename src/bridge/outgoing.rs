//! What this node says on the bus, in each dialect spoken.

use bytes::Bytes;
use log::{debug, warn};

use super::actor::Bridge;
use super::dialect::native::{encode_command, encode_reply};
use super::dialect::python::Fleet;
use super::link::{Channel, Outgoing};
use crate::model::{AckReply, Asker, Command, Emit};

impl Bridge {
    fn publish(&self, channel: Channel, payload: Bytes, volatile: bool) {
        let metrics = self.directory.metrics();
        if payload.len() > self.message_limit {
            metrics.bus_oversized_total.increment();
            warn!(
                "message not published: {} bytes are over bus.message_limit={}",
                payload.len(),
                self.message_limit
            );
            return;
        }
        metrics.bus_published_total.increment();
        self.link.publish(vec![Outgoing {
            channel,
            payload,
            volatile,
        }]);
    }

    pub(super) fn publish_command(&self, command: &Command) {
        let volatile = matches!(command, Command::Emit(Emit { volatile: true, .. }));
        match encode_command(self.directory.node(), command) {
            Ok(payload) => {
                for channel in self.native.of(command) {
                    self.publish(channel, payload.clone(), volatile);
                }
            }
            Err(error) => {
                self.directory.metrics().bus_oversized_total.increment();
                warn!("command not published error=\"{error}\"");
            }
        }
        let Some(python) = &self.python else { return };
        match python.fleet.encode(command) {
            Ok(messages) => {
                for payload in messages {
                    self.publish(Channel::from(python.channels.all()), payload, volatile);
                }
            }
            Err(unsupported) => debug!("not told to python processes reason=\"{unsupported}\""),
        }
    }

    pub(super) fn publish_reply(&self, reply: &AckReply) {
        match &reply.token.asker {
            Asker::Node(node) => match encode_reply(self.directory.node(), reply) {
                Ok(payload) => self.publish(self.native.node(*node), payload, false),
                Err(error) => warn!("answer not published error=\"{error}\""),
            },
            Asker::Python { .. } => {
                let Some(python) = &self.python else { return };
                match Fleet::encode_reply(reply) {
                    Ok(payload) => {
                        self.publish(Channel::from(python.channels.all()), payload, false)
                    }
                    Err(unsupported) => warn!("answer not published error=\"{unsupported}\""),
                }
            }
        }
    }
}
