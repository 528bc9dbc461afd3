//! Periodic tasks: session pool entries are refreshed, tokens revalidated, and the versions of backends logged.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use log::{info, warn};
use serde::Deserialize;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::backends::BackendSet;
use super::events::single_socket;
use super::redis_state::WRITE_BATCH;
use super::token_cache::TokenStatus;
use super::unix_time::unix_now;
use super::version::Support;
use super::worker::WorkerApp;
use crate::clock::now;
use crate::model::{Command, SocketId};

/// Longest interval between two refreshes of entries and checks of revocations, as at the backends.
const MAX_INTERVAL: Duration = Duration::from_secs(30);
/// Shortest such interval.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// Tokens of a worker revalidated concurrently.
const CONCURRENT_TOKENS: usize = 16;
/// Interval between two requests for the version of a backend.
const VERSION_INTERVAL: Duration = Duration::from_secs(60);

/// Refreshes the session pool entries of a worker's sockets and disconnects sockets with an expired token. Never ends.
/// Separate from [`revalidate_tokens`], which waits for backends: they consider a socket with an old entry dead.
pub(super) async fn refresh_sessions(worker: Rc<WorkerApp>) {
    let mut ticks = ticks(&worker);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let tokens = worker.sockets.borrow().tokens();
        for (token, sockets) in tokens {
            if token.is_expired(unix_now()) {
                disconnect(&worker, &sockets);
            }
        }
        // A client that responds to pings is alive, even if its hidden page throttles the timers of heartbeats.
        let sockets = worker.sockets.borrow().ids();
        for batch in sockets.chunks(WRITE_BATCH) {
            worker.write_sessions(batch).await;
        }
        worker.upstreams.close_unused(now());
    }
}

/// Disconnects sockets of a worker whose token is no longer valid. Never ends.
pub(super) async fn revalidate_tokens(worker: Rc<WorkerApp>) {
    let mut ticks = ticks(&worker);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        revalidate(&worker).await;
        let age = worker
            .config
            .token_cache
            .max(worker.config.revalidate_interval);
        worker.token_cache.purge(age * 2, now());
    }
}

fn ticks(worker: &WorkerApp) -> Interval {
    let config = &worker.config;
    let mut ticks = interval(tick_interval(
        config.session_timeout,
        config.revalidate_interval,
    ));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Short enough that no entry becomes stale and tokens are revalidated when due.
fn tick_interval(session_timeout: Duration, revalidate: Duration) -> Duration {
    MAX_INTERVAL
        .min(session_timeout / 4)
        .min(revalidate)
        .max(MIN_INTERVAL)
}

/// Revalidates each token in use. Once no backend responds, the remaining tokens are left to the next round.
async fn revalidate(worker: &Rc<WorkerApp>) {
    let tokens = worker.sockets.borrow().tokens();
    let statuses = tokens.into_iter().map(async |(token, sockets)| {
        let max_age = worker.config.revalidate_interval;
        let status = worker.authenticator.status(&token, max_age).await;
        (status, sockets)
    });
    let mut statuses = pin!(stream::iter(statuses).buffer_unordered(CONCURRENT_TOKENS));
    while let Some((status, sockets)) = statuses.next().await {
        match status {
            TokenStatus::Rejected => disconnect(worker, &sockets),
            TokenStatus::Verified(user) => {
                worker.sockets.borrow_mut().update_user(&sockets, &user);
            }
            TokenStatus::Unknown => return,
        }
    }
}

fn disconnect(worker: &WorkerApp, sockets: &[SocketId]) {
    for socket in sockets {
        worker.commands.dispatch(Command::Disconnect {
            selector: single_socket(*socket),
            close: false,
        });
    }
}

#[derive(Deserialize)]
struct VersionResponse {
    version: String,
}

/// Logs the version of each backend when it changes. Never ends; one worker of a node runs it.
pub(super) async fn watch_versions(worker: Rc<WorkerApp>, backend_set: Arc<BackendSet>) {
    let mut known: Vec<Option<String>> = vec![None; backend_set.urls().len()];
    loop {
        for (url, known) in backend_set.urls().iter().zip(&mut known) {
            let path = format!("{url}/api/version");
            let Ok(response) = worker.backends.get(&path, None).await else {
                continue;
            };
            let Some(VersionResponse { version }) = response.json() else {
                if known.take().is_some() {
                    warn!(url:%, status = response.status; "backend reports no version");
                }
                continue;
            };
            if known.as_ref() != Some(&version) {
                info!(url:%, open_webui:% = version; "backend version");
                if let Some(reason) = Support::of(&version).concern() {
                    warn!(url:%, open_webui:% = version, reason:%; "unsupported or untested Open WebUI version");
                }
                *known = Some(version);
            }
        }
        sleep(VERSION_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_as_frequent_as_the_settings_require() {
        let seconds = Duration::from_secs;
        assert_eq!(tick_interval(seconds(120), seconds(120)), MAX_INTERVAL);
        assert_eq!(tick_interval(seconds(40), seconds(120)), seconds(10));
        assert_eq!(tick_interval(seconds(120), seconds(5)), seconds(5));
        assert_eq!(tick_interval(seconds(120), Duration::ZERO), MIN_INTERVAL);
    }
}
