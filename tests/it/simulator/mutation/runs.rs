//! Runs with mutations.

use std::sync::Arc;

use super::{Mutation, Mutator, Notice};
use super::{OF_BACKENDS, OF_CLIENTS, OF_SERVERS, OF_THE_BUS, OF_THE_STORE};
use crate::simulator::simulate_with;

/// Seeds of which the oracles must notice a mutation in one.
const SEEDS: u64 = 60;

/// What the oracles report of the first run in which they notice a mutation.
fn notice(mutation: Mutation, (start, part): Notice) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| {
        let wrong = simulate_with(seed, true, Arc::new(Mutator::new(mutation))).wrong;
        let mut wrong = wrong.into_iter();
        let line = wrong.find(|line| line.starts_with(start) && line.contains(part));
        line.map(|line| (seed, line))
    })
}

fn are_noticed(mutations: &[(Mutation, Notice)]) {
    let mut missed = Vec::new();
    for (mutation, expected) in mutations {
        match notice(*mutation, *expected) {
            Some((seed, line)) => println!("{mutation:?}: seed {seed:#x}: {line}"),
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "no oracle notices {missed:?}");
}

#[test]
fn what_a_client_does_not_receive_is_noticed() {
    are_noticed(&OF_CLIENTS);
}

#[test]
fn wrong_responses_to_backends_are_noticed() {
    are_noticed(&OF_BACKENDS);
}

#[test]
fn wrong_messages_of_nodes_are_noticed() {
    are_noticed(&OF_THE_BUS);
}

#[test]
fn wrong_messages_for_servers_are_noticed() {
    are_noticed(&OF_SERVERS);
}

#[test]
fn wrong_contents_of_the_store_are_noticed() {
    are_noticed(&OF_THE_STORE);
}
