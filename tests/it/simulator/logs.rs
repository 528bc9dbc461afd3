//! The logs of rooms as a node reads them: over the same connection as the store, which can be cut and delayed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use roomwire::bus::link::Link;
use roomwire::bus::memory::{Hub, MemoryLink};
use roomwire::cluster::dialect::Dialect;
use roomwire::config::HistoryConfig;
use roomwire::history::{ClusterLogs, DecodeEmit, History, LogName, LogReader, Page, Tails};
use roomwire::model::Command;
use roomwire::store::StoreFuture;
use tokio::time::Instant;

use super::history::{Appended, EVERYBODY, EmitId};
use super::store::NodeStore;

/// The key of the store whose commands those of the logs are in order with.
const KEY: &str = "log";

struct NodeLogs {
    reader: Arc<dyn LogReader<Bytes>>,
    connection: NodeStore,
}

impl NodeLogs {
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn LogReader<Bytes>) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let reader = Arc::clone(&self.reader);
        self.connection
            .call(KEY, move || read(&*reader).now_or_never().unwrap())
    }
}

impl LogReader<Bytes> for NodeLogs {
    fn read(
        &self,
        log: &LogName,
        after: u64,
        until: Option<u64>,
        limit: usize,
    ) -> StoreFuture<Page<Bytes>> {
        let log = log.clone();
        self.read(move |reader| reader.read(&log, after, until, limit))
    }

    fn read_back(
        &self,
        log: &LogName,
        before: Option<u64>,
        limit: usize,
    ) -> StoreFuture<Page<Bytes>> {
        let log = log.clone();
        self.read(move |reader| reader.read_back(&log, before, limit))
    }

    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails> {
        let logs = logs.to_vec();
        self.read(move |reader| reader.tails(&logs))
    }

    fn size(&self, logs: &[LogName]) -> StoreFuture<u64> {
        let logs = logs.to_vec();
        self.read(move |reader| reader.size(&logs))
    }
}

fn decoder(dialect: Arc<dyn Dialect>) -> DecodeEmit {
    Arc::new(move |message| match dialect.decode_own(message) {
        Some(Command::Emit(emit)) => Some(emit),
        _ => None,
    })
}

/// The logs of a node, if the configuration names any.
pub fn history(
    config: &HistoryConfig,
    link: &MemoryLink,
    dialect: &Arc<dyn Dialect>,
    connection: &NodeStore,
) -> Option<History> {
    let reader = Arc::new(NodeLogs {
        reader: link.logs().unwrap(),
        connection: connection.clone(),
    });
    let decode = decoder(Arc::clone(dialect));
    History::of_cluster(config, &[], Arc::new(ClusterLogs::new(reader, decode)))
}

/// Everything that was appended to the logs of a run, in the order of its positions unless a failover lost some of it.
#[derive(Clone, Default)]
pub struct Appends(Arc<Mutex<Vec<Appended>>>);

impl Appends {
    /// Notes what is appended to the logs of a hub from now on.
    pub fn observe(&self, hub: &Hub, dialect: &Arc<dyn Dialect>) {
        let (appends, decode) = (Arc::clone(&self.0), decoder(Arc::clone(dialect)));
        let began = Instant::now();
        hub.observe_appends(Box::new(move |position, targets, message| {
            let emit = decode(message).unwrap();
            let rooms = targets.iter().map(|target| match &target.name.room {
                Some(room) => room.to_string(),
                None => EVERYBODY.to_owned(),
            });
            let mut elements = emit.payload.elements();
            let is_event = elements.next() == Some(r#""event""#);
            let number = elements.next().filter(|_| is_event);
            appends.lock().unwrap().push(Appended {
                emit: number.and_then(|number| number.parse::<EmitId>().ok()),
                epoch: position.epoch.to_string(),
                n: position.n,
                at: began.elapsed(),
                rooms: rooms.collect(),
                lost: None,
            });
        }));
    }

    /// A failover loses what is newer than the number `last`.
    pub fn lose_after(&self, last: u64, now: Duration) {
        for appended in self.0.lock().unwrap().iter_mut() {
            if appended.n > last {
                appended.lost.get_or_insert(now);
            }
        }
    }

    /// The positions in the log of a room.
    pub fn positions(&self, room: &str) -> Vec<String> {
        let appended = self.0.lock().unwrap();
        let of_room = appended
            .iter()
            .filter(|it| it.rooms.iter().any(|name| name == room));
        of_room.map(|it| format!("{}-{}", it.epoch, it.n)).collect()
    }

    pub fn take(&self) -> Vec<Appended> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
