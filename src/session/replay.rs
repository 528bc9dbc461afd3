//! Joins that begin with what is in the log of the room.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, WrapFuture};
use log::warn;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::context::{LaneCapacity, complete_join};
use super::replay_pace::{ReplayPace, next_part};
use super::state::Session;
use crate::app::{Capacity, JoinedRooms, JoinedSince, LogReplay};
use crate::broker::{Replay, SocketKey};
use crate::history::{History, LogName, LogPage, LoggedEvent, Since};
use crate::logging::Burst;
use crate::model::{Position, Room, SocketId};
use crate::store::StoreError;

/// Number of events that are read at once.
const PAGE: usize = 100;
/// How long a read of the log may take.
const READ_TIME: Duration = Duration::from_secs(5);

impl Session {
    /// Joins a room and replays its log; newer events of the room follow. The app may no longer await the join.
    pub(super) fn join_since(
        &self,
        (socket, key): (SocketId, SocketKey),
        room: Room,
        since: Since,
        reply: oneshot::Sender<JoinedSince>,
        ctx: &mut Context<Self>,
    ) {
        let shard = Rc::clone(&self.worker.shard);
        let pace = Rc::clone(&self.worker.replay_pace);
        let mut rooms = vec![room.clone()];
        // Before the join, so that nothing is delivered live before the replay has begun.
        let replay = self.log_of(key, &room).zip(shard.replay(key, Some(room)));
        let degraded = shard.directory().is_cut_off();
        let confirmed = shard.join(key, &mut rooms);
        let saved = self.worker.tracker();
        let saved = saved.and_then(|tracker| tracker.saved(socket));
        let capacity = LaneCapacity {
            shard,
            lane: self.lane,
        };
        ctx.spawn(
            async move {
                let degraded = complete_join(degraded, confirmed, saved).await;
                let mut replayed = None;
                if let Some(((history, log), replay)) = replay.filter(|_| !rooms.is_empty()) {
                    let running = RoomReplay {
                        history,
                        log,
                        replay,
                        capacity,
                        pace,
                        replayed: LogReplay::default(),
                    };
                    replayed = Some(running.run(since).await);
                }
                let joined = JoinedRooms { rooms, degraded };
                let _ = reply.send(JoinedSince { joined, replayed });
            }
            .into_actor(self),
        );
    }

    /// The log of a room, if it has one.
    fn log_of(&self, key: SocketKey, room: &Room) -> Option<(Arc<History>, LogName)> {
        let shard = &self.worker.shard;
        let history = shard.directory().history()?;
        let namespace = shard.namespace_of(key)?;
        let has_log = history.rooms().contains(&namespace, room);
        let log = LogName::of_room(namespace, room.clone());
        has_log.then(|| (Arc::clone(history), log))
    }
}

struct RoomReplay {
    history: Arc<History>,
    log: LogName,
    replay: Replay,
    capacity: LaneCapacity,
    pace: Rc<ReplayPace>,
    replayed: LogReplay,
}

impl RoomReplay {
    async fn run(mut self, since: Since) -> LogReplay {
        let outcome = match since {
            Since::Position(position) => self.after(Some(position)).await,
            Since::Last(0) => self.begin_at_tail().await,
            Since::Last(number) => self.last(number).await,
        };
        if let Err(error) = outcome {
            self.replayed.gap = true;
            static BURST: Burst = Burst::new();
            if let Some(others) = BURST.note() {
                warn!(error:%, others; "log of a room not read for a client that joined");
            }
        }
        self.replayed
    }

    /// Replays the newest events.
    async fn last(&mut self, number: u32) -> Result<(), StoreError> {
        let logs = Arc::clone(self.history.logs());
        let page = logs.read_back(&self.log, None, number as usize);
        let mut page = read(page).await?;
        page.events.reverse();
        // What is older was not requested.
        page.trimmed = false;
        let position = self.deliver(page, None).await;
        self.after(position).await
    }

    /// Replays nothing but what is newer than the newest event.
    async fn begin_at_tail(&mut self) -> Result<(), StoreError> {
        let logs = Arc::clone(self.history.logs());
        let tails = read(logs.tails(std::slice::from_ref(&self.log))).await?;
        let n = tails.tails.first().copied().unwrap_or(0);
        let position = tails.epoch.map(|epoch| Position { epoch, n });
        self.replayed.position = position;
        self.after(position).await
    }

    /// Replays what follows a position, up to the events that were withheld meanwhile.
    async fn after(&mut self, mut position: Option<Position>) -> Result<(), StoreError> {
        let logs = Arc::clone(self.history.logs());
        loop {
            let after = position.map_or(0, |position| position.n);
            let mut page = read(logs.read(&self.log, after, None, PAGE)).await?;
            if let (Some(known), Some(epoch)) = (position, page.epoch)
                && known.epoch != epoch
            {
                // The logs were lost: what remains is all that follows.
                self.replayed.gap = true;
                position = Some(Position { epoch, n: 0 });
                continue;
            }
            let is_last = page.events.len() < PAGE;
            // From the start of the log, everything older was not requested.
            page.trimmed &= after > 0;
            position = self.deliver(page, position).await;
            if is_last && self.replay.finish(position) {
                return Ok(());
            }
        }
    }

    /// Sends the events of a page, as fast as the client reads; returns the position of the last one.
    async fn deliver(&mut self, page: LogPage, before: Option<Position>) -> Option<Position> {
        self.replayed.gap |= page.trimmed;
        let Some(epoch) = page.epoch else {
            return before;
        };
        let mut position = before.or(Some(Position { epoch, n: 0 }));
        let burst = self.capacity.burst();
        let size = |event: &LoggedEvent| event.emit.payload.size();
        let mut events = page.events.into_iter();
        while let Some((part, cost)) = next_part(&mut events, burst, size) {
            poll_fn(|cx| self.capacity.poll_capacity(cx)).await;
            self.pace.permit(cost).await;
            for event in part {
                let at = Position { epoch, n: event.n };
                if self.replay.deliver(&event.emit, at) {
                    self.replayed.events += 1;
                }
                position = Some(at);
            }
        }
        self.replayed.position = position;
        position
    }
}

async fn read<T>(reading: crate::store::StoreFuture<T>) -> Result<T, StoreError> {
    let result = timeout(READ_TIME, reading).await;
    result.unwrap_or_else(|_elapsed| Err(StoreError("no response in time".to_owned())))
}
