//! The built binary as a separate process.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::DEADLINE;
use super::redis::free_port;

/// The built binary with this environment and no other.
pub fn roomwire(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomwire"));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied());
    command
}

/// Runs the binary until it exits.
pub fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    roomwire(arguments, environment).output().unwrap()
}

/// An address on which no process listens at the moment, and that no other test gets.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// The text of an output.
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A running node, killed when its test ends.
pub struct Node {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Lines that were received while others were awaited.
    passed_over: RefCell<Vec<String>>,
    /// Held while the next line is read.
    reading: Arc<Mutex<()>>,
}

impl Node {
    /// Starts a node on a free port with one worker.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let usual = [
            ("ROOMWIRE_SERVER__BIND", "127.0.0.1:0"),
            ("ROOMWIRE_SERVER__WORKERS", "1"),
            // Above the time for which a machine stalls: a request would time out, and be repeated.
            ("ROOMWIRE_WEBHOOK__TIMEOUT", "20s"),
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
        // A node writes nothing to standard output; otherwise it would appear in the output of the test.
        for output in [
            Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>,
            Box::new(child.stderr.take().unwrap()),
        ] {
            read(output, sender.clone(), Arc::clone(&reading));
        }
        Self {
            child,
            lines,
            passed_over: RefCell::default(),
            reading,
        }
    }

    /// Reads no further line until the guard is dropped, like a log collector that stalls.
    pub fn stop_reading(&self) -> Stalled<'_> {
        Stalled(self.reading.lock().unwrap())
    }

    /// Waits for a line of the log.
    pub fn line(&self, with: &str) -> String {
        let mut lines = self.lines_until(with);
        let line = lines.pop().unwrap_or_default();
        self.passed_over.borrow_mut().append(&mut lines);
        line
    }

    /// Waits for a line that a node logs once, when it starts. Such lines have no certain order: Redis may respond before
    /// or after the node listens.
    pub fn start_line(&self, with: &str) -> String {
        let passed_over = self.passed_over.borrow();
        let passed = passed_over.iter().find(|line| line.contains(with)).cloned();
        drop(passed_over);
        passed.unwrap_or_else(|| self.line(with))
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

    /// Sends the node a signal, such as `TERM`. With `STOP`, all of its threads are stopped when this returns.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let start = Instant::now();
        // The thread that takes the signal stops the others: until then they run on.
        while name == "STOP" && !self.is_stopped() {
            assert!(start.elapsed() < DEADLINE, "the node does not stop");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_stopped(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The state follows the name, which is in brackets.
            stat.rsplit(") ")
                .next()
                .is_some_and(|state| state.starts_with('T'))
        })
    }

    /// Waits until the node exits. Returns its exit code.
    pub fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < DEADLINE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The address in its log after `with`, such as `listening on http://`.
    pub fn address(&self, with: &str) -> String {
        let line = self.start_line(with);
        let rest = line.split_once(with).unwrap().1;
        let end = rest.find([' ', ':']).unwrap();
        let port = rest[end + 1..].split(|c: char| !c.is_ascii_digit()).next();
        format!("{}:{}", &rest[..end], port.unwrap())
    }
}

/// While this exists, the log of a node is not read.
#[must_use]
pub struct Stalled<'a>(#[expect(dead_code, reason = "held")] MutexGuard<'a, ()>);

/// Passes on every line of an output.
fn read(output: Box<dyn Read + Send>, sender: mpsc::Sender<String>, reading: Arc<Mutex<()>>) {
    thread::spawn(move || {
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

/// `host:port` in the start line.
pub fn listening_address(listening: &str) -> &str {
    let rest = listening.split_once("://").unwrap().1;
    rest.split([' ', '"']).next().unwrap()
}
