//! The one line that a session leaves in the log when it has ended.

use std::net::IpAddr;

use log::info;

use super::state::Session;
use super::stats::SessionStats;
use crate::logging;
use crate::model::TransportName;
use crate::outbox::Tally;
use crate::protocol::engine_io::state::CloseReason;

/// Target of the line, so that it can be filtered apart from all others.
const TARGET: &str = "roomwire::sessions";

impl Session {
    /// Logs the end of the session, with its counts.
    pub(super) fn log_summary(&self, reason: CloseReason, client: Option<IpAddr>, sent: Tally) {
        let SessionStats {
            packets,
            bytes,
            namespaces,
            upgraded,
            client: _,
        } = &self.stats;
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
