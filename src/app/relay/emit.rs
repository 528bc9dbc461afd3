//! `roomwire:emit` and `roomwire:ask`.

use std::time::Duration;

use bytestring::ByteString;

use super::arguments::{Arguments, EmitTarget};
use super::conflation::conflation_key;
use super::permission::{Permission, Requested, check_event, permitted};
use super::rejection::{Code, RelayRejection};
use super::room_permissions::RoomPermissions;
use super::{EVENT_PREFIX, Relay};
use crate::app::{Effect, Effects, Outcome, SocketContext, error_ack};
use crate::clock;
use crate::config::RoomRule;
use crate::limits::Rate;
use crate::model::payload::RESERVED_EVENTS;
use crate::model::{Command, Emit, Payload, Room, Selector};
use crate::rules::RoomAction;

/// How long `roomwire:ask` waits for an ack.
const ASK_DEADLINE: Duration = Duration::from_secs(10);

/// Begins the events about the users of a room.
const PRESENCE_PREFIX: &str = "presence:";

impl Relay {
    /// Emits to the other members of a room, with or without acks.
    pub(super) fn emit(
        &self,
        context: &SocketContext<'_>,
        payload: &Payload,
        arguments: &Arguments<'_>,
        action: RoomAction,
        permissions: Option<&RoomPermissions>,
    ) -> Result<Outcome, RelayRejection> {
        let EmitTarget { room, key } = arguments.emit_target(context.socket)?;
        if key.is_some() && action == RoomAction::Ask {
            let message = "an event that requests acks cannot be conflated";
            return Err(RelayRejection::new(Code::ConflateInvalid, message));
        }
        let event = arguments.event()?;
        if RESERVED_EVENTS.contains(&&*event) || event.starts_with(EVENT_PREFIX) {
            return Err(RelayRejection::new(
                Code::EventReserved,
                format!("`{event}` cannot be emitted to others"),
            ));
        }
        if event.starts_with(PRESENCE_PREFIX) && self.has_presence(context.namespace, &room) {
            return Err(RelayRejection::new(
                Code::EventReserved,
                format!("`{event}` cannot be emitted to a room with presence"),
            ));
        }
        let requested = Requested {
            action,
            room: &room,
            event: Some(&event),
            token: permitted(context, permissions, &room),
        };
        let mut conflate = key;
        let permission = self.permit(context, &requested, |rule| {
            check_event(rule, &room, &event)?;
            self.check_rate(context, rule, &room)?;
            if conflate.is_none() && action == RoomAction::Emit && !rule.conflate.is_empty() {
                conflate = conflation_key(&rule.conflate, &event, payload);
            }
            Ok(())
        })?;
        let sender = Room::from(context.socket.as_str());
        let emit = Emit {
            to: Selector::room(context.namespace.clone(), room).except(sender),
            payload: payload.skip_elements(2),
            volatile: false,
            ack: None,
            conflate,
        };
        Ok(match action {
            RoomAction::Ask => self.ask(context, permission, emit),
            _ => self.publish(context, permission, emit),
        })
    }

    fn publish(&self, context: &SocketContext<'_>, permission: Permission, emit: Emit) -> Outcome {
        let emitted = match context.degraded {
            false => r#"[{"ok":true}]"#,
            true => r#"[{"degraded":true,"ok":true}]"#,
        };
        let ack = Effect::Ack(Payload::text(ByteString::from_static(emitted)));
        let effects = Effects::from([Effect::dispatch(Command::Emit(emit)), ack]);
        match permission {
            Permission::Granted => effects.into(),
            Permission::Pending(decision) => {
                let (relay, socket) = (self.clone(), context.socket);
                Outcome::later(async move {
                    match decision.await {
                        Ok(()) => effects,
                        Err(rejection) => [relay.rejected(socket, &rejection)].into(),
                    }
                })
            }
        }
    }

    /// Acknowledged with the first ack of another socket; the next events of this socket do not wait for it.
    fn ask(&self, context: &SocketContext<'_>, permission: Permission, emit: Emit) -> Outcome {
        match permission {
            Permission::Granted => {
                let first_ack = context.access.emit_with_ack(emit, ASK_DEADLINE);
                Outcome::concurrent(async move { answered(first_ack.await) })
            }
            Permission::Pending(decision) => {
                let caller = context.access.caller();
                let (relay, socket) = (self.clone(), context.socket);
                Outcome::concurrent(async move {
                    match decision.await {
                        Ok(()) => answered(caller.emit_with_ack(emit, ASK_DEADLINE).await),
                        Err(rejection) => [relay.rejected(socket, &rejection)].into(),
                    }
                })
            }
        }
    }

    fn check_rate(
        &self,
        context: &SocketContext<'_>,
        rule: &RoomRule,
        room: &Room,
    ) -> Result<(), RelayRejection> {
        let rate = rule.rate.and_then(|(rate, burst)| Rate::new(rate, burst));
        let Some(rate) = rate else {
            return Ok(());
        };
        let key = (context.namespace.as_str(), room.as_str());
        let taken = self.parts.rates.take(&key, rate, clock::now());
        taken.map_err(|wait| {
            let message = format!("too many events to `{room}` (app.relay.rooms)");
            RelayRejection::new(Code::TooManyEvents, message).retry_after(wait)
        })
    }
}

/// The ack of `roomwire:ask`.
fn answered(reply: Option<Payload>) -> Effects {
    let Some(reply) = reply else {
        let no_answer = error_ack("no_answer", "nobody in the room answered", None);
        return [Effect::Ack(no_answer)].into();
    };
    let json = format!(r#"[{{"ok":true,"answer":{}}}]"#, reply.json());
    let ack = Payload::text(json).with_attachments(reply.into_attachments());
    [Effect::Ack(ack)].into()
}
