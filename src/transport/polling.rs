//! Long polling: GETs that fetch batches, POSTs that deliver packets (docs/protocol.md#13-polling).

use std::rc::Rc;

use actix_web::http::{Method, StatusCode, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::body::Body;
use super::client_kind::client_kind;
use super::compression::accepts_gzip;
use super::credentials::{self, OpeningRequest};
use super::endpoint::Endpoint;
use super::handshake::{self, QueryParameters, RequestError, RequestKind};
use super::origin::CorsHeaders;
use super::post_body::{self, BodyError};
use super::rejection_log;
use super::session_ref::{SessionRef, pull_local};
use crate::limits::Limit;
use crate::model::{EngineId, TransportName};
use crate::protocol::connection::Mode;
use crate::protocol::engine_io::{EngineRevision, payload_v3};
use crate::session::Session;
use crate::session::messages::{PostError, PullError};

/// The content type of a batch.
const TEXT: &str = "text/plain; charset=UTF-8";

/// A websocket carries the session now.
const TRANSPORT_MISMATCH: RequestError = RequestError::BadRequest("TRANSPORT_MISMATCH");

/// Responds to any request below a path of the endpoint.
pub async fn serve(
    endpoint: &Rc<Endpoint>,
    mode: Mode,
    request: HttpRequest,
    body: Body,
) -> HttpResponse {
    let (headers, peer) = (request.headers(), request.peer_addr());
    let (result, cors) = match endpoint.settings.check_origin(headers, peer) {
        Ok(cors) => (respond(endpoint, mode, &request, body, &cors).await, cors),
        Err(error) => (Err(error), CorsHeaders::new()),
    };
    result.unwrap_or_else(|error| {
        let client = endpoint.settings.client_address(headers, peer);
        rejection_log::record(endpoint, error.label(), error.message(), client);
        error_response(&error, &cors)
    })
}

/// Responds to a request whose origin is allowed.
async fn respond(
    endpoint: &Rc<Endpoint>,
    mode: Mode,
    request: &HttpRequest,
    body: Body,
    cors: &CorsHeaders,
) -> Result<HttpResponse, RequestError> {
    if request.method() == Method::OPTIONS && request.headers().contains_key(header::ORIGIN) {
        return Ok(preflight(request, cors));
    }
    endpoint.settings.check_loop(request.headers())?;
    let query = QueryParameters::parse(request.query_string());
    let is_get = request.method() == Method::GET;
    match handshake::check(&query, is_get, false, &endpoint.settings.engine)? {
        RequestKind::Open(_, revision) => open(endpoint, mode, revision, request, cors).await,
        RequestKind::Session(id, _) => match *request.method() {
            Method::GET => get(endpoint, id, request, cors).await,
            // A separate task survives the loss of the connection: a complete body is still delivered, and an
            // incomplete one is reported.
            Method::POST => {
                body.expect();
                let endpoint = Rc::clone(endpoint);
                // Revision 4 posts text; a binary body ends the session like any malformed one (docs/protocol.md#17-errors).
                let is_v3 = query.version.as_deref() == Some("3") && endpoint.settings.engine.eio3;
                let (is_binary, cors) = (!is_v3 && is_binary(request), cors.clone());
                let task = async move { post(&endpoint, id, is_binary, body, &cors).await };
                let posted = actix_rt::spawn(task).await;
                posted.unwrap_or(Err(RequestError::SessionUnknown))
            }
            _ => Ok(response(StatusCode::METHOD_NOT_ALLOWED, cors).finish()),
        },
    }
}

fn response(status: StatusCode, cors: &CorsHeaders) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    for (name, value) in cors {
        response.insert_header((*name, value.as_str()));
    }
    response
}

fn error_response(error: &RequestError, cors: &CorsHeaders) -> HttpResponse {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = response(status, cors);
    if let Some(seconds) = error.retry_after() {
        response.insert_header((header::RETRY_AFTER, seconds));
    }
    response.content_type("application/json").body(error.body())
}

fn preflight(request: &HttpRequest, cors: &CorsHeaders) -> HttpResponse {
    let mut response = response(StatusCode::NO_CONTENT, cors);
    response.insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET,POST"));
    if let Some(requested) = request
        .headers()
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
    {
        response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, requested.clone()));
    }
    response.finish()
}

async fn open(
    endpoint: &Endpoint,
    mode: Mode,
    revision: EngineRevision,
    request: &HttpRequest,
    cors: &CorsHeaders,
) -> Result<HttpResponse, RequestError> {
    if endpoint.worker.is_stopping() {
        return Err(RequestError::ShuttingDown);
    }
    let (headers, peer) = (request.headers(), request.peer_addr());
    let client = endpoint.settings.client_address(headers, peer);
    let admission = endpoint.admit_handshake(request.query_string(), client)?;
    let opening = OpeningRequest {
        query: request.query_string(),
        revision,
        headers,
        peer,
        client,
    };
    let credentials = credentials::check(endpoint, opening).await?;
    let query = request.query_string();
    let open_packet = endpoint.settings.open_packet(true, revision, query);
    let open_packet = open_packet.of_client(client_kind(headers, query));
    let mut id = None;
    let session = Session::open(
        &endpoint.worker,
        mode,
        TransportName::Polling,
        open_packet,
        admission,
        credentials,
        |session, _| id = Some(session.id()),
    );
    let Some(Ok(batch)) = pull_local(&session).await else {
        return Err(RequestError::SessionUnknown);
    };
    let mut response = response(StatusCode::OK, cors);
    if let (Some(name), Some(id)) = (&endpoint.settings.engine.cookie, id) {
        let mut cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Lax", id.as_str());
        if endpoint.settings.is_secure(headers, peer) {
            cookie.push_str("; Secure");
        }
        response.insert_header((header::SET_COOKIE, cookie));
    }
    Ok(batch_response(&mut response, TEXT, batch.body))
}

async fn get(
    endpoint: &Endpoint,
    id: EngineId,
    request: &HttpRequest,
    cors: &CorsHeaders,
) -> Result<HttpResponse, RequestError> {
    let batch = match SessionRef::of(endpoint, id).pull().await {
        None => return Err(RequestError::SessionUnknown),
        Some(Err(PullError::TransportMismatch)) => return Err(TRANSPORT_MISMATCH),
        Some(Err(PullError::Duplicate)) => {
            return Ok(response(StatusCode::BAD_REQUEST, cors).finish());
        }
        Some(Ok(batch)) => batch.body,
    };
    // Only a body of revision 3 can be binary, whichever node made it.
    let content_type = match payload_v3::is_binary(&batch) {
        true => "application/octet-stream",
        false => TEXT,
    };
    let mut response = response(StatusCode::OK, cors);
    let threshold = endpoint.settings.engine.compression_threshold;
    let large = threshold.is_some_and(|threshold| batch.len() >= threshold);
    if large
        && accepts_gzip(request)
        && let Some(body) = endpoint.compressor.compress(&batch).await
    {
        response.insert_header((header::CONTENT_ENCODING, "gzip"));
        return Ok(batch_response(&mut response, content_type, body));
    }
    Ok(batch_response(&mut response, content_type, batch))
}

fn batch_response(
    response: &mut HttpResponseBuilder,
    content_type: &'static str,
    body: Bytes,
) -> HttpResponse {
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type(content_type)
        .body(body)
}

async fn post(
    endpoint: &Endpoint,
    id: EngineId,
    is_binary: bool,
    body: Body,
    cors: &CorsHeaders,
) -> Result<HttpResponse, RequestError> {
    let Some(mut pending) = SessionRef::of(endpoint, id).post().await else {
        return Err(RequestError::SessionUnknown);
    };
    let mut held = endpoint.worker.limits.begin_body();
    let body = if is_binary {
        Bytes::new()
    } else {
        let max_payload = endpoint.settings.engine.max_payload;
        let read = post_body::read(body, max_payload, &mut held);
        match pending.while_open(read).await {
            Some(Ok(body)) => body,
            Some(Err(BodyError::Limited(limit))) => {
                pending.reject();
                endpoint.worker.limits.record_rejection(limit, None);
                return Err(RequestError::Limited(limit));
            }
            Some(Err(BodyError::TooLarge)) => {
                pending.reject();
                return Ok(too_large(endpoint, cors));
            }
            Some(Err(BodyError::BrokeOff)) => {
                let mut response = response(StatusCode::BAD_REQUEST, cors);
                return Ok(response.force_close().finish());
            }
            None => return Ok(response(StatusCode::BAD_REQUEST, cors).finish()),
        }
    };
    match pending.deliver(body).await {
        None => Err(RequestError::SessionUnknown),
        Some(Ok(())) => Ok(response(StatusCode::OK, cors)
            .content_type("text/html")
            .body("ok")),
        Some(Err(PostError::TransportMismatch)) => Err(TRANSPORT_MISMATCH),
        Some(Err(PostError::Duplicate | PostError::Malformed)) => {
            Ok(response(StatusCode::BAD_REQUEST, cors).finish())
        }
    }
}

fn is_binary(request: &HttpRequest) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/octet-stream"))
}

fn too_large(endpoint: &Endpoint, cors: &CorsHeaders) -> HttpResponse {
    let limit = endpoint.settings.engine.max_payload;
    endpoint
        .worker
        .limits
        .record_rejection(Limit::Payload, None);
    let code = RequestError::Limited(Limit::Payload).code();
    let message = format!(
        r#"{{"code":{code},"message":"message too large: at most {limit} bytes (engine.max_payload)"}}"#
    );
    response(StatusCode::PAYLOAD_TOO_LARGE, cors)
        .content_type("application/json")
        .body(message)
}
