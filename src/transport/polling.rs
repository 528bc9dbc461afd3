//! Long polling: GETs that fetch batches, POSTs that bring packets (protocol notes 1.3 and 1.7).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::Addr;
use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::StreamExt;
use tokio::sync::oneshot;

use super::body::Body;
use super::compression::accepts_gzip;
use super::credentials::{self, OpeningRequest};
use super::edge::Edge;
use super::forward::Question;
use super::forward::envelope::{Kind, Outcome};
use super::handshake::{self, Query, Refusal, Wanted};
use super::origin::CorsHeaders;
use super::refused;
use crate::limits::{Arrival, HeldBody, Limit};
use crate::metrics::labels::Forwarding;
use crate::model::{EngineId, TransportName};
use crate::protocol::connection::Mode;
use crate::session::Session;
use crate::session::messages::{
    Abort, Batch, BatchFormat, Post, PostAborted, PostError, PostId, PostStarted, PullError, Ready,
};

/// How many times the limit a body may be and still be read to its end before it is refused.
const PATIENCE_WITH_LARGE_BODIES: usize = 8;

/// The session is carried by a websocket by now.
const TRANSPORT_MISMATCH: Refusal = Refusal::BadRequest("TRANSPORT_MISMATCH");

/// Answers any request below a path of the endpoint.
pub async fn serve(edge: Edge, mode: Mode, request: HttpRequest, body: Body) -> HttpResponse {
    let (headers, peer) = (request.headers(), request.peer_addr());
    let (allowed, cors) = match edge.settings.check_origin(headers, peer) {
        Ok(cors) => (Ok(()), cors),
        Err(refusal) => (Err(refusal), CorsHeaders::new()),
    };
    let answered = match allowed {
        Ok(()) => answer_to(&edge, mode, &request, body, &cors).await,
        Err(refusal) => Err(refusal),
    };
    answered.unwrap_or_else(|refusal| {
        let client = edge.settings.client_address(headers, peer);
        refused::note(&edge, refusal.label(), refusal.message(), client);
        refusal_answer(&refusal, &cors)
    })
}

/// Answers a request whose origin may connect.
async fn answer_to(
    edge: &Edge,
    mode: Mode,
    request: &HttpRequest,
    body: Body,
    cors: &CorsHeaders,
) -> Result<HttpResponse, Refusal> {
    if request.method() == Method::OPTIONS && request.headers().contains_key(header::ORIGIN) {
        return Ok(preflight(request, cors));
    }
    edge.settings.check_loop(request.headers())?;
    let query = Query::parse(request.query_string());
    let is_get = request.method() == Method::GET;
    match handshake::check(&query, is_get, false, &edge.settings.engine)? {
        Wanted::NewSession(_) => open(edge, mode, request, cors).await,
        Wanted::Session(id, _) => match *request.method() {
            Method::GET => get(edge, id, request, cors).await,
            // In a separate task, which survives the loss of the connection: a complete body is still delivered, and an
            // incomplete one is reported.
            Method::POST => {
                body.expect();
                let post = post(edge.clone(), id, is_binary(request), body, cors.clone());
                let posted = actix_rt::spawn(post).await;
                posted.unwrap_or(Err(Refusal::SessionUnknown))
            }
            _ => Ok(answer(StatusCode::METHOD_NOT_ALLOWED, cors).finish()),
        },
    }
}

fn answer(status: StatusCode, cors: &CorsHeaders) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    for (name, value) in cors {
        response.insert_header((*name, value.as_str()));
    }
    response
}

fn refusal_answer(refusal: &Refusal, cors: &CorsHeaders) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = answer(status, cors);
    if let Some(seconds) = refusal.retry_after() {
        response.insert_header((header::RETRY_AFTER, seconds));
    }
    response
        .content_type("application/json")
        .body(refusal.body())
}

fn preflight(request: &HttpRequest, cors: &CorsHeaders) -> HttpResponse {
    let mut response = answer(StatusCode::NO_CONTENT, cors);
    response.insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET,POST"));
    if let Some(asked) = request
        .headers()
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
    {
        response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone()));
    }
    response.finish()
}

async fn open(
    edge: &Edge,
    mode: Mode,
    request: &HttpRequest,
    cors: &CorsHeaders,
) -> Result<HttpResponse, Refusal> {
    if edge.worker.is_stopping() {
        return Err(Refusal::ShuttingDown);
    }
    let (headers, peer) = (request.headers(), request.peer_addr());
    let address = edge.settings.client_address(headers, peer);
    let admission = edge.admit(Arrival::Handshake, address)?;
    let opening = OpeningRequest {
        query: request.query_string(),
        headers,
        peer,
        client: address,
    };
    let credentials = credentials::check(edge, opening).await?;
    let open = edge.settings.open_packet(true);
    let mut id = None;
    let session = Session::open(
        &edge.worker,
        mode,
        TransportName::Polling,
        open,
        admission,
        credentials,
        |session, _| id = Some(session.id()),
    );
    let Some(Ok(batch)) = pull(&session).await else {
        return Err(Refusal::SessionUnknown);
    };
    let mut response = answer(StatusCode::OK, cors);
    if let (Some(name), Some(id)) = (&edge.settings.engine.cookie, id) {
        let mut cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Lax", id.as_str());
        if edge.settings.is_secure(headers, peer) {
            cookie.push_str("; Secure");
        }
        response.insert_header((header::SET_COOKIE, cookie));
    }
    Ok(batch_body(&mut response, batch.body))
}

/// The next polling batch of a session, wherever it lives; `None` if it is gone.
async fn pull_anywhere(edge: &Edge, id: EngineId) -> Option<Result<Batch, PullError>> {
    let Some(exchange) = edge.owner_elsewhere(id) else {
        return pull(&edge.find(id).await?).await;
    };
    let forwarded = &edge.worker.metrics().forwarded_total;
    forwarded.of(Forwarding::Poll).increment();
    let asked = exchange.ask(id, Kind::Pull, exchange.number(), 0, edge.patience());
    match asked.await {
        (Outcome::Done, body) => Some(Ok(Batch { body, last: false })),
        (Outcome::Last, body) => Some(Ok(Batch { body, last: true })),
        (Outcome::TransportMismatch, _) => Some(Err(PullError::TransportMismatch)),
        (Outcome::Duplicate, _) => Some(Err(PullError::Duplicate)),
        (Outcome::Gone | Outcome::Malformed | Outcome::Declined, _) => None,
    }
}

/// Asks a session of this node for its next polling batch; `None` if it is gone.
async fn pull(session: &Addr<Session>) -> Option<Result<Batch, PullError>> {
    let (outlet, batch) = oneshot::channel();
    session
        .try_send(Ready {
            format: BatchFormat::Polling,
            outlet,
        })
        .ok()?;
    batch.await.ok()
}

async fn get(
    edge: &Edge,
    id: EngineId,
    request: &HttpRequest,
    cors: &CorsHeaders,
) -> Result<HttpResponse, Refusal> {
    Ok(match pull_anywhere(edge, id).await {
        None => return Err(Refusal::SessionUnknown),
        Some(Err(PullError::TransportMismatch)) => return Err(TRANSPORT_MISMATCH),
        Some(Err(PullError::Duplicate)) => answer(StatusCode::BAD_REQUEST, cors).finish(),
        Some(Ok(batch)) => {
            let mut response = answer(StatusCode::OK, cors);
            let threshold = edge.settings.engine.compression_threshold;
            let large = threshold.is_some_and(|threshold| batch.body.len() >= threshold);
            if large
                && accepts_gzip(request)
                && let Some(body) = edge.compressor.compress(&batch.body).await
            {
                response.insert_header((header::CONTENT_ENCODING, "gzip"));
                return Ok(batch_body(&mut response, body));
            }
            batch_body(&mut response, batch.body)
        }
    })
}

fn batch_body(response: &mut HttpResponseBuilder, body: Bytes) -> HttpResponse {
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type("text/plain; charset=UTF-8")
        .body(body)
}

/// A POST that was announced to its session. If dropped before its body is delivered, the body counts as incomplete.
struct Announced<'a> {
    owner: Owner<'a>,
    post: PostId,
    delivered: bool,
}

/// The owner of the session of a POST.
enum Owner<'a> {
    /// This node. The receiver fires when the session ends before the body is complete.
    Here(Addr<Session>, oneshot::Receiver<()>),
    /// Another node, with the pending request and the time to wait for its answer.
    Elsewhere(Question<'a>, Duration),
}

impl<'a> Announced<'a> {
    async fn new(edge: &'a Edge, id: EngineId) -> Option<Self> {
        if let Some(exchange) = edge.owner_elsewhere(id) {
            let forwarded = &edge.worker.metrics().forwarded_total;
            forwarded.of(Forwarding::Post).increment();
            let number = exchange.number();
            let mut question = exchange.question(id, Kind::PostStarted, number, 0);
            // Do not read a body for a session that does not exist.
            question.acknowledged().await.ok()?;
            return Some(Self {
                owner: Owner::Elsewhere(question, edge.patience()),
                post: PostId(number),
                delivered: false,
            });
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let post = PostId(NEXT.fetch_add(1, Ordering::Relaxed));
        let session = edge.find(id).await?;
        let (open, session_ended) = oneshot::channel();
        session.do_send(PostStarted {
            post,
            open: Some(open),
        });
        Some(Self {
            owner: Owner::Here(session, session_ended),
            post,
            delivered: false,
        })
    }

    /// Reads the body; `None` if the session ends first.
    async fn collect(
        &mut self,
        body: Body,
        limit: usize,
        held: &mut HeldBody,
    ) -> Option<Result<Bytes, BodyError>> {
        let body = collect(body, limit, held);
        match &mut self.owner {
            Owner::Here(_, session_ended) => tokio::select! {
                body = body => Some(body),
                _ = session_ended => None,
            },
            Owner::Elsewhere(question, patience) => tokio::select! {
                body = body => Some(body),
                _ = question.answer(*patience) => None,
            },
        }
    }

    async fn deliver(mut self, body: Bytes) -> Option<Result<(), PostError>> {
        self.delivered = true;
        match &mut self.owner {
            Owner::Here(session, _) => {
                let (reply, answered) = oneshot::channel();
                session.do_send(Post {
                    post: self.post,
                    body,
                    reply,
                });
                answered.await.ok()
            }
            Owner::Elsewhere(question, patience) => {
                match question.deliver(body, *patience).await.0 {
                    Outcome::Done | Outcome::Last => Some(Ok(())),
                    Outcome::TransportMismatch => Some(Err(PostError::TransportMismatch)),
                    Outcome::Duplicate => Some(Err(PostError::Duplicate)),
                    Outcome::Malformed => Some(Err(PostError::Malformed)),
                    Outcome::Gone | Outcome::Declined => None,
                }
            }
        }
    }
}

impl Announced<'_> {
    /// Reports that the body is rejected; the session continues.
    fn reject(mut self) {
        self.abort(Abort::Rejected);
    }

    fn abort(&mut self, why: Abort) {
        if std::mem::replace(&mut self.delivered, true) {
            return;
        }
        let post = self.post;
        match (&mut self.owner, why) {
            (Owner::Here(session, _), why) => session.do_send(PostAborted { post, why }),
            (Owner::Elsewhere(question, _), Abort::Rejected) => question.reject(),
            // Dropping the question reports it.
            (Owner::Elsewhere(..), Abort::BrokeOff) => {}
        }
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.abort(Abort::BrokeOff);
    }
}

async fn post(
    edge: Edge,
    id: EngineId,
    is_binary: bool,
    body: Body,
    cors: CorsHeaders,
) -> Result<HttpResponse, Refusal> {
    let (edge, cors) = (&edge, &cors);
    let Some(mut announced) = Announced::new(edge, id).await else {
        return Err(Refusal::SessionUnknown);
    };
    let mut held = edge.worker.limits.begin_body();
    let body = match is_binary {
        true => Bytes::new(),
        false => match announced
            .collect(body, edge.settings.engine.max_payload, &mut held)
            .await
        {
            Some(Ok(body)) => body,
            Some(Err(BodyError::Limited(limit))) => {
                announced.reject();
                edge.worker.limits.refused(limit, None);
                return Err(Refusal::Limited(limit));
            }
            Some(Err(BodyError::TooLarge)) => {
                announced.reject();
                return Ok(too_large(edge, cors));
            }
            Some(Err(BodyError::BrokeOff)) => {
                let mut response = answer(StatusCode::BAD_REQUEST, cors);
                return Ok(response.force_close().finish());
            }
            None => return Ok(answer(StatusCode::BAD_REQUEST, cors).finish()),
        },
    };
    Ok(match announced.deliver(body).await {
        None => return Err(Refusal::SessionUnknown),
        Some(Ok(())) => answer(StatusCode::OK, cors)
            .content_type("text/html")
            .body("ok"),
        Some(Err(PostError::TransportMismatch)) => return Err(TRANSPORT_MISMATCH),
        Some(Err(PostError::Duplicate | PostError::Malformed)) => {
            answer(StatusCode::BAD_REQUEST, cors).finish()
        }
    })
}

/// Revision 4 posts text; a binary body ends the session like any other malformed one (protocol notes 1.7).
fn is_binary(request: &HttpRequest) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/octet-stream"))
}

/// Why the body of a request is not delivered.
enum BodyError {
    TooLarge,
    /// The node holds too many bytes of bodies.
    Limited(Limit),
    /// It is incomplete or malformed.
    BrokeOff,
}

/// Reads the whole body. A body that is too large is read to its end as well, so that the client reads the response
/// instead of a connection reset, unless it is far too large.
async fn collect(mut payload: Body, limit: usize, held: &mut HeldBody) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    let mut length = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyError::BrokeOff)?;
        length += chunk.len();
        if length <= limit {
            held.grow(chunk.len()).map_err(BodyError::Limited)?;
            body.extend_from_slice(&chunk);
        } else if length > limit.saturating_mul(PATIENCE_WITH_LARGE_BODIES) {
            break;
        }
    }
    if length > limit {
        Err(BodyError::TooLarge)
    } else {
        Ok(body.freeze())
    }
}

fn too_large(edge: &Edge, cors: &CorsHeaders) -> HttpResponse {
    let limit = edge.settings.engine.max_payload;
    edge.worker.limits.refused(Limit::Payload, None);
    let code = Refusal::Limited(Limit::Payload).code();
    let message = format!(
        r#"{{"code":{code},"message":"message too large: at most {limit} bytes (engine.max_payload)"}}"#
    );
    answer(StatusCode::PAYLOAD_TOO_LARGE, cors)
        .content_type("application/json")
        .body(message)
}
