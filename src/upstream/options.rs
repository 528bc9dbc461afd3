//! How to open an upstream connection.

use std::time::Duration;

use crate::model::{Network, Payload};
use crate::protocol::client::ConnectRequest;

/// Options of an upstream connection.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    pub connect: ConnectRequest,
    /// Connections with the same value count together against `app.upstream.max_connections_per_user`.
    pub user: Option<Box<str>>,
    /// Network of the client, for `app.upstream.max_connections_per_ip`.
    pub network: Option<Network>,
    /// An event that the upstream must acknowledge before anything else is sent.
    pub first_event: Option<Payload>,
    /// An event sent at this interval. It requests no ack and does not count as use.
    pub heartbeat: Option<(Duration, Payload)>,
    /// Closes the connection when it was not used for this long and no ack is pending.
    pub idle_timeout: Option<Duration>,
}
