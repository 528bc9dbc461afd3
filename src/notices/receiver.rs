//! Turns what happens into queued notices, after the debounce.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::debounce::{Debounce, Debounced};
use super::intake::{Intake, IntakeMessage, NoticeEvent};
use super::sender::Delivery;
use crate::clock::now;
use crate::metrics::labels::NoticeResult;

/// The receiving end of an [`Intake`].
pub(super) struct NoticeReceiver {
    pub(super) intake: Arc<Intake>,
    pub(super) messages: mpsc::Receiver<IntakeMessage>,
    pub(super) debounce: Debounce,
    pub(super) delivery: Rc<Delivery>,
}

impl NoticeReceiver {
    /// Runs until the node stops.
    pub(super) async fn run(mut self) {
        loop {
            let due = self.debounce.next_due();
            let is_due = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = self.messages.recv() => match message {
                    Some(IntakeMessage::Event(event)) => self.accept(event),
                    Some(IntakeMessage::Flush(done)) => {
                        while let Some(end) = self.debounce.pop() {
                            self.queue(&end);
                        }
                        self.delivery.shed().await;
                        // The node may not wait any more.
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                () = is_due => {}
            }
            while let Some(end) = self.debounce.pop_due(now()) {
                self.queue(&end);
            }
            self.delivery.shed().await;
        }
    }

    fn accept(&mut self, event: NoticeEvent) {
        self.intake.taken(&event);
        match self.debounce.pass(event, now()) {
            Debounced::Now(event) => self.queue(&event),
            Debounced::Held => {}
            Debounced::Cancelled => {
                let results = &self.delivery.backlog.metrics.webhook_notices_total;
                results.of(NoticeResult::Cancelled).add(2);
            }
        }
    }

    fn queue(&self, event: &NoticeEvent) {
        let backlog = &self.delivery.backlog;
        let json = backlog.encoder().notice_event(event);
        backlog.push(json, event.at);
    }
}
