//! Gates: checks that a client passes before an app sees it.
//!
//! A [`ConnectGate`] checks the request that opens a session, the CONNECT of each namespace, or both. Like an app it
//! receives data and returns data, at once or later. The gates of a node form a chain: each must let the client pass,
//! and the last identity that one of them establishes is the identity of the socket.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use super::effect::ConnectRejection;
use crate::model::{Handshake, Identity, Namespace, Room, SocketId};

/// A check of clients that connect. One instance exists per worker thread.
pub trait ConnectGate {
    /// Lower-case names of the request headers that the gate reads. No other headers are kept.
    fn headers(&self) -> &[&'static str] {
        &[]
    }

    /// Whether the gate reads the query. It is not kept if no gate and no app reads it.
    fn reads_query(&self) -> bool {
        true
    }

    /// Whether the gate reads cookies, likewise.
    fn reads_cookies(&self) -> bool {
        true
    }

    /// Checks the request that opens a session, before the session exists. A rejection is an HTTP response, which a
    /// browser cannot read before a websocket opens; prefer [`ConnectGate::on_connect`] for reasons that users see.
    fn on_open(&self, _handshake: &Handshake) -> GateOutcome {
        GateOutcome::Now(Decision::Pass)
    }

    /// Checks a namespace CONNECT. A rejection is the client's `connect_error`.
    fn on_connect(&self, _request: &GateRequest<'_>) -> GateOutcome {
        GateOutcome::Now(Decision::Pass)
    }

    /// Whether connected clients can replace their credentials ([`ConnectGate::refresh`]).
    fn refreshes(&self) -> bool {
        false
    }

    /// Checks new credentials of a connected client, whose identity is the one of the request. [`GateRequest::auth`] is
    /// an object like the payload of a CONNECT; what else the client sent when it connected must not count. A rejection
    /// leaves the client connected with its identity.
    fn refresh(&self, _request: &GateRequest<'_>) -> GateOutcome {
        GateOutcome::Now(Decision::Pass)
    }
}

/// A namespace CONNECT that a gate checks.
#[derive(Debug, Clone, Copy)]
pub struct GateRequest<'a> {
    /// The request that opened the session.
    pub handshake: &'a Handshake,
    /// The identity established so far, by an earlier gate or when the session opened.
    pub identity: Option<&'a Identity>,
    /// The id that the socket will have.
    pub socket: SocketId,
    pub namespace: &'a Namespace,
    /// Payload of the CONNECT packet: a JSON object, or empty.
    pub auth: &'a str,
}

/// A decision that is not known yet.
type PendingDecision = Pin<Box<dyn Future<Output = Decision>>>;

/// The result of a check, now or later.
pub enum GateOutcome {
    Now(Decision),
    /// The client waits. The future is dropped if the client leaves first.
    Later(PendingDecision),
    /// The client receives its CONNECT response at once and its events wait for the decision: for clients of servers that
    /// authenticate after the response. A rejection then ends what has begun: one that is temporary closes the session as
    /// if its connection had been lost, so that stock clients connect again, and any other disconnects the socket from its
    /// namespace. Where there is no CONNECT it is the same as [`GateOutcome::Later`].
    AfterConnect(PendingDecision),
}

impl GateOutcome {
    async fn decision(self) -> Decision {
        match self {
            Self::Now(decision) => decision,
            Self::Later(future) | Self::AfterConnect(future) => future.await,
        }
    }
}

/// What a gate decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// No objection; the identity stays as it is.
    Pass,
    /// No objection, and this is the client.
    Allow(Admitted),
    Reject(GateRejection),
}

/// A client that a gate has identified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admitted {
    pub identity: Identity,
    /// Rooms that the socket is in from its CONNECT response on. Those of several gates add up.
    pub rooms: Vec<Room>,
}

impl From<Identity> for Admitted {
    fn from(identity: Identity) -> Self {
        let rooms = Vec::new();
        Self { identity, rooms }
    }
}

/// Why a gate rejects a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRejection {
    /// A stable code for programs, such as `token_expired`.
    pub code: Cow<'static, str>,
    /// A sentence for people.
    pub message: String,
    /// Whether the client may be let in later without any change on its side.
    pub temporary: bool,
}

impl From<GateRejection> for ConnectRejection {
    fn from(rejection: GateRejection) -> Self {
        let mut data = serde_json::json!({"code": rejection.code});
        if rejection.temporary {
            data["temporary"] = true.into();
        }
        Self {
            message: rejection.message,
            data: Some(data.to_string()),
        }
    }
}

/// Makes the gate of one worker, on its thread.
pub type GateFactory = Arc<dyn Fn() -> Box<dyn ConnectGate> + Send + Sync>;

/// The gates of a worker, in the order in which a client passes them.
#[derive(Default)]
pub struct Gates {
    gates: Box<[Box<dyn ConnectGate>]>,
    refreshes: bool,
}

impl Gates {
    /// The gates of the current thread's worker.
    pub fn new(factories: &[GateFactory]) -> Self {
        let gates: Box<[_]> = factories.iter().map(|make| make()).collect();
        Self {
            refreshes: gates.iter().any(|gate| gate.refreshes()),
            gates,
        }
    }

    /// The same gates, then the gate of an app, if it has one.
    pub fn followed_by(self, gate: Option<Box<dyn ConnectGate>>) -> Self {
        let gates: Box<[_]> = self.gates.into_iter().chain(gate).collect();
        Self {
            refreshes: gates.iter().any(|gate| gate.refreshes()),
            gates,
        }
    }

    /// Whether every client passes.
    pub fn is_empty(&self) -> bool {
        self.gates.is_empty()
    }

    /// Whether connected clients can replace their credentials.
    pub fn refreshes(&self) -> bool {
        self.refreshes
    }

    /// Checks new credentials of a connected client; returns its new identity.
    ///
    /// # Errors
    /// A gate rejects the credentials, or none accepts them.
    pub async fn refresh(&self, request: GateRequest<'_>) -> Result<Rc<Identity>, GateRejection> {
        let mut refreshed = None;
        for gate in self.gates.iter().filter(|gate| gate.refreshes()) {
            match gate.refresh(&request).decision().await {
                Decision::Pass => {}
                Decision::Allow(established) => refreshed = Some(Rc::new(established.identity)),
                Decision::Reject(rejection) => return Err(rejection),
            }
        }
        refreshed.ok_or_else(|| GateRejection {
            code: "token_missing".into(),
            message: "no token".to_owned(),
            temporary: false,
        })
    }

    /// Names of the headers that any of the gates reads.
    pub fn headers(&self) -> impl Iterator<Item = &'static str> {
        self.gates.iter().flat_map(|gate| gate.headers()).copied()
    }

    /// Whether any of the gates reads the query.
    pub fn read_query(&self) -> bool {
        self.gates.iter().any(|gate| gate.reads_query())
    }

    /// Whether any of the gates reads cookies.
    pub fn read_cookies(&self) -> bool {
        self.gates.iter().any(|gate| gate.reads_cookies())
    }

    /// Checks the request that opens a session; returns the identity of its client, if a gate established one. There is
    /// no socket yet that could be in rooms.
    ///
    /// # Errors
    /// A gate rejects the client.
    pub async fn open(&self, handshake: &Handshake) -> Result<Option<Rc<Identity>>, GateRejection> {
        let mut identity = None;
        for gate in &self.gates {
            match gate.on_open(handshake).decision().await {
                Decision::Pass => {}
                Decision::Allow(established) => identity = Some(Rc::new(established.identity)),
                Decision::Reject(rejection) => return Err(rejection),
            }
        }
        Ok(identity)
    }

    /// Checks a namespace CONNECT; returns the identity of the socket, if any, and the rooms it begins in.
    ///
    /// # Errors
    /// A gate rejects the client.
    pub async fn connect(
        &self,
        credentials: &Credentials,
        socket: SocketId,
        namespace: &Namespace,
        auth: &str,
    ) -> Result<Passed, GateRejection> {
        let mut passed = Passed {
            identity: credentials.identity.clone(),
            ..Passed::default()
        };
        for gate in &self.gates {
            let request = GateRequest {
                handshake: &credentials.handshake,
                identity: passed.identity.as_deref(),
                socket,
                namespace,
                auth,
            };
            match gate.on_connect(&request) {
                GateOutcome::AfterConnect(decision) => passed.pending.0.push(decision),
                outcome => passed.apply(outcome.decision().await)?,
            }
        }
        Ok(passed)
    }
}

/// A socket that passed all gates, except those whose decision is pending.
#[derive(Default)]
pub struct Passed {
    pub identity: Option<Rc<Identity>>,
    /// Rooms that it is in from its CONNECT response on.
    pub rooms: Vec<Room>,
    /// The decisions that follow the CONNECT response.
    pub pending: PendingDecisions,
}

impl Passed {
    fn apply(&mut self, decision: Decision) -> Result<(), GateRejection> {
        match decision {
            Decision::Pass => {}
            Decision::Allow(mut admitted) => {
                self.identity = Some(Rc::new(admitted.identity));
                self.rooms.append(&mut admitted.rooms);
            }
            Decision::Reject(rejection) => return Err(rejection),
        }
        Ok(())
    }
}

/// The decisions of gates that follow the CONNECT response.
#[derive(Default)]
pub struct PendingDecisions(Vec<PendingDecision>);

impl PendingDecisions {
    /// Whether all gates have decided.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the decisions, in the order of the gates; returns the identity that they establish, if any, and the
    /// rooms to join.
    ///
    /// # Errors
    /// A gate rejects the client.
    pub async fn decide(self) -> Result<Passed, GateRejection> {
        let mut passed = Passed::default();
        for decision in self.0 {
            passed.apply(decision.await)?;
        }
        Ok(passed)
    }
}

/// What a session keeps for its gates and its app.
#[derive(Debug)]
pub struct Credentials {
    pub handshake: Arc<Handshake>,
    /// The identity established when the session opened.
    pub identity: Option<Rc<Identity>>,
}
