//! Whether the node can serve clients. Set by the parts of the node, read by the probes.
//!
//! Every module may import this one, which imports no other module.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The state of the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusState {
    /// One node, no bus.
    Off,
    /// Not connected, at start or later: this node serves its own clients.
    Down,
    /// Messages are sent and received.
    Up,
    /// Connected, but no messages arrive: the subscriptions are being re-established.
    Deaf,
}

/// The phase in the life of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Serving,
    Draining,
}

/// Whether the node has the revocations of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationState {
    /// No client has an identity.
    Off,
    /// They have not been loaded since the node started.
    Loading,
    Loaded,
}

/// Whether requests are sent to an HTTP backend, as its circuit breaker decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendState {
    /// The breaker is closed.
    Up,
    /// It is open: the backend did not respond, and receives no requests for a while.
    Down,
    /// It is half open: the next request decides.
    Probing,
}

impl BackendState {
    /// The state as the readiness probe shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down: the circuit breaker is open",
            Self::Probing => "down: the next request probes it",
        }
    }
}

/// The HTTP backends of the node.
pub trait HttpBackends: fmt::Debug + Send + Sync {
    /// Each URL, without credentials, and its state.
    fn states(&self) -> Vec<(String, BackendState)>;
}

/// The health of the node.
#[derive(Debug)]
pub struct Health {
    bus: AtomicU8,
    /// Why the bus is down, as shown by the readiness probe.
    bus_trouble: Mutex<&'static str>,
    phase: AtomicU8,
    revocations: AtomicU8,
    bus_required: bool,
    /// And whether the node is not ready while one of them is down.
    backends: OnceLock<(Arc<dyn HttpBackends>, bool)>,
}

/// The result of the readiness probe.
#[derive(Debug, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// One line per check, `name: state`.
    pub checks: Vec<(&'static str, Cow<'static, str>)>,
    /// The HTTP backends.
    pub backends: Vec<(String, BackendState)>,
}

impl Health {
    /// A node that starts. With `bus_required` it is not ready while the bus is away.
    pub fn new(bus: BusState, bus_required: bool) -> Self {
        Self {
            bus: AtomicU8::new(bus as u8),
            bus_trouble: Mutex::new("redis is away"),
            phase: AtomicU8::new(Phase::Starting as u8),
            revocations: AtomicU8::new(RevocationState::Off as u8),
            bus_required,
            backends: OnceLock::new(),
        }
    }

    /// Shows the HTTP backends of the node. With `required` it is not ready while one of them is down. Only the first
    /// call has an effect.
    pub fn watch_backends(&self, backends: Arc<dyn HttpBackends>, required: bool) {
        self.backends.get_or_init(|| (backends, required));
    }

    /// Sets the state of the bus.
    pub fn set_bus(&self, state: BusState) {
        self.bus.store(state as u8, Ordering::Relaxed);
    }

    /// Sets the reason why the bus is down.
    pub fn set_bus_trouble(&self, reason: &'static str) {
        *self
            .bus_trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Sets the phase of the node.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The phase of the node.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// The state of the bus.
    pub fn bus(&self) -> BusState {
        match self.bus.load(Ordering::Relaxed) {
            0 => BusState::Off,
            1 => BusState::Down,
            2 => BusState::Up,
            _ => BusState::Deaf,
        }
    }

    /// Sets whether the node has the revocations of the cluster.
    pub fn set_revocations(&self, state: RevocationState) {
        self.revocations.store(state as u8, Ordering::Relaxed);
    }

    /// Whether the node has the revocations of the cluster.
    pub fn revocations(&self) -> RevocationState {
        match self.revocations.load(Ordering::Relaxed) {
            0 => RevocationState::Off,
            1 => RevocationState::Loading,
            _ => RevocationState::Loaded,
        }
    }

    /// The check of the revocations. While the bus is down it does not decide: the node serves its own clients.
    fn revocation_check(&self) -> Option<(&'static str, bool)> {
        let is_down = self.bus() == BusState::Down;
        match (self.revocations(), is_down) {
            (RevocationState::Off, _) => None,
            (RevocationState::Loading, false) => Some(("loading", false)),
            (RevocationState::Loading, true) => Some((
                "degraded: not loaded; those of this node are enforced",
                true,
            )),
            (RevocationState::Loaded, false) => Some(("loaded", true)),
            (RevocationState::Loaded, true) => {
                Some(("degraded: those known before are enforced", true))
            }
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
        let mut checks = vec![("node", phase.into()), ("bus", bus)];
        let mut ready = serving && bus_fits;
        if let Some((revocations, fits)) = self.revocation_check() {
            checks.push(("revocations", revocations.into()));
            ready &= fits;
        }
        let (backends, required) = match self.backends.get() {
            Some((backends, required)) => (backends.states(), *required),
            None => (Vec::new(), false),
        };
        if !backends.is_empty() {
            // One that is about to be probed counts as ready: without clients there would be no request.
            let is_down = |(_, state): &&(String, BackendState)| *state == BackendState::Down;
            let down = backends.iter().filter(is_down).count();
            let is_up = |(_, state): &&(String, BackendState)| *state == BackendState::Up;
            let (up, all) = (backends.iter().filter(is_up).count(), backends.len());
            let text = match up {
                0 => format!("degraded: none of {all} is up"),
                _ => format!("{up} of {all} up"),
            };
            checks.push(("webhooks", text.into()));
            ready &= down == 0 || !required;
        }
        Readiness {
            ready,
            checks,
            backends,
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

    #[derive(Debug)]
    struct TwoBackends([BackendState; 2]);

    impl HttpBackends for TwoBackends {
        fn states(&self) -> Vec<(String, BackendState)> {
            let states = self.0.iter().enumerate();
            states
                .map(|(index, state)| (format!("{index}"), *state))
                .collect()
        }
    }

    #[test]
    fn backends_are_shown_and_decide_only_if_they_are_required() {
        use BackendState::{Down, Probing, Up};
        for (states, text, ready_if_required) in [
            ([Up, Up], "2 of 2 up", true),
            ([Up, Down], "1 of 2 up", false),
            ([Probing, Up], "1 of 2 up", true),
            ([Down, Probing], "degraded: none of 2 is up", false),
        ] {
            for required in [false, true] {
                let health = Health::new(BusState::Off, false);
                health.set_phase(Phase::Serving);
                health.watch_backends(Arc::new(TwoBackends(states)), required);
                let readiness = health.readiness();
                let ready = ready_if_required || !required;
                assert_eq!(readiness.ready, ready, "{states:?} {required}");
                assert_eq!(readiness.checks.last(), Some(&("webhooks", text.into())));
            }
        }
    }
}
