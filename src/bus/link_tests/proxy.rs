//! A TCP proxy that can discard what Redis sends to connections that have subscribed, and can direct new connections to
//! another server, like a DNS name after a failover.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

pub(in crate::bus) struct Proxy {
    pub(in crate::bus) port: u16,
    /// While set, subscribed connections stay open but receive nothing.
    pub(in crate::bus) deafen: Arc<AtomicBool>,
    /// Target port of new connections; open ones are not affected.
    pub(in crate::bus) target: Arc<AtomicU16>,
}

impl Proxy {
    pub(in crate::bus) async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            deafen: Arc::default(),
            target: Arc::new(AtomicU16::new(target)),
        };
        let target = Arc::clone(&proxy.target);
        let deafen = Arc::clone(&proxy.deafen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let port = target.load(Ordering::Relaxed);
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (client_reader, client_writer) = client.into_split();
                let (server_reader, server_writer) = server.into_split();
                let subscribed = Arc::new(AtomicBool::new(false));
                let is_subscribed = Arc::clone(&subscribed);
                tokio::spawn(forward(client_reader, server_writer, move |bytes| {
                    if bytes.windows(9).any(|window| window == b"SUBSCRIBE") {
                        is_subscribed.store(true, Ordering::Relaxed);
                    }
                    true
                }));
                let deafen = Arc::clone(&deafen);
                tokio::spawn(forward(server_reader, client_writer, move |_| {
                    let subscribed = subscribed.load(Ordering::Relaxed);
                    !(subscribed && deafen.load(Ordering::Relaxed))
                }));
            }
        });
        proxy
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut pass: impl FnMut(&[u8]) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if pass(&buffer[..length]) && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
