//! The mailbox of a shard.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use actix::{Actor, Context, Handler};

use super::messages::ShardMessage;
use super::sample::sample_forever;
use super::shard::Shard;

/// Lanes written before other tasks of the worker get their turn.
const FLUSH_SLICE: usize = 512;

/// The actor of one shard: receives messages from other threads and writes the lanes.
pub struct RoomBroker {
    shard: Rc<Shard>,
}

impl RoomBroker {
    /// The actor of `shard`; must run on the shard's thread.
    pub fn new(shard: Rc<Shard>) -> Self {
        Self { shard }
    }
}

impl Actor for RoomBroker {
    type Context = Context<Self>;

    fn started(&mut self, _ctx: &mut Self::Context) {
        actix_rt::spawn(flush_forever(Rc::clone(&self.shard)));
        actix_rt::spawn(sample_forever(Rc::clone(&self.shard)));
    }
}

/// Sends other workers their commands and writes lanes after each batch of work: the first offer of a batch wakes this
/// task, which runs behind the tasks that were ready before it.
async fn flush_forever(shard: Rc<Shard>) {
    poll_fn(|cx| {
        shard.send_dispatches();
        if shard.flush(FLUSH_SLICE, cx.waker()) {
            cx.waker().wake_by_ref();
        } else {
            shard.finish_batch();
        }
        Poll::<()>::Pending
    })
    .await;
}

impl Handler<ShardMessage> for RoomBroker {
    type Result = ();

    fn handle(&mut self, message: ShardMessage, _ctx: &mut Self::Context) {
        let shard = &self.shard;
        match message {
            ShardMessage::DispatchAll(work) => {
                for dispatch in &work.dispatches {
                    shard.receive(dispatch, work.since);
                }
            }
            ShardMessage::Resolve(resolve) => shard.resolve(resolve.0),
            ShardMessage::ReceiversCounted(counted) => shard.receivers_counted(counted),
            ShardMessage::Echoed(echoed) => shard.echoed(echoed),
            ShardMessage::RoomsReady(ready) => shard.rooms_ready(ready),
            ShardMessage::NamespaceReady(ready) => shard.namespace_ready(&ready.0),
            ShardMessage::StartCall(start) => shard.start_call(start),
            ShardMessage::StartQuery(start) => shard.start_query(start),
            ShardMessage::RunQuery(run) => shard.run_query(&run),
            ShardMessage::WorkerAnswer(answer) => shard.worker_answered(answer),
            ShardMessage::NodeAnswer(answer) => shard.node_answered(answer.0),
            ShardMessage::ServerAnswer(answer) => shard.server_answered(answer),
            ShardMessage::ServerReached(reached) => shard.server_reached(reached),
            ShardMessage::CancelGather(cancel) => shard.cancel_gather(cancel.id),
            ShardMessage::ForgetAcks(forget) => shard.forget_acks(forget.ack_id),
        }
    }
}
