//! Faults of nodes, of their connections, and of the server between them.

use tokio::time::sleep_until;

use super::*;
use crate::simulator::client::Loss;
use crate::simulator::mutation::Mutation;

/// The least time until another server has taken over.
const FAILOVER: Duration = Duration::from_millis(300);
/// How long a node that is stopped, or whose name is taken, still runs.
const STOP_TIME: Duration = Duration::from_secs(2);

impl World {
    /// Ends the server of the bus and the store. What is on its way, and what another server has not received yet, is
    /// lost; each node then connects to that one.
    pub(super) fn fail_over(&mut self) {
        if self.has_pause() {
            return;
        }
        while self.heal() {}
        let lost = self.chance.milliseconds(0, 1_000);
        // The clock of the other server is behind by less than the time that it takes to notice the end of the first.
        let ahead = self.clock + self.chance.milliseconds(0, 5_000) - FAILOVER;
        self.clock = ahead;
        self.run.note(format_args!(
            "failover without the last {lost:?}, clock at {ahead:?}"
        ));
        let now = self.run.now();
        self.run.history.borrow_mut().failovers.push(now);
        self.shared.hub.lose_in_flight();
        for number in self.alive() {
            self.begin(Kind::Partition, number);
            if let Some(node) = &self.nodes[number] {
                node.store.cut();
                self.shared.hub.cut(node.member);
            }
        }
        self.shared.store.fail_over(lost);
        let last = self.shared.hub.fail_over(lost, ahead);
        self.appends.lose_after(last, now);
        self.fails_over_until = now + FAILOVER;
        self.cut_servers(self.fails_over_until);
    }

    /// The process of a node is paused: clients, the bus and the store do not notice it at first, and what it would do
    /// happens afterwards.
    pub(super) fn pause_node(&mut self) {
        let alive = self.alive();
        let number = alive[self.chance.below(alive.len())];
        let time = self.chance.milliseconds(500, 25_000);
        let Some(node) = &self.nodes[number] else {
            return;
        };
        if alive.len() < 2 || self.has_fault(number) {
            return;
        }
        self.begin(Kind::Pause, number);
        let until = Instant::now() + time;
        node.paused_until.set(until);
        node.store.pause(until);
        self.shared.hub.freeze(node.member);
        let now = self.run.now();
        for connection in &mut self.run.history.borrow_mut().connections {
            if connection.node == number && connection.ended.is_none() {
                connection.paused.push((now, now + time));
            }
        }
        let (run, hub, member) = (self.run.clone(), self.shared.hub.clone(), node.member);
        actix_rt::spawn(async move {
            sleep_until(until).await;
            run.note(format_args!("n{number}: Pause ends"));
            let now = run.now();
            for fault in &mut run.history.borrow_mut().faults {
                if fault.node == number && fault.kind == Kind::Pause {
                    fault.end.get_or_insert(now);
                }
            }
            hub.thaw(member);
        });
    }

    /// A node whose name another node has closes its sessions, and its process ends.
    pub(super) fn end_fenced_nodes(&mut self) {
        for number in self.alive() {
            let Some(node) = &self.nodes[number] else {
                continue;
            };
            if !node.is_fenced.get() {
                continue;
            }
            let now = self.run.now();
            let fenced = self.run.history.borrow().nodes[number].fenced;
            match fenced {
                None => {
                    self.run.note(format_args!("n{number} is fenced"));
                    self.run.history.borrow_mut().nodes[number].fenced = Some(now);
                }
                Some(fenced) if fenced + STOP_TIME <= now && !self.serves_when_fenced() => {
                    self.begin(Kind::Death, number);
                    if let Some(node) = self.nodes[number].take() {
                        node.kill(&self.shared.hub);
                    }
                    if self.alive().is_empty() {
                        self.start_node();
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn serves_when_fenced(&self) -> bool {
        self.run.mutator.is(Mutation::ServeFenced)
    }

    /// Stops a node without faults, as an administrator does, if another one is left.
    pub(super) fn stop_node(&mut self, number: usize) {
        let others = self.alive().into_iter();
        let mut others = others.filter(|other| *other != number && !self.is_stopping(*other));
        let Some(node) = &self.nodes[number] else {
            return;
        };
        if others.next().is_none() || self.has_fault(number) {
            return;
        }
        self.run.note(format_args!("n{number} stops"));
        // Everything apart from translation may be disturbed.
        self.begin(Kind::Pause, number);
        let now = self.run.now();
        self.run.history.borrow_mut().nodes[number].stopped = Some(now);
        node.stop();
    }

    fn is_stopping(&self, number: usize) -> bool {
        self.run.history.borrow().nodes[number].stopped.is_some()
    }

    /// Ends the processes of nodes that were stopped.
    pub(super) fn end_stopped_nodes(&mut self) {
        let now = self.run.now();
        for number in 0..self.nodes.len() {
            let stopped = self.run.history.borrow().nodes[number].stopped;
            if stopped.is_none_or(|stopped| stopped + STOP_TIME > now) {
                continue;
            }
            for fault in &mut self.run.history.borrow_mut().faults {
                if fault.node == number && fault.kind == Kind::Pause {
                    fault.end.get_or_insert(now);
                }
            }
            // It may have been fenced meanwhile.
            if let Some(node) = self.nodes[number].take() {
                self.begin(Kind::Death, number);
                node.kill(&self.shared.hub);
            }
        }
        if self.alive().is_empty() {
            self.start_node();
        }
    }

    /// Whether a fault has not ended.
    pub(super) fn has_faults(&self) -> bool {
        let history = self.run.history.borrow();
        let lasts = |fault: &Fault| fault.end.is_none() && fault.kind != Kind::Death;
        history.faults.iter().any(lasts)
    }

    fn has_pause(&self) -> bool {
        let history = self.run.history.borrow();
        let lasts = |fault: &Fault| fault.end.is_none() && fault.kind == Kind::Pause;
        history.faults.iter().any(lasts)
    }

    fn has_fault(&self, node: usize) -> bool {
        let history = self.run.history.borrow();
        let lasts = |fault: &Fault| fault.end.is_none() && fault.node == node;
        history.faults.iter().any(lasts)
    }

    pub(super) fn is_faulty(&self, node: usize, kind: Kind) -> bool {
        let history = self.run.history.borrow();
        let now = |fault: &Fault| fault.node == node && fault.kind == kind && fault.end.is_none();
        history.faults.iter().any(now)
    }

    pub(super) fn fault(&mut self, kind: Kind) {
        let alive = self.alive();
        let number = alive[self.chance.below(alive.len())];
        if self.has_fault(number) {
            return;
        }
        self.begin(kind, number);
        let Some(node) = &self.nodes[number] else {
            return;
        };
        match kind {
            Kind::Partition => {
                node.store.cut();
                self.shared.hub.cut(node.member);
            }
            Kind::Deaf => self.shared.hub.deafen(node.member, true),
            Kind::Stall => {
                node.store.stall();
                self.set_latency();
            }
            Kind::Pause | Kind::Death => {}
        }
    }

    pub(super) fn begin(&self, kind: Kind, node: usize) {
        self.run.note(format_args!("n{node}: {kind:?} begins"));
        let begin = self.run.now();
        self.run.history.borrow_mut().faults.push(Fault {
            kind,
            node,
            begin,
            end: None,
        });
    }

    pub(super) fn kill(&mut self) {
        let alive = self.alive();
        if alive.len() < 2 {
            return;
        }
        let number = alive[self.chance.below(alive.len())];
        if self.is_stopping(number) {
            return;
        }
        self.begin(Kind::Death, number);
        for client in self.open_clients() {
            let node = self.run.history.borrow().connections[client.connection].node;
            if node == number {
                client.lose(Loss::Silent);
            }
        }
        if let Some(node) = self.nodes[number].take() {
            node.kill(&self.shared.hub);
        }
    }

    /// Ends the oldest fault that can end. Returns whether there was one.
    pub(super) fn heal(&mut self) -> bool {
        let now = self.run.now();
        if now < self.fails_over_until {
            return false;
        }
        let healed = {
            let mut history = self.run.history.borrow_mut();
            // A pause ends by itself.
            let curable = |fault: &&mut Fault| {
                let ends = !matches!(fault.kind, Kind::Pause | Kind::Death);
                fault.end.is_none() && ends
            };
            let Some(fault) = history.faults.iter_mut().find(curable) else {
                return false;
            };
            fault.end = Some(now);
            *fault
        };
        let number = healed.node;
        self.run
            .note(format_args!("n{number}: {:?} ends", healed.kind));
        if let Some(node) = &self.nodes[number] {
            match healed.kind {
                Kind::Partition => {
                    node.store.restore();
                    self.shared.hub.heal(node.member);
                }
                Kind::Deaf => self.shared.hub.deafen(node.member, false),
                Kind::Stall => {
                    node.store.restore();
                    self.set_latency();
                }
                Kind::Pause | Kind::Death => {}
            }
        }
        true
    }
}
