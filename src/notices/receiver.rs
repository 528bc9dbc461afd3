//! Turns what happens into queued notices, after the debounce.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::debounce::{Debounce, Debounced};
use super::intake::{Intake, IntakeMessage, NoticeEvent};
use super::sender::Delivery;
use crate::clock::now;
use crate::metrics::labels::NoticeResult;

/// Maximum number of events in doubt that are held; beyond it, the oldest are released.
const DOUBT_LIMIT: usize = 65_536;

/// The receiving end of an [`Intake`].
pub(super) struct NoticeReceiver {
    pub(super) intake: Arc<Intake>,
    pub(super) messages: mpsc::Receiver<IntakeMessage>,
    pub(super) debounce: Debounce,
    pub(super) delivery: Rc<Delivery>,
    /// Events that another node may report, until it is known whether it does.
    pub(super) in_doubt: VecDeque<NoticeEvent>,
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
            let settled = settled(&self.intake, !self.in_doubt.is_empty());
            tokio::select! {
                message = self.messages.recv() => match message {
                    Some(IntakeMessage::Event(event)) => self.accept(event),
                    Some(IntakeMessage::Flush(done)) => {
                        let is_fenced = self.intake.tenure.as_ref().is_some_and(|it| it.has_ended());
                        self.release_doubtful(!is_fenced);
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
                is_ours = settled => self.release_doubtful(is_ours),
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
        if !event.is_in_doubt {
            return self.pass(event);
        }
        self.in_doubt.push_back(event);
        if self.in_doubt.len() > DOUBT_LIMIT
            && let Some(oldest) = self.in_doubt.pop_front()
        {
            self.pass(oldest);
        }
    }

    /// It is known whether another node reports the events in doubt; `is_ours`: none does.
    fn release_doubtful(&mut self, is_ours: bool) {
        for event in std::mem::take(&mut self.in_doubt) {
            if is_ours {
                self.pass(event);
            }
        }
    }

    fn pass(&mut self, event: NoticeEvent) {
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

/// Completes when it is known whether this node still holds its name; never unless some event is in doubt.
async fn settled(intake: &Intake, has_doubt: bool) -> bool {
    match intake.tenure.as_ref().filter(|_| has_doubt) {
        Some(tenure) => tenure.settled().await,
        None => std::future::pending().await,
    }
}
