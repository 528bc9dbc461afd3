//! A request to the node that owns a session, until its response.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::envelope::{BROKE_OFF, Envelope, ForwardOutcome, Kind, REJECTED};
use super::pending::PendingRequests;
use super::sender::{OwnerMessage, Sender};
use crate::model::EngineId;

/// A pending request. Dropping it before its response cancels the request.
pub struct ForwardRequest<'a> {
    sender: &'a Sender,
    pending: &'a PendingRequests,
    /// Time in which the owner must acknowledge the request.
    timeout: Duration,
    number: u64,
    session: EngineId,
    kind: Kind,
    messages: mpsc::UnboundedReceiver<Envelope>,
    /// Completes if the last message reached no node.
    unreachable: Option<oneshot::Receiver<()>>,
    finished: bool,
}

impl<'a> ForwardRequest<'a> {
    /// Sends a request.
    pub(super) fn send(
        (sender, pending): (&'a Sender, &'a PendingRequests),
        timeout: Duration,
        message: OwnerMessage,
    ) -> Self {
        let OwnerMessage {
            session,
            kind,
            request: number,
            ..
        } = message;
        let messages = pending.add(number, session);
        Self {
            sender,
            pending,
            timeout,
            number,
            session,
            kind,
            messages,
            unreachable: Some(sender.send_checked(message)),
            finished: false,
        }
    }

    /// Waits until the owner acknowledges the request.
    ///
    /// # Errors
    /// The response, if it arrived without an acknowledgement; [`ForwardOutcome::Gone`] if the owner does not exist or does
    /// not respond in time.
    pub async fn accepted(&mut self) -> Result<(), (ForwardOutcome, Bytes)> {
        match self.next_message(self.timeout).await {
            Some(envelope) if envelope.kind == Kind::Accepted => Ok(()),
            message => Err(self.finish(message)),
        }
    }

    /// Waits for the response to an acknowledged request; [`ForwardOutcome::Gone`] if none arrives within `time`.
    pub async fn response(&mut self, time: Duration) -> (ForwardOutcome, Bytes) {
        let deadline = Instant::now() + time;
        loop {
            match self.next_message(deadline - Instant::now()).await {
                Some(envelope) if envelope.kind == Kind::Accepted => {}
                message => return self.finish(message),
            }
        }
    }

    /// Waits for the acknowledgement, then at most `time` for the response.
    pub(super) async fn outcome(&mut self, time: Duration) -> (ForwardOutcome, Bytes) {
        match self.accepted().await {
            Ok(()) => self.response(time).await,
            Err(response) => response,
        }
    }

    /// Sends the body of an announced POST; returns the response.
    pub async fn send_body(&mut self, body: Bytes, time: Duration) -> (ForwardOutcome, Bytes) {
        debug_assert_eq!(self.kind, Kind::PostStarted);
        self.kind = Kind::Post;
        let message = self.message_to_owner(Kind::Post, 0, body);
        self.unreachable = Some(self.sender.send_checked(message));
        self.outcome(time).await
    }

    /// Notifies the owner that the body of an announced POST is rejected; the session continues.
    pub fn reject(&mut self) {
        self.finished = true;
        self.cancel(Kind::PostAborted, REJECTED);
    }

    fn cancel(&self, kind: Kind, reason: u32) {
        let message = self.message_to_owner(kind, reason, Bytes::new());
        self.sender.send(message);
    }

    fn message_to_owner(&self, kind: Kind, argument: u32, body: Bytes) -> OwnerMessage {
        OwnerMessage {
            session: self.session,
            kind,
            request: self.number,
            argument,
            body,
        }
    }

    async fn next_message(&mut self, time: Duration) -> Option<Envelope> {
        tokio::select! {
            message = self.messages.recv() => message,
            () = unreachable(&mut self.unreachable) => None,
            () = tokio::time::sleep(time) => None,
        }
    }

    fn finish(&mut self, message: Option<Envelope>) -> (ForwardOutcome, Bytes) {
        self.finished = message.is_some();
        match message {
            Some(envelope) => (ForwardOutcome::parse(envelope.argument), envelope.body),
            None => (ForwardOutcome::Gone, Bytes::new()),
        }
    }
}

/// Completes if the message reached no node.
async fn unreachable(notification: &mut Option<oneshot::Receiver<()>>) {
    if let Some(receiver) = notification {
        if receiver.await.is_ok() {
            return;
        }
        *notification = None;
    }
    std::future::pending().await
}

impl Drop for ForwardRequest<'_> {
    fn drop(&mut self) {
        self.pending.remove(self.number);
        match self.kind {
            _ if self.finished => {}
            Kind::Pull => self.cancel(Kind::PullAborted, 0),
            Kind::PostStarted => self.cancel(Kind::PostAborted, BROKE_OFF),
            _ => {}
        }
    }
}
