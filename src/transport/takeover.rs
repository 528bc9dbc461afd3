//! A websocket that takes over a polling session of this node, on the worker of the session.

use std::rc::Rc;
use std::sync::Arc;

use actix::{AsyncContext, Handler, Message};
use log::debug;

use super::endpoint::Endpoint;
use super::handshake::RequestError;
use super::offer::WebsocketOffer;
use super::opening::WebsocketAccept;
use super::rejection::Rejection;
use super::rejection_log;
use super::routing::AdoptWebsocket;
use super::settings::EndpointSettings;
use super::socket::{ClientSocket, DetachedConnection};
use super::websocket::Websocket;
use crate::outbox::Packet;
use crate::session::Session;

/// Moves the websocket to the worker of its session.
pub(super) fn route(endpoint: &Endpoint, offer: WebsocketOffer) {
    let id = offer.session;
    if id.worker() == endpoint.worker.shard.worker() {
        return adopt(endpoint, offer);
    }
    match endpoint.routers.of(id) {
        Some(router) => router.adopt.do_send(AdoptWebsocket(offer)),
        None => reject_unknown(endpoint, offer.connection),
    }
}

/// Hands the websocket to its session, which lives on this worker.
pub(super) fn adopt(endpoint: &Endpoint, offer: WebsocketOffer) {
    match endpoint.worker.session(offer.session) {
        Some(session) => session.do_send(TakeOver {
            offer,
            settings: Arc::clone(&endpoint.settings),
        }),
        None => reject_unknown(endpoint, offer.connection),
    }
}

fn reject_unknown(endpoint: &Endpoint, connection: DetachedConnection) {
    rejection_log::record_unknown_session(endpoint);
    let response = Rejection::from(RequestError::SessionUnknown).response();
    let written = attach(&endpoint.settings, connection).and_then(|socket| {
        socket.write_now(response.as_bytes())?;
        socket.finish();
        Ok(())
    });
    if let Err(error) = written {
        debug!(error:%; "websocket lost during its handshake");
    }
}

/// A websocket requests to take over this session.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct TakeOver {
    offer: WebsocketOffer,
    settings: Arc<EndpointSettings>,
}

impl Handler<TakeOver> for Session {
    type Result = ();

    fn handle(&mut self, TakeOver { offer, settings }: TakeOver, ctx: &mut Self::Context) {
        let socket = match accept_handshake(&settings, offer.connection, &offer.accept) {
            Ok(socket) => socket,
            Err(error) => return debug!(error:%; "websocket lost during its handshake"),
        };
        if !settings.engine.allow_upgrades || !self.begin_upgrade(offer.base64) {
            self.upgrade_rejected();
            // Opened, then closed; the session continues (docs/protocol.md#16-upgrade).
            let _ = socket.write_now(Packet::close(None, "").wire());
            return socket.finish();
        }
        let deadline = crate::clock::now() + settings.engine.upgrade_timeout;
        let decoder = offer.accept.decoder(settings.engine.max_payload);
        ctx.spawn(Websocket::probe(socket, offer.first, decoder, deadline));
    }
}

/// Responds to the opening handshake on this worker.
///
/// # Errors
/// The connection is lost.
pub(super) fn accept_handshake(
    settings: &EndpointSettings,
    connection: DetachedConnection,
    accept: &WebsocketAccept,
) -> std::io::Result<Rc<ClientSocket>> {
    let socket = attach(settings, connection)?;
    socket.write_now(accept.response().as_bytes())?;
    Ok(Rc::new(socket))
}

fn attach(
    settings: &EndpointSettings,
    connection: DetachedConnection,
) -> std::io::Result<ClientSocket> {
    connection.attach(settings.send_buffer, settings.heartbeat_timeout())
}
