//! What clients of Socket.IO 2 expect beyond their wire format (docs/protocol.md#28-socketio-2-clients).

use std::net::IpAddr;

use actix::{Addr, Context, Handler, Message};
use bytestring::ByteString;
use log::info;

use super::state::{Session, Worker};
use crate::broker::SocketKey;
use crate::clock;
use crate::logging::Burst;
use crate::model::{EngineId, Namespace, Room, SocketId};
use crate::protocol::connection::Mode;

/// Connects a client to the namespace `/`, which it does not request.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct ConnectMain {
    auth: ByteString,
}

/// A fresh id of a session whose client assumes that its socket has the same one.
pub(super) fn session_id(worker: &Worker) -> EngineId {
    EngineId::of_socket(worker.new_socket_id())
}

/// A session of revision 3 has been opened; `auth` is the payload of its implicit CONNECT.
pub(super) fn begin(session: &Addr<Session>, mode: Mode, auth: String, client: Option<IpAddr>) {
    static BURST: Burst = Burst::new();
    // An operator must find the clients that still need `engine.eio3`.
    if let Some(others) = BURST.note() {
        let client = client.map(|it| it.to_string()).unwrap_or_default();
        info!(client, others; "client of Socket.IO 2 connected (engine.eio3)");
    }
    if mode == Mode::SocketIo {
        session.do_send(ConnectMain { auth: auth.into() });
    }
}

impl Handler<ConnectMain> for Session {
    type Result = ();

    fn handle(&mut self, ConnectMain { auth }: ConnectMain, ctx: &mut Context<Self>) {
        if !self.has_ended() {
            self.connect(Namespace::main().as_str(), auth, clock::now(), ctx);
        }
    }
}

impl Session {
    /// The id that the client assumes its socket in the namespace to have, if a socket can have it.
    pub(super) fn assumed_socket_id(&self, namespace: &str) -> Option<SocketId> {
        let is_main = namespace == Namespace::main().as_str();
        match is_main && self.revision().is_v3() {
            true => SocketId::of_session(self.id),
            false => None,
        }
    }

    /// Puts a socket in a room with the name that the client assumes to be its id, unless it is its id.
    pub(super) fn join_assumed_room(&self, key: SocketKey, namespace: &Namespace) {
        if self.revision().is_v3() && *namespace != Namespace::main() {
            let room = format!("{}#{}", namespace.as_str(), self.id.as_str());
            let mut rooms = vec![Room::from(room.as_str())];
            drop(self.worker.shard.join(key, &mut rooms));
        }
    }
}
