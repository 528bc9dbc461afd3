//! Publishes commands of shared namespaces, whose order is that of a stream (docs/bus.md#shared-sessions).

use log::debug;

use super::dialect::{EncodeError, Outbound};
use super::publish::Publisher;
use crate::history::Logs;
use crate::model::Command;

impl Publisher {
    /// A change of the rooms of a shared namespace, which this node has made already, takes its place among the events in
    /// the stream.
    pub(super) fn stream_of_change(&self, command: &Command) -> Option<Logs> {
        let history = self.directory.history()?;
        let is_change = !matches!(command, Command::Emit(_));
        (is_change && history.is_shared(command.namespace())).then_some(Logs::Stream)
    }

    /// Publishes a command of a namespace that has the order of a stream: the nodes receive it from there, this one
    /// included, and programs that use other foreign dialects as usual.
    pub(super) fn publish_in_stream(&self, command: &Command) {
        for dialect in self.dialects.iter().skip(1) {
            let in_stream = dialect.encode_in_stream(command);
            let is_streamed = in_stream.is_some();
            let encoded = in_stream.unwrap_or_else(|| dialect.encode(&Outbound::Command(command)));
            match encoded {
                Ok(mut messages) => {
                    messages.retain(|message| self.fits(message.payload.len()));
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
