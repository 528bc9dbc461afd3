//! A real Redis or Valkey server of the test's own.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Runs on a free port until dropped; can be stopped and started again.
pub(in crate::bridge) struct RedisServer {
    pub(in crate::bridge) port: u16,
    program: &'static str,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// A server that is not running yet. `None`, and a word about it, if neither is installed and
    /// nobody requires it.
    pub(in crate::bridge) fn prepare(arguments: &[&str]) -> Option<Self> {
        let is_there = |program: &&str| Command::new(program).arg("--version").output().is_ok();
        let Some(program) = ["redis-server", "valkey-server"].into_iter().find(is_there) else {
            let required = std::env::var("ROOMWIRE_REQUIRE_REDIS").is_ok_and(|value| value == "1");
            assert!(!required, "redis-server is missing and required");
            println!("skipped: redis-server is missing");
            return None;
        };
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        Some(Self {
            port: free.local_addr().unwrap().port(),
            program,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            process: None,
        })
    }

    /// A running server.
    pub(in crate::bridge) fn start(arguments: &[&str]) -> Option<Self> {
        let mut server = Self::prepare(arguments)?;
        server.run();
        Some(server)
    }

    pub(in crate::bridge) fn run(&mut self) {
        let process = Command::new(self.program)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                begun.elapsed() < PATIENCE,
                "{} does not listen",
                self.program
            );
            sleep(Duration::from_millis(10));
        }
    }

    pub(in crate::bridge) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub(in crate::bridge) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
