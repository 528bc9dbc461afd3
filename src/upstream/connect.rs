//! The way of an upstream connection to an upstream: who is tried, for how long, and when it is given up.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use tokio::time::timeout_at;

use super::dial::{self, Call, DialError, Dialed};
use super::pool::{Choice, Pick, Pool};
use super::{Ending, Shared};

/// A websocket to an upstream that can be reached, within the time an upstream connection has for that.
pub(super) async fn connect(shared: &Shared) -> Result<(Dialed, Pick), Ending> {
    let deadline = shared.state.borrow().client.poll_timeout();
    let mut last = DialError::Slow.to_string();
    while Instant::now() < deadline {
        let pick = match shared.pool.choose(Instant::now()) {
            Choice::Pick(pick) => pick,
            Choice::Wait(until) if until < deadline => tokio::select! {
                () = tokio::time::sleep_until(until.into()) => continue,
                () = closing(shared) => return Err(Ending::Closed),
            },
            Choice::Wait(_) => break,
        };
        let dialed = tokio::select! {
            dialed = dial(&shared.pool, &pick, deadline) => dialed,
            () = closing(shared) => return Err(Ending::Closed),
        };
        match dialed {
            Ok(dialed) => {
                pick.works();
                return Ok((dialed, pick));
            }
            Err(error) if error.refuses_the_client() => {
                return Err(Ending::Refused {
                    message: format!("the server behind this one {error}"),
                    data: None,
                });
            }
            Err(error) => {
                last = error.to_string();
                pick.failed(&error);
            }
        }
    }
    Err(Ending::Unavailable(last))
}

/// The owner gives the upstream connection up, and nothing is left to say.
async fn closing(shared: &Shared) {
    poll_fn(|cx| {
        let mut state = shared.state.borrow_mut();
        state.carrier = Some(cx.waker().clone());
        match state.closes() {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    })
    .await;
}

/// One attempt; a host that does not answer gets half of the time, so that another has a chance.
async fn dial(pool: &Pool, pick: &Pick, deadline: Instant) -> Result<Dialed, DialError> {
    let settings = pool.settings();
    let limit = deadline.min(Instant::now() + settings.connect_timeout / 2);
    let call = Call {
        url: pick.url(),
        path: &settings.path,
        mark: pool.mark(),
    };
    match timeout_at(limit.into(), dial::websocket(&call, &**pool.random())).await {
        Ok(dialed) => dialed,
        Err(_elapsed) => Err(DialError::Slow),
    }
}
