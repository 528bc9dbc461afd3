//! Is this node fit to serve? Said by those who know, read by the probes.
//!
//! Anybody may import this module; it imports nothing of ours.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

/// How the way to the other nodes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusState {
    /// One node, no bus.
    Off,
    /// Not connected, at start or later: this node serves its own clients.
    Down,
    /// Messages come and go.
    Up,
    /// Connected, but nothing comes: subscriptions are being rebuilt.
    Deaf,
}

/// What the node as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Serving,
    Draining,
}

/// The state of the node.
#[derive(Debug)]
pub struct Health {
    bus: AtomicU8,
    /// Why the bus is down, in a few words.
    bus_trouble: Mutex<&'static str>,
    phase: AtomicU8,
    bus_required: bool,
}

/// An answer of the readiness probe.
#[derive(Debug, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// One line per check, `name: state`.
    pub checks: Vec<(&'static str, Cow<'static, str>)>,
}

impl Health {
    /// A node that starts. With `bus_required` it is not ready while the bus is away.
    pub fn new(bus: BusState, bus_required: bool) -> Self {
        Self {
            bus: AtomicU8::new(bus as u8),
            bus_trouble: Mutex::new("redis is away"),
            phase: AtomicU8::new(Phase::Starting as u8),
            bus_required,
        }
    }

    /// Notes how the bus is.
    pub fn set_bus(&self, state: BusState) {
        self.bus.store(state as u8, Ordering::Relaxed);
    }

    /// Notes why the bus is down.
    pub fn set_bus_trouble(&self, reason: &'static str) {
        *self
            .bus_trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Notes what the node is doing.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// What the node is doing.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// How the bus is.
    pub fn bus(&self) -> BusState {
        match self.bus.load(Ordering::Relaxed) {
            0 => BusState::Off,
            1 => BusState::Down,
            2 => BusState::Up,
            _ => BusState::Deaf,
        }
    }

    /// Whether new clients should be sent here.
    pub fn readiness(&self) -> Readiness {
        let (phase, serving) = match self.phase() {
            Phase::Starting => ("starting", false),
            Phase::Serving => ("serving", true),
            Phase::Draining => ("draining", false),
        };
        let (bus, bus_fits): (Cow<'_, _>, _) = match self.bus() {
            BusState::Off => ("off: one node".into(), true),
            BusState::Up => ("up".into(), true),
            BusState::Down => {
                let trouble = *self
                    .bus_trouble
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let text = format!("degraded: {trouble}; this node serves its own clients");
                (text.into(), !self.bus_required)
            }
            BusState::Deaf => (
                "deaf: redis is connected but delivers nothing".into(),
                false,
            ),
        };
        Readiness {
            ready: serving && bus_fits,
            checks: vec![("node", phase.into()), ("bus", bus)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_unless_starting_draining_deaf_or_without_a_required_bus() {
        use BusState::{Deaf, Down, Off, Up};
        let cases = [
            (Phase::Starting, Off, false, false),
            (Phase::Serving, Off, false, true),
            (Phase::Serving, Up, true, true),
            (Phase::Serving, Down, false, true),
            (Phase::Serving, Down, true, false),
            (Phase::Serving, Deaf, false, false),
            (Phase::Draining, Up, false, false),
        ];
        for (phase, bus, required, ready) in cases {
            let health = Health::new(bus, required);
            health.set_phase(phase);
            assert_eq!(
                health.readiness().ready,
                ready,
                "{phase:?} {bus:?} {required}"
            );
            assert_eq!(health.bus(), bus);
        }
    }
}
