//! Reads where many logs end with one request for many sessions.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::{HashMap, HashSet};
use tokio::sync::OnceCell;

use super::event_logs::EventLogs;
use crate::history::{LogName, Tails};
use crate::model::Epoch;
use crate::store::StoreError;

/// Number of logs of one request.
const AT_ONCE: usize = 2048;

/// One request at a time; those that come meanwhile share the next one. So the result of each is from a time after it
/// was requested.
#[derive(Default)]
pub(super) struct TailBatches {
    next: Mutex<Arc<TailBatch>>,
    running: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct TailBatch {
    names: Mutex<HashSet<LogName>>,
    result: OnceCell<Result<BatchedTails, StoreError>>,
}

struct BatchedTails {
    epoch: Option<Epoch>,
    tails: HashMap<LogName, u64>,
}

impl TailBatches {
    /// Where these logs end.
    ///
    /// # Errors
    /// The logs cannot be read.
    pub(super) async fn read(
        &self,
        logs: &dyn EventLogs,
        names: &[LogName],
    ) -> Result<Tails, StoreError> {
        let batch = self.enter(names);
        let running = self.running.lock().await;
        if batch.result.get().is_none() {
            // If the session that reads for all is gone before the response, the next one reads again.
            let requested = self.close(&batch);
            let result = logs.tails(&requested).await;
            let _ = batch.result.set(result.map(|result| BatchedTails {
                epoch: result.epoch,
                tails: requested.into_iter().zip(result.tails).collect(),
            }));
        }
        drop(running);
        let lost = || StoreError("no response".to_owned());
        let result = batch.result.get().ok_or_else(lost)?;
        let result = result.as_ref().map_err(StoreError::clone)?;
        let tails = names.iter().map(|name| result.tails.get(name).copied());
        Ok(Tails {
            epoch: result.epoch,
            tails: tails.map(Option::unwrap_or_default).collect(),
        })
    }

    fn enter(&self, names: &[LogName]) -> Arc<TailBatch> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_batch = next.names.lock().unwrap_or_else(PoisonError::into_inner);
        if !of_batch.is_empty() && of_batch.len() + names.len() > AT_ONCE {
            drop(of_batch);
            *next = Arc::default();
            of_batch = next.names.lock().unwrap_or_else(PoisonError::into_inner);
        }
        of_batch.extend(names.iter().cloned());
        drop(of_batch);
        Arc::clone(&next)
    }

    /// Closes the batch, so that no further request shares it; returns its logs.
    fn close(&self, batch: &Arc<TailBatch>) -> Vec<LogName> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&next, batch) {
            *next = Arc::default();
        }
        let names = batch.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().cloned().collect()
    }
}
