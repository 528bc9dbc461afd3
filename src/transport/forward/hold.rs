//! Holds a websocket on this node for a session of another one.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::envelope::{ForwardOutcome, Kind};
use super::remote;
use super::remote_session::RemoteSession;
use crate::limits::Admission;
use crate::outbox::Packet;
use crate::protocol::websocket::FrameDecoder;
use crate::transport::endpoint::Endpoint;
use crate::transport::handshake::RequestError;
use crate::transport::offer::WebsocketOffer;
use crate::transport::rejection::Rejection;
use crate::transport::rejection_log;
use crate::transport::socket::ClientStream;

/// Responds to the opening handshake of a websocket and, if the owner of the session accepts its probe, holds it until
/// the websocket or the session ends.
///
/// # Errors
/// The connection is lost.
pub(in crate::transport) async fn hold(
    endpoint: &Endpoint,
    session: RemoteSession,
    offer: WebsocketOffer<ClientStream>,
    admission: Option<Admission>,
) -> std::io::Result<()> {
    let (forward, timeout) = (&session.forward, endpoint.settings.forward_timeout);
    let number = forward.next_number();
    let argument = u32::from(offer.base64);
    let probe = forward.call(session.id, Kind::Probe, number, argument, timeout);
    let (outcome, _) = probe.await;
    let decoder = offer.accept.decoder(session.max_payload);
    let response = respond(endpoint, offer, outcome).await;
    if outcome == ForwardOutcome::Done && !matches!(response, Ok(Some(_))) {
        // The owner waits for the websocket: until then it holds no poll and accepts no other upgrade.
        session.notify(Kind::ProbeFailed, Bytes::new());
    }
    if let Some((stream, first)) = response? {
        carry(endpoint, session, (stream, decoder, first), admission);
    }
    Ok(())
}

/// Responds to the opening handshake, given the owner's response to the probe. Returns the connection and the bytes that
/// followed the handshake, unless the websocket is rejected or closed again.
async fn respond(
    endpoint: &Endpoint,
    offer: WebsocketOffer<ClientStream>,
    outcome: ForwardOutcome,
) -> std::io::Result<Option<(ClientStream, Bytes)>> {
    let WebsocketOffer {
        connection: mut stream,
        first,
        accept,
        ..
    } = offer;
    // A failed upgrade does not change the polling session.
    if endpoint.worker.is_stopping() {
        let rejection = Rejection::from(RequestError::ShuttingDown);
        rejection.send(stream).await?;
        return Ok(None);
    }
    if outcome == ForwardOutcome::Gone {
        rejection_log::record_unknown_session(endpoint);
        let rejection = Rejection::from(RequestError::SessionUnknown);
        rejection.send(stream).await?;
        return Ok(None);
    }
    stream.write_all(accept.response().as_bytes()).await?;
    stream.flush().await?;
    if outcome != ForwardOutcome::Done || !endpoint.settings.engine.allow_upgrades {
        // Opened, then closed; the session continues (docs/protocol.md#16-upgrade).
        stream.write_all(Packet::close(None, "").wire()).await?;
        stream.shutdown().await?;
        return Ok(None);
    }
    Ok(Some((stream, first)))
}

/// Starts the task that holds the websocket.
fn carry(
    endpoint: &Endpoint,
    session: RemoteSession,
    (stream, decoder, first): (ClientStream, FrameDecoder, Bytes),
    admission: Option<Admission>,
) {
    let (registration, drain) = endpoint.remote_websockets.register();
    let directory = Arc::clone(endpoint.worker.shard.directory());
    stream.deadlines().end();
    actix_rt::spawn(async move {
        directory.metrics().forwarded_websockets.add(1);
        remote::serve(session, (stream, decoder, first), drain).await;
        directory.metrics().forwarded_websockets.add(-1);
        drop(admission);
        drop(registration);
    });
}
