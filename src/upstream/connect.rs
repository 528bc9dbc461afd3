//! Connects an upstream connection: tries one upstream after another until the deadline.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use tokio::time::timeout_at;

use super::balancer::{Assignment, Choice};
use super::dial::{self, DialError, DialTarget, Dialed};
use super::events::Ending;
use super::pool::Pool;
use super::state::Shared;
use crate::clock::now;

/// Opens a websocket to an upstream within `app.upstream.connect_timeout`.
///
/// # Errors
/// No upstream accepted it in time, an upstream rejected the client, or the owner closed the connection.
pub(super) async fn connect(shared: &Shared) -> Result<(Dialed, Assignment), Ending> {
    let deadline = shared.state.borrow().client.poll_timeout();
    let mut last = DialError::Timeout.to_string();
    while now() < deadline {
        let assignment = match shared.pool.balancer().choose(now()) {
            Choice::Assigned(assignment) => assignment,
            Choice::AllEjected(until) if until < deadline => tokio::select! {
                () = tokio::time::sleep_until(until.into()) => continue,
                () = close_requested(shared) => return Err(Ending::Closed),
            },
            Choice::AllEjected(_) => break,
        };
        let dialed = tokio::select! {
            dialed = dial(&shared.pool, &assignment, deadline) => dialed,
            () = close_requested(shared) => return Err(Ending::Closed),
        };
        match dialed {
            Ok(dialed) => {
                assignment.succeed();
                return Ok((dialed, assignment));
            }
            Err(error) if error.is_rejection() => {
                return Err(Ending::Rejected {
                    message: format!("the upstream responded with {error}"),
                    data: None,
                });
            }
            Err(error) => {
                last = error.to_string();
                assignment.fail(&error, now());
            }
        }
    }
    Err(Ending::Unavailable(last))
}

/// Completes when the owner closes the connection and no emitted event is queued.
async fn close_requested(shared: &Shared) {
    poll_fn(|cx| {
        let mut state = shared.state.borrow_mut();
        state.set_task(cx.waker());
        match state.close_now() {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    })
    .await;
}

/// One attempt. It is limited to half of the connect timeout, so that another upstream can be tried.
async fn dial(
    pool: &Pool,
    assignment: &Assignment,
    deadline: Instant,
) -> Result<Dialed, DialError> {
    let settings = pool.settings();
    let limit = deadline.min(now() + settings.connect_timeout / 2);
    let target = DialTarget {
        url: assignment.url(),
        path: &settings.path,
        mark: pool.mark(),
    };
    match timeout_at(limit.into(), dial::websocket(&target, &**pool.random())).await {
        Ok(dialed) => dialed,
        Err(_elapsed) => Err(DialError::Timeout),
    }
}
