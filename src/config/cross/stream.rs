//! `[stream]`: where its Redis is.

use crate::config::checker::Checker;
use crate::config::tables::Config;

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    let stream = &config.stream;
    let is_off = stream.key.is_none();
    if !checker.sound(&["stream.key", "stream.url", "bus.redis_url"]) {
        return;
    }
    if is_off && stream.url.is_some() {
        checker.warn("stream.url", "has no effect without stream.key");
    }
    if !is_off && stream.url.is_none() && config.bus.redis_url.is_none() {
        checker.reject("stream.key", "requires stream.url or bus.redis_url");
    }
}
