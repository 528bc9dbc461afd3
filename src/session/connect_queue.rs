//! The order in which the clients of a worker are connected to their namespaces while there are many at once: those that
//! continue a session before those that begin one (`docs/operations.md#storms`).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::worker_load::WorkerLoad;
use crate::clock;

/// Number of CONNECTs of a worker that are being decided at the same time.
const AT_ONCE: usize = 256;
/// How long a CONNECT counts among them: one that waits for a slow backend must not delay others.
const COUNTED: Duration = Duration::from_millis(250);
/// How often it is checked whether waiting ones may follow.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// One of so many is a new session while both kinds wait.
const NEW_SHARE: u32 = 8;
/// After a session was continued, new ones wait while the worker is late.
const STORM: Duration = Duration::from_secs(1);
/// The lateness of a worker above which new sessions wait.
const LATE: Duration = Duration::from_millis(50);

/// The CONNECTs of a worker.
#[derive(Debug)]
pub(super) struct ConnectQueue {
    state: RefCell<QueueState>,
    load: Rc<WorkerLoad>,
}

#[derive(Debug, Default)]
struct QueueState {
    next: u64,
    /// When those that are being decided began, by number.
    running: BTreeMap<u64, Instant>,
    continued: WaitingConnects,
    new: WaitingConnects,
    /// Number of continued sessions since the last new one.
    since_new: u32,
    /// When a session was continued last.
    last_continued: Option<Instant>,
    /// A task checks the queue.
    checking: bool,
}

type WaitingConnects = VecDeque<oneshot::Sender<ConnectTurn>>;

/// A CONNECT that is being decided, until this is dropped.
#[derive(Debug)]
pub(super) struct ConnectTurn {
    queue: Rc<ConnectQueue>,
    number: u64,
}

/// Whether a CONNECT is decided now.
pub(super) enum Entered {
    Now(ConnectTurn),
    /// When others are decided.
    Later(oneshot::Receiver<ConnectTurn>),
}

impl ConnectQueue {
    pub(super) fn new(load: Rc<WorkerLoad>) -> Rc<Self> {
        let state = RefCell::default();
        Rc::new(Self { state, load })
    }

    /// A client requests a namespace; `continues` if it names a session to continue.
    pub(super) fn enter(self: &Rc<Self>, continues: bool) -> Entered {
        let now = clock::now();
        let mut state = self.state.borrow_mut();
        if continues {
            state.last_continued = Some(now);
        }
        let is_first = match continues {
            true => state.continued.is_empty(),
            false => {
                state.continued.is_empty() && state.new.is_empty() && !self.defers_new(&state, now)
            }
        };
        if is_first && state.running.len() < AT_ONCE {
            return Entered::Now(self.begin(&mut state, now));
        }
        let (turn, receiver) = oneshot::channel();
        match continues {
            true => state.continued.push_back(turn),
            false => state.new.push_back(turn),
        }
        if !std::mem::replace(&mut state.checking, true) {
            let queue = Rc::clone(self);
            actix_rt::spawn(async move {
                while {
                    sleep(CHECK_INTERVAL).await;
                    queue.check()
                } {}
            });
        }
        Entered::Later(receiver)
    }

    /// Number of CONNECTs that wait.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        let state = self.state.borrow();
        state.continued.len() + state.new.len()
    }

    /// Whether new sessions wait although there is room, because others come back and the worker is late.
    fn defers_new(&self, state: &QueueState, now: Instant) -> bool {
        let is_storm = |last: Instant| now.saturating_duration_since(last) < STORM;
        state.last_continued.is_some_and(is_storm) && self.load.lateness() > LATE
    }

    fn begin(self: &Rc<Self>, state: &mut QueueState, now: Instant) -> ConnectTurn {
        let number = state.next;
        state.next += 1;
        state.running.insert(number, now);
        let queue = Rc::clone(self);
        ConnectTurn { queue, number }
    }

    /// Lets waiting ones follow. Returns whether some still wait.
    fn check(self: &Rc<Self>) -> bool {
        let now = clock::now();
        self.state.borrow_mut().expire(now);
        let mut takes_new = true;
        loop {
            let mut state = self.state.borrow_mut();
            let defers_new = self.defers_new(&state, now);
            let Some((next, is_new)) = state.next_waiting(takes_new) else {
                state.checking = self.is_waiting(&state);
                return state.checking;
            };
            // While the worker is late, one new session follows at each check.
            takes_new &= !(is_new && defers_new);
            let turn = self.begin(&mut state, now);
            drop(state);
            // Its session may be gone.
            let _ = next.send(turn);
        }
    }

    fn is_waiting(&self, state: &QueueState) -> bool {
        !(state.continued.is_empty() && state.new.is_empty())
    }
}

impl QueueState {
    /// Those that take long no longer count.
    fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.running.first_entry()
            && now.saturating_duration_since(*oldest.get()) >= COUNTED
        {
            oldest.remove();
        }
    }

    /// The one that follows next, if there is room, and whether its session is new.
    fn next_waiting(&mut self, takes_new: bool) -> Option<(oneshot::Sender<ConnectTurn>, bool)> {
        if self.running.len() >= AT_ONCE {
            return None;
        }
        let is_new_due = self.continued.is_empty() || self.since_new + 1 >= NEW_SHARE;
        if takes_new
            && is_new_due
            && let Some(next) = self.new.pop_front()
        {
            self.since_new = 0;
            return Some((next, true));
        }
        self.since_new = self.since_new.saturating_add(1);
        Some((self.continued.pop_front()?, false))
    }
}

impl Drop for ConnectTurn {
    fn drop(&mut self) {
        self.queue.state.borrow_mut().running.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Rc<ConnectQueue> {
        ConnectQueue::new(Rc::default())
    }

    fn now(entered: Entered) -> ConnectTurn {
        match entered {
            Entered::Now(turn) => turn,
            Entered::Later(_) => panic!("it waits"),
        }
    }

    fn later(entered: Entered) -> oneshot::Receiver<ConnectTurn> {
        match entered {
            Entered::Now(_) => panic!("it does not wait"),
            Entered::Later(turn) => turn,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_continue_a_session_come_first_and_new_ones_are_not_left_out() {
        let local = tokio::task::LocalSet::new();
        let test = async {
            let queue = queue();
            let mut running: Vec<_> = (0..AT_ONCE).map(|_| now(queue.enter(false))).collect();
            let mut new: Vec<_> = (0..20).map(|_| later(queue.enter(false))).collect();
            let mut continued: Vec<_> = (0..20).map(|_| later(queue.enter(true))).collect();
            assert_eq!(queue.waiting(), 40);
            let ready = |waiting: &mut Vec<oneshot::Receiver<ConnectTurn>>| {
                let mut turns = Vec::new();
                waiting.retain_mut(|turn| match turn.try_recv() {
                    Ok(turn) => {
                        turns.push(turn);
                        false
                    }
                    Err(_) => true,
                });
                turns
            };
            running.truncate(AT_ONCE - 16);
            sleep(2 * CHECK_INTERVAL).await;
            let (of_new, of_continued) = (ready(&mut new), ready(&mut continued));
            assert_eq!((of_new.len(), of_continued.len()), (2, 14));
            assert_eq!(queue.state.borrow().running.len(), AT_ONCE);
            // A session that is gone takes no turn.
            continued.clear();
            drop((of_new, of_continued));
            sleep(2 * CHECK_INTERVAL).await;
            assert_eq!(ready(&mut new).len(), 16);
            assert!(new.len() == 2 && queue.waiting() <= 2);
            // Those that take long do not delay others.
            sleep(COUNTED).await;
            assert_eq!(ready(&mut new).len(), 2);
            drop(running);
            assert_eq!(
                (queue.state.borrow().running.len(), queue.waiting()),
                (0, 0)
            );
            drop(now(queue.enter(false)));
        };
        local.run_until(test).await;
    }

    #[actix_rt::test]
    async fn new_sessions_wait_while_the_worker_is_late_and_others_come_back() {
        let load = Rc::<WorkerLoad>::default();
        let queue = ConnectQueue::new(Rc::clone(&load));
        load.note_arrival();
        std::thread::sleep(2 * LATE);
        drop(now(queue.enter(false)));
        drop(now(queue.enter(true)));
        let (first, second) = (later(queue.enter(false)), later(queue.enter(false)));
        drop(now(queue.enter(true)));
        drop(first.await.unwrap());
        drop(second.await.unwrap());
        assert_eq!(queue.waiting(), 0);
    }
}
