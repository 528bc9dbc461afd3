//! `roomwire webhook replay`: what it needs of a node, without one.

use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};

use crate::bus::redis::RedisStore;
use crate::cluster::start::redis_settings;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::Random;
use crate::model::random::OsRandom;
use crate::notices::{DeadLetters, Replayed, replay};
use crate::webhook::{WebhookClient, Webhooks};

/// Sends the dead letters of the cluster of this configuration to `webhook.notices.url`. `report` receives lines about
/// the progress. Must run inside an actix system.
///
/// # Errors
/// The configuration has no receiver or no Redis, Redis cannot be reached, or another replay runs.
pub async fn replay_dead_letters(
    config: &Config,
    report: impl FnMut(&str),
) -> anyhow::Result<Replayed> {
    let notices = &config.webhook.notices;
    let url = notices.url.as_ref();
    let url = url.context("webhook.notices.url is not set")?;
    let Some(settings) = redis_settings(&config.bus)? else {
        bail!("bus.redis_url is not set: without Redis, no dead letters are kept");
    };
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let webhooks = Webhooks::new(&config.webhook, Arc::new(Metrics::default()), random)?;
    let client = WebhookClient::new(webhooks);
    let store = Arc::new(RedisStore::new(settings));
    let letters = DeadLetters::new(store, &config.bus.channel_prefix, notices.dead_letters);
    let replayed = replay(&letters, &client, url, report).await;
    replayed.map_err(|error| anyhow!(error))
}
