//! The logs of a hub.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use crate::bus::link::{LogAppend, Outgoing};
use crate::history::LogTable;
use crate::model::{Epoch, Random};

/// Bytes that the logs of a hub occupy at most.
const LIMIT: usize = 256 * 1024 * 1024;

/// The logs of a hub, and what its members have appended to them.
#[derive(Debug)]
pub(super) struct HubLogs {
    table: LogTable<Bytes>,
    /// The last sequence number of each sender.
    sequences: HashMap<u64, u64>,
    epochs: u64,
    begun: tokio::time::Instant,
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
            sequences: HashMap::new(),
            epochs: seed,
            begun: tokio::time::Instant::now(),
        }
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

    /// Appends a message to its logs; returns it with its position, for each of its channels. Nothing, if its sender sent
    /// it before.
    pub(super) fn append(&mut self, message: Outgoing, append: &LogAppend) -> Vec<Outgoing> {
        let last = self.sequences.entry(append.sender).or_default();
        if append.sequence <= *last {
            return Vec::new();
        }
        *last = append.sequence;
        let body = message.body();
        // By the clock of the hub, which tests can pause. Positions are never 0.
        let now = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX) + 1;
        let stamp = self.table.append(now, &append.targets, body.len(), &body);
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
}
