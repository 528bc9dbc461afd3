//! The one line a session leaves in the log when it has ended.

use std::net::IpAddr;

use log::info;
use smallvec::SmallVec;

use super::Session;
use crate::logging;
use crate::model::{Namespace, TransportName};
use crate::outbox::Tally;
use crate::protocol::engine_io::state::CloseReason;

/// Target of the line, so that it can be filtered apart from all others.
const TARGET: &str = "roomwire::sessions";
/// Namespaces named at most.
const MOST_NAMESPACES: usize = 16;

/// What a session did, as far as nobody else remembers it.
#[derive(Debug, Default)]
pub(super) struct SessionStats {
    packets: u64,
    bytes: u64,
    namespaces: SmallVec<[Namespace; 1]>,
    upgraded: bool,
}

impl SessionStats {
    /// Its client sent a message.
    pub(super) fn received(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// It got into a namespace, perhaps again.
    pub(super) fn joined(&mut self, namespace: &Namespace) {
        if self.namespaces.len() < MOST_NAMESPACES && !self.namespaces.contains(namespace) {
            self.namespaces.push(namespace.clone());
        }
    }

    /// It went from polling to a websocket.
    pub(super) fn upgraded(&mut self) {
        self.upgraded = true;
    }
}

impl Session {
    /// Says that the session is over, and what there was of it.
    pub(super) fn log_summary(&self, reason: CloseReason, client: Option<IpAddr>, sent: Tally) {
        let SessionStats {
            packets,
            bytes,
            namespaces,
            upgraded,
        } = &self.deeds;
        let transport = match self.transport {
            TransportName::Websocket if *upgraded => "polling,websocket",
            other => other.as_str(),
        };
        let names: Vec<&str> = namespaces.iter().map(|name| &**name).collect();
        info!(
            target: TARGET,
            sid = self.log_name(),
            reason = reason.as_str(),
            client:% = client.map(|address| address.to_string()).unwrap_or_default(),
            transport,
            namespaces = names.join(","),
            seconds = logging::seconds(self.opened.elapsed()),
            packets_in = *packets,
            bytes_in = *bytes,
            packets_out = sent.packets,
            bytes_out = sent.bytes,
            dropped = sent.dropped;
            "session closed"
        );
    }
}
