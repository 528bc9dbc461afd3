//! Which node translates between foreign dialects: how the bridge uses the lease, and what it does when the node stops.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    ActorContext, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture,
};

use super::dialect::MemberState;
use super::messages::Leave;
use super::node::{Bridge, random_number};
use super::translation::{HoldsLease, LeaseIsTaken, ResolvedCount, TranslationLease, hold_time};
use crate::model::{AckToken, Announcement};

impl Bridge {
    /// Starts to request the lease of the node that translates.
    pub(super) fn start_translation(&self, ctx: &Context<Self>) {
        let Some(translator) = &self.translator else {
            return;
        };
        let lease = TranslationLease {
            store: Arc::clone(&self.store),
            key: self.translation_key.clone(),
            value: format!("{}:{:016x}", self.directory.node(), random_number()),
            connects: self.directory.watch_connects(),
            resign: translator.resign(),
        };
        let bridge = ctx.address();
        actix_rt::spawn(lease.keep((bridge.clone().recipient(), bridge.recipient())));
    }

    /// Subscribes to the namespaces that the translator needs, and adds its counts.
    pub(super) fn follow_translator(&mut self) {
        let Some(translator) = &mut self.translator else {
            return;
        };
        let (due, counts) = (translator.namespaces_due(), translator.take_counts());
        if !due.is_empty() {
            self.subscriber.pin_namespaces(&due);
        }
        for ResolvedCount { ack_id, sockets } in counts {
            self.add_reached(ack_id, sockets);
        }
    }

    /// Adds to the count of an emit of a foreign member, and publishes it if it is complete.
    pub(super) fn add_reached(&mut self, ack_id: u32, sockets: u64) {
        if let Some((token, sockets)) = self.receiver.reach.add(ack_id, sockets) {
            self.publisher.publish_reached(&token, sockets);
        }
    }

    /// Ends the wait for the count of the translator before the requester does, whose timeout is `timeout`.
    pub(super) fn await_held_count(
        &self,
        token: AckToken,
        timeout: Duration,
        ctx: &mut Context<Self>,
    ) {
        ctx.run_later(hold_time(timeout), move |bridge, _ctx| {
            if let Some(translator) = &mut bridge.translator {
                translator.expire_count(&token);
            }
            bridge.follow_translator();
        });
    }

    /// Handles a marker of this node or another one.
    pub(super) fn on_marker(&mut self, announcement: &Announcement, is_own: bool) {
        if let Some(translator) = &mut self.translator {
            translator.marker(announcement, is_own);
            if !is_own {
                self.subscriber.namespaces.unpin_all();
            }
        }
    }
}

impl Handler<HoldsLease> for Bridge {
    type Result = ();

    fn handle(&mut self, lease: HoldsLease, _ctx: &mut Self::Context) {
        let translator = self.translator.as_mut();
        if let Some(marker) = translator.and_then(|translator| translator.holds_lease(lease)) {
            self.publisher.publish_marker(&marker);
        }
        self.follow_translator();
    }
}

impl Handler<LeaseIsTaken> for Bridge {
    type Result = ();

    fn handle(&mut self, _: LeaseIsTaken, _ctx: &mut Self::Context) {
        let translator = self.translator.as_mut();
        if translator.is_some_and(|translator| translator.lease_is_taken()) {
            self.subscriber.namespaces.unpin_all();
        }
    }
}

impl Handler<Leave> for Bridge {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Leave, _ctx: &mut Self::Context) -> Self::Result {
        let has_peers = !self.membership.peers().is_empty();
        let translator = self.translator.as_ref();
        let handover = translator.map(|translator| translator.hand_over(has_peers));
        let handover = async move {
            if let Some(handover) = handover {
                handover.await;
            }
        };
        Box::pin(handover.into_actor(self).map(|(), bridge, ctx| {
            bridge
                .publisher
                .publish_heartbeat(None, MemberState::Leaving);
            ctx.stop();
        }))
    }
}
