//! Delivers logged events in the order of their logs, and reads from the logs what was missed.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use log::warn;
use serde_json::json;

use super::node::Bridge;
use super::sequencer::{LogStep, PAGE, Sequencer};
use super::subscriptions::RoomName;
use crate::broker::messages::InterestChange;
use crate::bus::link::Channel;
use crate::cluster::dialect::LoggedEmit;
use crate::history::{History, LogName};
use crate::logging::Burst;
use crate::model::{Command, Emit, Payload, Position, Selector, shorten_ids};
use crate::store::{StoreError, StoreFuture};

/// Pause before a read that failed is repeated, or while the shards are congested.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
const CONGESTION_PAUSE: Duration = Duration::from_millis(5);
/// After this time without progress, or twice this time, logged events no longer wait for a log that cannot be read.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the ends of logs are compared with what arrived.
const CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// How long events that were read wait for older ones on their way.
const FENCE_TIME: Duration = Duration::from_secs(1);

impl Bridge {
    fn history(&self) -> Option<Arc<History>> {
        self.directory.history().cloned()
    }

    /// A logged event arrived.
    pub(super) fn receive_logged(&mut self, logged: LoggedEmit, ctx: &mut Context<Self>) {
        if self.directory.history().is_none() {
            // This node has no logs configured; the event needs no order here.
            let LoggedEmit {
                emit,
                stamp,
                is_own,
            } = logged;
            return self.deliver_logged(emit, Some(stamp.position), is_own);
        }
        self.sequencer.receive(logged);
        self.take_steps(ctx);
    }

    /// The bus delivers the events of these rooms from now on.
    pub(super) fn follow_logs<'a>(
        &mut self,
        rooms: impl IntoIterator<Item = &'a RoomName>,
        ctx: &mut Context<Self>,
    ) {
        let Some(history) = self.history() else {
            return;
        };
        let logged = rooms
            .into_iter()
            .filter(|(namespace, room)| history.rooms().contains(namespace, room));
        let logs: Vec<LogName> = logged
            .map(|(namespace, room)| LogName::of_room(namespace.clone(), room.clone()))
            .collect();
        if !logs.is_empty() {
            self.sequencer.subscribed(logs);
            self.take_steps(ctx);
        }
    }

    /// The bus confirmed subscriptions, for the first time or after an interruption.
    pub(super) fn follow_channels(&mut self, channels: &[Channel], ctx: &mut Context<Self>) {
        if self.directory.history().is_some() {
            let rooms = &self.subscriber.rooms;
            let rooms: Vec<RoomName> = channels
                .iter()
                .flat_map(|channel| rooms.of_channel(channel))
                .cloned()
                .collect();
            self.follow_logs(&rooms, ctx);
        }
    }

    /// The rooms among `changes` whose last member on a worker left.
    pub(super) fn vanished_logs(&self, changes: &[InterestChange]) -> Vec<RoomName> {
        if self.directory.history().is_none() {
            return Vec::new();
        }
        let vanished = changes.iter().filter_map(|change| match change {
            InterestChange::RoomVanished(namespace, room) => {
                Some((namespace.clone(), room.clone()))
            }
            _ => None,
        });
        vanished.collect()
    }

    /// Rooms whose last member left have no order any more.
    pub(super) fn forget_logs(&mut self, vanished: Vec<RoomName>) {
        for name in vanished {
            if self.subscriber.rooms.workers(&name).is_empty() {
                let (namespace, room) = name;
                self.sequencer
                    .unsubscribed(&LogName::of_room(namespace, room));
            }
        }
    }

    /// The bus delivers again after an interruption, or for the first time.
    pub(super) fn check_logs(&mut self, ctx: &mut Context<Self>) {
        let Some(history) = self.history() else {
            return;
        };
        let sequencer = &mut self.sequencer;
        let namespaces = history.rooms().broadcasts();
        let broadcasts = namespaces.map(|namespace| LogName::of_namespace(namespace.clone()));
        let new: Vec<LogName> = broadcasts.filter(|log| !sequencer.tracks(log)).collect();
        sequencer.interrupted();
        sequencer.subscribed(new);
        self.take_steps(ctx);
    }

    fn take_steps(&mut self, ctx: &mut Context<Self>) {
        let metrics = Arc::clone(self.directory.metrics());
        let mut has_lost_data = false;
        for step in self.sequencer.take_steps() {
            match step {
                LogStep::Deliver {
                    emit,
                    position,
                    is_own,
                } => self.deliver_logged(emit, Some(position), is_own),
                LogStep::ReportGap { log, after, before } => {
                    if after.epoch != before.epoch {
                        // The store may have lost more than the logs.
                        has_lost_data = true;
                    }
                    metrics.room_log_gaps_total.increment();
                    self.deliver_logged(gap_event(log, after, before), None, true);
                }
                LogStep::Read {
                    log,
                    after,
                    request: number,
                } => {
                    metrics.room_log_reads_total.increment();
                    let name = log.clone();
                    let request =
                        move |history: &History| history.logs().read(&log, after, None, PAGE);
                    self.read(ctx, request, move |sequencer, page| {
                        sequencer.page_read(number, &name, page)
                    });
                }
                LogStep::ReadTails {
                    logs,
                    request: number,
                } => {
                    let names = logs.clone();
                    let request = move |history: &History| history.logs().tails(&logs);
                    self.read(ctx, request, move |sequencer, tails| {
                        sequencer.tails_read(number, &names, &tails);
                    });
                }
                LogStep::CheckTails(logs) => {
                    let names = logs.clone();
                    let request = move |history: &History| history.logs().tails(&logs);
                    self.read(ctx, request, move |sequencer, tails| {
                        sequencer.tails_checked(&names, &tails);
                    });
                }
                LogStep::Fence(number) => {
                    self.publisher.publish_fence();
                    ctx.run_later(FENCE_TIME, move |bridge, ctx| {
                        bridge.with_sequencer(ctx, |sequencer| sequencer.fenced(Some(number)));
                    });
                }
                LogStep::CountDuplicate => metrics.room_log_duplicates_total.increment(),
            }
        }
        if has_lost_data {
            self.directory.note_connect();
        }
    }

    /// Reads from the logs, as often as it takes, and applies the result.
    fn read<T: 'static>(
        &self,
        ctx: &mut Context<Self>,
        request: impl Fn(&History) -> StoreFuture<T> + 'static,
        apply: impl FnOnce(&mut Sequencer, T) + 'static,
    ) {
        let Some(history) = self.history() else {
            return;
        };
        let directory = Arc::clone(&self.directory);
        let reads = Arc::clone(&self.log_reads);
        let result = async move {
            let _permit = reads.acquire().await;
            loop {
                while directory.congested() {
                    tokio::time::sleep(CONGESTION_PAUSE).await;
                }
                match request(&history).await {
                    Ok(result) => return result,
                    Err(error) => report_failed(&error),
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        };
        let applied = result.into_actor(self).map(|result, bridge, ctx| {
            bridge.with_sequencer(ctx, |sequencer| apply(sequencer, result));
        });
        ctx.spawn(applied);
    }

    /// Changes the order outside the loop of events.
    fn with_sequencer(&mut self, ctx: &mut Context<Self>, change: impl FnOnce(&mut Sequencer)) {
        change(&mut self.sequencer);
        self.take_steps(ctx);
        self.receiver.send_dispatches();
    }

    /// A message of this node to itself arrived, after everything that was published before.
    pub(super) fn fence_arrived(&mut self, ctx: &mut Context<Self>) {
        self.sequencer.fenced(None);
        self.take_steps(ctx);
    }

    /// Begins the tasks that keep the order, if rooms have logs.
    pub(super) fn start_sequencer(&self, ctx: &mut Context<Self>) {
        ctx.run_interval(PATIENCE, |bridge, ctx| {
            bridge.with_sequencer(ctx, Sequencer::expire);
        });
        ctx.run_interval(CHECK_INTERVAL, |bridge, ctx| {
            bridge.with_sequencer(ctx, Sequencer::check_tails);
        });
    }

    pub(super) fn deliver_logged(&mut self, emit: Emit, position: Option<Position>, is_own: bool) {
        let command = Command::Emit(emit);
        let (rooms, publisher) = (&self.subscriber.rooms, &self.publisher);
        let receiver = &mut self.receiver;
        receiver.dispatch_logged(command, position, is_own, (rooms, publisher));
    }
}

fn report_failed(error: &StoreError) {
    static BURST: Burst = Burst::new();
    if let Some(others) = BURST.note() {
        warn!(error:%, others; "log of a room not read, its events wait: the node retries");
    }
}

/// The event that names lost events (docs/history.md#gaps).
fn gap_event(log: LogName, after: Position, before: Position) -> Emit {
    let LogName { namespace, room } = log;
    let name = room.as_ref().map(|room| room.as_str());
    warn!(namespace:%, room:% = shorten_ids(name.unwrap_or("all")), after:%, before:%; "events of a room are lost: they were removed from its log before this node received them");
    let lost = json!({
        "room": name,
        "after": after.to_string(),
        "before": before.to_string(),
    });
    Emit {
        to: match room {
            Some(room) => Selector::room(namespace, room),
            None => Selector::everybody(namespace),
        },
        payload: Payload::event("roomwire:gap", [lost.to_string().as_str()]),
        volatile: false,
        ack: None,
        conflate: None,
    }
}
