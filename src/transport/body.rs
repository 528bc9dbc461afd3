//! Request bodies, including the handling of bodies that are not read.
//!
//! A response can be complete before the body of its request is: a probe with a chunked body that never ends, or a POST
//! that is rejected by its head. actix-http would then wait for the rest without a deadline. Here a short rest is read,
//! so that the connection can be kept. If the body does not end within it, the connection closes with the response,
//! after a pause in which a client that is still sending can read it.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use super::socket::Deadlines;

/// Time in which the rest of an unread body must arrive for the connection to be kept.
const REST_TIME: Duration = Duration::from_millis(200);
/// Maximum size of that rest in bytes.
const REST_BYTES: usize = 64 << 10;

/// The body of a request, read under the deadline of its connection.
pub struct Body {
    payload: Option<Payload>,
    deadlines: Rc<Deadlines>,
}

impl Body {
    /// Starts the deadline of a body that another task will read: only the task of the connection can set its timer.
    pub fn expect(&self) {
        if self.payload.is_some() {
            self.deadlines.await_body();
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(payload) = &mut this.payload else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(payload).poll_next(cx);
        match &polled {
            Poll::Pending => this.deadlines.await_body(),
            Poll::Ready(Some(Ok(_))) => this.deadlines.note_body(),
            Poll::Ready(None | Some(Err(_))) => {
                this.deadlines.note_body();
                this.payload = None;
            }
        }
        polled
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.deadlines.note_body();
        if let Some(payload) = self.payload.take() {
            self.deadlines.leave_unread(payload);
        }
    }
}

/// Serves a request. Its body is read to the end, or its connection closes with the response.
pub async fn serve<F>(
    request: HttpRequest,
    payload: Payload,
    handler: impl FnOnce(HttpRequest, Body) -> F,
) -> HttpResponse
where
    F: Future<Output = HttpResponse>,
{
    let Some(deadlines) = request.conn_data::<Rc<Deadlines>>().map(Rc::clone) else {
        // Every connection has deadlines from its start.
        return HttpResponse::InternalServerError().finish();
    };
    let _serving = deadlines.serve();
    let body = Body {
        payload: Some(payload).filter(|payload| !matches!(payload, Payload::None)),
        deadlines: Rc::clone(&deadlines),
    };
    let response = handler(request, body).await;
    let Some(mut rest) = deadlines.take_unread() else {
        return response;
    };
    if timeout(REST_TIME, read_rest(&mut rest)).await == Ok(true) {
        return response;
    }
    // actix-http closes the connection if an unread body still exists when its response ends.
    response.map_body(|_, body| BoxBody::new(WithUnread { body, _rest: rest }))
}

/// Whether the body ends within [`REST_BYTES`].
async fn read_rest(rest: &mut Payload) -> bool {
    let mut length = 0;
    while let Some(Ok(chunk)) = rest.next().await {
        length += chunk.len();
        if length > REST_BYTES {
            return false;
        }
    }
    true
}

/// The body of a response whose request body is unread.
struct WithUnread {
    body: BoxBody,
    _rest: Payload,
}

impl MessageBody for WithUnread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
