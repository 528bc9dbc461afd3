//! Compresses identical polling responses once for all clients, large ones outside the worker threads.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use actix_web::web::{self, Bytes};
use futures_util::FutureExt;
use futures_util::future::Shared;

use super::gzip::gzip;
use crate::metrics::Metrics;
use crate::metrics::labels::Compression;

/// Smaller responses, in bytes, are compressed on the worker: another thread would cost as much.
const LARGE: usize = 16 * 1024;
/// Maximum number of responses kept for reuse.
const MAX_RECENT: usize = 8;
/// Maximum number of their bytes.
const MAX_RECENT_BYTES: usize = 4 << 20;
/// Maximum time that they are kept.
const RECENT_TIME: Duration = Duration::from_secs(2);

/// Number of large responses being compressed on this node.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Compresses the responses of one worker.
pub struct Compressor {
    recent: RefCell<VecDeque<Recent>>,
    /// Whether a task that clears `recent` is scheduled.
    clearing: Cell<bool>,
    metrics: Arc<Metrics>,
}

/// A response, and its compressed form as a future.
struct Recent {
    body: Bytes,
    compressed: CompressedFuture,
}

type CompressedFuture = Shared<Pin<Box<dyn Future<Output = Option<Bytes>>>>>;

/// A large response being compressed, until this is dropped.
struct Running;

impl Running {
    /// `None` if half of the processors are compressing already.
    fn begin() -> Option<Self> {
        let processors = available_parallelism().map_or(1, usize::from);
        let most = (processors / 2).max(1);
        RUNNING
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |running| {
                (running < most).then_some(running + 1)
            })
            .ok()
            .map(|_| Self)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Compressor {
    /// A compressor without responses to reuse.
    pub fn new(metrics: Arc<Metrics>) -> Rc<Self> {
        Rc::new(Self {
            recent: RefCell::default(),
            clearing: Cell::new(false),
            metrics,
        })
    }

    /// The compressed response; `None` if too many are being compressed, so that this one is sent uncompressed.
    pub async fn compress(self: &Rc<Self>, body: &Bytes) -> Option<Bytes> {
        let (compressed, outcome) = self.find_or_begin(body);
        self.metrics.compressions_total.of(outcome).increment();
        compressed?.await
    }

    fn find_or_begin(self: &Rc<Self>, body: &Bytes) -> (Option<CompressedFuture>, Compression) {
        let known = {
            let recent = self.recent.borrow();
            let same = recent.iter().find(|recent| recent.body == *body);
            same.map(|recent| recent.compressed.clone())
        };
        if known.is_some() {
            return (known, Compression::Reused);
        }
        let future: Pin<Box<dyn Future<Output = _>>> = if body.len() < LARGE {
            Box::pin(ready(gzip(body)))
        } else if let Some(running) = Running::begin() {
            let content = body.clone();
            let compressed = web::block(move || {
                let compressed = gzip(&content);
                drop(running);
                compressed
            });
            Box::pin(async { compressed.await.ok().flatten() })
        } else {
            return (None, Compression::Skipped);
        };
        let compressed = future.shared();
        self.remember(body.clone(), compressed.clone());
        (Some(compressed), Compression::Compressed)
    }

    fn remember(self: &Rc<Self>, body: Bytes, compressed: CompressedFuture) {
        let mut recent = self.recent.borrow_mut();
        recent.push_back(Recent { body, compressed });
        let bytes = |recent: &VecDeque<Recent>| recent.iter().map(|r| r.body.len()).sum::<usize>();
        while recent.len() > 1 && (recent.len() > MAX_RECENT || bytes(&recent) > MAX_RECENT_BYTES) {
            recent.pop_front();
        }
        if !self.clearing.replace(true) {
            let compressor = Rc::clone(self);
            actix_rt::spawn(async move {
                tokio::time::sleep(RECENT_TIME).await;
                compressor.clearing.set(false);
                *compressor.recent.borrow_mut() = VecDeque::new();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    fn body(first: usize) -> Bytes {
        format!("{first}{}", "x".repeat(500_000)).into()
    }

    #[actix_rt::test]
    async fn identical_responses_are_compressed_once_and_only_a_few_different_ones_at_a_time() {
        let compressor = Compressor::new(Arc::default());
        let count = |outcome| compressor.metrics.compressions_total.of(outcome).get();
        let same: Vec<_> = (0..300).map(|_| body(0)).collect();
        let compressed = join_all(same.iter().map(|body| compressor.compress(body))).await;
        assert!(
            compressed
                .iter()
                .all(|each| each.is_some() && *each == compressed[0])
        );
        assert_eq!(count(Compression::Compressed), 1);
        assert_eq!(count(Compression::Reused), 299);
        let different: Vec<_> = (1..=300).map(body).collect();
        let compressed = join_all(different.iter().map(|body| compressor.compress(body))).await;
        let (done, skipped) = (count(Compression::Compressed), count(Compression::Skipped));
        assert_eq!(compressed.iter().flatten().count() as u64, done - 1);
        // All were requested before the first was done, or soon after.
        assert!((2..100).contains(&done), "{done}");
        assert_eq!(done + skipped, 301);
        assert!(compressor.recent.borrow().len() <= MAX_RECENT);
        let small = Bytes::from_static(b"small");
        let compressed = compressor.compress(&small).await;
        assert_eq!(compressed, gzip(&small));
    }
}
