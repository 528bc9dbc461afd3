//! The number of clients of each address, and the rate of their handshakes.
//!
//! Locked when a client connects or disconnects, in parts so that workers seldom contend. An address is forgotten with
//! its last client, or, where handshakes are limited, some time after its bucket is full again.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hashbrown::HashMap;

use super::bucket::{Rate, TokenBucket};
use super::kind::Limit;
use crate::model::Network;

const PARTS: usize = 16;
/// Number of addresses in a part before it is first searched for those to forget.
const FIRST_SWEEP: usize = 64;

/// The state of one network.
#[derive(Debug)]
struct NetworkState {
    clients: usize,
    handshakes: TokenBucket,
}

#[derive(Debug)]
struct Segment {
    networks: HashMap<Network, NetworkState>,
    sweep_at: usize,
}

/// The networks of all clients.
#[derive(Debug)]
pub(super) struct Addresses {
    parts: [Mutex<Segment>; PARTS],
    hasher: RandomState,
}

impl Default for Addresses {
    fn default() -> Self {
        let part = |_| {
            Mutex::new(Segment {
                networks: HashMap::new(),
                sweep_at: FIRST_SWEEP,
            })
        };
        Self {
            parts: std::array::from_fn(part),
            hasher: RandomState::new(),
        }
    }
}

impl Addresses {
    /// Counts a client in, if its network has fewer than `most` clients and a token of `rate`, and `node` succeeds.
    pub(super) fn enter(
        &self,
        network: Network,
        most: usize,
        rate: Option<Rate>,
        now: Instant,
        node: impl FnOnce() -> Result<(), Limit>,
    ) -> Result<(), Limit> {
        let mut part = self.part(network);
        let known = part.networks.get(&network);
        if known.is_some_and(|state| state.clients >= most) {
            return Err(Limit::ConnectionsPerIp);
        }
        let mut handshakes = known.map_or_else(|| TokenBucket::full(now), |known| known.handshakes);
        if rate.is_some_and(|rate| !handshakes.take(rate, now)) {
            return Err(Limit::HandshakesPerIp);
        }
        node()?;
        part.sweep(now);
        let fresh = || NetworkState {
            clients: 0,
            handshakes,
        };
        let state = part.networks.entry(network).or_insert_with(fresh);
        state.clients += 1;
        state.handshakes = handshakes;
        Ok(())
    }

    /// Counts a client out.
    pub(super) fn leave(&self, network: Network, now: Instant) {
        let mut part = self.part(network);
        if let Some(state) = part.networks.get_mut(&network) {
            debug_assert!(state.clients > 0);
            state.clients -= 1;
            if state.is_removable(now) {
                part.networks.remove(&network);
            }
        }
    }

    fn part(&self, network: Network) -> MutexGuard<'_, Segment> {
        let part = self.hasher.hash_one(network) as usize % PARTS;
        self.parts[part]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let part = |part: &Mutex<Segment>| part.lock().unwrap().networks.len();
        self.parts.iter().map(part).sum()
    }
}

impl NetworkState {
    fn is_removable(&self, now: Instant) -> bool {
        self.clients == 0 && self.handshakes.is_full(now)
    }
}

impl Segment {
    /// Removes forgettable addresses, each time the part has doubled.
    fn sweep(&mut self, now: Instant) {
        if self.networks.len() >= self.sweep_at {
            self.networks.retain(|_, state| !state.is_removable(now));
            self.sweep_at = FIRST_SWEEP.max(2 * self.networks.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;

    fn network(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    #[test]
    fn an_address_without_clients_is_limited_until_it_is_removed() {
        let addresses = Addresses::default();
        let rate = Rate::new(1, 1);
        let start = crate::clock::now();
        let here = network("192.0.2.1");
        let enter = |network, now| addresses.enter(network, usize::MAX, rate, now, || Ok(()));
        enter(here, start).unwrap();
        addresses.leave(here, start);
        assert_eq!(enter(here, start), Err(Limit::HandshakesPerIp));
        assert_eq!(addresses.len(), 1);
        let later = start + Duration::from_secs(2);
        for number in 0..100_000_u32 {
            let address = IpAddr::V4((0x0a00_0000 + number).into());
            let other = Network::of(address);
            let now = later + Duration::from_millis(u64::from(number));
            enter(other, now).unwrap();
            addresses.leave(other, now);
        }
        // The buckets of about one second are not full again; the others are removed each time a part has doubled.
        assert!(addresses.len() < 4_000, "{}", addresses.len());
    }

    #[test]
    fn a_rejection_by_the_node_leaves_no_state() {
        let addresses = Addresses::default();
        let rejected = addresses.enter(
            network("192.0.2.1"),
            1,
            Rate::new(1, 1),
            crate::clock::now(),
            || Err(Limit::Connections),
        );
        assert_eq!((rejected, addresses.len()), (Err(Limit::Connections), 0));
    }
}
