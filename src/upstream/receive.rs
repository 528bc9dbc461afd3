//! From the bytes of an upstream to events for the owner of the connection.

use std::time::Instant;

use super::events::{Ending, UpstreamEvent};
use super::state::{Shared, State};
use crate::metrics::labels::UpstreamEventKind;
use crate::model::fitness::is_deeper;
use crate::model::{AckId, Payload};
use crate::protocol::client::{EndReason, ServerEvent};

/// Receives packets, and holds the connection back until the first event is acknowledged.
pub(super) struct ServerEvents {
    first_event: Option<Payload>,
    pending_first: Option<PendingFirst>,
    is_connected: bool,
}

/// The first event has been sent and is not acknowledged yet.
struct PendingFirst {
    /// The id of the ack.
    id: u64,
    /// The socket id of the upstream.
    sid: Box<str>,
    /// Some servers send no ack when a handler fails.
    deadline: Instant,
}

impl ServerEvents {
    pub(super) fn new(first_event: Option<Payload>) -> Self {
        Self {
            first_event,
            pending_first: None,
            is_connected: false,
        }
    }

    /// Whether the upstream has accepted the CONNECT.
    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The deadline of the ack of the first event, while it is pending.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pending_first.as_ref().map(|pending| pending.deadline)
    }

    /// Fails after [`Self::deadline`].
    pub(super) fn check_deadline(&self, now: Instant) -> Result<(), Ending> {
        match self.deadline() {
            Some(deadline) if deadline <= now => Err(Ending::Unavailable(
                "no ack of the first event in time".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Decodes bytes, which are changed in place, and appends the resulting events.
    pub(super) fn receive(
        &mut self,
        shared: &Shared,
        bytes: &mut [u8],
        now: Instant,
        events: &mut Vec<UpstreamEvent>,
    ) -> Result<(), EndReason> {
        let mut received = Vec::new();
        let mut state = shared.state.borrow_mut();
        let result = state
            .client
            .receive(bytes, now, &mut |event| received.push(event));
        for event in received {
            events.extend(match event {
                ServerEvent::Connected { sid } => self.on_connected(shared, &mut state, sid, now),
                ServerEvent::Ack { id, payload } => {
                    self.on_ack(shared, &mut state, id, payload, now)
                }
                ServerEvent::Event { payload, ack } => {
                    on_event(shared, &mut state, payload, ack, now)
                }
            });
        }
        result
    }

    fn on_connected(
        &mut self,
        shared: &Shared,
        state: &mut State,
        sid: Box<str>,
        now: Instant,
    ) -> Option<UpstreamEvent> {
        self.is_connected = true;
        match self.first_event.take() {
            Some(first) => {
                self.pending_first = Some(PendingFirst {
                    id: state.client.emit_first(&first),
                    sid,
                    deadline: now + shared.pool.settings().connect_timeout,
                });
                None
            }
            None => {
                state.client.release();
                Some(UpstreamEvent::Connected { sid })
            }
        }
    }

    fn on_ack(
        &mut self,
        shared: &Shared,
        state: &mut State,
        id: u64,
        payload: Payload,
        now: Instant,
    ) -> Option<UpstreamEvent> {
        if let Some(first) = self.pending_first.take_if(|first| first.id == id) {
            state.client.release();
            return Some(UpstreamEvent::Connected { sid: first.sid });
        }
        let ack = state.take_pending_ack(id)?;
        state.last_used = now;
        match payload.check_ack(shared.pool.settings().max_depth) {
            Ok(()) => Some(UpstreamEvent::Ack { ack, payload }),
            Err(unfit) => {
                shared.pool.drop_unfit(&unfit);
                None
            }
        }
    }
}

/// Why a connection ended; `lost` makes the ending of a connection that was lost, from the reason.
pub(super) fn ending(
    shared: &Shared,
    end: EndReason,
    lost: impl FnOnce(String) -> Ending,
) -> Ending {
    match end {
        EndReason::Rejected { message, data } => {
            let max_depth = shared.pool.settings().max_depth;
            let data = data.filter(|data| !is_deeper(data, max_depth));
            Ending::Rejected { message, data }
        }
        EndReason::Disconnected => Ending::Disconnected,
        EndReason::ConnectTimeout => Ending::Unavailable(end.to_string()),
        EndReason::Closed(_) | EndReason::PingTimeout | EndReason::Protocol(_) => {
            lost(end.to_string())
        }
    }
}

fn on_event(
    shared: &Shared,
    state: &mut State,
    payload: Payload,
    ack: Option<AckId>,
    now: Instant,
) -> Option<UpstreamEvent> {
    let pool = &shared.pool;
    if !pool.forwards(&payload) {
        pool.count(UpstreamEventKind::Filtered);
        return None;
    }
    if let Err(unfit) = payload.check_event(pool.settings().max_depth) {
        pool.drop_unfit(&unfit);
        return None;
    }
    pool.count(UpstreamEventKind::Received);
    state.last_used = now;
    let ack_request = ack.map(|id| shared.add_ack_request(state, id));
    Some(UpstreamEvent::Event {
        payload,
        ack_request,
    })
}
