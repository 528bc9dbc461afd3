//! The stream of requests of a node.

use std::sync::Arc;

use anyhow::Context as _;

use crate::auth::Revocations;
use crate::broker::{Directory, Ingress};
use crate::bus::redis::{RedisSettings, RedisStreamGroup};
use crate::cluster::start;
use crate::config::{BusConfig, Config};
use crate::source::{Executor, Source, SourceParts};
use crate::store::Store;

/// Starts to read the stream, if the configuration names one. `store` is that of the bus.
///
/// # Errors
/// The URL cannot be used.
pub(super) fn start_source(
    config: &Config,
    directory: &Arc<Directory>,
    store: Option<Arc<dyn Store>>,
    revocations: &Arc<Revocations>,
) -> anyhow::Result<Option<Source>> {
    let Some(key) = &config.stream.key else {
        return Ok(None);
    };
    let Some(redis) = settings(config).context("stream.url")? else {
        return Ok(None);
    };
    let node = directory.node();
    let names = [key, &config.stream.group, node.as_str()];
    let group = RedisStreamGroup::new(&redis, names, config.stream.block);
    let store = store.unwrap_or_else(|| Arc::new(group.store()));
    let dead_letters = Arc::new(group.store());
    Ok(Some(Source::start(SourceParts {
        settings: config.stream.clone(),
        key: key.clone(),
        store_prefix: config.bus.channel_prefix.clone(),
        group: Arc::new(group),
        claims: store,
        dead_letters,
        executor: Executor {
            ingress: Ingress::new(Arc::clone(directory)),
            max_depth: config.socket.max_depth,
            user_room: config.identity.user_room.clone(),
            revocations: Arc::clone(revocations),
        },
        metrics: Arc::clone(directory.metrics()),
    })))
}

/// The Redis with the stream.
fn settings(config: &Config) -> anyhow::Result<Option<RedisSettings>> {
    let Some(url) = &config.stream.url else {
        return Ok(start::redis_settings(&config.bus)?);
    };
    let own = BusConfig {
        redis_url: Some(url.clone()),
        cluster: false,
        sentinel: None,
        ..config.bus.clone()
    };
    Ok(start::redis_settings(&own)?)
}
