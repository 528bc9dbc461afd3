//! What this node says on the bus, in each dialect spoken.

use bytes::Bytes;
use log::{debug, warn};

use super::dialect::native::{NativeMessage, encode_command, encode_reply};
use super::dialect::python::Fleet;
use super::node::Bridge;
use crate::broker::directory::gather_worker;
use crate::broker::messages::Asked;
use crate::bus::link::{Channel, Outgoing, Translation};
use crate::health::BusState;
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
        self.send(Outgoing {
            channel,
            payload,
            volatile,
            translation: None,
        });
    }

    fn send(&self, message: Outgoing) {
        self.directory.metrics().bus_published_total.increment();
        self.link.publish(vec![message]);
    }

    /// Publishes a question of this node and reports to the asking worker how many nodes received it. Returns `false`
    /// while Redis is away, and with python-socketio processes on the bus, which do not report that they have nobody to
    /// ask; the question then waits for its timeout.
    fn publish_question(&mut self, command: &Command) -> bool {
        let Command::Emit(Emit {
            ack: Some(token), ..
        }) = command
        else {
            return false;
        };
        let asker = self.directory.shards().get(gather_worker(token.id));
        let (Some(asker), None, BusState::Up) = (asker, &self.python, self.health.bus()) else {
            return false;
        };
        let payload = match encode_command(self.directory.node(), command) {
            Ok(payload) if payload.len() <= self.message_limit => payload,
            // The regular path refuses and counts it.
            _ => return false,
        };
        let counts: Vec<_> = self
            .native
            .of(command)
            .into_iter()
            .map(|channel| {
                self.directory.metrics().bus_published_total.increment();
                self.link.publish_counted(Outgoing {
                    channel,
                    payload: payload.clone(),
                    volatile: true,
                    translation: None,
                })
            })
            .collect();
        let (asker, question) = (asker.clone(), token.id);
        actix_rt::spawn(async move {
            let counts = futures_util::future::join_all(counts).await;
            let nodes = counts.into_iter().flatten().sum::<u64>();
            let nodes = usize::try_from(nodes).unwrap_or(usize::MAX);
            asker.do_send(Asked { question, nodes });
        });
        true
    }

    pub(super) fn publish_command(&mut self, command: &Command) {
        if self.publish_question(command) {
            return;
        }
        let volatile = matches!(command, Command::Emit(Emit { volatile: true, .. }));
        let mut kept = None;
        match encode_command(self.directory.node(), command) {
            Ok(payload) => {
                for channel in self.native.of(command) {
                    self.publish(channel, payload.clone(), volatile);
                }
                kept = Some(payload).filter(|payload| payload.len() <= self.message_limit);
            }
            Err(error) => self.refuse_oversized(&error.to_string()),
        }
        let Some(python) = &self.python else { return };
        let channel = Channel::from(python.channels.all());
        match (python.fleet.encode(command), kept) {
            // While Redis is away messages are queued: this one only in the native encoding.
            (Ok(messages), Some(payload))
                if messages.len() == 1 && self.health.bus() == BusState::Down =>
            {
                if messages.iter().all(|message| self.takes(message.len())) {
                    self.send(Outgoing {
                        channel,
                        payload,
                        volatile,
                        translation: Some(to_python(python.fleet.clone())),
                    });
                }
            }
            (Ok(messages), _) => {
                for payload in messages {
                    self.publish(channel.clone(), payload, volatile);
                }
            }
            (Err(unsupported), _) => {
                debug!(reason:% = unsupported; "not published to python-socketio processes");
            }
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

/// Re-encodes a native command for python-socketio; the caller has checked that it can be encoded.
fn to_python(fleet: Fleet) -> Translation {
    Translation::new(move |native| {
        let Ok((_, NativeMessage::Command(command))) = NativeMessage::decode(native) else {
            return Bytes::new();
        };
        let messages = fleet.encode(&command).unwrap_or_default();
        messages.into_iter().next().unwrap_or_default()
    })
}
