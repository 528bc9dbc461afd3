//! A connection of the fleet without its socket: a Socket.IO client or an HTTP client.

use crate::client::{Client, ClientError, ClientEvent, Endpoint, Stage};
use crate::http_client::HttpClient;

pub(crate) enum Peer {
    SocketIo(Client),
    Http(HttpClient),
}

impl Peer {
    /// The connection after its end.
    pub(crate) fn closed() -> Self {
        let mut client = Client::new(0, Endpoint::default());
        client.stage = Stage::Closed;
        Self::SocketIo(client)
    }

    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::SocketIo(client) => client.stage,
            Self::Http(client) => client.stage,
        }
    }

    pub(crate) fn connected(&mut self, host: &str) {
        match self {
            Self::SocketIo(client) => client.connected(host),
            Self::Http(client) => client.connected(host),
        }
    }

    /// Queues a message: a packet, or the body of a request.
    pub(crate) fn send(&mut self, text: &str) {
        match self {
            Self::SocketIo(client) => client.send(text),
            Self::Http(client) => client.send(text),
        }
    }

    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<(), ClientError> {
        match self {
            Self::SocketIo(client) => client.receive(bytes, on_event),
            Self::Http(client) => client.receive(bytes, on_event),
        }
    }

    /// Bytes for the server that are not yet written to the socket.
    pub(crate) fn unsent(&mut self) -> &mut Vec<u8> {
        match self {
            Self::SocketIo(client) => &mut client.unsent,
            Self::Http(client) => &mut client.unsent,
        }
    }
}
