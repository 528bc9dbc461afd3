//! Examines the marked rooms of a node, and claims or releases them in the store.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use log::{info, warn};
use tokio::time::{interval, sleep, sleep_until};

use super::backlog::NoticeBacklog;
use super::intake::Intake;
use super::rooms::{CONCURRENT, Mark, RoomName, RoomState};
use crate::broker::{Directory, Ingress};
use crate::clock::now;
use crate::config::NoticeKind;
use crate::logging::Burst;
use crate::model::{Namespace, NodeId, Query, QueryAnswer, Room, Selector};
use crate::store::{Store, StoreError};

/// Time limit of the count of a room's members.
const COUNT_TIME: Duration = Duration::from_secs(1);
/// Time until a room whose state is unknown is examined again.
const AGAIN: Duration = Duration::from_secs(2);
/// Interval at which a node compares the live nodes with the previous ones.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Time after its start at which a node looks for claims of nodes that are gone.
const START_TIME: Duration = Duration::from_secs(10);
/// Interval at which a stopping node verifies that no room is left to examine.
const SETTLE_INTERVAL: Duration = Duration::from_millis(10);
/// Time for which one node alone examines the rooms of a node that is gone.
const SWEEP_TIME: Duration = Duration::from_secs(30);
/// Separates the namespace from the room in the name of a claim; no namespace contains it.
const SEPARATOR: char = ',';
/// Begins the name of a receipt ([`Store::hash_take`]); namespaces begin with a slash.
const RECEIPT: char = '!';

/// Decides with the other nodes which rooms are occupied.
pub(super) struct Occupancy {
    intake: Arc<Intake>,
    backlog: Rc<NoticeBacklog>,
    directory: Arc<Directory>,
    store: Arc<dyn Store>,
    /// Prefix of keys in the store.
    prefix: String,
    /// Number of rooms that are being examined.
    busy: Cell<usize>,
    /// Distinguishes the changes of this node: one that is repeated after a lost connection is recognized.
    next_number: Cell<u64>,
    /// The last change of the claim of a room, if the store may have executed it, so that its notice is due.
    unanswered: RefCell<HashMap<RoomName, ClaimChange>>,
}

/// A change of a claim: a release if the room was vacated.
#[derive(Clone)]
struct ClaimChange {
    unique_name: String,
    releases: bool,
    /// When the room was occupied or vacated.
    since: SystemTime,
}

impl ClaimChange {
    /// What a release leaves in place of the claim.
    fn receipt(&self) -> String {
        format!("{RECEIPT}{}", self.unique_name)
    }
}

/// The result of the examination of a room.
enum Examined {
    /// Its claim is correct.
    Done,
    Again(Mark),
    Verify(Mark),
}

impl Occupancy {
    /// Examines nothing until it runs.
    pub(super) fn new(
        intake: Arc<Intake>,
        backlog: Rc<NoticeBacklog>,
        directory: Arc<Directory>,
        store: Arc<dyn Store>,
        prefix: String,
    ) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            intake,
            backlog,
            directory,
            store,
            prefix,
            busy: Cell::new(0),
            // A node may have the name of an earlier one.
            next_number: Cell::new(started.unwrap_or_default().as_millis() as u64),
            unanswered: RefCell::default(),
        }
    }

    /// Examines marked rooms; runs until it is dropped.
    pub(super) async fn run(&self) {
        let marks = &self.intake.marks;
        let mut examined = FuturesUnordered::new();
        let mut busy: HashSet<RoomName> = HashSet::new();
        loop {
            let (due, next) = marks.take_due(CONCURRENT.saturating_sub(busy.len()));
            for (room, mark) in due {
                if !busy.insert(room.clone()) {
                    // It has changed while it was being examined.
                    marks.again(room, mark, Duration::from_millis(10));
                    continue;
                }
                self.busy.set(busy.len());
                examined.push(async move { (self.examine(&room, mark).await, room) });
            }
            let is_due = async {
                match next.filter(|_| busy.len() < CONCURRENT) {
                    Some(next) => sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((result, room)) = examined.next() => {
                    busy.remove(&room);
                    match result {
                        Examined::Done => {}
                        Examined::Again(mark) => marks.again(room, mark, AGAIN),
                        Examined::Verify(mark) => marks.verify(room, mark),
                    }
                    self.busy.set(busy.len());
                }
                () = marks.changed() => {}
                () = is_due => {}
            }
        }
    }

    /// Examines every marked room at once; returns when none is left.
    pub(super) async fn settle(&self) {
        let marks = &self.intake.marks;
        loop {
            marks.hurry();
            if marks.is_empty() && self.busy.get() == 0 {
                return;
            }
            sleep(SETTLE_INTERVAL).await;
        }
    }

    async fn examine(&self, room: &RoomName, mark: Mark) -> Examined {
        let result = self.bring_in_line(room, mark).await;
        result.unwrap_or_else(|error| {
            static LINES: Burst = Burst::new();
            if let Some(unreported) = LINES.note() {
                warn!(error:%, unreported; "occupied rooms cannot be determined at the moment");
            }
            Examined::Again(mark)
        })
    }

    async fn bring_in_line(&self, room: &RoomName, mark: Mark) -> Result<Examined, StoreError> {
        self.recall(room).await?;
        match mark.state {
            RoomState::Occupied | RoomState::Verify => self.claim(room, mark).await,
            RoomState::Vacated => match self.count(room).await {
                Some(0) => {
                    self.attempt(room, self.new_attempt(true, mark)).await?;
                    Ok(Examined::Done)
                }
                Some(_) => self.claim(room, mark).await,
                None => Ok(Examined::Again(mark)),
            },
        }
    }

    async fn claim(&self, room: &RoomName, mark: Mark) -> Result<Examined, StoreError> {
        let claimed = self.attempt(room, self.new_attempt(false, mark)).await?;
        Ok(match claimed || mark.state == RoomState::Verify {
            true => Examined::Done,
            false => Examined::Verify(mark),
        })
    }

    fn new_attempt(&self, releases: bool, mark: Mark) -> ClaimChange {
        ClaimChange {
            unique_name: self.unique_name(),
            releases,
            since: mark.since,
        }
    }

    /// Changes the claim of a room, and queues a notice if this node is the one that did so; returns whether it is.
    async fn attempt(&self, room: &RoomName, attempt: ClaimChange) -> Result<bool, StoreError> {
        let unanswered = &self.unanswered;
        unanswered
            .borrow_mut()
            .insert(room.clone(), attempt.clone());
        let (key, field) = (self.key(), field(room));
        let has_changed = match attempt.releases {
            true => self.store.hash_take(&key, &field, &attempt.receipt()),
            false => {
                let value = attempt.unique_name.clone().into();
                self.store.hash_claim(&key, &field, value)
            }
        };
        let has_changed = has_changed.await?;
        unanswered.borrow_mut().remove(room);
        if has_changed {
            self.changed(room, attempt).await;
        }
        Ok(has_changed)
    }

    /// If the response to the last change of the claim was lost, finds out whether it was executed. It is not repeated,
    /// because the room may have other members by now.
    async fn recall(&self, room: &RoomName) -> Result<(), StoreError> {
        let attempt = self.unanswered.borrow().get(room).cloned();
        let Some(attempt) = attempt else {
            return Ok(());
        };
        let key = self.key();
        let was_executed = match attempt.releases {
            true => {
                let receipt = self.store.hash_get(&key, &attempt.receipt());
                receipt.await?.is_some()
            }
            false => {
                let claim = self.store.hash_get(&key, &field(room)).await?;
                claim.is_some_and(|claim| claim == attempt.unique_name)
            }
        };
        self.unanswered.borrow_mut().remove(room);
        if was_executed {
            self.changed(room, attempt).await;
        }
        Ok(())
    }

    /// The claim of a room was changed.
    async fn changed(&self, room: &RoomName, attempt: ClaimChange) {
        if attempt.releases {
            self.notify(NoticeKind::RoomVacated, room, attempt.since);
            // One that stays is removed when a node starts.
            let receipts = vec![attempt.receipt()];
            let _ = self.store.hash_delete(&self.key(), receipts).await;
        } else {
            self.notify(NoticeKind::RoomOccupied, room, attempt.since);
        }
    }

    /// The name of this node and a number that it uses once.
    fn unique_name(&self) -> String {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        format!("{} {number}", self.directory.node())
    }

    fn notify(&self, kind: NoticeKind, (namespace, room): &RoomName, at: SystemTime) {
        if self.intake.includes(kind) {
            let json = self.backlog.encoder().room(kind, at, namespace, room);
            self.backlog.push(json, at);
        }
    }

    /// The members of a room on all nodes; `None` if some node does not respond.
    async fn count(&self, (namespace, room): &RoomName) -> Option<u64> {
        let query = Query::Sockets {
            selector: Selector::room(namespace.clone(), room.clone()),
            limit: 0,
        };
        if self.directory.bus().is_some() && self.directory.is_cut_off() {
            return None;
        }
        let ingress = Ingress::new(Arc::clone(&self.directory));
        let counted = ingress.query(query, COUNT_TIME).finish().await;
        let total = counted.answers.iter().map(|answer| match answer {
            QueryAnswer::Sockets { total, .. } => *total,
            _ => 0,
        });
        let total: u64 = total.sum();
        (total > 0 || counted.missing.is_empty()).then_some(total)
    }

    /// Finds the rooms whose last members were on a node that is gone; runs until it is dropped.
    pub(super) async fn watch_nodes(&self) {
        let mut ticks = interval(WATCH_INTERVAL);
        let mut before: Vec<NodeId> = Vec::new();
        let mut starts_until = Some(now() + START_TIME);
        loop {
            ticks.tick().await;
            let peers = self.directory.peers();
            for gone in before.iter().filter(|node| !peers.contains(node)) {
                self.sweep(gone.as_str(), |_| true).await;
            }
            if starts_until.is_some_and(|until| until <= now()) {
                starts_until = None;
                let ours = self.directory.node();
                let is_live = |node: NodeId| node == ours || peers.contains(&node);
                let is_gone = |claimer: &str| !node_of(claimer).is_some_and(is_live);
                self.sweep("start", is_gone).await;
            }
            before = peers;
        }
    }

    /// Examines the rooms whose claim `is_suspect`; only one of the live nodes does so.
    async fn sweep(&self, reason: &str, is_suspect: impl Fn(&str) -> bool) {
        match self.suspects(reason, is_suspect).await {
            Ok(0) => {}
            Ok(rooms) => info!(node:% = reason, rooms; "a node is gone: its rooms are examined"),
            Err(error) => {
                warn!(node:% = reason, error:%; "a node is gone: its rooms cannot be determined")
            }
        }
    }

    async fn suspects(
        &self,
        reason: &str,
        is_suspect: impl Fn(&str) -> bool,
    ) -> Result<usize, StoreError> {
        let lease = format!("{}:notices:sweep:{reason}", self.prefix);
        let ours = self.directory.node();
        let acquired = self.store.acquire_lease(&lease, ours.as_str(), SWEEP_TIME);
        if !acquired.await? {
            return Ok(0);
        }
        let claims = self.store.hash_scan(&self.key()).await?;
        let mut count = 0;
        let mut receipts = Vec::new();
        for (field, claimer) in claims {
            if let Some(name) = field.strip_prefix(RECEIPT) {
                let is_live = |node| node == ours || self.directory.peers().contains(&node);
                if !node_of(name).is_some_and(is_live) {
                    receipts.push(field);
                }
                continue;
            }
            let is_suspect = std::str::from_utf8(&claimer).is_ok_and(&is_suspect);
            if let Some((namespace, room)) = field.split_once(SEPARATOR).filter(|_| is_suspect) {
                self.intake.marks.suspected(&namespace.into(), &room.into());
                count += 1;
            }
        }
        self.store.hash_delete(&self.key(), receipts).await?;
        Ok(count)
    }

    fn key(&self) -> String {
        format!("{}:notices:rooms", self.prefix)
    }
}

/// The node that a claim or receipt names.
fn node_of(unique_name: &str) -> Option<NodeId> {
    NodeId::parse(unique_name.split(' ').next()?)
}

fn field((namespace, room): &(Namespace, Room)) -> String {
    format!("{namespace}{SEPARATOR}{room}")
}

#[cfg(test)]
mod tests;
