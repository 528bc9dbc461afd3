//! The options of a broadcast or request: which sockets it concerns, and flags.
//!
//! Some ports of the emitter write `flags` as null, an empty text or list, and so they may write the options as a whole.

use std::time::Duration;

use serde_json::Value;

use super::malformed::MalformedPubSub;
use crate::cluster::dialect::node::selection::selected;
use crate::model::{Attachments, Namespace, Selector};
use crate::msgpack::Reader;

/// Maximum size of the options of an emit as JSON, and of what is skipped, in bytes.
const OPTIONS_LIMIT: usize = 1024 * 1024;

/// The options of an emit.
#[derive(Debug, Default)]
pub(super) struct Options(Value);

impl Options {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedPubSub> {
        let json = reader.json(&mut Attachments::new(), OPTIONS_LIMIT)?;
        match json.as_slice() {
            b"" | b"null" | b"\"\"" | b"[]" => Ok(Self::default()),
            json if json.starts_with(b"{") => Ok(Self(serde_json::from_slice(json)?)),
            // A value without `rooms` must not be taken for options that select all.
            _ => Err(MalformedPubSub::Field("opts")),
        }
    }

    /// The selected sockets; `None` if no socket can be among them.
    pub(super) fn selector(
        &self,
        namespace: &Namespace,
    ) -> Result<Option<Selector>, MalformedPubSub> {
        selected(namespace, &self.0).map_err(MalformedPubSub::Field)
    }

    pub(super) fn is_volatile(&self) -> bool {
        self.0["flags"]["volatile"].as_bool().unwrap_or(false)
    }

    /// Time after which the sender stops waiting for acks.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let milliseconds = self.0["flags"]["timeout"].as_u64()?;
        Some(Duration::from_millis(milliseconds))
    }
}

/// Skips a value.
pub(super) fn skip(reader: &mut Reader<'_>) -> Result<(), MalformedPubSub> {
    reader.json(&mut Attachments::new(), OPTIONS_LIMIT)?;
    Ok(())
}
