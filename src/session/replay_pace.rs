//! The pace of replays on a worker: thousands of them delay neither live events nor pings nor new connections.
//!
//! All replays of a worker share a budget for each of its turns. A turn ends when everything else that was ready has run.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::oneshot;
use tokio::task::yield_now;

/// Cost of what is replayed in a turn, as by [`cost`]: one to two milliseconds.
const PER_TURN: usize = 512;
/// Cost of a part that is written to the socket of its client.
const PER_PART: usize = 4;
/// Bytes that cost as much as an event.
const BYTES_OF_EVENT: usize = 1024;
/// Number of events of a part.
const EVENTS_OF_PART: usize = 32;
/// Bytes after which a part ends.
const BYTES_OF_PART: usize = 64 * 1024;

/// The budget of a worker for replays.
#[derive(Debug, Default)]
pub(super) struct ReplayPace {
    state: RefCell<PaceState>,
}

#[derive(Debug, Default)]
struct PaceState {
    /// What is left of the turn.
    left: usize,
    /// Parts that are replayed in later turns, oldest first.
    waiting: VecDeque<(usize, oneshot::Sender<()>)>,
    /// A task begins the next turn.
    renewing: bool,
}

/// The cost of events that are sent to one client at once.
fn cost(events: usize, bytes: usize) -> usize {
    let cost = PER_PART + events + bytes / BYTES_OF_EVENT;
    cost.min(PER_TURN)
}

/// Takes events that are sent at once to a client that can take `burst` bytes, with their cost; `None` if there are no
/// more.
pub(super) fn next_part<T>(
    events: &mut impl Iterator<Item = T>,
    burst: usize,
    size: impl Fn(&T) -> usize,
) -> Option<(Vec<T>, usize)> {
    let limit = BYTES_OF_PART.min(burst).max(1);
    let (mut part, mut bytes) = (Vec::new(), 0);
    while part.len() < EVENTS_OF_PART && bytes < limit {
        let Some(event) = events.next() else { break };
        bytes += size(&event);
        part.push(event);
    }
    let cost = cost(part.len(), bytes);
    (!part.is_empty()).then_some((part, cost))
}

impl ReplayPace {
    /// Waits until events of this [`cost`] may be replayed, after those that were requested before.
    pub(super) async fn permit(self: &Rc<Self>, cost: usize) {
        if let Some(permitted) = self.enter(cost) {
            // Never dropped without a permit.
            let _ = permitted.await;
        }
    }

    /// Takes the cost from this turn; what to wait for if it does not fit.
    fn enter(self: &Rc<Self>, cost: usize) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state.borrow_mut();
        if !std::mem::replace(&mut state.renewing, true) {
            state.left = PER_TURN;
            let pace = Rc::clone(self);
            actix_rt::spawn(async move {
                while {
                    yield_now().await;
                    pace.begin_turn()
                } {}
            });
        }
        if state.waiting.is_empty() && state.left >= cost {
            state.left -= cost;
            return None;
        }
        let (permit, permitted) = oneshot::channel();
        state.waiting.push_back((cost, permit));
        Some(permitted)
    }

    /// Permits what fits into the next turn. Returns whether another one follows.
    fn begin_turn(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let was_used = state.left < PER_TURN;
        state.left = PER_TURN;
        while let Some((cost, _)) = state.waiting.front()
            && *cost <= state.left
        {
            if let Some((cost, permit)) = state.waiting.pop_front()
                // Its session may be gone.
                && permit.send(()).is_ok()
            {
                state.left -= cost;
            }
        }
        state.renewing = was_used || state.left < PER_TURN;
        state.renewing
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn events_are_sent_in_parts_of_limited_number_and_size() {
        let mut events = vec![1; 70].into_iter();
        let mut part = || next_part(&mut events, usize::MAX, |size| *size);
        let sizes: Vec<_> = std::iter::from_fn(&mut part)
            .map(|(part, cost)| (part.len(), cost))
            .collect();
        assert_eq!(sizes, [(32, 36), (32, 36), (6, 10)]);
        let mut large = [10, 70_000, 10].into_iter();
        let (part, cost) = next_part(&mut large, usize::MAX, |size| *size).unwrap();
        assert_eq!((part, cost), (vec![10, 70_000], 4 + 2 + 68));
        for burst in [0, 1, 10] {
            let mut events = vec![10, 10].into_iter();
            let (part, _) = next_part(&mut events, burst, |size| *size).unwrap();
            assert_eq!(part, [10], "{burst}");
        }
        assert_eq!(super::cost(1, 10_000_000), PER_TURN, "it fits into a turn");
    }

    #[actix_rt::test]
    async fn everything_else_runs_after_each_turn_of_replays() {
        let pace = Rc::<ReplayPace>::default();
        let replayed = Rc::new(Cell::new(0));
        let replays: Vec<_> = (0..200)
            .map(|_| {
                let (pace, replayed) = (Rc::clone(&pace), Rc::clone(&replayed));
                actix_rt::spawn(async move {
                    for _ in 0..10 {
                        pace.permit(cost(32, 0)).await;
                        replayed.set(replayed.get() + 32);
                    }
                })
            })
            .collect();
        let (mut turns, mut most, mut before) = (0, 0, 0);
        while replayed.get() < 200 * 320 {
            yield_now().await;
            most = most.max(replayed.get() - before);
            before = replayed.get();
            turns += 1;
        }
        for replay in replays {
            replay.await.unwrap();
        }
        assert!(most <= 2 * PER_TURN, "{most} events between two turns");
        assert!(turns >= 200 * 320 / PER_TURN / 2, "{turns} turns");
        while pace.state.borrow().renewing {
            yield_now().await;
        }
        assert!(pace.state.borrow().waiting.is_empty());
    }

    #[actix_rt::test]
    async fn a_session_that_is_gone_takes_nothing_of_a_turn() {
        let pace = Rc::<ReplayPace>::default();
        pace.permit(PER_TURN).await;
        let gone: Vec<_> = (0..50)
            .map(|_| {
                let pace = Rc::clone(&pace);
                actix_rt::spawn(async move { pace.permit(PER_TURN).await })
            })
            .collect();
        yield_now().await;
        gone.iter().for_each(|replay| replay.abort());
        yield_now().await;
        let last = Rc::clone(&pace);
        let last = actix_rt::spawn(async move { last.permit(1).await });
        let mut turns = 0;
        while !last.is_finished() {
            yield_now().await;
            turns += 1;
        }
        assert!(turns <= 5, "{turns}");
    }
}
