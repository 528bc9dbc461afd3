//! The life of a session's actor: opened on its worker, stopped when nothing is left to be sent.

use std::rc::Rc;

use actix::{Actor, Addr, AsyncContext, Context};
use log::debug;
use smallvec::SmallVec;

use super::follow_up::FollowUp;
use super::old_clients;
use super::open_packet::OpenPacket;
use super::pace::Pace;
use super::poll_responder::PollResponder;
use super::state::{Session, Worker};
use super::stats::SessionStats;
use super::timer::SessionTimer;
use crate::app::gate::Credentials;
use crate::clock;
use crate::limits::Admission;
use crate::model::{EngineId, Network, TransportName};
use crate::protocol::connection::{Connection, Mode};
use crate::protocol::engine_io::EngineRevision;
use crate::protocol::engine_io::state::CloseReason;
use crate::protocol::wire_format::Compression;

impl Session {
    /// Opens a session on the current worker. Its open packet is the first in its lane; `equip` attaches its transport
    /// before anything else happens to it. It counts against the limits until `admission` is dropped with it.
    pub fn open(
        worker: &Rc<Worker>,
        mode: Mode,
        transport: TransportName,
        open: OpenPacket,
        admission: Admission,
        credentials: Option<Credentials>,
        equip: impl FnOnce(&Self, &mut Context<Self>),
    ) -> Addr<Self> {
        debug_assert!(credentials.is_some() || worker.gates.is_empty());
        let revision = open.format.revision;
        let id = new_id(worker, mode, revision);
        let session_worker = Rc::clone(worker);
        let now = clock::now();
        let connection = Connection::new(mode, open.format, &worker.settings.timing, now);
        let client = admission.address();
        let follow_up_due = now + worker.settings.timing.connect_timeout;
        let compression = open.format.compression;
        let address = Self::create(|ctx| {
            let shard = &session_worker.shard;
            let lane = shard.open_lane(open.format, ctx.address().recipient());
            shard.send(lane, open.encode(&id));
            let session = Self {
                id,
                lane,
                connection,
                worker: session_worker,
                sockets: SmallVec::new(),
                transport,
                attached: transport == TransportName::Websocket,
                upgrading: None,
                poll: None,
                post: None,
                held_post: None,
                inbox: 0,
                pace: Pace::new(now),
                follow_up: FollowUp::new(transport, follow_up_due),
                network: client.map(Network::of),
                credentials: credentials.map(Rc::new),
                stats: SessionStats::new(open.client),
                ended: None,
                opened: now,
                progress_due: None,
            };
            equip(&session, ctx);
            session
        });
        worker.count_client(open.client, open.format.parser);
        worker.register(id, address.clone(), admission, transport, revision);
        if revision.is_v3() {
            old_clients::begin(&address, mode, open.main_auth, client);
        }
        if compression != Compression::None {
            worker.count_compressed(1);
        }
        address
    }
}

fn new_id(worker: &Worker, mode: Mode, revision: EngineRevision) -> EngineId {
    match revision.is_v3() && mode == Mode::SocketIo {
        true => old_clients::session_id(worker),
        false => worker.new_engine_id(),
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(SessionTimer::new(self.next_deadline()));
        if !self.attached {
            ctx.spawn(PollResponder);
        }
        debug!(sid = self.log_name(), transport:% = self.transport.as_str(); "session opened");
    }

    fn stopped(&mut self, ctx: &mut Self::Context) {
        let lane = self.lane;
        let sent = || self.worker.shard.with_lanes(|lanes| lanes.tally(lane));
        let (reason, sent) = match self.ended {
            Some(ended) => (ended.reason, ended.sent),
            None => (CloseReason::TransportClose, sent()),
        };
        for slot in self.connection.slots().collect::<Vec<_>>() {
            self.drop_socket(slot, reason.as_str(), ctx);
        }
        self.worker.shard.release_lane(lane);
        let format = self.connection.format();
        self.worker
            .discount_client(self.stats.client, format.parser);
        if format.compression != Compression::None {
            self.worker.count_compressed(-1);
        }
        let (worker, revision) = (&self.worker, format.revision);
        let client = worker.unregister(self.id, self.transport, revision, reason);
        self.log_summary(reason, client, sent);
    }
}
