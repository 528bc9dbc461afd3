//! The end of a session.

use std::time::Duration;

use actix::{ActorContext, Context};

use super::state::{Ended, Session};
use crate::clock;
use crate::limits::Limit;
use crate::model::TransportName;
use crate::outbox::Packet;
use crate::protocol::engine_io::state::CloseReason;

/// Maximum time for which an ended session waits for its polling client to fetch the close packet
/// (docs/protocol.md#17-errors).
const FETCH_TIME: Duration = Duration::from_secs(30);

impl Session {
    /// Ends the session: its sockets leave every room now, even if its connection lives on.
    pub fn close(&mut self, reason: CloseReason, ctx: &mut Context<Self>) {
        let (code, text) = reason.close_frame();
        self.close_with(reason, Packet::close(code, text), ctx);
    }

    /// Ends the session with `close_packet` as the last packet, in the form of its transport.
    pub fn close_with(
        &mut self,
        reason: CloseReason,
        close_packet: Packet,
        ctx: &mut Context<Self>,
    ) {
        if self.has_ended() {
            return;
        }
        match reason {
            CloseReason::MessageTooLarge => self.worker.limit_reached(self.id, Limit::Payload),
            CloseReason::InboxOverflow => self.worker.limit_reached(self.id, Limit::Inbox),
            CloseReason::NestedTooDeeply => self.worker.limit_reached(self.id, Limit::Depth),
            _ => {}
        }
        let waits = self.waits_for_fetch(reason);
        self.end(reason, waits);
        let slots: Vec<_> = self.connection.slots().collect();
        for slot in slots {
            self.drop_socket(slot, reason.as_str(), ctx);
        }
        let lane = self.lane;
        self.worker.shard.with_lanes(|lanes| {
            if reason == CloseReason::SlowConsumer {
                return lanes.discard(lane);
            }
            lanes.offer(lane, close_packet);
            lanes.close(lane);
        });
        if let Some(held) = self.held_post.take() {
            let _ = held.reply.send(Ok(()));
        }
        // Dropping it stops the read of a body that is still arriving.
        self.post = None;
        if !self.attached && self.poll.is_none() && !waits {
            ctx.stop();
        }
    }

    fn end(&mut self, reason: CloseReason, waits: bool) {
        let now = clock::now();
        let fetch_until = if waits {
            // A live client polls at least as often as it must respond to a ping.
            let timing = &self.worker.settings.timing;
            now + FETCH_TIME.min(timing.ping_interval + timing.ping_timeout)
        } else {
            now
        };
        let lane = self.lane;
        let sent = self.worker.shard.with_lanes(|lanes| lanes.tally(lane));
        self.ended = Some(Ended {
            reason,
            fetch_until,
            sent,
        });
    }

    /// Whether the session stays until a polling client, or a node that holds its websocket, has fetched the last batch:
    /// only if the server ended the session.
    fn waits_for_fetch(&self, reason: CloseReason) -> bool {
        use CloseReason::{
            ConnectTimeout, ForcedClose, IdentityExpired, IdentityRevoked, InboxOverflow,
            NestedTooDeeply, NodeFenced, ReconnectRequested, ServerDisconnect, ServerShuttingDown,
            SlowConsumer, UpstreamLost,
        };
        let by_server = matches!(
            reason,
            ServerDisconnect
                | ServerShuttingDown
                | ForcedClose
                | ConnectTimeout
                | InboxOverflow
                | NestedTooDeeply
                | SlowConsumer
                | UpstreamLost
                | IdentityExpired
                | IdentityRevoked
                | ReconnectRequested
                | NodeFenced
        );
        // A client that never polled, and whose websocket no other node holds, does not fetch it.
        let may_fetch = self.follow_up.has_polled() || self.transport == TransportName::Websocket;
        !self.attached && may_fetch && by_server
    }
}
