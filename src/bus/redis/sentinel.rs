//! Asks Sentinels who the master is, and notices when it is another one.

use std::pin::Pin;

use futures_util::future::select_ok;
use tokio::sync::watch;

use super::address::Address;
use super::error::ConnectionError;
use super::settings::{RedisSettings, Sentinels};

impl Sentinels {
    /// The master, by the first Sentinel that knows it; it says itself that it is one.
    pub(super) async fn master(
        &self,
        settings: &RedisSettings,
    ) -> Result<Address, ConnectionError> {
        type Asked<'a> =
            Pin<Box<dyn Future<Output = Result<Address, ConnectionError>> + Send + 'a>>;
        let asked = self.addresses.iter().map(|sentinel| -> Asked<'_> {
            Box::pin(async move {
                let master = self.ask(settings, sentinel).await;
                master.map_err(|error| match error {
                    ConnectionError::Sentinel(_) => error,
                    other => ConnectionError::Sentinel(format!("sentinel {sentinel}: {other}")),
                })
            })
        });
        let (master, _) = select_ok(asked).await?;
        Ok(master)
    }

    async fn ask(
        &self,
        settings: &RedisSettings,
        sentinel: &Address,
    ) -> Result<Address, ConnectionError> {
        let mut connection = settings.connect_as(sentinel, &self.login).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
        let master: Option<(String, u16)> = command.query_async(&mut connection).await?;
        let (host, port) = master.ok_or_else(|| {
            ConnectionError::Sentinel(format!(
                "sentinel {sentinel} does not know the master `{}`: bus.sentinel_service must be its name there",
                self.service
            ))
        })?;
        let address = Address::tcp(&host, port);
        match settings.connect(&address).await {
            Ok(_) => Ok(address),
            Err(ConnectionError::Replica(_)) => Err(ConnectionError::Sentinel(format!(
                "{address} is no master yet, a failover is under way"
            ))),
            Err(error) => Err(ConnectionError::Sentinel(format!(
                "master {address} of `{}`: {error}",
                self.service
            ))),
        }
    }
}

/// The server a publisher and a subscriber connect to, both to the same.
pub(super) enum Target {
    /// A fixed address; the channel is notified when a connection to it turns out to lead to a replica.
    Fixed(Address, watch::Sender<()>),
    /// The master of the moment; the last one found, for those who are at another.
    Sentinel(Sentinels, watch::Sender<Option<Address>>),
}

impl Target {
    pub(super) fn fixed(address: Address) -> Self {
        Self::Fixed(address, watch::Sender::new(()))
    }

    pub(super) fn by_sentinel(sentinels: Sentinels) -> Self {
        Self::Sentinel(sentinels, watch::Sender::new(None))
    }

    /// Where to connect now.
    pub(super) async fn locate(
        &self,
        settings: &RedisSettings,
    ) -> Result<Address, ConnectionError> {
        match self {
            Self::Fixed(address, _) => Ok(address.clone()),
            Self::Sentinel(sentinels, found) => {
                let master = sentinels.master(settings).await?;
                found.send_if_modified(|last| {
                    let differs = last.as_ref() != Some(&master);
                    *last = Some(master.clone());
                    differs
                });
                Ok(master)
            }
        }
    }

    /// Completes when the master is no longer at `address`, or the address must be resolved again.
    pub(super) async fn left(&self, address: &Address) -> ConnectionError {
        // `self` owns the senders, so the channels stay open.
        match self {
            Self::Sentinel(_, found) => {
                let elsewhere =
                    |last: &Option<Address>| last.as_ref().is_some_and(|is| is != address);
                let _ = found.subscribe().wait_for(elsewhere).await;
                ConnectionError::Moved
            }
            Self::Fixed(_, demoted) => {
                let _ = demoted.subscribe().changed().await;
                ConnectionError::Replica(address.to_string())
            }
        }
    }

    /// Reports that a connection leads to a replica: all users of the address must resolve it again.
    pub(super) fn demoted(&self) {
        if let Self::Fixed(_, demoted) = self {
            demoted.send_replace(());
        }
    }

    /// Looks from time to time whether the master is still the same: one that was demoted while nobody cut its
    /// connections would go on carrying messages that no other node hears.
    pub(super) async fn watch(&self, settings: &RedisSettings) {
        loop {
            tokio::time::sleep(settings.ping_interval).await;
            if let Err(error) = self.locate(settings).await {
                log::debug!(error:%; "sentinels do not tell the master");
            }
        }
    }
}
