//! Brings the store in line with the users of this node, and emits the events that follow.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::events;
use super::members::DueChange;
use super::requests::UnansweredRequests;
use super::rooms::PresenceRooms;
use super::rules::{PresenceEvents, parse_store_name};
use crate::broker::{Directory, Ingress};
use crate::clock;
use crate::metrics::Metrics;
use crate::metrics::labels::Origin;
use crate::model::random::OsRandom;
use crate::model::{Command, NodeId, Random};
use crate::registry::LostNodeListener;
use crate::store::{PresenceEvent, PresenceOutcome, StoreError, Tenure};

/// Number of changes in one command of the store.
const BATCH: usize = 256;
/// Pause after a failure of the store.
const RETRY: Duration = Duration::from_millis(500);
/// Time after a reconnect of the bus in which other nodes reconnect, too, so that they receive the events.
const RECONNECT_TIME: Duration = Duration::from_secs(1);
/// Time after an outage of the store until other nodes have entered their users again.
const RETURN_TIME: Duration = Duration::from_secs(2);
/// Longest time between two looks for departures, also those that other nodes caused.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Number of departures taken at once.
const SWEEP_BATCH: usize = 256;
/// Time between two counts of a large room.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// Time limit for the departures of a node that stops.
const STOP_TIME: Duration = Duration::from_secs(2);
/// Number of users of a lost node that leave at once.
const REMOVAL_BATCH: usize = 500;

/// What presence needs from its node.
pub struct PresenceParts {
    pub directory: Arc<Directory>,
    pub rooms: Arc<PresenceRooms>,
    /// Whether this node still holds its name; `None` on a single node.
    pub tenure: Option<Arc<Tenure>>,
}

/// The presence of a running node. Lives on the thread that started it.
pub struct Presence {
    service: Rc<PresenceService>,
    task: JoinHandle<()>,
}

struct PresenceService {
    rooms: Arc<PresenceRooms>,
    ingress: Ingress,
    node: NodeId,
    metrics: Arc<Metrics>,
    tenure: Option<Arc<Tenure>>,
    requests: RefCell<UnansweredRequests>,
}

/// When what is due next.
struct Agenda {
    /// Nothing is changed before, because the store failed.
    retry: Instant,
    sweep: Instant,
    /// Large rooms whose members receive a count.
    counts: HashMap<String, Instant>,
    is_failing: bool,
}

impl Agenda {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            retry: now,
            sweep: now + SWEEP_INTERVAL,
            counts: HashMap::new(),
            is_failing: false,
        }
    }
}

impl Presence {
    /// Starts it. Must run inside an actix system.
    pub fn start(parts: PresenceParts) -> Self {
        let connects = parts.directory.watch_connects();
        // What is seen already is not reported as a change.
        parts.rooms.note_connects(*connects.borrow());
        let service = Rc::new(PresenceService::new(parts));
        let running = Rc::clone(&service);
        let task = actix_rt::spawn(async move { running.run(connects).await });
        Self { service, task }
    }

    /// Removes lost nodes from the store.
    pub fn lost(&self) -> LostPresence {
        LostPresence(Rc::clone(&self.service))
    }

    /// Leaves the rooms for the users of this node. Called after its last session has ended. Departures that become due
    /// later are taken by other nodes.
    pub async fn stop(self) {
        // What was under way is repeated.
        self.task.abort();
        let left = timeout(STOP_TIME, self.service.finish()).await;
        if !matches!(left, Ok(true)) {
            warn!("users of this node are present until other nodes remove it");
        }
    }
}

/// Removes lost nodes.
pub struct LostPresence(Rc<PresenceService>);

impl LostNodeListener for LostPresence {
    /// The users of a lost node leave, if no other node has them.
    fn node_lost(
        &self,
        node: NodeId,
    ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + '_>> {
        Box::pin(self.0.remove(node))
    }
}

impl PresenceService {
    fn new(parts: PresenceParts) -> Self {
        let node = parts.directory.node();
        let mut process = [0; 8];
        OsRandom.fill(&mut process);
        parts.rooms.follow(&parts.directory);
        Self {
            node,
            metrics: Arc::clone(parts.directory.metrics()),
            ingress: Ingress::new(parts.directory),
            rooms: parts.rooms,
            tenure: parts.tenure,
            requests: RefCell::new(UnansweredRequests::new(
                node.as_str(),
                u64::from_ne_bytes(process),
            )),
        }
    }

    async fn run(&self, mut connects: watch::Receiver<u64>) {
        let mut agenda = Agenda::new();
        loop {
            let counts = agenda.counts.values().min().copied();
            let next = counts.map_or(agenda.sweep, |count| count.min(agenda.sweep));
            tokio::select! {
                () = self.rooms.changed.notified() => {}
                Ok(()) = connects.changed() => {
                    let connects = *connects.borrow_and_update();
                    self.connected(connects, &mut agenda);
                }
                () = sleep_until(next) => {}
            }
            self.turn(&mut agenda).await;
            self.record();
        }
    }

    /// The bus has begun to deliver for this time.
    fn connected(&self, connects: u64, agenda: &mut Agenda) {
        self.rooms.members().enqueue_all();
        if connects > 1 {
            agenda.retry = Instant::now() + RECONNECT_TIME;
            self.rooms.completes_in(RETURN_TIME);
        }
        self.rooms.note_connects(connects);
    }

    /// Does what is due.
    async fn turn(&self, agenda: &mut Agenda) {
        let now = Instant::now();
        if now < agenda.retry || !self.is_certain() {
            agenda.sweep = agenda.sweep.max(now + RETRY);
            let wait = agenda.sweep;
            agenda
                .counts
                .values_mut()
                .for_each(|due| *due = wait.max(*due));
            return;
        }
        let done = self.work(agenda).await;
        match done {
            Ok(()) if agenda.is_failing => info!("presence is up to date again"),
            Ok(()) => {}
            Err(error) => {
                agenda.retry = Instant::now() + RETRY;
                agenda.sweep = agenda.retry;
                self.metrics.presence_failures_total.increment();
                if !agenda.is_failing {
                    warn!(error:%; "presence is not up to date; retrying until the store responds");
                }
                agenda.is_failing = true;
                return;
            }
        }
        agenda.is_failing = false;
    }

    async fn work(&self, agenda: &mut Agenda) -> Result<(), StoreError> {
        while self.flush(agenda).await? {}
        if agenda.sweep <= Instant::now() {
            let next = self.sweep(SWEEP_BATCH, &mut agenda.counts).await?;
            agenda.sweep = Instant::now() + next;
        }
        self.count(&mut agenda.counts).await
    }

    /// Whether this node holds its name; another node may have removed its users otherwise.
    fn is_certain(&self) -> bool {
        let tenure = self.tenure.as_ref();
        tenure.is_none_or(|tenure| tenure.is_certain())
    }

    /// Applies the next changes; returns whether there were any.
    async fn flush(&self, agenda: &mut Agenda) -> Result<bool, StoreError> {
        let members = || self.rooms.members().take(BATCH);
        let Some(unapplied) = self.requests.borrow_mut().changes(members) else {
            return Ok(false);
        };
        let changes = &unapplied.changes;
        if let Some(tenure) = &self.tenure {
            tenure.expose();
        }
        let of_store = changes.iter().map(|due| due.change.clone()).collect();
        let store = &self.rooms.store;
        let base = &self.rooms.base;
        let applied = store.presence_apply(base, &unapplied.id, of_store).await?;
        self.requests.borrow_mut().applied();
        // Otherwise this node was removed, and its sessions are about to be closed.
        let Some(outcomes) = applied else {
            return Ok(true);
        };
        if agenda.is_failing {
            self.rooms.completes_in(RETURN_TIME);
        }
        for (due, outcome) in changes.iter().zip(&outcomes) {
            // Before the user counts as settled: clients that join afterwards receive no event about the user.
            self.announce(due, outcome, &mut agenda.counts);
            self.rooms.members().applied(due, clock::now());
            if let Some(delay) = due.change.kind.leave_delay() {
                agenda.sweep = agenda.sweep.min(Instant::now() + delay);
            }
        }
        self.rooms.flushed.notify_waiters();
        Ok(true)
    }

    fn announce(
        &self,
        due: &DueChange,
        outcome: &PresenceOutcome,
        counts: &mut HashMap<String, Instant>,
    ) {
        match outcome.event {
            // The store had lost the user.
            Some(PresenceEvent::Joined) if due.is_announced => return,
            None => return,
            Some(_) => {}
        }
        let (room, user) = (&due.change.room, &due.change.user);
        if let Some(format) = self.format(room, outcome.count, counts) {
            self.emit(events::present(format, room, user, outcome, due.socket));
        }
    }

    /// Which events the members of a room with `count` users receive; `None` if the room is large.
    fn format(
        &self,
        room: &str,
        count: u64,
        counts: &mut HashMap<String, Instant>,
    ) -> Option<PresenceEvents> {
        let (namespace, name) = parse_store_name(room)?;
        let Some(rule) = self.rooms.rule(&namespace, &name) else {
            return Some(PresenceEvents::Native);
        };
        if count <= rule.max_members {
            return Some(rule.events);
        }
        if rule.events == PresenceEvents::Native {
            note_count(counts, room);
        }
        None
    }

    fn emit(&self, command: Option<Command>) {
        if let Some(command) = command {
            self.metrics.presence_events_total.increment();
            self.ingress.dispatch(command, Origin::Local);
        }
    }

    /// Takes at most `limit` departures that are due; returns when to look again.
    async fn sweep(
        &self,
        limit: usize,
        counts: &mut HashMap<String, Instant>,
    ) -> Result<Duration, StoreError> {
        let (store, base) = (&self.rooms.store, &self.rooms.base);
        let request = self.requests.borrow_mut().sweep(limit);
        let swept = store.presence_sweep(base, request).await?;
        // The events follow without a wait, so that they are emitted if this is recorded.
        let took_any = !swept.departures.is_empty();
        self.requests.borrow_mut().swept(took_any);
        for departure in &swept.departures {
            if departure.count == 0 {
                continue;
            }
            if let Some(format) = self.format(&departure.room, departure.count, counts) {
                self.emit(events::departed(format, departure));
            }
        }
        let next = swept.next.unwrap_or(SWEEP_INTERVAL);
        Ok(next.clamp(Duration::from_millis(5), SWEEP_INTERVAL))
    }

    /// Emits the counts of large rooms that are due. Of all nodes, one emits the count of a room in each interval.
    async fn count(&self, counts: &mut HashMap<String, Instant>) -> Result<(), StoreError> {
        let now = Instant::now();
        let due = counts.iter().filter(|(_, due)| **due <= now);
        let due: Vec<String> = due.map(|(room, _)| room.clone()).collect();
        let (store, base) = (&self.rooms.store, &self.rooms.base);
        for room in due {
            let lease = format!("{base}:count:{room}");
            let node = self.node.as_str();
            if store.acquire_lease(&lease, node, COUNT_INTERVAL).await? {
                let page = store.presence_page(base, &room, None, 0).await?;
                self.emit(events::counted(&room, page.count, page.version));
                counts.remove(&room);
            } else {
                // The count of the other node may be older than the last change here.
                counts.insert(room, now + COUNT_INTERVAL);
            }
        }
        Ok(())
    }

    /// Applies all changes, and confirms the departures that this node took; returns whether the store has them.
    async fn finish(&self) -> bool {
        if !self.is_certain() {
            return false;
        }
        let mut agenda = Agenda::new();
        loop {
            match self.flush(&mut agenda).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return false,
            }
        }
        while self.requests.borrow().has_unconfirmed() {
            if self.sweep(0, &mut agenda.counts).await.is_err() {
                return false;
            }
        }
        true
    }

    /// A node is lost: its users leave, if no other node has them. They had time to return.
    async fn remove(&self, node: NodeId) -> Result<(), StoreError> {
        let (store, base) = (&self.rooms.store, &self.rooms.base);
        let at_once = Duration::ZERO;
        while store
            .presence_remove_node(base, node.as_str(), at_once, REMOVAL_BATCH)
            .await?
            > 0
        {}
        Ok(())
    }

    fn record(&self) {
        let members = self.rooms.members();
        self.metrics.presence_members.set(members.len() as i64);
        let pending = &self.metrics.presence_pending_changes;
        let unapplied = self.requests.borrow().unapplied();
        pending.set((members.pending() + unapplied) as i64);
    }
}

/// A large room has changed: its members receive a count soon.
fn note_count(counts: &mut HashMap<String, Instant>, room: &str) {
    if !counts.contains_key(room) {
        counts.insert(room.to_owned(), Instant::now() + COUNT_INTERVAL);
    }
}

#[cfg(test)]
mod tests;
