//! The upgrade of a polling session to a websocket (docs/protocol.md#16-upgrade).

use actix::{Context, Handler};

use super::messages::{ProbeFailed, ProbeStarted, Probed, Upgraded};
use super::pending_poll::EmptyPacket;
use super::state::{Session, Upgrading};
use crate::metrics::labels::UpgradeFailure;
use crate::model::TransportName;
use crate::protocol::wire_format::Compression;

impl Session {
    /// Whether an upgrade may begin: the session is polling, and not being upgraded already. `base64` is whether the
    /// client receives binary messages as base64 on the websocket, if it uses revision 3.
    pub fn begin_upgrade(&mut self, base64: bool) -> bool {
        let possible = self.transport == TransportName::Polling
            && self.upgrading.is_none()
            && !self.has_ended();
        if possible {
            self.upgrading = Some(Upgrading { base64 });
        }
        self.follow_up.note_request();
        possible
    }

    /// The probe of the websocket was responded to: a pending poll ends, so that the client can switch.
    pub fn probed(&mut self) {
        if let Some(poll) = self.poll.take() {
            poll.respond_empty(self.revision(), EmptyPacket::Noop, false);
        }
    }

    /// The probing websocket is gone; the polling session continues.
    pub fn upgrade_failed(&mut self) {
        self.upgrading = None;
        let failed = &self.worker.metrics().upgrades_failed_total;
        failed.of(UpgradeFailure::Lost).increment();
    }

    /// An upgrade was not possible.
    pub fn upgrade_rejected(&self) {
        let failed = &self.worker.metrics().upgrades_failed_total;
        failed.of(UpgradeFailure::Rejected).increment();
    }

    /// A websocket with this compression carries the session from now on; with `attached`, it writes the lane by itself.
    pub fn upgraded(&mut self, attached: bool, compression: Compression) {
        if let Some(Upgrading { base64 }) = self.upgrading.take() {
            self.connection.set_base64(base64);
            self.use_format();
        }
        self.worker.count_upgrade(self.transport);
        self.stats.note_upgraded();
        self.transport = TransportName::Websocket;
        if let Some(poll) = self.poll.take() {
            poll.respond_empty(self.revision(), EmptyPacket::Noop, false);
        }
        self.attached = attached;
        if compression != Compression::None {
            self.connection.set_compression(compression);
            self.use_format();
            self.worker.count_compressed(1);
        }
    }
}

impl Handler<ProbeStarted> for Session {
    type Result = ();

    fn handle(&mut self, started: ProbeStarted, _ctx: &mut Context<Self>) {
        let possible = self.begin_upgrade(started.base64);
        match started.reply.send(possible) {
            Err(_gone) if possible => self.upgrade_failed(),
            _ if !possible => self.upgrade_rejected(),
            _ => {}
        }
    }
}

impl Handler<Probed> for Session {
    type Result = ();

    fn handle(&mut self, _: Probed, _ctx: &mut Context<Self>) {
        self.probed();
    }
}

impl Handler<ProbeFailed> for Session {
    type Result = ();

    fn handle(&mut self, _: ProbeFailed, _ctx: &mut Context<Self>) {
        self.upgrade_failed();
    }
}

impl Handler<Upgraded> for Session {
    type Result = ();

    fn handle(&mut self, upgraded: Upgraded, _ctx: &mut Context<Self>) {
        self.upgraded(false, upgraded.compression);
    }
}
