//! A TCP proxy in front of Redis that lets one command fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::server::RedisServer;
use crate::bus::redis::RedisSettings;

/// How a command fails.
#[derive(Debug, Clone, Copy)]
pub(in crate::bus) enum Fault {
    /// Redis executes it, and the connection closes instead of a response.
    LostResponse,
    /// It is rejected without having been executed.
    Rejection,
}

pub(in crate::bus) struct FaultyServer {
    port: u16,
    fails: Arc<AtomicBool>,
}

impl FaultyServer {
    /// Forwards to `server`. Requests that contain `command` can fail.
    pub(in crate::bus) async fn start(
        server: &RedisServer,
        command: &'static str,
        fault: Fault,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (target, fails) = (server.port, Arc::new(AtomicBool::new(false)));
        let is_due = Arc::clone(&fails);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                let is_due = Arc::clone(&is_due);
                tokio::spawn(forward(client, server, command, fault, is_due));
            }
        });
        Self { port, fails }
    }

    pub(in crate::bus) fn settings(&self) -> RedisSettings {
        RedisSettings::parse(&format!("redis://127.0.0.1:{}/0", self.port)).unwrap()
    }

    /// Lets the next request with the command fail.
    pub(in crate::bus) fn fail_next(&self) {
        self.fails.store(true, Ordering::Relaxed);
    }

    pub(in crate::bus) fn has_failed(&self) -> bool {
        !self.fails.load(Ordering::Relaxed)
    }
}

async fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    command: &str,
    fault: Fault,
    is_due: Arc<AtomicBool>,
) {
    let (mut request, mut response) = (vec![0; 4096], vec![0; 4096]);
    // The response that follows is that to the command.
    let mut is_command = false;
    loop {
        tokio::select! {
            Ok(length @ 1..) = client.read(&mut request) => {
                let mut words = request[..length].windows(command.len());
                is_command |= words.any(|word| word == command.as_bytes());
                let rejects = is_command && matches!(fault, Fault::Rejection);
                if rejects && is_due.swap(false, Ordering::Relaxed) {
                    client.write_all(b"-TRYAGAIN rejected\r\n").await.unwrap();
                    continue;
                }
                server.write_all(&request[..length]).await.unwrap();
            }
            Ok(length @ 1..) = server.read(&mut response) => {
                let loses = is_command && matches!(fault, Fault::LostResponse);
                if loses && is_due.swap(false, Ordering::Relaxed) {
                    return;
                }
                client.write_all(&response[..length]).await.unwrap();
            }
            else => return,
        }
    }
}
