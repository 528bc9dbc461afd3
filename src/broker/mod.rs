//! Who is in which room on this node.
//!
//! The broker is sharded: one [`RoomBroker`] actor per worker thread, which owns the index of that worker's
//! sockets and their lanes. Sessions call their own [`Shard`] directly; other workers and the bridge send
//! messages. A publish crosses threads once per worker, never once per member. The broker does not know
//! Redis, transports or sessions: it holds recipients of what it sends.

pub mod acks;
mod batch;
pub mod directory;
pub mod fanout;
pub mod joins;
pub mod messages;
pub mod questions;
pub mod rooms;
mod sample;
pub mod shard;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use actix::{Actor, Context, Handler};

pub use directory::{Bus, Directory};
pub use joins::Joined;
pub use rooms::SocketKey;
pub use shard::{Limits, Shard};

use messages::{Asked, DispatchAll, Resolve, RoomsReady};

/// Lanes written before other tasks of the worker get their turn.
const FLUSH_SLICE: usize = 512;

/// The actor of one shard.
pub struct RoomBroker {
    shard: Rc<Shard>,
}

impl RoomBroker {
    /// The mailbox side of `shard`; must run on the shard's thread.
    pub fn new(shard: Rc<Shard>) -> Self {
        Self { shard }
    }
}

impl Actor for RoomBroker {
    type Context = Context<Self>;

    fn started(&mut self, _ctx: &mut Self::Context) {
        actix_rt::spawn(flush_forever(Rc::clone(&self.shard)));
        actix_rt::spawn(sample::sample_forever(Rc::clone(&self.shard)));
    }
}

/// Sends other workers and writes clients what a batch of work has staged, after that batch: a task that is
/// woken by the first offer runs behind the tasks that were ready before it.
async fn flush_forever(shard: Rc<Shard>) {
    poll_fn(|cx| {
        shard.send_dispatches();
        if shard.flush(FLUSH_SLICE, cx.waker()) {
            cx.waker().wake_by_ref();
        } else {
            shard.count_batch();
        }
        Poll::<()>::Pending
    })
    .await;
}

impl Handler<DispatchAll> for RoomBroker {
    type Result = ();

    fn handle(&mut self, work: DispatchAll, _ctx: &mut Self::Context) {
        for dispatch in &work.dispatches {
            self.shard.receive(dispatch, work.since);
        }
    }
}

impl Handler<Resolve> for RoomBroker {
    type Result = ();

    fn handle(&mut self, Resolve(reply): Resolve, _ctx: &mut Self::Context) {
        self.shard.resolve(reply);
    }
}

impl Handler<Asked> for RoomBroker {
    type Result = ();

    fn handle(&mut self, asked: Asked, _ctx: &mut Self::Context) {
        self.shard.asked(asked);
    }
}

impl Handler<RoomsReady> for RoomBroker {
    type Result = ();

    fn handle(&mut self, ready: RoomsReady, _ctx: &mut Self::Context) {
        self.shard.rooms_ready(ready);
    }
}
