//! Access of a member to the logs of its hub.

use bytes::Bytes;

use super::hub::Hub;
use super::state::MemberId;
use crate::history::{LogName, LogReader, LogTable, Page, Tails};
use crate::store::{StoreError, StoreFuture};

/// Access of a member to the logs of its hub.
pub(super) struct MemberLogs {
    pub(super) hub: Hub,
    pub(super) member: MemberId,
}

impl MemberLogs {
    fn access<T: Send + 'static>(
        &self,
        read: impl FnOnce(&LogTable<Bytes>) -> T,
    ) -> StoreFuture<T> {
        let result = self.hub.with_logs(self.member, |logs| read(logs.table()));
        let result = result.ok_or_else(|| StoreError("disconnected".to_owned()));
        Box::pin(std::future::ready(result))
    }
}

impl LogReader<Bytes> for MemberLogs {
    fn read(
        &self,
        log: &LogName,
        after: u64,
        until: Option<u64>,
        limit: usize,
    ) -> StoreFuture<Page<Bytes>> {
        self.access(|table| table.read(log, after, until, limit))
    }

    fn read_back(
        &self,
        log: &LogName,
        before: Option<u64>,
        limit: usize,
    ) -> StoreFuture<Page<Bytes>> {
        self.access(|table| table.read_back(log, before, limit))
    }

    fn tails(&self, logs: &[LogName]) -> StoreFuture<Tails> {
        self.access(|table| table.tails(logs))
    }

    fn size(&self, logs: &[LogName]) -> StoreFuture<u64> {
        self.access(|table| table.size(logs))
    }
}
