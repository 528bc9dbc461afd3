//! An upstream connection as its owner sees it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;

use super::driver;
use super::events::{AckRequest, UpstreamListener};
use super::limits::OverLimit;
use super::options::ConnectionOptions;
use super::pool::Pool;
use super::state::Shared;
use crate::clock::now;
use crate::metrics::labels::UpstreamEventKind;
use crate::model::{AckId, Payload};
use crate::protocol::client::Client;

/// The owner's handle to an upstream connection, which closes when the handle is dropped.
pub struct UpstreamConnection {
    shared: Rc<Shared>,
}

impl UpstreamConnection {
    /// Opens an upstream connection on the current thread, which must run an actix system. Returns at once; emitted
    /// events are queued until the upstream has accepted the connection.
    ///
    /// # Errors
    /// A limit on the number of connections is reached.
    pub fn open(
        pool: &Arc<Pool>,
        options: ConnectionOptions,
        listener: Rc<dyn UpstreamListener>,
    ) -> Result<Self, OverLimit> {
        let permit = pool.acquire_permit(options.user.as_deref(), options.network)?;
        let settings = pool.settings();
        let client = Client::new(
            options.connect.clone(),
            settings.max_message,
            now() + settings.connect_timeout,
            Arc::clone(pool.random()),
        );
        let shared = Rc::new(Shared::new(client, Arc::clone(pool)));
        actix_rt::spawn(driver::run(Rc::clone(&shared), options, listener, permit));
        Ok(Self { shared })
    }

    /// Emits an event. With an `ack` the upstream is requested to acknowledge it:
    /// [`UpstreamEvent::Ack`](super::UpstreamEvent::Ack). Beyond `socket.max_pending_acks` the oldest pending ack is
    /// dropped.
    pub fn emit(&self, payload: &Payload, ack: Option<AckId>) {
        if self.shared.emit(payload, ack) {
            self.shared.pool.count(UpstreamEventKind::Sent);
        }
    }

    /// Acknowledges an event of the upstream. Only the first ack for a request is sent.
    pub fn ack(&self, request: AckRequest, payload: &Payload) {
        self.shared.state.borrow_mut().ack(request, payload);
    }

    /// Whether more than `app.upstream.queue_limit` bytes are queued, so that the owner should apply back-pressure.
    pub fn is_full(&self) -> bool {
        self.shared.is_full(&self.shared.state.borrow())
    }

    /// Completes when the connection is no longer full or has ended.
    pub fn writable(&self) -> impl Future<Output = ()> + use<> {
        let shared = Rc::clone(&self.shared);
        poll_fn(move |cx| shared.poll_writable(cx))
    }

    /// Whether the connection has ended or is closing, so that emitted events are dropped.
    pub fn has_ended(&self) -> bool {
        self.shared.state.borrow().has_ended()
    }

    /// Closes the connection after everything queued is written, including events that wait for the upstream to accept
    /// the connection. With `leave_namespace` the upstream receives a DISCONNECT packet first.
    pub fn close(&self, leave_namespace: bool) {
        self.shared
            .state
            .borrow_mut()
            .request_close(leave_namespace);
    }
}

impl fmt::Debug for UpstreamConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamConnection").finish_non_exhaustive()
    }
}

impl Drop for UpstreamConnection {
    fn drop(&mut self) {
        self.close(false);
    }
}
