//! What happens by the clock: entries of the session pool stay fresh, tokens are looked at again, versions are watched.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use log::{info, warn};
use serde::Deserialize;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::backends::Fleet;
use super::redis_state::WRITE_BATCH;
use super::sockets::{Sockets, now};
use super::token_cache::TokenStatus;
use super::version::Support;

/// How often entries are refreshed and revocations looked for, as at the backends; at most, and at least.
const ROUND: Duration = Duration::from_secs(30);
const SHORTEST_ROUND: Duration = Duration::from_millis(100);
/// Tokens of a worker looked at together.
const TOKENS_AT_ONCE: usize = 16;
/// How often the backends' versions are looked at.
const VERSION_ROUND: Duration = Duration::from_secs(60);

/// Keeps the entries of one worker's sockets fresh and ends those whose token is over, for ever. Nothing else holds it
/// up: an entry that grows old is a socket that backends take for dead.
pub(super) async fn keep_fresh(sockets: Rc<Sockets>) {
    let mut rounds = rounds(&sockets);
    rounds.tick().await;
    loop {
        rounds.tick().await;
        for (token, of_token) in sockets.tokens() {
            if token.is_over(now()) {
                sockets.end(&of_token);
            }
        }
        refresh(&sockets).await;
        sockets.close_unused_upstreams();
    }
}

/// Keeps only those sockets of one worker whose tokens hold, for ever.
pub(super) async fn keep_valid(sockets: Rc<Sockets>) {
    let mut rounds = rounds(&sockets);
    rounds.tick().await;
    loop {
        rounds.tick().await;
        revalidate(&sockets).await;
        let age = sockets.config.token_cache.max(sockets.config.revalidate);
        sockets.token_cache.purge(age * 2, Instant::now());
    }
}

fn rounds(sockets: &Sockets) -> Interval {
    let config = &sockets.config;
    let mut rounds = interval(round(config.session_timeout, config.revalidate));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}

/// Often enough that no entry grows old, and that tokens are asked about when they should.
fn round(session_timeout: Duration, revalidate: Duration) -> Duration {
    ROUND
        .min(session_timeout / 4)
        .min(revalidate)
        .max(SHORTEST_ROUND)
}

/// A connection that answers our pings is alive, whatever its browser does with timers of a hidden page.
async fn refresh(sockets: &Sockets) {
    for batch in sockets.ids().chunks(WRITE_BATCH) {
        sockets.pools.enter(sockets.entries(batch)).await;
        sockets.take_back(batch).await;
    }
}

/// Ends sockets whose token is revoked, or refused by a backend, which is asked from time to time. If none answers, the
/// rest is left to the next round.
async fn revalidate(sockets: &Rc<Sockets>) {
    let token_cache = sockets.tokens().into_iter().map(async |(token, of_token)| {
        let status = sockets.verify(&token, sockets.config.revalidate).await;
        (status, of_token)
    });
    let token_cache = stream::iter(token_cache).buffer_unordered(TOKENS_AT_ONCE);
    let mut token_cache = pin!(token_cache);
    while let Some((status, of_token)) = token_cache.next().await {
        match status {
            TokenStatus::Refused => sockets.end(&of_token),
            TokenStatus::Verified(user) => sockets.update(&of_token, &user),
            TokenStatus::Unknown => return,
        }
    }
}

#[derive(Deserialize)]
struct VersionReply {
    version: String,
}

/// Watches what the backends are; one worker of a node does.
pub(super) async fn watch_versions(sockets: Rc<Sockets>, fleet: Arc<Fleet>) {
    let mut known: Vec<Option<String>> = vec![None; fleet.urls().len()];
    loop {
        for (url, known) in fleet.urls().iter().zip(&mut known) {
            let path = format!("{url}/api/version");
            let Ok(reply) = sockets.backends.get(&path, None).await else {
                continue;
            };
            let Some(VersionReply { version }) = reply.read() else {
                if known.take().is_some() {
                    warn!(url:%, status = reply.status; "backend tells no version");
                }
                continue;
            };
            if known.as_ref() != Some(&version) {
                info!(url:%, open_webui:% = version; "backend");
                if let Some(doubt) = Support::of(&version).doubt() {
                    warn!(url:%, open_webui:% = version, doubt:%; "backend of a version in doubt");
                }
                *known = Some(version);
            }
        }
        sleep(VERSION_ROUND).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_as_short_as_they_must_be() {
        let seconds = Duration::from_secs;
        assert_eq!(round(seconds(120), seconds(120)), ROUND);
        assert_eq!(round(seconds(40), seconds(120)), seconds(10));
        assert_eq!(round(seconds(120), seconds(5)), seconds(5));
        assert_eq!(round(seconds(120), Duration::ZERO), SHORTEST_ROUND);
    }
}
