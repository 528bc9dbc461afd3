//! Faults of nodes, of their connections, and of the server between them.

use super::*;

impl World {
    /// Ends the server of the bus and the store. What is on its way, and what another server has not received yet, is
    /// lost; each node then connects to that one.
    pub(super) fn fail_over(&mut self) {
        while self.heal() {}
        let lost = self.chance.milliseconds(0, 1_000);
        self.run
            .note(format_args!("failover without the last {lost:?}"));
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
    }

    pub(super) fn is_faulty(&self, node: usize, kind: Kind) -> bool {
        let history = self.run.history.borrow();
        let now = |fault: &Fault| fault.node == node && fault.kind == kind && fault.end.is_none();
        history.faults.iter().any(now)
    }

    pub(super) fn fault(&mut self, kind: Kind) {
        let alive = self.alive();
        let number = alive[self.chance.below(alive.len())];
        if [Kind::Partition, Kind::Deaf, Kind::Stall]
            .iter()
            .any(|kind| self.is_faulty(number, *kind))
        {
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
            Kind::Death => {}
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
        self.begin(Kind::Death, number);
        for client in self.open_clients() {
            let node = self.run.history.borrow().connections[client.connection].node;
            if node == number {
                client.lose();
            }
        }
        if let Some(node) = self.nodes[number].take() {
            node.kill(&self.shared.hub);
        }
    }

    /// Ends the oldest fault that can end. Returns whether there was one.
    pub(super) fn heal(&mut self) -> bool {
        let now = self.run.now();
        let healed = {
            let mut history = self.run.history.borrow_mut();
            let curable = |fault: &&mut Fault| fault.end.is_none() && fault.kind != Kind::Death;
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
                Kind::Death => {}
            }
        }
        true
    }
}
