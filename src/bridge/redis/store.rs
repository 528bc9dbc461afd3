//! The store on Redis. Compares and changes leases in scripts, so that no two nodes can both win.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, RedisError};
use tokio::sync::Mutex;

use super::settings::RedisSettings;
use crate::bridge::store::{Answer, Renewal, Store, StoreError};

const ACQUIRE: &str = "local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1";

const RENEW: &str = "local held = redis.call('GET', KEYS[1])
if not held then return 0 end
if held ~= ARGV[1] then return -1 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1";

const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1";

/// Keys in Redis. Connects on first need; clones share the connection.
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

struct Shared {
    settings: RedisSettings,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl RedisStore {
    /// A store on the same server as a link with these settings.
    pub fn new(settings: RedisSettings) -> Self {
        let shared = Shared {
            settings,
            connection: Mutex::new(None),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    fn run<T, R>(&self, command: Cmd, read: impl FnOnce(R) -> T + Send + 'static) -> Answer<T>
    where
        T: Send + 'static,
        R: FromRedisValue + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let value = shared.query(&command).await;
            value
                .map(read)
                .map_err(|error| StoreError(error.to_string()))
        })
    }
}

impl Shared {
    /// Every command here may run twice, so one that failed is sent once more on a fresh connection.
    async fn query<R: FromRedisValue>(&self, command: &Cmd) -> Result<R, RedisError> {
        let mut connection = self.connection(false).await?;
        match command.query_async(&mut connection).await {
            Err(error) if error.is_io_error() || error.is_unrecoverable_error() => {}
            settled => return settled,
        }
        let mut connection = self.connection(true).await?;
        command.query_async(&mut connection).await
    }

    async fn connection(&self, fresh: bool) -> Result<MultiplexedConnection, RedisError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|_| !fresh) {
            return Ok(connection.clone());
        }
        *slot = None;
        let connection = self.settings.connect().await?;
        *slot = Some(connection.clone());
        Ok(connection)
    }
}

fn script(text: &str, key: &str, value: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(1).arg(key).arg(value);
    command
}

/// Redis takes whole milliseconds, and not 0.
fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Store for RedisStore {
    fn acquire_lease(&self, key: &str, value: &str, ttl: Duration) -> Answer<bool> {
        let mut command = script(ACQUIRE, key, value);
        command.arg(milliseconds(ttl));
        self.run(command, |won: i64| won == 1)
    }

    fn renew(&self, key: &str, value: &str, ttl: Duration) -> Answer<Renewal> {
        let mut command = script(RENEW, key, value);
        command.arg(milliseconds(ttl));
        self.run(command, |outcome: i64| match outcome {
            1 => Renewal::Renewed,
            0 => Renewal::Lost,
            _ => Renewal::Taken,
        })
    }

    fn release(&self, key: &str, value: &str) -> Answer<()> {
        self.run(script(RELEASE, key, value), |_: i64| ())
    }

    fn get(&self, key: &str) -> Answer<Option<Bytes>> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        self.run(command, |value: Option<Vec<u8>>| value.map(Bytes::from))
    }

    fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Answer<()> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(&*value);
        if let Some(ttl) = ttl {
            command.arg("PX").arg(milliseconds(ttl));
        }
        self.run(command, |()| ())
    }

    fn delete(&self, key: &str) -> Answer<bool> {
        let mut command = redis::cmd("DEL");
        command.arg(key);
        self.run(command, |removed: u64| removed > 0)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisStore")
            .field(&self.shared.settings)
            .finish()
    }
}
