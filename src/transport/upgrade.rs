//! Requests with `Upgrade: websocket`, which actix-http hands over with their connection.
//!
//! They bypass the middleware of the actix-web app, so path, origin and method are checked here. The HTTP dispatcher
//! with its buffers ends at the hand-over: an idle websocket costs only its session.

use actix::AsyncContext;
use actix_codec::Framed;
use actix_http::{HttpMessage, Request, h1};
use actix_web::http::Method;
use bytes::Bytes;
use log::debug;
use tokio::io::AsyncWriteExt;

use super::client_kind::client_kind;
use super::credentials::{self, OpeningRequest};
use super::endpoint::Endpoint;
use super::handshake::{self, QueryParameters, RequestError, RequestKind};
use super::offer::WebsocketOffer;
use super::opening::WebsocketAccept;
use super::rejection::Rejection;
use super::rejection_log;
use super::requests::Requests;
use super::session_ref::SessionRef;
use super::socket::ClientStream;
use super::takeover::accept_handshake;
use super::websocket::Websocket;
use crate::limits::Admission;
use crate::metrics::Metrics;
use crate::metrics::labels::CompressionOffer;
use crate::model::TransportName;
use crate::protocol::connection::Mode;
use crate::protocol::websocket::extension::Negotiation;
use crate::session::{Credentials, OpenPacket, Session};

/// Responds to an upgrade request on the worker that accepted its connection.
pub async fn serve(
    endpoint: &Endpoint,
    request: Request,
    framed: Framed<Requests<ClientStream>, h1::Codec>,
) {
    let parts = framed.into_parts();
    let (mut stream, unread) = parts.io.into_parts();
    let mut first = parts.read_buf;
    first.extend_from_slice(&unread);
    let first = first.freeze();
    // Until the response is written, or the connection is a websocket, this is a request like any other.
    let _serving = stream.deadlines().serve();
    if let Err(error) = stream.write_all(&parts.write_buf).await {
        return debug!(error:%; "websocket lost during its handshake");
    }
    let outcome = match check(endpoint, &request).await {
        Ok(Checked::Open(opening)) => open(endpoint, stream, first, opening),
        Ok(Checked::Probe {
            session,
            accept,
            base64,
            admission,
        }) => {
            let offer = WebsocketOffer {
                connection: stream,
                first,
                accept,
                base64,
                session: session.id(),
            };
            session.probe(offer, admission).await
        }
        Err(rejection) => {
            let (headers, peer) = (request.headers(), request.peer_addr());
            let client = endpoint.settings.client_address(headers, peer);
            rejection_log::record(endpoint, rejection.label, &rejection.reason, client);
            rejection.send(stream).await
        }
    };
    if let Err(error) = outcome {
        debug!(error:%; "websocket lost during its handshake");
    }
}

/// A request that may become a websocket.
enum Checked<'a> {
    /// It opens a session.
    Open(Opening),
    /// It probes a polling session.
    Probe {
        session: SessionRef<'a>,
        accept: WebsocketAccept,
        /// Whether the client receives binary messages as base64.
        base64: bool,
        admission: Option<Admission>,
    },
}

/// A session that a websocket opens.
struct Opening {
    mode: Mode,
    open_packet: OpenPacket,
    accept: WebsocketAccept,
    admission: Admission,
    credentials: Option<Credentials>,
}

async fn check<'a>(endpoint: &'a Endpoint, request: &Request) -> Result<Checked<'a>, Rejection> {
    let settings = &endpoint.settings;
    let (uri, headers, peer) = (request.uri(), request.headers(), request.peer_addr());
    let Some(mode) = settings.mode(uri.path()) else {
        return Err(Rejection::no_endpoint(&settings.engine.path));
    };
    settings.check_loop(headers)?;
    settings.check_origin(headers, peer)?;
    let query = uri.query().unwrap_or_default();
    let parameters = QueryParameters::parse(query);
    let is_get = request.method() == Method::GET;
    let kind = handshake::check(&parameters, is_get, true, &settings.engine)?;
    if endpoint.worker.is_stopping() && matches!(kind, RequestKind::Open(..)) {
        return Err(RequestError::ShuttingDown.into());
    }
    let compresses = settings.engine.websocket_compression;
    let accept = WebsocketAccept::read(headers, compresses)?;
    if compresses {
        count_offer(endpoint.worker.metrics(), accept.negotiation());
    }
    let client = settings.client_address(headers, peer);
    match kind {
        RequestKind::Open(_, revision) => {
            let admission = endpoint.admit_handshake(query, client)?;
            let opening = OpeningRequest {
                query,
                revision,
                headers,
                peer,
                client,
            };
            Ok(Checked::Open(Opening {
                mode,
                open_packet: settings
                    .open_packet(false, revision, query)
                    .of_client(client_kind(headers, query)),
                accept,
                admission,
                credentials: credentials::check(endpoint, opening).await?,
            }))
        }
        RequestKind::Session(id, _) => {
            let session = SessionRef::of(endpoint, id);
            Ok(Checked::Probe {
                admission: session.admit_websocket(client)?,
                session,
                accept,
                base64: parameters.base64,
            })
        }
    }
}

fn count_offer(metrics: &Metrics, negotiation: Negotiation) {
    let result = match negotiation {
        Negotiation::NotOffered => CompressionOffer::NotOffered,
        Negotiation::Declined => CompressionOffer::Declined,
        Negotiation::Accepted(_) => CompressionOffer::Accepted,
    };
    let offers = &metrics.websocket_compression_offers_total;
    offers.of(result).increment();
}

fn open(
    endpoint: &Endpoint,
    stream: ClientStream,
    first: Bytes,
    opening: Opening,
) -> std::io::Result<()> {
    let settings = &endpoint.settings;
    let socket = accept_handshake(settings, stream.detach()?, &opening.accept)?;
    let decoder = opening.accept.decoder(settings.engine.max_payload);
    let websocket = Websocket::carrier(socket, first, decoder);
    let mut open_packet = opening.open_packet;
    open_packet.format.compression = opening.accept.compression();
    Session::open(
        &endpoint.worker,
        opening.mode,
        TransportName::Websocket,
        open_packet,
        opening.admission,
        opening.credentials,
        |session, ctx| {
            websocket.attach(session);
            ctx.spawn(websocket);
        },
    );
    Ok(())
}
