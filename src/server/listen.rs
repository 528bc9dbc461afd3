//! The listeners of a node: binds them and serves its sites on worker threads.

use std::fmt::Debug;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpServiceBuilder, Protocol, Request, Response};
use actix_rt::net::TcpStream;
use actix_server::ServerHandle;
use actix_service::{Service, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::body::BoxBody;
use actix_web::dev::AppConfig as WebConfig;
use actix_web::{App as WebApp, HttpRequest, HttpResponse, web};
use anyhow::Context as _;
use log::debug;

use super::worker::Blueprint;
use crate::config::{BindAddress, HttpTimeouts};
use crate::http::internal::{self, InternalSite};
use crate::http::routes;
use crate::limits::HttpConnections;
use crate::metrics::Metrics;
use crate::tls::TlsIdentity;
use crate::transport::accept::{Acceptor, ListenerSettings};
use crate::transport::body::Body;
use crate::transport::requests::Requests;
use crate::transport::socket::ClientStream;
use crate::transport::{body, upgrade};

/// Connections waiting to be accepted.
const BACKLOG: i32 = 4096;
/// How long a client may continue to send a body after the response that closes its connection.
const LINGER_TIME: Duration = Duration::from_secs(2);
/// actix-http reads a cached clock that it updates at this interval, so its deadlines may be early by this much.
const CLOCK_LAG: Duration = Duration::from_millis(500);
/// Limits of HTTP connections of the internal listener: in total, and of one address.
const INTERNAL_CONNECTIONS: usize = 128;
const INTERNAL_CONNECTIONS_PER_ADDRESS: usize = 64;
/// When the node exits, seconds in which the internal listener can complete its responses, including the one to `POST
/// /drain`.
const RESPONSE_TIME: u64 = 1;

/// Binds a listener, which does not accept yet. Returns it with its address; `key` is the key of the address in the
/// configuration, for errors.
pub(super) fn bind(bind: &BindAddress, key: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let addresses = std::net::ToSocketAddrs::to_socket_addrs(&(bind.host.as_str(), bind.port));
    let problem = || format!("cannot listen on {}:{} ({key})", bind.host, bind.port);
    let address = addresses
        .with_context(problem)?
        .next()
        .with_context(problem)?;
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into()).with_context(problem)?;
    socket.listen(BACKLOG).with_context(problem)?;
    socket.set_nonblocking(true)?;
    let listener: TcpListener = socket.into();
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Starts the workers, which accept connections at once.
pub(super) fn serve(
    blueprint: Arc<Blueprint>,
    listener: TcpListener,
) -> anyhow::Result<ServerHandle> {
    let workers = blueprint.config.server.workers;
    let limits = Arc::clone(&blueprint.limits);
    let server = actix_server::Server::build()
        .workers(workers)
        .disable_signals()
        .backlog(BACKLOG as u32)
        .max_concurrent_connections(blueprint.limits.descriptors().requests_per_worker())
        .listen("public", listener, move || {
            let site = Rc::new(blueprint.build_worker());
            let upgrades = Rc::clone(&site.endpoint);
            let app = WebApp::new().default_service(web::to(
                move |request: HttpRequest, payload: web::Payload| {
                    let site = Rc::clone(&site);
                    body::serve(request, payload.into_inner(), |request, body| {
                        routes::serve(site, request, body)
                    })
                },
            ));
            let http = http_service(blueprint.config.server.http)
                .upgrade(fn_service(move |(request, framed)| {
                    let endpoint = Rc::clone(&upgrades);
                    async move {
                        upgrade::serve(&endpoint, request, framed).await;
                        Ok::<_, actix_web::Error>(())
                    }
                }))
                .finish(map_config(app, |_| WebConfig::default()))
                .map_err(|error| debug!(error:%; "connection ended"));
            accepting(blueprint.acceptor()).and_then(http)
        })?
        .run();
    let handle = server.handle();
    actix_rt::spawn(server);
    actix_rt::spawn(limits.watch());
    Ok(handle)
}

/// A listener on a thread of its own, so that clients never delay its requests.
pub(super) struct SideListener {
    /// For the names of its threads.
    pub(super) name: &'static str,
    pub(super) listener: TcpListener,
    /// Set if every connection is TLS.
    pub(super) tls: Option<Arc<TlsIdentity>>,
    pub(super) timeouts: HttpTimeouts,
    pub(super) metrics: Arc<Metrics>,
    /// Maximum number of connections.
    pub(super) connections: usize,
    /// Maximum number of connections of one address.
    pub(super) per_address: usize,
}

/// Starts the internal listener, which accepts connections at once.
pub(super) fn serve_internal(
    site: InternalSite,
    listener: TcpListener,
    timeouts: HttpTimeouts,
) -> anyhow::Result<ServerHandle> {
    let side = SideListener {
        name: "internal",
        listener,
        tls: None,
        timeouts,
        metrics: Arc::clone(&site.metrics),
        connections: INTERNAL_CONNECTIONS,
        per_address: INTERNAL_CONNECTIONS_PER_ADDRESS,
    };
    serve_side(side, move |request, body| {
        internal::serve(site.clone(), request, body)
    })
}

/// Starts a listener on a separate thread, where it accepts connections at once.
pub(super) fn serve_side<H, F>(side: SideListener, handler: H) -> anyhow::Result<ServerHandle>
where
    H: Fn(HttpRequest, Body) -> F + Clone + Send + 'static,
    F: Future<Output = HttpResponse> + 'static,
{
    let SideListener {
        name,
        listener,
        tls,
        timeouts,
        metrics,
        connections: per_worker,
        per_address,
    } = side;
    let connections = HttpConnections::internal(per_address, Arc::clone(&metrics));
    let server = actix_server::Server::build()
        .workers(1)
        .disable_signals()
        .shutdown_timeout(RESPONSE_TIME)
        .max_concurrent_connections(per_worker)
        .listen(name, listener, move || {
            let settings = ListenerSettings {
                access: None,
                expects_header: false,
                tls: tls.clone(),
                connections: Arc::clone(&connections),
                per_worker,
                timeouts,
                metrics: Arc::clone(&metrics),
            };
            let handler = handler.clone();
            let app = WebApp::new().default_service(web::to(
                move |request: HttpRequest, payload: web::Payload| {
                    body::serve(request, payload.into_inner(), handler.clone())
                },
            ));
            let http = http_service(timeouts)
                .finish(map_config(app, |_| WebConfig::default()))
                .map_err(move |error| debug!(error:%, name; "connection ended"));
            accepting(Acceptor::new(settings)).and_then(http)
        })?
        .run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(handle)
}

/// The HTTP service of actix-http; all deadlines that are not set here are those of the connection itself.
fn http_service<S>(timeouts: HttpTimeouts) -> HttpServiceBuilder<Requests<ClientStream>, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: Debug,
    <S::Service as Service<Request>>::Future: 'static,
{
    HttpServiceBuilder::default()
        .client_request_timeout(timeouts.header_timeout + CLOCK_LAG)
        .client_disconnect_timeout(LINGER_TIME)
        .keep_alive(timeouts.keepalive_timeout + CLOCK_LAG)
        .h1_allow_half_closed(false)
        .on_connect_ext(|requests: &Requests<ClientStream>, extensions| {
            extensions.insert(Rc::clone(requests.stream().deadlines()));
        })
}

/// Prepares connections before they speak HTTP.
fn accepting(
    acceptor: Acceptor,
) -> impl ServiceFactory<
    TcpStream,
    Config = (),
    Response = (Requests<ClientStream>, Protocol, Option<SocketAddr>),
    Error = (),
    InitError = (),
> {
    let acceptor = Rc::new(acceptor);
    fn_service(move |stream: TcpStream| {
        let acceptor = Rc::clone(&acceptor);
        async move {
            // The acceptor has counted and logged the rejection.
            let (stream, client) = acceptor.accept(stream).await.map_err(drop)?;
            Ok((Requests::new(stream), Protocol::Http1, Some(client)))
        }
    })
}
