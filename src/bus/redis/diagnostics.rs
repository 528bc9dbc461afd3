//! Who else is at the servers: who hears a channel, which keys of others are there and in which database, and what we
//! may do with them.
//!
//! For `roomwire check --live`. Changes nothing, unless what it is told to try does.

use std::collections::BTreeSet;

use redis::aio::MultiplexedConnection;

use super::address::Address;
use super::error::ConnectionError;
use super::error_hints::advised;
use super::probe::{ask, command, servers};
use super::settings::RedisSettings;

/// Looks into one database: of two million keys and more only some are seen.
const MOST_LOOKS: usize = 2_000;
/// Keys that one look goes over, about.
const LOOK: &str = "1000";
/// Databases looked into.
const MOST_DATABASES: usize = 64;

/// What is seen of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// Connections that hear the channel, at all servers; `None`: we may not ask.
    pub listeners: Option<u64>,
    /// Keys that match the pattern, in the database of the URL; `None`: we may not look.
    pub here: Option<BTreeSet<String>>,
    /// The same for the other databases, each with its number.
    pub elsewhere: BTreeSet<(i64, String)>,
    /// Commands that our user may not send, each with the reason and what to change.
    pub refused: BTreeSet<String>,
}

/// Looks who hears `channel`, for keys by the glob `pattern` in every database, and whether commands are refused.
///
/// # Errors
/// A server cannot be reached; the text says why, and what to change where that is known.
pub async fn neighbours(
    settings: &RedisSettings,
    channel: &str,
    pattern: &str,
    commands: &[&[&str]],
) -> Result<Neighbours, String> {
    let looked = look(settings, channel, pattern, commands).await;
    looked.map_err(|error| error.advised())
}

async fn look(
    settings: &RedisSettings,
    channel: &str,
    pattern: &str,
    commands: &[&[&str]],
) -> Result<Neighbours, ConnectionError> {
    let (addresses, _) = servers(settings).await?;
    let mut found = Neighbours::default();
    for address in &addresses {
        let mut connection = settings.connect(address).await?;
        let heard: Option<(String, u64)> =
            ask(&mut connection, &["PUBSUB", "NUMSUB", channel]).await;
        if let Some((_, count)) = heard {
            found.listeners = Some(found.listeners.unwrap_or(0) + count);
        }
        if let Some(keys) = keys(&mut connection, pattern).await {
            found.here.get_or_insert_default().extend(keys);
        }
        for words in commands {
            found.refused.extend(refusal(&mut connection, words).await);
        }
        search_elsewhere(settings, address, pattern, &mut found).await?;
    }
    Ok(found)
}

/// The other databases of a server, over a connection that is given up afterwards.
async fn search_elsewhere(
    settings: &RedisSettings,
    address: &Address,
    pattern: &str,
    found: &mut Neighbours,
) -> Result<(), ConnectionError> {
    let mut connection = settings.connect(address).await?;
    let info: Option<String> = ask(&mut connection, &["INFO", "keyspace"]).await;
    let numbers = databases(&info.unwrap_or_default());
    let others = numbers
        .into_iter()
        .filter(|number| *number != settings.database());
    for number in others.take(MOST_DATABASES) {
        let selected: Option<String> = ask(&mut connection, &["SELECT", &number.to_string()]).await;
        if selected.is_some() {
            let keys = keys(&mut connection, pattern).await.unwrap_or_default();
            found
                .elsewhere
                .extend(keys.into_iter().map(|key| (number, key)));
        }
    }
    Ok(())
}

/// The numbers in `db0:keys=…` lines.
fn databases(info: &str) -> Vec<i64> {
    info.lines()
        .filter_map(|line| line.strip_prefix("db")?.split_once(':')?.0.parse().ok())
        .collect()
}

/// Keys that match, as far as we may look.
async fn keys(connection: &mut MultiplexedConnection, pattern: &str) -> Option<Vec<String>> {
    let mut cursor = "0".to_owned();
    let mut found = Vec::new();
    for _ in 0..MOST_LOOKS {
        let words = ["SCAN", &cursor, "MATCH", pattern, "COUNT", LOOK];
        let (next, keys) = ask::<(String, Vec<String>)>(connection, &words).await?;
        found.extend(keys);
        if next == "0" {
            break;
        }
        cursor = next;
    }
    Some(found)
}

/// Why our user may not send a command. In a Redis Cluster a server that does not own the key says so first.
async fn refusal(connection: &mut MultiplexedConnection, words: &[&str]) -> Option<String> {
    let done: redis::RedisResult<redis::Value> = command(words).query_async(connection).await;
    let error = done.err().filter(|error| error.code() == Some("NOPERM"))?;
    let shown = words.get(..2).unwrap_or(words).join(" ");
    Some(advised(&format!("{error} ({shown})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_read() {
        let info = "# Keyspace\r\ndb0:keys=4,expires=4\r\ndb12:keys=1,expires=0\r\n";
        assert_eq!(databases(info), [0, 12]);
        assert!(databases("").is_empty());
    }
}
