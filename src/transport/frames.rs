//! What the frames of a websocket mean to a session of this worker.

use std::time::Instant;

use actix::Context;
use bytes::Bytes;

use super::probe::{PROBE_RESPONSE, ProbeStep, probe_step};
use super::socket::ClientSocket;
use crate::outbox::Packet;
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::websocket::{Frame, FrameError};
use crate::protocol::wire_format::Compression;
use crate::session::Session;

/// The websocket has no further part in its session.
pub(super) struct Done;

/// Handles a frame of a websocket that carries the session.
pub(super) fn carry(
    frame: Frame<'_>,
    session: &mut Session,
    now: Instant,
    ctx: &mut Context<Session>,
) -> Result<(), Done> {
    match frame {
        Frame::Text(text) => session.receive_text(text, now, ctx),
        Frame::Binary(content) => {
            session.receive_binary(Bytes::copy_from_slice(content), now, ctx);
        }
        Frame::Ping(content) => session.send(Packet::websocket_pong(content)),
        Frame::Pong(_) => {}
        Frame::Close { .. } => session.close(CloseReason::TransportClose, ctx),
    }
    if session.has_ended() {
        Err(Done)
    } else {
        Ok(())
    }
}

/// Handles a frame of a probing websocket with this compression; returns whether it takes over the session.
pub(super) fn probe(
    frame: &Frame<'_>,
    session: &mut Session,
    socket: &ClientSocket,
    compression: Compression,
) -> Result<bool, Done> {
    let write = |packet: Packet| socket.write_now(packet.wire()).map_err(|_| Done);
    match probe_step(frame) {
        ProbeStep::Respond => {
            write(Packet::text(PROBE_RESPONSE))?;
            session.probed();
        }
        ProbeStep::TakeOver => {
            session.upgraded(true, compression);
            return Ok(true);
        }
        ProbeStep::Pong(content) => write(Packet::websocket_pong(content))?,
        ProbeStep::Ignore => {}
        ProbeStep::Fail => return Err(Done),
    }
    Ok(false)
}

/// Ends the session because of a frame that is malformed or too large.
pub(super) fn close_for(error: FrameError, session: &mut Session, ctx: &mut Context<Session>) {
    let reason = match error {
        FrameError::TooLarge { .. } => CloseReason::MessageTooLarge,
        _ => CloseReason::TransportError,
    };
    session.close_with(reason, close_packet(error), ctx);
}

/// The last packet of a websocket that has sent a frame which is malformed or too large.
pub(super) fn close_packet(error: FrameError) -> Packet {
    if let FrameError::TooLarge { .. } = error {
        let (code, reason) = CloseReason::MessageTooLarge.close_frame();
        return Packet::close(code, reason);
    }
    Packet::close(Some(error.close_code()), &error.to_string())
}
