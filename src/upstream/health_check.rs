//! Periodic health checks of the upstreams.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::dial::{self, DialError, DialTarget};
use super::pool::Pool;
use crate::clock::now;

/// Minimum interval between checks caused by lost connections, which come in bursts.
const MIN_INTERVAL: Duration = Duration::from_millis(200);

/// Checks all upstreams at once, every `app.upstream.health_interval`, and when a connection is lost. Ends when the
/// pool is dropped.
pub async fn check_health(pool: Weak<Pool>) {
    while let Some(this) = pool.upgrade() {
        check_all(&this).await;
        let interval = this.settings().health_interval;
        let balancer = Arc::clone(this.balancer());
        drop(this);
        let connection_lost = async {
            sleep(MIN_INTERVAL).await;
            balancer.connection_lost().await;
        };
        tokio::select! {
            () = sleep(interval) => {}
            () = connection_lost => {}
        }
    }
}

async fn check_all(pool: &Pool) {
    let balancer = pool.balancer();
    let checks = (0..balancer.len()).map(async |index| {
        let limit = pool.settings().connect_timeout;
        match timeout(limit, check(pool, index)).await {
            Ok(Ok(())) => balancer.pass_check(index),
            Ok(Err(error)) => balancer.fail(index, &error, now()),
            Err(_elapsed) => balancer.fail(index, &DialError::Timeout, now()),
        }
    });
    // Concurrent, so that an upstream that does not respond delays no other check.
    join_all(checks).await;
}

async fn check(pool: &Pool, index: usize) -> Result<(), DialError> {
    let url = pool.balancer().url(index);
    let settings = pool.settings();
    let Some(path) = &settings.health_path else {
        // Any Socket.IO server opens a websocket; it is closed at once.
        let target = DialTarget {
            url,
            path: &settings.path,
            mark: pool.mark(),
        };
        return dial::websocket(&target, &**pool.random()).await.map(drop);
    };
    match dial::get(url, path).await? {
        200..400 => Ok(()),
        status => Err(DialError::Status {
            status,
            reason: path.clone(),
        }),
    }
}
