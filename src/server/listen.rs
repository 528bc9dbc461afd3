//! The listeners of a node: binds them and serves its sites on worker threads.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, Protocol};
use actix_rt::net::TcpStream;
use actix_server::ServerHandle;
use actix_service::{ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::AppConfig as WebConfig;
use actix_web::{App as WebApp, HttpServer, web};
use anyhow::Context as _;
use log::debug;

use super::worker::Blueprint;
use crate::config::BindAddress;
use crate::http::internal::{self, InternalSite};
use crate::http::routes;
use crate::transport::upgrade;

/// Connections waiting to be accepted.
const BACKLOG: i32 = 4096;
/// A request's head must have come within this time.
const REQUEST_HEAD_TIME: Duration = Duration::from_secs(10);
/// Idle HTTP connections are kept this long: longer than the polling GETs of most clients are apart.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Seconds the internal listener has to write the answers under way when the node ends, that to `POST /drain` too.
const ANSWER_TIME: u64 = 1;

/// A listener that does not accept yet, and its address; `key` names it in the configuration.
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

/// Starts the workers; they accept at once.
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
            let site = blueprint.build_worker();
            let upgrades = site.edge.clone();
            let limits = Arc::clone(&blueprint.limits);
            let app = WebApp::new().default_service(web::to(move |request, body| {
                routes::serve(site.clone(), request, body)
            }));
            let http = HttpService::build()
                .client_request_timeout(REQUEST_HEAD_TIME)
                .keep_alive(KEEP_ALIVE)
                .h1_allow_half_closed(false)
                .on_connect_ext(move |_, extensions| {
                    extensions.insert(limits.http_connection());
                })
                .upgrade(fn_service(move |(request, framed)| {
                    let edge = upgrades.clone();
                    async move {
                        upgrade::upgrade(edge, request, framed).await;
                        Ok::<_, actix_web::Error>(())
                    }
                }))
                .finish(map_config(app, |_| WebConfig::default()))
                .map_err(|error| debug!(error:%; "connection ended"));
            let acceptor = Rc::new(blueprint.acceptor());
            fn_service(move |stream: TcpStream| {
                let acceptor = Rc::clone(&acceptor);
                async move {
                    // A refusal is counted and logged already.
                    let (stream, client) = acceptor.accept(stream).await.map_err(drop)?;
                    Ok((stream, Protocol::Http1, Some(client)))
                }
            })
            .and_then(http)
        })?
        .run();
    let handle = server.handle();
    actix_rt::spawn(server);
    actix_rt::spawn(limits.watch());
    Ok(handle)
}

/// Starts the internal listener on a thread of its own; it accepts at once.
pub(super) fn serve_internal(
    site: InternalSite,
    listener: TcpListener,
) -> anyhow::Result<ServerHandle> {
    let server = HttpServer::new(move || {
        let site = site.clone();
        WebApp::new().default_service(web::to(move |request| {
            internal::serve(site.clone(), request)
        }))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(ANSWER_TIME)
    .client_request_timeout(REQUEST_HEAD_TIME)
    .listen(listener)?
    .run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(handle)
}
