//! Publishes commands of namespaces with shared sessions through their streams (docs/node-servers.md#shared-sessions).

use std::sync::atomic::Ordering;

use log::debug;
use tokio::time::Instant;

use super::dialect::{EncodeError, EntryNumber, Outbound};
use super::publish::Publisher;
use crate::bus::link::Channel;
use crate::history::Logs;
use crate::metrics::labels::BusDrop;
use crate::model::Command;

impl Publisher {
    /// `Logs::Stream` for a change of rooms or connections in a shared namespace. This node has applied it already;
    /// other nodes apply it in its place among the events of the stream.
    pub(super) fn stream_of_change(&self, command: &Command) -> Option<Logs> {
        let history = self.directory.history()?;
        let is_change = !matches!(command, Command::Emit(_));
        (is_change && history.is_shared(command.namespace())).then_some(Logs::Stream)
    }

    /// Publishes the messages that waited for these subscriptions, which the bus has confirmed. Returns whether some were
    /// dropped meanwhile.
    pub(super) fn publish_waiting(&self, confirmed: &[Channel]) -> bool {
        let mut gate = self.stream_gate.borrow_mut();
        let (messages, dropped) = gate.confirmed(confirmed, Instant::now());
        let metrics = self.directory.metrics();
        metrics.bus_dropped_total.of(BusDrop::Spool).add(dropped);
        self.publish(messages);
        dropped > 0
    }

    /// Publishes a command of a shared namespace. All nodes, this one included, receive it from the stream; programs
    /// with other foreign dialects receive it as usual.
    pub(super) fn publish_in_stream(&self, command: &Command) {
        let number = EntryNumber {
            sender: self.sender,
            number: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
        };
        for dialect in self.dialects.iter().skip(1) {
            let in_stream = dialect.encode_in_stream(command, number);
            let is_streamed = in_stream.is_some();
            let encoded = in_stream.unwrap_or_else(|| dialect.encode(&Outbound::Command(command)));
            match encoded {
                Ok(mut messages) => {
                    messages.retain(|message| self.fits(message.payload.len()));
                    if is_streamed {
                        let mut gate = self.stream_gate.borrow_mut();
                        gate.hold_back(&mut messages, Instant::now());
                    }
                    self.publish(messages);
                }
                Err(EncodeError::Unsupported(cause)) if !is_streamed => {
                    debug!(cause:%; "command not published in a dialect that cannot express it");
                }
                Err(EncodeError::TooLong(cause) | EncodeError::Unsupported(cause)) => {
                    self.reject_oversized(&cause.to_string());
                }
            }
        }
    }
}
