//! What publishes: a client with `roomwire:emit`, or a process that uses the emitter library of a backend.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::{JOIN_ACK, ROOM};
use crate::fleet::Turn;

/// Publishes to the room.
pub(crate) enum Publisher {
    /// The client on this connection. Its emits are acked, numbered from 1.
    Client(usize),
    Process(Process),
}

/// A program that reads lines, each the name of an event and the JSON of its argument, and emits it to the room.
/// As a child of this process, its CPU is not counted as foreign.
pub(crate) struct Process(Child);

/// Starts a publishing program, which reads requests from its input.
pub(crate) fn spawn(command: &[String]) -> Result<Child> {
    let (program, arguments) = command.split_first().context("a publisher is needed")?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {program}"))
}

impl Publisher {
    /// Starts a publishing program.
    pub(crate) fn start(command: &[String]) -> Result<Self> {
        Ok(Self::Process(Process(spawn(command)?)))
    }

    /// Emits `probe`.
    pub(crate) fn probe(&mut self, turn: &mut Turn<'_>) {
        match self {
            Self::Client(id) => turn.send(
                *id,
                format_args!(r#"42["roomwire:emit","{ROOM}","probe",0]"#),
            ),
            Self::Process(process) => process.write("probe 0\n"),
        }
    }

    /// Emits `b` with each argument, which is JSON; `first` is the number of the first. Returns how many acks follow.
    pub(crate) fn publish(
        &mut self,
        first: u64,
        arguments: &[String],
        turn: &mut Turn<'_>,
    ) -> usize {
        match self {
            Self::Client(id) => {
                let acks = JOIN_ACK as u64 + 1 + first..;
                for (ack, argument) in acks.zip(arguments) {
                    turn.send(
                        *id,
                        format_args!(r#"42{ack}["roomwire:emit","{ROOM}","b",{argument}]"#),
                    );
                }
                arguments.len()
            }
            Self::Process(process) => {
                let lines = arguments.iter().map(|argument| format!("b {argument}\n"));
                process.write(&lines.collect::<String>());
                0
            }
        }
    }
}

impl Process {
    /// A program that is gone is noticed by the deliveries that are missing.
    fn write(&mut self, lines: &str) {
        if let Some(input) = &mut self.0.stdin {
            let _ = input.write_all(lines.as_bytes());
        }
    }
}

impl Drop for Process {
    /// The process ends by itself at the end of its input; a failed run does not wait for that.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
