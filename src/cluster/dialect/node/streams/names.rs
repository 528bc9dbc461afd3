//! Names of the streams and channels.

use crate::config::BusConfig;

/// The names of the streams that a node reads: those that servers read, and those of namespaces with shared sessions,
/// whose events nodes receive from the stream alone.
pub fn stream_names(config: &BusConfig) -> Vec<String> {
    let name = &config.node_stream;
    let mut names = match config.node_streams {
        1 => vec![name.clone()],
        count => (0..count)
            .map(|number| format!("{name}-{number}"))
            .collect(),
    };
    for namespace in &config.shared_namespaces {
        let stream = stream_of(config, namespace);
        if !names.contains(&stream) {
            names.push(stream);
        }
    }
    names
}

/// The stream of a namespace. The number can be negative: servers write such a stream, but never read it.
pub fn stream_of(config: &BusConfig, namespace: &str) -> String {
    let name = &config.node_stream;
    let count = i32::try_from(config.node_streams).unwrap_or(i32::MAX);
    match count {
        1 => name.clone(),
        count => format!("{name}-{}", hash(namespace) % count),
    }
}

/// The hash by which servers distribute namespaces.
fn hash(namespace: &str) -> i32 {
    let units = namespace.encode_utf16();
    units.fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn namespaces_are_distributed_as_by_stock_servers() {
        let config = |node_streams| BusConfig {
            node_streams,
            ..Config::default().bus
        };
        assert_eq!(stream_names(&config(1)), ["socket.io"]);
        assert_eq!(stream_of(&config(1), "/custom"), "socket.io");
        assert_eq!(stream_names(&config(2)), ["socket.io-0", "socket.io-1"]);
        // Of `hashCode` in util.js of the adapter.
        assert_eq!(
            ["/", "/custom", "/é😀"].map(hash),
            [47, 1_708_878_944, 3_396_989]
        );
        assert_eq!(stream_of(&config(3), "/"), "socket.io-2");
        assert_eq!(hash("/tenants-10"), -158_446_894);
        assert_eq!(stream_of(&config(3), "/tenants-10"), "socket.io--1");
        let shared = BusConfig {
            shared_namespaces: vec!["/".to_owned(), "/tenants-10".to_owned()],
            ..config(3)
        };
        let names = stream_names(&shared);
        assert_eq!(
            names,
            ["socket.io-0", "socket.io-1", "socket.io-2", "socket.io--1"]
        );
    }
}
