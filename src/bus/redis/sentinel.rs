//! Resolves the master by Sentinels, and detects when it changes.

use std::pin::Pin;

use futures_util::future::select_ok;
use tokio::sync::watch;

use super::address::Address;
use super::error::ConnectionError;
use super::settings::{RedisSettings, Sentinels};

impl Sentinels {
    /// The master reported by the first Sentinel whose master confirms its role.
    pub(super) async fn master(
        &self,
        settings: &RedisSettings,
    ) -> Result<Address, ConnectionError> {
        type Query<'a> =
            Pin<Box<dyn Future<Output = Result<Address, ConnectionError>> + Send + 'a>>;
        let queries = self.addresses.iter().map(|sentinel| -> Query<'_> {
            Box::pin(async move {
                let master = self.query_master(settings, sentinel).await;
                master.map_err(|error| match error {
                    ConnectionError::Sentinel(_) => error,
                    other => ConnectionError::Sentinel(format!("sentinel {sentinel}: {other}")),
                })
            })
        });
        let (master, _) = select_ok(queries).await?;
        Ok(master)
    }

    async fn query_master(
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
                "sentinel {sentinel} has no master `{}`: bus.sentinel_service must be its name there",
                self.service
            ))
        })?;
        let address = Address::tcp(&host, port);
        match settings.connect(&address).await {
            Ok(_) => Ok(address),
            Err(ConnectionError::Replica(_)) => Err(ConnectionError::Sentinel(format!(
                "{address} is no master yet, a failover is in progress"
            ))),
            Err(error) => Err(ConnectionError::Sentinel(format!(
                "master {address} of `{}`: {error}",
                self.service
            ))),
        }
    }
}

/// The server that a publisher and its subscriber connect to.
pub(super) enum ServerLocator {
    /// A fixed address; the channel is notified when a connection to it turns out to lead to a replica.
    Fixed(Address, watch::Sender<()>),
    /// The current master; the channel holds the last one resolved, so that connections to another server end.
    Sentinel(Sentinels, watch::Sender<Option<Address>>),
}

impl ServerLocator {
    pub(super) fn fixed(address: Address) -> Self {
        Self::Fixed(address, watch::Sender::new(()))
    }

    pub(super) fn by_sentinel(sentinels: Sentinels) -> Self {
        Self::Sentinel(sentinels, watch::Sender::new(None))
    }

    /// Resolves the address to connect to.
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

    /// Completes when `address` is no longer that of the master, or must be resolved again.
    pub(super) async fn moved(&self, address: &Address) -> ConnectionError {
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
    pub(super) fn report_replica(&self) {
        if let Self::Fixed(_, demoted) = self {
            demoted.send_replace(());
        }
    }

    /// Resolves the master at intervals: a server demoted without closing its connections would otherwise keep
    /// accepting messages that no other node receives.
    pub(super) async fn watch(&self, settings: &RedisSettings) {
        loop {
            tokio::time::sleep(settings.ping_interval).await;
            if let Err(error) = self.locate(settings).await {
                log::debug!(error:%; "sentinels do not report a master");
            }
        }
    }
}
