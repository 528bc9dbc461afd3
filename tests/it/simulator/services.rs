//! What a simulated node does for its sessions beside the broker, as `server` composes it: its name, its registry,
//! presence, recovery.

use std::cell::Cell;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use roomwire::broker::{Directory, Observer, Shard};
use roomwire::config::Config;
use roomwire::model::{SocketChange, SocketEvent};
use roomwire::presence::{Presence, PresenceObserver, PresenceParts, PresenceRooms};
use roomwire::registry::{
    LostNodeListener, LostSocket, Registry, RegistryObserver, RegistryParts, RegistryTable,
};
use roomwire::session::Worker;
use roomwire::store::lease::{Holder, Lease};
use roomwire::store::{Store, Tenure};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::client::Run;
use super::history::Departure;
use super::mutation::Mutation;

/// The name of a node: its lease, and whether another node has taken it.
pub struct Name {
    lease: Lease,
    connects: watch::Receiver<u64>,
    pub tenure: Arc<Tenure>,
    /// Whether another node has its name, so that it must serve nobody.
    pub is_fenced: Rc<Cell<bool>>,
}

impl Name {
    pub fn claim(config: &Config, directory: &Directory, store: &Arc<dyn Store>) -> Self {
        let holder = Holder {
            id: directory.node().to_string(),
            place: "simulator".to_owned(),
            app: "relay".to_owned(),
        };
        let lease = Lease::new(
            Arc::clone(store),
            &config.bus.channel_prefix,
            (directory.node(), &holder),
            config.bus.lease,
        );
        let tenure = Arc::clone(lease.tenure());
        Self {
            lease,
            connects: directory.watch_connects(),
            tenure,
            is_fenced: Rc::default(),
        }
    }

    /// Keeps the name. When another node has it, all sessions of these workers are closed, unless `serves_fenced`.
    pub fn keep(self, workers: Vec<Rc<Worker>>, serves_fenced: bool) {
        actix_rt::spawn(async move {
            assert!(self.lease.claim().await);
            self.lease.keep(self.connects).await;
            self.is_fenced.set(true);
            for worker in workers.iter().filter(|_| !serves_fenced) {
                worker.stop(true);
            }
        });
    }
}

/// Notes the end of the sockets of a node as notices report it: what another node may report waits until that is known.
struct DepartureObserver {
    recorder: DepartureRecorder,
    tenure: Arc<Tenure>,
    paused_until: Rc<Cell<Instant>>,
}

#[derive(Clone)]
struct DepartureRecorder {
    run: Run,
    node: usize,
    is_killed: Rc<Cell<bool>>,
}

impl DepartureRecorder {
    fn record(&self, sid: String, lost: bool) {
        if self.is_killed.get() {
            return;
        }
        let (at, by) = (self.run.now(), self.node);
        self.run
            .note(format_args!("n{by} reports the end of {sid}, lost: {lost}"));
        let departure = Departure { sid, at, by, lost };
        let departures = &mut self.run.history.borrow_mut().departures;
        if self.run.mutator.strikes(Mutation::RepeatDeparture) {
            departures.push(departure.clone());
        }
        departures.push(departure);
    }
}

impl Observer for DepartureObserver {
    fn on_event(&self, event: &SocketEvent) {
        if !matches!(event.change, SocketChange::Disconnected { .. }) {
            return;
        }
        let sid = event.socket.to_string();
        let paused_until = self.paused_until.get();
        if self.tenure.is_certain() && paused_until <= Instant::now() {
            return self.recorder.record(sid, false);
        }
        let (recorder, tenure) = (self.recorder.clone(), Arc::clone(&self.tenure));
        actix_rt::spawn(async move {
            // What a paused process would do, it does afterwards.
            sleep_until(paused_until).await;
            if tenure.settled().await {
                recorder.record(sid, false);
            }
        });
    }
}

impl LostNodeListener for DepartureRecorder {
    fn sockets_lost<'a>(
        &'a self,
        sockets: &'a [LostSocket],
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        let mut ids: Vec<String> = sockets.iter().map(|lost| lost.id.to_string()).collect();
        // The order of a hash differs from run to run.
        ids.sort();
        for id in ids {
            self.record(id, true);
        }
        Box::pin(ready(()))
    }
}

/// Presence and the registry, if the run has them.
pub struct Reports {
    pub rooms: Arc<PresenceRooms>,
    table: Arc<RegistryTable>,
    departures: DepartureRecorder,
    tenure: Arc<Tenure>,
    paused_until: Rc<Cell<Instant>>,
}

impl Reports {
    /// Starts them on a node with its number and its number of workers. They run until the end of the run.
    pub fn start(
        (run, node, workers): (&Run, usize, usize),
        config: &Config,
        directory: &Arc<Directory>,
        store: &Arc<dyn Store>,
        tenure: &Arc<Tenure>,
        (is_killed, paused_until): (&Rc<Cell<bool>>, &Rc<Cell<Instant>>),
    ) -> Option<Self> {
        let prefix = &config.bus.channel_prefix;
        let rooms = PresenceRooms::new((&config.presence, &config.app), Arc::clone(store), prefix)?;
        let presence = Presence::start(PresenceParts {
            directory: Arc::clone(directory),
            rooms: Arc::clone(&rooms),
            tenure: Some(Arc::clone(tenure)),
        });
        let departures = DepartureRecorder {
            run: run.clone(),
            node,
            is_killed: Rc::clone(is_killed),
        };
        let table = Arc::new(RegistryTable::new(workers));
        Registry::start(RegistryParts {
            directory: Arc::clone(directory),
            store: Arc::clone(store),
            prefix: prefix.clone(),
            tenure: Arc::clone(tenure),
            table: Arc::clone(&table),
            listeners: vec![Rc::new(departures.clone()), Rc::new(presence.lost())],
        });
        Some(Self {
            rooms,
            table,
            departures,
            tenure: Arc::clone(tenure),
            paused_until: Rc::clone(paused_until),
        })
    }

    /// Observes the sockets of a worker.
    pub fn observe(&self, shard: &Shard) {
        shard.observe(Rc::new(PresenceObserver::new(Arc::clone(&self.rooms))));
        let observer = RegistryObserver::new(shard.worker(), Arc::clone(&self.table));
        shard.observe(Rc::new(observer));
        shard.observe(Rc::new(DepartureObserver {
            recorder: self.departures.clone(),
            tenure: Arc::clone(&self.tenure),
            paused_until: Rc::clone(&self.paused_until),
        }));
    }
}
