//! Requests of foreign members that this node responds to: emits whose recipients are counted, queries, and events for
//! servers.

use std::sync::Arc;
use std::time::Duration;

use actix::{Context, Handler};

use super::dialect::DecodeError;
use super::local_query::query_node;
use super::node::Bridge;
use super::publish::Publisher;
use super::receive::{ForBridge, Receiver};
use super::subscriptions::RoomSubscriptions;
use super::translation::Translator;
use crate::broker::messages::{Dispatch, PublishReply, ReachReport, ReachedSockets};
use crate::bus::link::Channel;
use crate::clock;
use crate::metrics::labels::BusDrop;
use crate::model::{AckToken, Command, Emit, Query, ReplyTo, ServerSideEvent, Unfit, Workers};

/// Time for which acks are awaited for a member that names no timeout.
const ACK_TIME: Duration = Duration::from_secs(60);
/// The answer to an event for servers without a handler on this node.
const NO_ANSWER: &str = "null";

impl Handler<ReachedSockets> for Bridge {
    type Result = ();

    fn handle(&mut self, reached: ReachedSockets, _ctx: &mut Context<Self>) {
        self.add_reached(reached.ack_id, reached.sockets);
    }
}

impl Handler<PublishReply> for Bridge {
    type Result = ();

    fn handle(&mut self, PublishReply(reply): PublishReply, _ctx: &mut Context<Self>) {
        self.publisher.publish_reply(reply);
    }
}

impl Receiver {
    /// Collects an emit for the shards that it may concern, which report how many of their sockets received it.
    pub(super) fn dispatch_counted(
        &mut self,
        emit: Emit,
        timeout: Option<Duration>,
        (rooms, publisher): (&RoomSubscriptions, &Publisher),
        translator: Option<&mut Translator>,
    ) -> Option<ForBridge> {
        let token = emit.ack.clone()?;
        if let Err(unfit) = emit.payload.check_event(self.max_depth) {
            self.report_unfit(&unfit);
            if let Some(translator) = translator {
                translator.forget_count(&token);
            }
            publisher.publish_reached(&token, 0);
            return None;
        }
        let command = Command::Emit(emit);
        self.observe(&command);
        let shards = self.directory.shards().len();
        let targets = self.targets(&command, rooms);
        let targets = targets.unwrap_or_else(|| Workers::first(shards));
        let workers = targets.iter().filter(|worker| *worker < shards).count();
        let ack_id = self.directory.next_ack_id();
        let is_held = translator.is_some_and(|it| it.dispatched(&token, ack_id));
        if workers == 0 && !is_held {
            publisher.publish_reached(&token, 0);
            return None;
        }
        let held = is_held.then(|| token.clone());
        // The translator reports like a worker.
        let reporters = workers + usize::from(is_held);
        self.reach.start(ack_id, token, reporters);
        let since = *self.since.get_or_insert_with(clock::now);
        let dispatch = Dispatch {
            command: Arc::new(command),
            ack_id: Some(ack_id),
            from_bus: true,
            reports: ReachReport::Reached,
            position: None,
        };
        self.pending_dispatches
            .stage(&dispatch, targets, since, &self.directory);
        let after = timeout.unwrap_or(ACK_TIME);
        Some(ForBridge::ForgetAcks {
            ack_id,
            after,
            held,
        })
    }

    /// Reports to a foreign member that its emit reached no socket of this node.
    pub(super) fn report_unreached(
        &self,
        token: &AckToken,
        unfit: Option<&Unfit>,
        publisher: &Publisher,
    ) {
        if let Some(unfit) = unfit {
            self.report_unfit(unfit);
        }
        publisher.publish_reached(token, 0);
    }

    /// Runs a query of a foreign member, and publishes the answer.
    pub(super) fn run_foreign_query(&self, reply_to: ReplyTo, query: Query, publisher: &Publisher) {
        let answer = query_node(Arc::clone(&self.directory), query);
        let publisher = publisher.clone();
        actix_rt::spawn(async move {
            publisher.publish_foreign_answer(&reply_to, answer.await);
        });
    }

    /// Responds to an event for servers that cannot be decoded.
    pub(super) fn answer_unread_event(
        &self,
        channel: &Channel,
        reply_to: &ReplyTo,
        unfit: Unfit,
        publisher: &Publisher,
    ) {
        let (reason, cause) = (BusDrop::Unreadable, Box::new(unfit));
        self.report_undecoded(channel, &DecodeError { reason, cause });
        publisher.publish_server_event_answer(reply_to, NO_ANSWER);
    }

    /// Hands an event for servers to its handler, and publishes the answer if one is expected.
    pub(super) fn handle_server_event(
        &self,
        event: ServerSideEvent,
        reply_to: Option<ReplyTo>,
        publisher: &Publisher,
    ) {
        let Some(handler) = &self.server_events else {
            if let Some(reply_to) = reply_to {
                publisher.publish_server_event_answer(&reply_to, NO_ANSWER);
            }
            return;
        };
        let (answer, publisher) = (handler(event), publisher.clone());
        actix_rt::spawn(async move {
            let answer = answer.await;
            if let Some(reply_to) = reply_to {
                publisher.publish_server_event_answer(&reply_to, &answer);
            }
        });
    }
}
