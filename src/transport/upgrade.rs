//! Requests with `Upgrade: websocket`, which actix-http hands over with their bare connection.
//!
//! They bypass the middleware of the actix-web app, so path, origin and method are checked here. The HTTP
//! dispatcher with its buffers ends at the hand-over: an idle websocket costs its session and nothing else.

use std::rc::Rc;
use std::sync::Arc;

use actix::{AsyncContext, Handler, Message};
use actix_codec::Framed;
use actix_http::{HttpMessage, Request, h1};
use actix_web::http::Method;
use bytes::Bytes;
use log::debug;
use tokio::io::AsyncWriteExt;

use super::credentials::{self, OpeningRequest};
use super::edge::{Edge, EndpointSettings};
use super::forward::ForwardClient;
use super::forward::envelope::{Kind, Outcome};
use super::forward::remote::{self, RemoteSession};
use super::handshake::{self, Query, Refusal, Wanted};
use super::opening::Accept;
use super::refused;
use super::requests::Requests;
use super::socket::{ClientSocket, ClientStream, Detached};
use super::websocket::Websocket;
use super::worker_router::Adopt;
use crate::limits::{Admission, Arrival};
use crate::metrics::labels::{Forwarding, RequestRefusal};
use crate::model::{EngineId, TransportName};
use crate::outbox::Packet;
use crate::protocol::connection::Mode;
use crate::session::{Credentials, Session};

/// A websocket on its way to the worker of its session; its handshake is not answered yet.
#[derive(Debug)]
pub struct Offered<C = Detached> {
    pub connection: C,
    /// What the client sent behind its handshake.
    pub first: Bytes,
    pub accept: Accept,
    pub session: EngineId,
}

impl Offered<ClientStream> {
    fn detach(self) -> std::io::Result<Offered> {
        Ok(Offered {
            connection: self.connection.detach()?,
            first: self.first,
            accept: self.accept,
            session: self.session,
        })
    }
}

/// Answers an upgrade request on the worker that accepted its connection.
pub async fn upgrade(
    edge: Edge,
    request: Request,
    framed: Framed<Requests<ClientStream>, h1::Codec>,
) {
    let parts = framed.into_parts();
    let (mut stream, unread) = parts.io.into_parts();
    let mut first = parts.read_buf;
    first.extend_from_slice(&unread);
    let first = first.freeze();
    // Until the response, or until the connection is a websocket, this is a request like any other.
    let _serving = stream.deadlines().serve();
    if let Err(error) = stream.write_all(&parts.write_buf).await {
        return debug!(error:%; "websocket lost during its handshake");
    }
    let outcome = match check(&edge, &request) {
        Ok(Legal {
            purpose: Purpose::Open(mode, admission),
            accept,
        }) => match check_gates(&edge, &request, &admission).await {
            Ok(credentials) => {
                let admitted = (admission, credentials);
                open(&edge, stream, first, &accept, mode, admitted)
            }
            Err(refusal) => refuse(&edge, &request, stream, &refusal.into()).await,
        },
        Ok(Legal {
            purpose: Purpose::Attach(session, holding),
            accept,
        }) => {
            let offered = Offered {
                connection: stream,
                first,
                accept,
                session,
            };
            match holding {
                Some((exchange, admission)) => hold(&edge, exchange, offered, admission).await,
                None => offered.detach().map(|offered| route(&edge, offered)),
            }
        }
        Err(rejection) => refuse(&edge, &request, stream, &rejection).await,
    };
    if let Err(error) = outcome {
        debug!(error:%; "websocket lost during its handshake");
    }
}

async fn check_gates(
    edge: &Edge,
    request: &Request,
    admission: &Admission,
) -> Result<Option<Credentials>, Refusal> {
    let opening = OpeningRequest {
        query: request.uri().query().unwrap_or_default(),
        headers: request.headers(),
        peer: request.peer_addr(),
        client: admission.address(),
    };
    credentials::check(edge, opening).await
}

/// Counts, logs and sends a refusal.
async fn refuse(
    edge: &Edge,
    request: &Request,
    stream: ClientStream,
    rejection: &Rejection,
) -> std::io::Result<()> {
    let client = edge
        .settings
        .client_address(request.headers(), request.peer_addr());
    refused::note(edge, rejection.label, &rejection.reason, client);
    reject(stream, rejection).await
}

/// A request that may become a websocket.
struct Legal {
    purpose: Purpose,
    accept: Accept,
}

/// What it is for. Whoever is not counted yet is counted in.
enum Purpose {
    /// A new session.
    Open(Mode, Admission),
    /// To carry a session; of another node by way of an exchange.
    Attach(EngineId, Option<(ForwardClient, Admission)>),
}

/// An answer instead of the handshake: the reference sends 400 and the bare message (protocol notes 1.7).
struct Rejection {
    status: &'static str,
    reason: String,
    /// Seconds.
    retry_after: Option<u32>,
    label: RequestRefusal,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.status() {
            429 => "429 Too Many Requests",
            503 => "503 Service Unavailable",
            508 => "508 Loop Detected",
            _ => "400 Bad Request",
        };
        Self {
            status,
            retry_after: refusal.retry_after(),
            reason: refusal.message().to_owned(),
            label: refusal.label(),
        }
    }
}

fn check(edge: &Edge, request: &Request) -> Result<Legal, Rejection> {
    let uri = request.uri();
    let Some(mode) = edge.settings.mode(uri.path()) else {
        let reason = format!(
            "no websocket endpoint here; it is at {}/",
            edge.settings.engine.path
        );
        return Err(Rejection {
            status: "404 Not Found",
            reason,
            retry_after: None,
            label: RequestRefusal::NoEndpoint,
        });
    };
    let headers = request.headers();
    edge.settings.check_loop(headers)?;
    edge.settings.check_origin(headers, request.peer_addr())?;
    let query = Query::parse(uri.query().unwrap_or_default());
    let is_get = request.method() == Method::GET;
    let wanted = handshake::check(&query, is_get, true, &edge.settings.engine)?;
    if edge.worker.is_stopping() && matches!(wanted, Wanted::NewSession(_)) {
        return Err(Refusal::ShuttingDown.into());
    }
    let accept = Accept::read(headers)?;
    let address = edge.settings.client_address(headers, request.peer_addr());
    let purpose = match wanted {
        Wanted::NewSession(_) => Purpose::Open(mode, edge.admit(Arrival::Handshake, address)?),
        Wanted::Session(session, _) => match edge.owner_elsewhere(session) {
            None => Purpose::Attach(session, None),
            Some(exchange) => {
                let admission = edge.admit(Arrival::HeldWebsocket, address)?;
                Purpose::Attach(session, Some((exchange.clone(), admission)))
            }
        },
    };
    Ok(Legal { purpose, accept })
}

fn open(
    edge: &Edge,
    stream: ClientStream,
    first: Bytes,
    accept: &Accept,
    mode: Mode,
    (admission, credentials): (Admission, Option<Credentials>),
) -> std::io::Result<()> {
    let socket = accept_handshake(&edge.settings, stream.detach()?, accept)?;
    let websocket = Websocket::carrier(socket, first, edge.settings.engine.max_payload);
    let open = edge.settings.open_packet(false);
    Session::open(
        &edge.worker,
        mode,
        TransportName::Websocket,
        open,
        admission,
        credentials,
        |session, ctx| {
            websocket.attach(session);
            ctx.spawn(websocket);
        },
    );
    Ok(())
}

/// Holds a websocket for a session of another node.
async fn hold(
    edge: &Edge,
    exchange: ForwardClient,
    offered: Offered<ClientStream>,
    admission: Admission,
) -> std::io::Result<()> {
    let Offered {
        connection: mut stream,
        first,
        accept,
        session: id,
    } = offered;
    let engine = &edge.settings.engine;
    let outcome = ask_owner(edge, &exchange, id).await;
    // An upgrade that fails leaves its polling session as it is.
    if edge.worker.is_stopping() {
        return reject(stream, &Refusal::ShuttingDown.into()).await;
    }
    if outcome == Outcome::Gone {
        note_unknown(edge);
        return reject(stream, &Refusal::SessionUnknown.into()).await;
    }
    stream.write_all(accept.response().as_bytes()).await?;
    stream.flush().await?;
    if outcome != Outcome::Done || !engine.allow_upgrades {
        // Handshake, then closed without harm to the session (protocol notes 1.6).
        stream.write_all(Packet::close(None, "").wire()).await?;
        return stream.shutdown().await;
    }
    let session = RemoteSession {
        exchange,
        id,
        patience: edge.patience(),
        upgrade_timeout: engine.upgrade_timeout,
        max_payload: engine.max_payload,
        batch_bytes: remote::batch_bytes(edge.settings.message_limit),
        limits: Arc::clone(&edge.worker.limits),
        carries: Rc::default(),
    };
    carry(edge, session, stream, first, admission);
    Ok(())
}

/// Whether the node of a session waits for this websocket.
async fn ask_owner(edge: &Edge, exchange: &ForwardClient, session: EngineId) -> Outcome {
    let forwarded = &edge.worker.metrics().forwarded_total;
    forwarded.of(Forwarding::Websocket).increment();
    let (number, time) = (exchange.number(), edge.settings.forward_timeout);
    let asked = exchange.ask(session, Kind::Probe, number, 0, time);
    let (outcome, _) = asked.await;
    outcome
}

/// Carries a websocket to the node of its session until one of them ends it.
fn carry(
    edge: &Edge,
    session: RemoteSession,
    stream: ClientStream,
    first: Bytes,
    admission: Admission,
) {
    let (place, told) = edge.held.enter();
    let directory = Arc::clone(edge.worker.shard.directory());
    stream.deadlines().end();
    actix_rt::spawn(async move {
        directory.metrics().forwarded_websockets.add(1);
        remote::serve(session, stream, first, told).await;
        directory.metrics().forwarded_websockets.add(-1);
        drop(admission);
        drop(place);
    });
}

/// Sends the request's connection to the worker of its session.
fn route(edge: &Edge, offered: Offered) {
    let id = offered.session;
    if id.worker() == edge.worker.shard.worker() {
        return adopt(edge, offered);
    }
    match edge.gates.all().get(id.worker().get()) {
        Some(gate) => gate.do_send(Adopt(offered)),
        None => refuse_unknown(edge, offered.connection),
    }
}

/// Attaches a websocket to a polling session of this worker.
pub fn adopt(edge: &Edge, offered: Offered) {
    match edge.worker.session(offered.session) {
        Some(session) => session.do_send(TakeOver {
            offered,
            settings: Arc::clone(&edge.settings),
        }),
        None => refuse_unknown(edge, offered.connection),
    }
}

fn note_unknown(edge: &Edge) {
    let refusal = Refusal::SessionUnknown;
    refused::note(edge, refusal.label(), refusal.message(), None);
}

/// Tells a client that nobody knows the session it asks for.
fn refuse_unknown(edge: &Edge, connection: Detached) {
    note_unknown(edge);
    let answer = rejection_answer(&Refusal::SessionUnknown.into());
    let told = attach(&edge.settings, connection).and_then(|socket| {
        socket.write_now(answer.as_bytes())?;
        socket.finish();
        Ok(())
    });
    if let Err(error) = told {
        debug!(error:%; "websocket lost during its handshake");
    }
}

/// A websocket asks to take this session over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct TakeOver {
    offered: Offered,
    settings: Arc<EndpointSettings>,
}

impl Handler<TakeOver> for Session {
    type Result = ();

    fn handle(&mut self, message: TakeOver, ctx: &mut Self::Context) {
        let TakeOver { offered, settings } = message;
        let socket = match accept_handshake(&settings, offered.connection, &offered.accept) {
            Ok(socket) => socket,
            Err(error) => return debug!(error:%; "websocket lost during its handshake"),
        };
        if !settings.engine.allow_upgrades || !self.begin_upgrade() {
            // Handshake, then closed without harm to the session (protocol notes 1.6).
            let _ = socket.write_now(Packet::close(None, "").wire());
            return socket.finish();
        }
        let deadline = crate::clock::now() + settings.engine.upgrade_timeout;
        ctx.spawn(Websocket::probe(
            socket,
            offered.first,
            settings.engine.max_payload,
            deadline,
        ));
    }
}

fn accept_handshake(
    settings: &EndpointSettings,
    connection: Detached,
    accept: &Accept,
) -> std::io::Result<Rc<ClientSocket>> {
    let socket = attach(settings, connection)?;
    socket.write_now(accept.response().as_bytes())?;
    Ok(Rc::new(socket))
}

fn attach(settings: &EndpointSettings, connection: Detached) -> std::io::Result<ClientSocket> {
    let user_timeout = settings.engine.ping_interval + settings.engine.ping_timeout;
    connection.attach(settings.send_buffer, user_timeout)
}

async fn reject(mut stream: ClientStream, rejection: &Rejection) -> std::io::Result<()> {
    stream
        .write_all(rejection_answer(rejection).as_bytes())
        .await?;
    stream.shutdown().await
}

fn rejection_answer(rejection: &Rejection) -> String {
    let Rejection {
        status,
        reason,
        retry_after,
        ..
    } = rejection;
    let retry_after = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n"));
    let retry_after = retry_after.unwrap_or_default();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\n{retry_after}Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {}\r\n\r\n{reason}",
        reason.len()
    )
}
