//! Brings sockets in: signed in with a token, `user-join` said and answered, and a chat
//! opened if wanted. Any failure here fails the run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Result, bail};

use super::super::TICK;
use super::super::assembly::WINDOW;
use super::door;
use crate::client::Notice;
use crate::fleet::{Fleet, Observer, Turn};
use crate::patience::Patience;

const USER_JOIN: u32 = 0;
const OPEN_CHAT: u32 = 1;

struct Gathering<'a> {
    chat: Option<&'a str>,
    tokens: BTreeMap<usize, Rc<str>>,
    complete: usize,
    lost: usize,
    rejected: Option<String>,
}

/// Brings in `count` sockets that share `tokens`, some at a time; returns their ids.
pub(super) fn gather(
    fleet: &mut Fleet,
    target: SocketAddr,
    count: usize,
    tokens: &[Rc<str>],
    chat: Option<&str>,
) -> Result<Vec<usize>> {
    let mut gathering = Gathering {
        chat,
        tokens: BTreeMap::new(),
        complete: 0,
        lost: 0,
        rejected: None,
    };
    let mut patience = Patience::new("sockets sign in and join");
    while gathering.complete < count {
        let known = &mut gathering.tokens;
        while known.len() < count && known.len() - gathering.complete < WINDOW {
            let token = &tokens[known.len() % tokens.len()];
            known.insert(fleet.open_at(target, door(token))?, Rc::clone(token));
        }
        fleet.turn(TICK, &mut gathering)?;
        gathering.check(fleet)?;
        patience.check(gathering.complete as u64, fleet)?;
    }
    Ok(gathering.tokens.into_keys().collect())
}

impl Gathering<'_> {
    fn check(&self, fleet: &Fleet) -> Result<()> {
        if let Some(answer) = &self.rejected {
            bail!("rejected: {answer}");
        }
        if self.lost > 0 {
            let faults = fleet.faults();
            bail!("{} sockets ended early; faults: {faults:?}", self.lost);
        }
        Ok(())
    }

    fn join(&self, id: usize, turn: &mut Turn<'_>) {
        if let Some(token) = self.tokens.get(&id) {
            turn.send(
                id,
                format_args!(r#"42{USER_JOIN}["user-join",{{"auth":{{"token":"{token}"}}}}]"#),
            );
        }
    }

    fn joined(&mut self, id: usize, answer: &str, turn: &mut Turn<'_>) {
        if !answer.contains(r#""id":"#) {
            self.rejected = Some(format!("user-join: {answer}"));
            return;
        }
        match self.chat {
            None => self.complete += 1,
            Some(chat) => turn.send(
                id,
                format_args!(
                    r#"42{OPEN_CHAT}["events:chat",{{"chat_id":"{chat}","data":{{"type":"join"}}}}]"#
                ),
            ),
        }
    }
}

impl Observer for Gathering<'_> {
    fn notice(&mut self, id: usize, notice: Notice<'_>, turn: &mut Turn<'_>) {
        match notice {
            // Sockets that were here before have their pings answered, no more.
            _ if !self.tokens.contains_key(&id) => {}
            Notice::Ready => self.join(id, turn),
            Notice::Ack(USER_JOIN, answer) => self.joined(id, answer, turn),
            Notice::Ack(_, "[true]") => self.complete += 1,
            Notice::Ack(_, answer) => self.rejected = Some(format!("chat: {answer}")),
            Notice::Closed => self.lost += 1,
            Notice::Event(_) => {}
        }
    }
}
