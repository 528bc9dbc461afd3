//! Other clients of the servers: the number of subscribers of a channel, the keys of other programs and their database,
//! and which commands the ACL user may send.
//!
//! For `roomwire check --live`. Read-only, apart from the commands it is given to try.

use std::collections::BTreeSet;

use redis::aio::MultiplexedConnection;

use super::address::Address;
use super::error::ConnectionError;
use super::error_hints::with_hint;
use super::probe::{command, servers, try_query};
use super::settings::RedisSettings;

/// Maximum number of scans per database: of more than about two million keys only a part is examined.
const MAX_SCANS: usize = 2_000;
/// Approximate number of keys per scan.
const SCAN_COUNT: &str = "1000";
/// Maximum number of other databases to examine.
const MAX_DATABASES: usize = 64;

/// What was found of other clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisDiagnostics {
    /// Number of subscribers of the channel on all servers; `None` if the user may not query it.
    pub subscribers: Option<u64>,
    /// Keys that match the pattern in the database of the URL; `None` if the user may not scan.
    pub keys: Option<BTreeSet<String>>,
    /// Matching keys in the other databases, each with the number of the database.
    pub other_databases: BTreeSet<(i64, String)>,
    /// Commands denied to the user, each with the reason and the setting to change.
    pub denied: BTreeSet<String>,
}

/// Counts the subscribers of `channel`, searches every database for keys matching the glob `pattern`, and tries
/// `commands`.
///
/// # Errors
/// A server cannot be reached; the text is the reason and, where known, the setting to change.
pub async fn diagnose(
    settings: &RedisSettings,
    channel: &str,
    pattern: &str,
    commands: &[&[&str]],
) -> Result<RedisDiagnostics, String> {
    let report = run(settings, channel, pattern, commands).await;
    report.map_err(|error| error.with_hint())
}

async fn run(
    settings: &RedisSettings,
    channel: &str,
    pattern: &str,
    commands: &[&[&str]],
) -> Result<RedisDiagnostics, ConnectionError> {
    let (addresses, _) = servers(settings).await?;
    let mut found = RedisDiagnostics::default();
    for address in &addresses {
        let mut connection = settings.connect(address).await?;
        let response: Option<(String, u64)> =
            try_query(&mut connection, &["PUBSUB", "NUMSUB", channel]).await;
        if let Some((_, count)) = response {
            found.subscribers = Some(found.subscribers.unwrap_or(0) + count);
        }
        if let Some(keys) = keys(&mut connection, pattern).await {
            found.keys.get_or_insert_default().extend(keys);
        }
        for arguments in commands {
            found
                .denied
                .extend(denial(&mut connection, arguments).await);
        }
        search_other_databases(settings, address, pattern, &mut found).await?;
    }
    Ok(found)
}

/// Searches the other databases of a server, on a separate connection because `SELECT` changes its state.
async fn search_other_databases(
    settings: &RedisSettings,
    address: &Address,
    pattern: &str,
    found: &mut RedisDiagnostics,
) -> Result<(), ConnectionError> {
    let mut connection = settings.connect(address).await?;
    let info: Option<String> = try_query(&mut connection, &["INFO", "keyspace"]).await;
    let numbers = databases(&info.unwrap_or_default());
    let others = numbers
        .into_iter()
        .filter(|number| *number != settings.database());
    for number in others.take(MAX_DATABASES) {
        let selected: Option<String> =
            try_query(&mut connection, &["SELECT", &number.to_string()]).await;
        if selected.is_some() {
            let keys = keys(&mut connection, pattern).await.unwrap_or_default();
            found
                .other_databases
                .extend(keys.into_iter().map(|key| (number, key)));
        }
    }
    Ok(())
}

/// The numbers of the databases in `db0:keys=…` lines.
fn databases(info: &str) -> Vec<i64> {
    info.lines()
        .filter_map(|line| line.strip_prefix("db")?.split_once(':')?.0.parse().ok())
        .collect()
}

/// The keys that match; `None` if the user may not scan.
async fn keys(connection: &mut MultiplexedConnection, pattern: &str) -> Option<Vec<String>> {
    let mut cursor = "0".to_owned();
    let mut found = Vec::new();
    for _ in 0..MAX_SCANS {
        let arguments = ["SCAN", &cursor, "MATCH", pattern, "COUNT", SCAN_COUNT];
        let (next, keys) = try_query::<(String, Vec<String>)>(connection, &arguments).await?;
        found.extend(keys);
        if next == "0" {
            break;
        }
        cursor = next;
    }
    Some(found)
}

/// Why the ACL denies a command. In a Redis Cluster, a server that does not own the key responds with a redirection
/// instead, which is not a denial.
async fn denial(connection: &mut MultiplexedConnection, arguments: &[&str]) -> Option<String> {
    let done: redis::RedisResult<redis::Value> = command(arguments).query_async(connection).await;
    let error = done.err().filter(|error| error.code() == Some("NOPERM"))?;
    let shown = arguments.get(..2).unwrap_or(arguments).join(" ");
    Some(with_hint(&format!("{error} ({shown})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_parsed_from_info() {
        let info = "# Keyspace\r\ndb0:keys=4,expires=4\r\ndb12:keys=1,expires=0\r\n";
        assert_eq!(databases(info), [0, 12]);
        assert!(databases("").is_empty());
    }
}
