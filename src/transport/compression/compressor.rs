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

use super::gzip;
use crate::metrics::Metrics;
use crate::metrics::labels::Compression;

/// Responses below this size are compressed on the worker: handing them to another thread would cost as much.
const LARGE: usize = 16 * 1024;
/// Responses kept for reuse: their number, and their bytes.
const MOST_RECENT: usize = 8;
const RECENT_BYTES: usize = 4 << 20;
/// How long they are kept at most.
const RECENT_TIME: Duration = Duration::from_secs(2);

/// Large responses being compressed on this node.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Compresses the responses of one worker.
pub struct Compressor {
    recent: RefCell<VecDeque<Recent>>,
    /// Whether a task is scheduled that clears `recent`.
    forgetting: Cell<bool>,
    metrics: Arc<Metrics>,
}

/// A response, and the future of its compressed form.
struct Recent {
    body: Bytes,
    packed: Packing,
}

type Packing = Shared<Pin<Box<dyn Future<Output = Option<Bytes>>>>>;

/// A large response being compressed, until this is dropped.
struct UnderWay;

impl UnderWay {
    /// `None` if half of the processors are compressing already.
    fn begin() -> Option<Self> {
        let processors = available_parallelism().map_or(1, usize::from);
        let most = (processors / 2).max(1);
        UNDER_WAY
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |under_way| {
                (under_way < most).then_some(under_way + 1)
            })
            .ok()
            .map(|_| Self)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Compressor {
    /// A compressor without responses to reuse.
    pub fn new(metrics: Arc<Metrics>) -> Rc<Self> {
        Rc::new(Self {
            recent: RefCell::default(),
            forgetting: Cell::new(false),
            metrics,
        })
    }

    /// The compressed response; `None` if too many are being compressed, so that this one is sent uncompressed.
    pub async fn compress(self: &Rc<Self>, body: &Bytes) -> Option<Bytes> {
        let (packed, outcome) = self.find_or_begin(body);
        self.metrics.compressions_total.of(outcome).increment();
        packed?.await
    }

    fn find_or_begin(self: &Rc<Self>, body: &Bytes) -> (Option<Packing>, Compression) {
        let known = {
            let recent = self.recent.borrow();
            let same = recent.iter().find(|recent| recent.body == *body);
            same.map(|recent| recent.packed.clone())
        };
        if known.is_some() {
            return (known, Compression::Reused);
        }
        let packing: Pin<Box<dyn Future<Output = _>>> = if body.len() < LARGE {
            Box::pin(ready(gzip(body)))
        } else if let Some(under_way) = UnderWay::begin() {
            let content = body.clone();
            let packed = web::block(move || {
                let packed = gzip(&content);
                drop(under_way);
                packed
            });
            Box::pin(async { packed.await.ok().flatten() })
        } else {
            return (None, Compression::Skipped);
        };
        let packed = packing.shared();
        self.remember(body.clone(), packed.clone());
        (Some(packed), Compression::Done)
    }

    fn remember(self: &Rc<Self>, body: Bytes, packed: Packing) {
        let mut recent = self.recent.borrow_mut();
        recent.push_back(Recent { body, packed });
        let bytes = |recent: &VecDeque<Recent>| recent.iter().map(|r| r.body.len()).sum::<usize>();
        while recent.len() > 1 && (recent.len() > MOST_RECENT || bytes(&recent) > RECENT_BYTES) {
            recent.pop_front();
        }
        if !self.forgetting.replace(true) {
            let compressor = Rc::clone(self);
            actix_rt::spawn(async move {
                tokio::time::sleep(RECENT_TIME).await;
                compressor.forgetting.set(false);
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
        let packed = join_all(same.iter().map(|body| compressor.compress(body))).await;
        assert!(
            packed
                .iter()
                .all(|each| each.is_some() && *each == packed[0])
        );
        assert_eq!(count(Compression::Done), 1);
        assert_eq!(count(Compression::Reused), 299);
        let different: Vec<_> = (1..=300).map(body).collect();
        let packed = join_all(different.iter().map(|body| compressor.compress(body))).await;
        let (done, skipped) = (count(Compression::Done), count(Compression::Skipped));
        assert_eq!(packed.iter().flatten().count() as u64, done - 1);
        // All were requested before the first was done, or soon after.
        assert!((2..100).contains(&done), "{done}");
        assert_eq!(done + skipped, 301);
        assert!(compressor.recent.borrow().len() <= MOST_RECENT);
        let small = Bytes::from_static(b"small");
        let packed = compressor.compress(&small).await;
        assert_eq!(packed, gzip(&small));
    }
}
