//! The slots of a Redis Cluster: the slot of a name, and the master of a slot. Pure.

use std::collections::HashMap;

use crc::{CRC_16_XMODEM, Crc, Table};
use redis::Value;

use super::address::Address;

/// Number of slots of a Redis Cluster.
pub(super) const SLOTS: u16 = 16_384;

const CRC: Crc<u16, Table<1>> = Crc::<u16, Table<1>>::new(&CRC_16_XMODEM);

/// The slot of a key or sharded channel, computed from its hash tag if it has one.
pub(super) fn slot(name: &[u8]) -> u16 {
    CRC.checksum(hash_tag(name).unwrap_or(name)) % SLOTS
}

/// The part of a name that determines its slot, if it has braces.
fn hash_tag(name: &[u8]) -> Option<&[u8]> {
    let open = name.iter().position(|byte| *byte == b'{')? + 1;
    let length = name[open..].iter().position(|byte| *byte == b'}')?;
    (length > 0).then(|| &name[open..open + length])
}

/// The name of another key in the slot of `key`. `key` has a hash tag or no braces.
pub(super) fn key_in_slot_of(key: &str, suffix: &str) -> String {
    match hash_tag(key.as_bytes()) {
        Some(_) => format!("{key}{suffix}"),
        None => format!("{{{key}}}{suffix}"),
    }
}

/// The owners of all slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// Masters with at least one slot, in the order of their first slot.
    pub(super) masters: Vec<Address>,
    /// The index of the master of each slot.
    owners: Vec<Option<u16>>,
    /// Replicas, which can be queried for the slot map too.
    pub(super) replicas: Vec<Address>,
}

impl SlotMap {
    /// Parses the response of the server at `queried` to CLUSTER SLOTS; `None` if it is invalid.
    pub(super) fn read(response: &Value, queried: &Address) -> Option<Self> {
        let Value::Array(ranges) = response else {
            return None;
        };
        let mut map = Self {
            masters: Vec::new(),
            owners: vec![None; usize::from(SLOTS)],
            replicas: Vec::new(),
        };
        let mut indices = HashMap::new();
        for range in ranges {
            let Value::Array(range) = range else {
                return None;
            };
            let [Value::Int(first), Value::Int(last), servers @ ..] = range.as_slice() else {
                return None;
            };
            let mut servers = servers.iter().map(|server| address(server, queried));
            let master = servers.next()??;
            let index = *indices.entry(master.clone()).or_insert_with(|| {
                map.masters.push(master);
                map.masters.len() - 1
            });
            let slots = usize::try_from(*first).ok()?..=usize::try_from(*last).ok()?;
            map.owners.get_mut(slots)?.fill(u16::try_from(index).ok());
            map.replicas.extend(servers.flatten());
        }
        map.replicas.sort();
        map.replicas.dedup();
        Some(map)
    }

    /// The index in `masters` of a slot's owner.
    pub(super) fn owner(&self, slot: u16) -> Option<usize> {
        self.owners[usize::from(slot)].map(usize::from)
    }

    /// Number of slots without an owner.
    pub(super) fn uncovered(&self) -> usize {
        self.owners.iter().filter(|owner| owner.is_none()).count()
    }
}

/// Parses a server of CLUSTER SLOTS. A server without a host in the response is the one queried.
fn address(server: &Value, queried: &Address) -> Option<Address> {
    let Value::Array(fields) = server else {
        return None;
    };
    let [host, Value::Int(port), ..] = fields.as_slice() else {
        return None;
    };
    let host = match host {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
        Value::Nil => "",
        _ => return None,
    };
    let host = match host {
        "" | "?" => queried.host()?,
        host => host,
    };
    Some(Address::tcp(host, u16::try_from(*port).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected slots are from CLUSTER KEYSLOT of Redis 7.
    #[test]
    fn slots_match_those_of_redis() {
        for (name, expected) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("{foo}bar", 12_182),
            ("a{foo}b{c}", 12_182),
            ("{}foo", 9_500),
            ("", 0),
            ("roomwire:0:all", 14_082),
        ] {
            assert_eq!(slot(name.as_bytes()), expected, "{name}");
        }
    }

    fn server(host: &str, port: i64) -> Value {
        let host = Value::BulkString(host.as_bytes().to_vec());
        Value::Array(vec![
            host,
            Value::Int(port),
            Value::BulkString(b"id".to_vec()),
        ])
    }

    fn range(first: i64, last: i64, servers: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(first), Value::Int(last)], servers].concat())
    }

    #[test]
    fn slot_maps_are_parsed() {
        let queried = Address::tcp("seed", 1);
        let response = Value::Array(vec![
            range(0, 99, vec![server("a", 7), server("r", 8)]),
            range(200, 299, vec![server("", 9)]),
            range(300, 16_383, vec![server("a", 7), server("r", 8)]),
        ]);
        let map = SlotMap::read(&response, &queried).unwrap();
        assert_eq!(map.masters, [Address::tcp("a", 7), Address::tcp("seed", 9)]);
        assert_eq!(map.replicas, [Address::tcp("r", 8)]);
        let owners = [0, 99, 100, 200, 16_383].map(|slot| map.owner(slot));
        assert_eq!(owners, [Some(0), Some(0), None, Some(1), Some(0)]);
        assert_eq!(map.uncovered(), 100);
    }

    #[test]
    fn invalid_responses_are_rejected() {
        let queried = Address::tcp("seed", 1);
        for response in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![range(0, 99, vec![])]),
            Value::Array(vec![range(0, 16_384, vec![server("a", 1)])]),
            Value::Array(vec![range(5, -1, vec![server("a", 1)])]),
            Value::Array(vec![range(0, 1, vec![server("a", 70_000)])]),
        ] {
            assert_eq!(SlotMap::read(&response, &queried), None, "{response:?}");
        }
    }
}
