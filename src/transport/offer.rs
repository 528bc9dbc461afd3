//! A websocket on its way to its session.

use bytes::Bytes;

use super::opening::WebsocketAccept;
use super::socket::{ClientStream, DetachedConnection};
use crate::model::EngineId;

/// A websocket that requests to take over a polling session. Its opening handshake has not been responded to yet.
#[derive(Debug)]
pub struct WebsocketOffer<C = DetachedConnection> {
    pub connection: C,
    /// Bytes that the client sent after its handshake.
    pub first: Bytes,
    pub accept: WebsocketAccept,
    /// Whether the client receives binary messages as base64, if it uses revision 3.
    pub base64: bool,
    pub session: EngineId,
}

impl WebsocketOffer<ClientStream> {
    /// Removes the connection from the event loop of this worker.
    ///
    /// # Errors
    /// The event loop does not release the connection.
    pub(super) fn detach(self) -> std::io::Result<WebsocketOffer> {
        Ok(WebsocketOffer {
            connection: self.connection.detach()?,
            first: self.first,
            accept: self.accept,
            base64: self.base64,
            session: self.session,
        })
    }
}
