//! Brings sockets to the state in which a scenario begins: signed in with a token,
//! `user-join` acked and, if requested, a chat opened. Any failure fails the run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Result, bail};

use super::super::TICK;
use super::super::setup::WINDOW;
use super::endpoint;
use crate::client::ClientEvent;
use crate::fleet::{Fleet, Observer, Turn};
use crate::watchdog::Watchdog;

const USER_JOIN: u32 = 0;
const OPEN_CHAT: u32 = 1;

struct SignIn<'a> {
    chat: Option<&'a str>,
    tokens: BTreeMap<usize, Rc<str>>,
    complete: usize,
    lost: usize,
    rejected: Option<String>,
}

/// Connects and signs in `count` sockets, which use `tokens` in turn; returns their ids.
pub(super) fn sign_in(
    fleet: &mut Fleet,
    target: SocketAddr,
    count: usize,
    tokens: &[Rc<str>],
    chat: Option<&str>,
) -> Result<Vec<usize>> {
    let mut sign_in = SignIn {
        chat,
        tokens: BTreeMap::new(),
        complete: 0,
        lost: 0,
        rejected: None,
    };
    let mut watchdog = Watchdog::new("sockets sign in and join");
    while sign_in.complete < count {
        let opened = &mut sign_in.tokens;
        while opened.len() < count && opened.len() - sign_in.complete < WINDOW {
            let token = &tokens[opened.len() % tokens.len()];
            opened.insert(
                fleet.open_endpoint(target, endpoint(token))?,
                Rc::clone(token),
            );
        }
        fleet.turn(TICK, &mut sign_in)?;
        sign_in.check(fleet)?;
        watchdog.check(sign_in.complete as u64, fleet)?;
    }
    Ok(sign_in.tokens.into_keys().collect())
}

impl SignIn<'_> {
    fn check(&self, fleet: &Fleet) -> Result<()> {
        if let Some(arguments) = &self.rejected {
            bail!("rejected: {arguments}");
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

    fn joined(&mut self, id: usize, arguments: &str, turn: &mut Turn<'_>) {
        if !arguments.contains(r#""id":"#) {
            self.rejected = Some(format!("user-join: {arguments}"));
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

impl Observer for SignIn<'_> {
    fn on_event(&mut self, id: usize, event: ClientEvent<'_>, turn: &mut Turn<'_>) {
        match event {
            // Sockets of earlier calls only respond to pings, which the client does itself.
            _ if !self.tokens.contains_key(&id) => {}
            ClientEvent::Ready => self.join(id, turn),
            ClientEvent::Ack(USER_JOIN, arguments) => self.joined(id, arguments, turn),
            ClientEvent::Ack(_, "[true]") => self.complete += 1,
            ClientEvent::Ack(_, arguments) => self.rejected = Some(format!("chat: {arguments}")),
            ClientEvent::Closed => self.lost += 1,
            ClientEvent::Event(_) | ClientEvent::Response(..) => {}
        }
    }
}
