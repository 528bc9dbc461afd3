//! Queries the servers of a Redis Cluster for the slot map.

use std::pin::Pin;

use futures_util::future::select_ok;
use redis::Value;
use redis::aio::MultiplexedConnection;

use super::address::Address;
use super::error::ConnectionError;
use super::settings::RedisSettings;
use super::slots::SlotMap;

/// The servers known so far, and the one that responded last.
pub(super) struct TopologyClient {
    seed: Address,
    servers: Vec<Address>,
    last: Option<(Address, MultiplexedConnection)>,
}

type Fetched = Result<(SlotMap, Address, MultiplexedConnection), ConnectionError>;

impl TopologyClient {
    pub(super) fn new(seed: Address) -> Self {
        Self {
            servers: vec![seed.clone()],
            seed,
            last: None,
        }
    }

    /// The slot map, from the server that responded last, or from the first of all known servers that responds if
    /// `ask_all` is set.
    pub(super) async fn slot_map(
        &mut self,
        settings: &RedisSettings,
        ask_all: bool,
    ) -> Result<SlotMap, ConnectionError> {
        if let Some((address, connection)) = self.last.take().filter(|_| !ask_all)
            && let Ok((map, ..)) = fetch(address.clone(), connection.clone()).await
        {
            self.last = Some((address, connection));
            return Ok(self.remember(map));
        }
        type Query<'a> = Pin<Box<dyn Future<Output = Fetched> + Send + 'a>>;
        let queries = self.servers.iter().map(|address| -> Query<'_> {
            Box::pin(async move {
                let connection = settings.connect(address).await?;
                fetch(address.clone(), connection).await
            })
        });
        let ((map, address, connection), _) = select_ok(queries).await?;
        self.last = Some((address, connection));
        Ok(self.remember(map))
    }

    fn remember(&mut self, map: SlotMap) -> SlotMap {
        self.servers = [&map.masters[..], &map.replicas[..]].concat();
        if !self.servers.contains(&self.seed) {
            self.servers.push(self.seed.clone());
        }
        map
    }
}

async fn fetch(address: Address, mut connection: MultiplexedConnection) -> Fetched {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let response: Value = command.query_async(&mut connection).await?;
    let map = SlotMap::read(&response, &address).ok_or_else(|| {
        ConnectionError::Rejected("the response to CLUSTER SLOTS is invalid".to_owned())
    })?;
    if map.masters.is_empty() {
        return Err(ConnectionError::Rejected(format!(
            "{address} reports no master with slots"
        )));
    }
    Ok((map, address, connection))
}
