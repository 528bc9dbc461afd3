//! Commands: from the sessions of this worker to all workers and the bus, and from there to the sockets of this worker.

use std::sync::Arc;
use std::time::Instant;

use super::Shard;
use crate::broker::fanout;
use crate::broker::logged;
use crate::broker::messages::{Dispatch, Interest, InterestChange, ReachReport, weight};
use crate::metrics::labels::Origin;
use crate::model::{Command, Selector};

impl Shard {
    /// Applies a command of this worker on every worker that it may concern, and publishes it.
    pub fn dispatch(&self, command: impl Into<Arc<Command>>) {
        self.dispatch_shared(command.into());
    }

    fn dispatch_shared(&self, command: Arc<Command>) {
        if let Some(history) = self.directory.history()
            && let Some(logs) = history.targets(&command)
        {
            // What was dispatched before reaches the other workers before.
            self.send_dispatches();
            return logged::dispatch(&self.directory, history, command, logs);
        }
        let since = self.state.borrow().batch.since();
        let owner = self.directory.owner(&command);
        let targets = self.directory.workers_of(owner);
        let dispatch = self.directory.admit(command, Origin::Local);
        let others = targets.without(self.worker);
        if !others.is_empty() {
            let mut state = self.state.borrow_mut();
            state
                .pending
                .stage(&dispatch, others, since, &self.directory);
            state.lanes.wake_flusher();
        }
        if targets.contains(self.worker.get()) {
            self.apply(&dispatch, since);
        }
        if owner.is_none() {
            self.directory.publish(dispatch);
        }
    }

    /// Sends other workers the commands of this turn.
    pub(in crate::broker) fn send_dispatches(&self) {
        self.state.borrow_mut().pending.send(&self.directory);
    }

    /// Applies a command from another worker or the bridge.
    pub(in crate::broker) fn receive(&self, dispatch: &Dispatch, since: Instant) {
        self.directory
            .backlog_shrank(self.worker.get(), weight(&dispatch.command));
        self.apply(dispatch, since);
        let joined = dispatch.from_bus && matches!(&*dispatch.command, Command::Join { .. });
        if let (true, Some(bus)) = (joined, self.directory.bus()) {
            bus.interest.do_send(Interest {
                worker: self.worker,
                changes: vec![InterestChange::JoinApplied],
            });
        }
    }

    /// Applies a command to the sockets of this worker. If it requests acks, the member of the bus that requested them is
    /// notified where it needs to be of how many of them it reached.
    fn apply(&self, dispatch: &Dispatch, since: Instant) {
        let sockets = self.apply_to_sockets(dispatch, since);
        match (dispatch.reports, dispatch.command.ack_token()) {
            (ReachReport::NoRecipient, Some(token)) if sockets == 0 => {
                self.report_no_recipient(token)
            }
            (ReachReport::Reached, _) => self.report_reached(dispatch.ack_id, sockets),
            _ => {}
        }
    }

    /// Returns how many sockets accepted an emit.
    fn apply_to_sockets(&self, dispatch: &Dispatch, since: Instant) -> u64 {
        let mut state = self.state.borrow_mut();
        let mut accepted = 0;
        if let Some(position) = dispatch.position {
            let namespace = dispatch.command.namespace();
            if state.newest.note(namespace, position) {
                state.begin_stream_anew(namespace);
            }
        }
        match &*dispatch.command {
            Command::Emit(emit) => {
                accepted = fanout::emit(&mut state, emit, dispatch, since, &self.directory);
            }
            Command::Join { selector, rooms } => {
                for member in state.rooms.selected(selector) {
                    for room in rooms {
                        state.join(member.socket, room, self.directory.metrics());
                    }
                }
            }
            Command::Leave { selector, rooms } => state.leave_selected(selector, rooms),
            Command::CloseRoom { namespace, room } => {
                let members = Selector::room(namespace.clone(), room.clone());
                state.leave_selected(&members, std::slice::from_ref(room));
            }
            Command::Disconnect { selector, close } => {
                for member in state.rooms.selected(selector) {
                    state.notify_disconnect(member.socket, member.lane, *close);
                }
            }
        }
        self.report_changes(state);
        accepted
    }
}
