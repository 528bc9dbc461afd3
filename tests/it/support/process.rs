//! The built binary as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// The built binary with this environment and no other.
pub fn roomwire(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomwire"));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied());
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    roomwire(arguments, environment).output().unwrap()
}

/// What it printed.
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A node under way; ended with its test.
pub struct Node {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Held by whoever reads the next line.
    reading: Arc<Mutex<()>>,
}

impl Node {
    /// Starts one on a free port with one worker.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let usual = [
            ("ROOMWIRE_SERVER__BIND", "127.0.0.1:0"),
            ("ROOMWIRE_SERVER__WORKERS", "1"),
        ];
        let mut command = roomwire(&[], &usual);
        let mut child = command
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let reading = Arc::new(Mutex::new(()));
        // A node says nothing on standard output; a test would see it here.
        for output in [
            Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>,
            Box::new(child.stderr.take().unwrap()),
        ] {
            read(output, sender.clone(), Arc::clone(&reading));
        }
        Self {
            child,
            lines,
            reading,
        }
    }

    /// Reads no further line until the guard is dropped, as a log collector that hangs.
    pub fn stop_reading(&self) -> Stalled<'_> {
        Stalled(self.reading.lock().unwrap())
    }

    /// Waits for a line of the log.
    pub fn line(&self, with: &str) -> String {
        self.lines_until(with).pop().unwrap_or_default()
    }

    /// The lines of the log up to one with this text.
    pub fn lines_until(&self, with: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => lines.push(line),
                Err(error) => panic!("no line with {with:?} in {lines:#?}: {error}"),
            }
            if lines.last().is_some_and(|line| line.contains(with)) {
                return lines;
            }
        }
    }

    /// Sends it a signal, as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < DEADLINE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The address its log gives after `with`, as `listening on http://`.
    pub fn address(&self, with: &str) -> String {
        let line = self.line(with);
        let rest = line.split_once(with).unwrap().1;
        let end = rest.find([' ', ':']).unwrap();
        let port = rest[end + 1..].split(|c: char| !c.is_ascii_digit()).next();
        format!("{}:{}", &rest[..end], port.unwrap())
    }
}

/// While this exists, nobody reads the log of a node.
#[must_use]
pub struct Stalled<'a>(#[expect(dead_code, reason = "held")] MutexGuard<'a, ()>);

/// Hands on every line of an output.
fn read(output: Box<dyn Read + Send>, sender: mpsc::Sender<String>, reading: Arc<Mutex<()>>) {
    std::thread::spawn(move || {
        BufReader::new(output)
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| {
                let sent = sender.send(line);
                let _wait_for_turn = reading.lock();
                sent
            })
    });
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _ = self.child.wait();
    }
}
