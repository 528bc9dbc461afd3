//! How late a worker is: the time until a task that is ready runs, and so the delay of every event, ping and request.
//!
//! Measured while clients arrive, by a timer; an idle worker has none.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::clock;

/// Time between two measurements.
const INTERVAL: Duration = Duration::from_millis(20);
/// Number of clients that arrive between two measurements of a worker in a storm. With fewer, others delay it.
const STORM: u32 = 16;

/// The lateness of a worker.
#[derive(Debug, Default)]
pub struct WorkerLoad {
    /// When the next measurement is due.
    due: Cell<Option<Instant>>,
    last: Cell<Duration>,
    /// Clients that arrived since the last measurement.
    arrived: Cell<u32>,
    arrived_before: Cell<u32>,
}

impl WorkerLoad {
    /// A client opens a session or requests a namespace.
    pub fn note_arrival(self: &Rc<Self>) {
        self.arrived.set(self.arrived.get().saturating_add(1));
        if self.due.get().is_none() {
            self.due.set(Some(clock::now() + INTERVAL));
            let load = Rc::clone(self);
            actix_rt::spawn(async move {
                while let Some(due) = load.due.get() {
                    sleep_until(due.into()).await;
                    load.measure(due);
                }
            });
        }
    }

    /// How late the worker is; 0 if no clients arrive.
    pub fn lateness(&self) -> Duration {
        let overdue = self
            .due
            .get()
            .map(|due| clock::now().saturating_duration_since(due));
        overdue.unwrap_or_default().max(self.last.get())
    }

    /// Whether the worker is later than this because many clients arrive.
    pub fn exceeds(&self, lateness: Duration) -> bool {
        let arrived = self.arrived.get().max(self.arrived_before.get());
        arrived >= STORM && self.lateness() > lateness
    }

    fn measure(&self, due: Instant) {
        let now = clock::now();
        self.arrived_before.set(self.arrived.take());
        let goes_on = self.arrived_before.get() > 0;
        let late = now.saturating_duration_since(due);
        self.last.set(if goes_on { late } else { Duration::ZERO });
        self.due.set(goes_on.then(|| now + INTERVAL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[actix_rt::test]
    async fn a_worker_that_is_blocked_while_many_clients_arrive_is_late_until_they_no_longer_do() {
        let load = Rc::<WorkerLoad>::default();
        assert_eq!(load.lateness(), Duration::ZERO);
        (0..STORM).for_each(|_| load.note_arrival());
        std::thread::sleep(INTERVAL + 50 * MILLISECOND);
        assert!(
            load.lateness() >= 50 * MILLISECOND,
            "it is not measured yet"
        );
        assert!(load.exceeds(49 * MILLISECOND) && !load.exceeds(Duration::from_secs(600)));
        while load.due.get().is_some() {
            tokio::time::sleep(MILLISECOND).await;
        }
        assert_eq!(load.lateness(), Duration::ZERO);
        load.note_arrival();
        std::thread::sleep(INTERVAL + 50 * MILLISECOND);
        assert!(load.lateness() >= 50 * MILLISECOND);
        assert!(!load.exceeds(MILLISECOND), "one client is no storm");
    }
}
