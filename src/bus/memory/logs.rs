//! The logs of a hub.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::bus::link::{LogAppend, Outgoing};
use crate::history::{LogTable, LogTarget};
use crate::model::{Epoch, Position, Random};

/// Bytes that the logs of a hub occupy at most.
const LIMIT: usize = 256 * 1024 * 1024;
/// How far back the logs can be reset.
const KEPT: Duration = Duration::from_secs(5);

/// Called with each message that is appended: its position, its logs, and its bytes without the position.
pub type AppendObserver = Box<dyn Fn(Position, &[LogTarget], &Bytes) + Send>;

/// The logs of a hub, and what its members have appended to them.
pub(super) struct HubLogs {
    table: LogTable<Bytes>,
    epochs: u64,
    begun: Instant,
    /// How far the clock of the server is ahead of that of the tests.
    ahead: Duration,
    /// When which message was appended, oldest first: those that a replica may lack, and the one before.
    recent: VecDeque<(Instant, u64)>,
    observer: Option<AppendObserver>,
}

impl fmt::Debug for HubLogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubLogs")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// Random bytes that follow from a number.
struct Seed(u64);

impl Random for Seed {
    fn fill(&self, buffer: &mut [u8]) {
        let mixed = (self.0 + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_le_bytes();
        for (byte, mixed) in buffer.iter_mut().zip(mixed.iter().cycle()) {
            *byte = *mixed;
        }
    }
}

impl HubLogs {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            table: LogTable::new(Epoch::random(&Seed(seed)), LIMIT),
            epochs: seed,
            begun: Instant::now(),
            ahead: Duration::ZERO,
            recent: VecDeque::new(),
            observer: None,
        }
    }

    /// Calls `observer` with each message that is appended from now on.
    pub(super) fn observe(&mut self, observer: AppendObserver) {
        self.observer = Some(observer);
    }

    /// A replica takes over that lacks what was appended in the last `lost`, and whose clock differs from that of the
    /// tests by `ahead`. Returns the number of the newest entry that is left.
    pub(super) fn fail_over(&mut self, lost: Duration, ahead: Duration) -> u64 {
        let then = Instant::now() - lost;
        let is_lost = |(at, _): &(Instant, u64)| *at > then;
        while self.recent.pop_back_if(|append| is_lost(append)).is_some() {}
        let last = self.recent.back().map_or(0, |(_, n)| *n);
        self.table.remove_after(last);
        self.ahead = ahead;
        if last == 0 {
            self.lose();
        }
        last
    }

    /// The logs.
    pub(super) fn table(&self) -> &LogTable<Bytes> {
        &self.table
    }

    /// Loses all logs, as a server that lost its data.
    pub(super) fn lose(&mut self) {
        self.epochs += 1;
        self.table = LogTable::new(Epoch::random(&Seed(self.epochs)), LIMIT);
    }

    /// Appends a message to its logs; returns it with its position, for each of its channels.
    pub(super) fn append(&mut self, message: Outgoing, append: &LogAppend) -> Vec<Outgoing> {
        let body = message.body();
        // By the clock of the hub, which tests can pause. Positions are never 0.
        let now = (self.begun.elapsed() + self.ahead).as_micros();
        let now = u64::try_from(now).unwrap_or(u64::MAX - 1) + 1;
        let stamp = self.table.append(now, &append.targets, body.len(), &body);
        self.note(stamp.position.n);
        if let Some(observer) = &self.observer {
            observer(stamp.position, &append.targets, &body);
        }
        let mut payload = BytesMut::from(&body[..]);
        stamp.write(&mut payload);
        let payload = payload.freeze();
        let channels = [message.channel].into_iter().chain(append.channels.clone());
        let message = |channel| Outgoing {
            channel,
            payload: payload.clone(),
            volatile: message.volatile,
            translation: None,
            log: None,
        };
        channels.map(message).collect()
    }

    fn note(&mut self, n: u64) {
        let now = Instant::now();
        self.recent.push_back((now, n));
        // The newest one that no replica lacks is kept.
        while self.recent.get(1).is_some_and(|(at, _)| *at + KEPT < now) {
            self.recent.pop_front();
        }
    }
}
