//! Which logs were appended to lately, to notice a server that lacks what it has acknowledged.
//!
//! Replication is asynchronous, and a server writes its file once a second: after a failover or a restart, Redis may lack
//! the last messages. Then it also lacks the last sequence numbers of their senders, which reveals the loss.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::bus::link::LogAppend;
use crate::history::LogName;

/// What was acknowledged so long ago is on the replicas and in the file.
const KEPT: Duration = Duration::from_secs(60);
/// Number of logs above which those that were not appended to lately are forgotten.
const FEWEST_TO_PRUNE: usize = 1024;

/// The last sequence number that Redis has acknowledged for each log.
#[derive(Debug, Default)]
pub(super) struct RecentAppends(Mutex<Appends>);

#[derive(Debug, Default)]
struct Appends {
    sender: u64,
    last: HashMap<LogName, Last>,
    prune_at: usize,
}

#[derive(Debug)]
struct Last {
    sequence: u64,
    at: Instant,
}

impl RecentAppends {
    /// Redis has appended a message.
    pub(super) fn acknowledge(&self, append: &LogAppend) {
        let at = Instant::now();
        let sequence = append.sequence;
        let mut appends = self.lock();
        appends.sender = append.sender;
        for target in &append.targets {
            if let Some(last) = appends.last.get_mut(&target.name) {
                // One that Redis rejected at first is appended after later ones.
                let sequence = last.sequence.max(sequence);
                *last = Last { sequence, at };
            } else {
                let last = Last { sequence, at };
                appends.last.insert(target.name.clone(), last);
            }
        }
        if appends.last.len() > appends.prune_at {
            appends.prune();
        }
    }

    /// The sender of the messages; `None` if there were none lately.
    pub(super) fn sender(&self) -> Option<u64> {
        let mut appends = self.lock();
        appends.prune();
        (!appends.last.is_empty()).then_some(appends.sender)
    }

    /// Takes the logs that lack messages on a server on which the sequence ends with `last`. `None`: the server has lost
    /// the whole logs, which their epoch shows.
    pub(super) fn take_lost(&self, last: Option<u64>) -> Vec<LogName> {
        let mut appends = self.lock();
        let Some(last) = last else {
            appends.last.clear();
            return Vec::new();
        };
        let lost = appends.last.extract_if(|_, log| log.sequence > last);
        lost.map(|(name, _)| name).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Appends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Appends {
    fn prune(&mut self) {
        self.last.retain(|_, last| last.at.elapsed() < KEPT);
        self.prune_at = FEWEST_TO_PRUNE.max(2 * self.last.len());
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::history::LogTarget;
    use crate::model::{Namespace, Room};

    fn log(room: &str) -> LogName {
        LogName::of_room(Namespace::main(), Room::from(room))
    }

    fn append(room: &str, sequence: u64) -> LogAppend {
        let target = LogTarget {
            index: 0,
            name: log(room),
            length: 10,
            age: KEPT,
        };
        LogAppend {
            targets: smallvec![target],
            channels: Vec::new(),
            sender: 7,
            sequence,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn logs_with_later_messages_than_the_server_has_are_lost_once() {
        let appends = RecentAppends::default();
        assert_eq!(appends.sender(), None);
        for (room, sequence) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            appends.acknowledge(&append(room, sequence));
        }
        assert_eq!(appends.sender(), Some(7));
        assert_eq!(appends.take_lost(Some(4)), []);
        let mut lost = appends.take_lost(Some(2));
        lost.sort_by_key(LogName::key);
        assert_eq!(lost, [log("a"), log("c")]);
        assert_eq!(appends.take_lost(Some(2)), []);
        assert_eq!(appends.take_lost(Some(1)), [log("b")]);
        appends.acknowledge(&append("a", 5));
        assert_eq!(appends.take_lost(None), []);
        assert_eq!(appends.take_lost(Some(0)), []);
        appends.acknowledge(&append("a", 6));
        tokio::time::advance(KEPT).await;
        assert_eq!(appends.sender(), None);
        assert_eq!(appends.take_lost(Some(0)), []);
    }

    #[tokio::test(start_paused = true)]
    async fn logs_of_long_ago_are_forgotten() {
        let appends = RecentAppends::default();
        for number in 0..5000 {
            appends.acknowledge(&append(&number.to_string(), number + 1));
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!(appends.lock().last.len() <= 2 * FEWEST_TO_PRUNE);
        assert_eq!(appends.sender(), Some(7));
        // The newest is 100 ms old.
        assert_eq!(appends.take_lost(Some(0)).len(), 599);
    }
}
