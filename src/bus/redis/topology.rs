//! Asks the servers of a Redis Cluster who owns which slot.

use std::pin::Pin;

use futures_util::future::select_ok;
use redis::Value;
use redis::aio::MultiplexedConnection;

use super::address::Address;
use super::error::ConnectionError;
use super::settings::RedisSettings;
use super::slots::SlotMap;

/// The servers known so far, and the one that answered last.
pub(super) struct Surveyor {
    seed: Address,
    known: Vec<Address>,
    last: Option<(Address, MultiplexedConnection)>,
}

type Surveyed = Result<(SlotMap, Address, MultiplexedConnection), ConnectionError>;

impl Surveyor {
    pub(super) fn new(seed: Address) -> Self {
        Self {
            known: vec![seed.clone()],
            seed,
            last: None,
        }
    }

    /// Who owns which slot, by the server that answered last if `fresh` is not wanted, else by the first of
    /// all known ones that answers.
    pub(super) async fn survey(
        &mut self,
        settings: &RedisSettings,
        fresh: bool,
    ) -> Result<SlotMap, ConnectionError> {
        if let Some((address, connection)) = self.last.take().filter(|_| !fresh)
            && let Ok((map, ..)) = ask(address.clone(), connection.clone()).await
        {
            self.last = Some((address, connection));
            return Ok(self.note(map));
        }
        type Asked<'a> = Pin<Box<dyn Future<Output = Surveyed> + Send + 'a>>;
        let asked = self.known.iter().map(|address| -> Asked<'_> {
            Box::pin(async move {
                let connection = settings.connect(address).await?;
                ask(address.clone(), connection).await
            })
        });
        let ((map, address, connection), _) = select_ok(asked).await?;
        self.last = Some((address, connection));
        Ok(self.note(map))
    }

    fn note(&mut self, map: SlotMap) -> SlotMap {
        self.known = [&map.masters[..], &map.replicas[..]].concat();
        if !self.known.contains(&self.seed) {
            self.known.push(self.seed.clone());
        }
        map
    }
}

async fn ask(address: Address, mut connection: MultiplexedConnection) -> Surveyed {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let answer: Value = command.query_async(&mut connection).await?;
    let map = SlotMap::read(&answer, &address)
        .ok_or_else(|| ConnectionError::Refused("CLUSTER SLOTS cannot be read".to_owned()))?;
    if map.masters.is_empty() {
        return Err(ConnectionError::Refused(format!(
            "{address} knows no master with slots"
        )));
    }
    Ok((map, address, connection))
}
