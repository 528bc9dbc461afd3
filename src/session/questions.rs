//! Questions of a client to others, for which the next events of its socket do not wait.

use std::time::Duration;

use actix::Context;

use super::Session;
use super::events::{Awaited, Turn};
use crate::app::Actions;
use crate::model::Emit;

/// Maximum number of pending questions of one socket; with more, its next events wait.
const MOST_QUESTIONS: usize = 100;

impl Session {
    /// Emits a question. Returns the rest of the turn, unless the rest must wait for the answer.
    pub(super) fn ask(
        &mut self,
        mut turn: Turn,
        rest: Actions,
        emit: Emit,
        time: Duration,
        ctx: &mut Context<Self>,
    ) -> Option<(Turn, Actions)> {
        let ack = self.worker.shard.call(emit);
        let awaited = async move {
            let answer = tokio::time::timeout(time, ack.received()).await;
            Awaited::Answered(answer.ok().flatten().map(|reply| reply.payload))
        };
        match self.detach(&mut turn) {
            Some(question) => {
                self.suspend(question, Actions::new(), awaited, ctx);
                Some((turn, rest))
            }
            None => {
                self.suspend(turn, rest, awaited, ctx);
                None
            }
        }
    }

    /// Splits off a turn for a question, which takes over the ack. `None` if too many are pending.
    fn detach(&mut self, turn: &mut Turn) -> Option<Turn> {
        let socket = self.sockets.get_mut(turn.slot.get())?.as_mut()?;
        if turn.detached || socket.questions >= MOST_QUESTIONS {
            return None;
        }
        socket.questions += 1;
        Some(Turn {
            slot: turn.slot,
            socket: turn.socket,
            ack: turn.ack.take(),
            connecting: false,
            detached: true,
        })
    }
}
