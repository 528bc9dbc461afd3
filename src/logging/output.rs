//! Writes the log to standard error: a bounded buffer, and the thread that drains it.
//!
//! A log call only copies its line into the buffer, so a stalled reader of standard error (a log collector or log
//! driver) never blocks a worker, a probe or a signal. While the buffer is full, new lines are dropped and counted;
//! once output flows again, a line reports how many.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// Size of the buffer in bytes. The writer may hold the same amount again. This also bounds the number of lines: the
/// shortest line, with its time and target, has about 40 bytes.
const LIMIT: usize = 1 << 20;
/// Bytes of one write, in whole lines. Writes of this size to a pipe are atomic (`PIPE_BUF`), so lines of two processes
/// never mix.
const PIECE: usize = 4096;
/// Capacity of the buffer that is kept after a burst.
const KEPT: usize = 64 << 10;
/// Time for which the writer collects lines before it writes them. Waking it for each line would cost more than the line.
const COLLECTION_TIME: Duration = Duration::from_millis(5);
/// Pause before a retry on a descriptor that another process has made non-blocking.
const RETRY: Duration = Duration::from_millis(10);

/// Lines that have not been written yet.
pub(super) struct Output {
    queue: Mutex<LineQueue>,
    /// Notified when there is work for the writer.
    filled: Condvar,
    /// Notified when everything is written.
    emptied: Condvar,
}

struct LineQueue {
    lines: Vec<u8>,
    limit: usize,
    writing: bool,
    /// The last write succeeded.
    flows: bool,
    /// Lines dropped and not reported yet.
    unreported: u64,
    /// Lines dropped before the metrics were set.
    uncounted: u64,
    metrics: Option<Arc<Metrics>>,
}

impl Output {
    pub(super) const fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    const fn with_limit(limit: usize) -> Self {
        Self {
            queue: Mutex::new(LineQueue {
                lines: Vec::new(),
                limit,
                writing: false,
                flows: true,
                unreported: 0,
                uncounted: 0,
                metrics: None,
            }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, LineQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a whole line, or drops it; never waits for the writer.
    pub(super) fn push(&self, line: &[u8]) {
        let mut queue = self.queue();
        if queue.lines.len() + line.len() > queue.limit {
            queue.drop_lines(1);
            return;
        }
        let was_due = queue.is_due();
        let was_empty = queue.lines.is_empty();
        queue.lines.extend_from_slice(line);
        let wakes = was_empty || (queue.is_due() && !was_due);
        drop(queue);
        if wakes {
            self.filled.notify_one();
        }
    }

    /// Counts dropped lines in these metrics, including those dropped so far.
    pub(super) fn count_in(&self, metrics: Arc<Metrics>) {
        let mut queue = self.queue();
        let earlier = std::mem::take(&mut queue.uncounted);
        metrics.log_lines_dropped_total.add(earlier);
        queue.metrics = Some(metrics);
    }

    /// Waits until all lines pushed so far are written, for at most `time`.
    pub(super) fn flush(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let mut queue = self.queue();
        while queue.has_work() || queue.writing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.emptied.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes all lines to `out`. Never returns. `report` logs the number of dropped lines.
    pub(super) fn run(&self, mut out: impl Write, report: impl Fn(u64)) -> ! {
        loop {
            let (lines, dropped) = self.next();
            if dropped > 0 {
                // The report goes into the buffer that was just emptied, so it appears where the lines are missing.
                report(dropped);
            }
            let lost = write(&mut out, &lines);
            let mut queue = self.queue();
            queue.flows = lost == 0;
            queue.drop_lines(lost);
            queue.reuse(lines);
            queue.writing = false;
            let is_done = !queue.has_work();
            drop(queue);
            if is_done {
                self.emptied.notify_all();
            }
        }
    }

    /// The lines to write next, and the number of lines dropped after them. Waits until there is something to do.
    fn next(&self) -> (Vec<u8>, u64) {
        let mut queue = self.queue();
        while !queue.has_work() {
            queue = self
                .filled
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if !queue.is_due() {
            let waited = self.filled.wait_timeout(queue, COLLECTION_TIME);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.writing = true;
        let lines = std::mem::take(&mut queue.lines);
        let dropped = if queue.flows {
            std::mem::take(&mut queue.unreported)
        } else {
            0
        };
        (lines, dropped)
    }
}

impl LineQueue {
    /// Whether enough is buffered to write at once.
    fn is_due(&self) -> bool {
        self.lines.len() >= self.limit / 2
    }

    /// Whether there are lines to write, or drops to report. While writes fail there is no report, since its own loss
    /// would cause another one.
    fn has_work(&self) -> bool {
        !self.lines.is_empty() || (self.flows && self.unreported > 0)
    }

    fn drop_lines(&mut self, count: u64) {
        self.unreported += count;
        match &self.metrics {
            Some(metrics) => metrics.log_lines_dropped_total.add(count),
            None => self.uncounted += count,
        }
    }

    /// Reuses the memory of written lines, unless newer lines have memory already or it is large.
    fn reuse(&mut self, mut written: Vec<u8>) {
        if self.lines.capacity() == 0 && written.capacity() <= KEPT {
            written.clear();
            self.lines = written;
        }
    }
}

/// Writes lines piece by piece. Returns the number of lines that could not be written.
fn write(out: &mut impl Write, mut lines: &[u8]) -> u64 {
    let mut lost = 0;
    while !lines.is_empty() {
        let (piece, rest) = lines.split_at(piece_end(lines));
        if write_all(out, piece).is_err() {
            lost += count_lines(piece);
        }
        lines = rest;
    }
    lost
}

/// The end of the next piece: whole lines, at least one, within [`PIECE`] bytes if possible.
fn piece_end(lines: &[u8]) -> usize {
    let is_end = |byte: &u8| *byte == b'\n';
    let start = &lines[..lines.len().min(PIECE)];
    let last = start.iter().rposition(is_end);
    let first = || lines.iter().position(is_end);
    last.or_else(first).map_or(lines.len(), |end| end + 1)
}

fn count_lines(piece: &[u8]) -> u64 {
    piece.iter().filter(|byte| **byte == b'\n').count().max(1) as u64
}

fn write_all(out: &mut impl Write, mut piece: &[u8]) -> io::Result<()> {
    while !piece.is_empty() {
        match out.write(piece) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => piece = &piece[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// Accepts a write only when the test allows it, with the result that the test provides.
    struct Reader {
        allowed: mpsc::Receiver<io::Result<()>>,
        seen: mpsc::Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let allowed = self.allowed.recv();
            // The test has ended.
            allowed.unwrap_or_else(|_| {
                loop {
                    std::thread::park();
                }
            })?;
            let _ = self.seen.send(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output with its writer, the sender that allows writes, and the receiver of what was written.
    fn started(
        limit: usize,
    ) -> (
        &'static Output,
        mpsc::Sender<io::Result<()>>,
        mpsc::Receiver<String>,
    ) {
        let output: &'static Output = Box::leak(Box::new(Output::with_limit(limit)));
        let (allow, allowed) = mpsc::channel();
        let (seen, written) = mpsc::channel();
        let reader = Reader { allowed, seen };
        std::thread::spawn(move || {
            output.run(reader, |lines| {
                output.push(format!("{lines} dropped\n").as_bytes());
            })
        });
        (output, allow, written)
    }

    fn next(written: &mpsc::Receiver<String>) -> String {
        written.recv_timeout(TIMEOUT).unwrap()
    }

    /// Waits until the writer has taken all lines out of the buffer and blocks in its write.
    fn wait_until_taken(output: &Output) {
        let deadline = Instant::now() + TIMEOUT;
        while !output.queue().lines.is_empty() {
            assert!(Instant::now() < deadline, "the writer takes no lines");
            std::thread::yield_now();
        }
    }

    #[test]
    fn while_the_reader_stalls_new_lines_are_dropped_and_their_number_is_logged() {
        let (output, allow, written) = started(20);
        output.push(b"first\n");
        wait_until_taken(output);
        // The reader stalls: lines that fit are buffered, the others dropped, and no call blocks.
        for line in ["second 23456\n", "3rd\n", "too much\n", "4\n", "much\n"] {
            output.push(line.as_bytes());
        }
        let metrics = Arc::new(Metrics::default());
        output.count_in(Arc::clone(&metrics));
        assert_eq!(metrics.log_lines_dropped_total.get(), 2);
        output.push(b"too late\n");
        assert_eq!(metrics.log_lines_dropped_total.get(), 3);
        for _ in 0..4 {
            allow.send(Ok(())).unwrap();
        }
        assert_eq!(next(&written), "first\n");
        assert_eq!(next(&written), "second 23456\n3rd\n4\n");
        assert_eq!(next(&written), "3 dropped\n");
        output.push(b"flows\n");
        assert_eq!(next(&written), "flows\n");
        output.flush(TIMEOUT);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_reported_when_writes_succeed_again() {
        let (output, allow, written) = started(100);
        let metrics = Arc::new(Metrics::default());
        output.count_in(Arc::clone(&metrics));
        let full = || Err(ErrorKind::StorageFull.into());
        for line in [b"a\n", b"b\n"] {
            output.push(line);
            allow.send(full()).unwrap();
            output.flush(TIMEOUT);
        }
        assert_eq!(metrics.log_lines_dropped_total.get(), 2);
        for result in [Err(ErrorKind::WouldBlock.into()), Ok(()), Ok(())] {
            allow.send(result).unwrap();
        }
        output.push(b"c\n");
        assert_eq!(next(&written), "c\n");
        assert_eq!(next(&written), "2 dropped\n");
    }

    #[test]
    fn a_flush_waits_for_all_lines_up_to_its_time_limit() {
        let (output, allow, written) = started(100);
        output.push(b"a\n");
        let start = Instant::now();
        output.flush(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20));
        allow.send(Ok(())).unwrap();
        output.flush(TIMEOUT);
        assert_eq!(written.try_recv().as_deref(), Ok("a\n"));
    }

    #[test]
    fn pieces_end_with_whole_lines() {
        let line = |length: usize| [vec![b'x'; length - 1], b"\n".to_vec()].concat();
        let cases = [
            (vec![10, 20], 30),
            (vec![4000, 90, 7], 4090),
            (vec![5000, 10], 5000),
            (vec![4096, 10], 4096),
        ];
        for (lengths, end) in cases {
            let lines: Vec<u8> = lengths.iter().flat_map(|length| line(*length)).collect();
            assert_eq!(piece_end(&lines), end, "{lengths:?}");
        }
        assert_eq!(piece_end(b"no end"), 6);
    }
}
