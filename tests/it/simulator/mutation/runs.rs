//! Runs with mutations, and what the oracles notice of each.

use std::iter;
use std::sync::Arc;

use super::{Mutation, Mutator};
use crate::simulator::simulate_with;

/// Seeds of which the oracles must notice a mutation in one, if they no longer do with the known one.
const SEEDS: u64 = 60;

/// Of so many mutations, the usual test run takes one; `scripts/simulate mutations` takes all.
const USUAL: usize = 4;

/// A line of an oracle about a mutation begins with the first text and contains the second one.
type Notice = (&'static str, &'static str);

/// What the oracles notice of a mutation, and a seed with which they have noticed it.
type Expected = (Mutation, u64, Notice);

const OF_CLIENTS: [Expected; 10] = [
    (Mutation::LoseEvent, 0, ("c", " lacks e")),
    (Mutation::RepeatEvent, 0, ("c", " twice")),
    (Mutation::LeakEvent, 0, ("c", "in which it was not")),
    (Mutation::SwapEvents, 0, ("c", " after e")),
    (Mutation::LoseAck, 0, ("c", "has no response in time")),
    (Mutation::IgnoreJoin, 0, ("c", " lacks e")),
    (Mutation::IgnoreLeave, 0xa, ("c", "after it had left")),
    (Mutation::LosePresence, 4, ("c", " are in team:")),
    (Mutation::HideGap, 0x23, ("c", ", appended to ")),
    (
        Mutation::DenyRecovery,
        0,
        ("c", "is not recovered, for no reason"),
    ),
];

const OF_BACKENDS: [Expected; 5] = [
    (Mutation::LoseListed, 0, ("a", " lacks")),
    (Mutation::RepeatListed, 0, ("a", "a socket twice")),
    (Mutation::HideMissing, 2, ("a", "is not missing")),
    (Mutation::DelayResponse, 0, ("a", ": took ")),
    (
        Mutation::IgnoreRevocation,
        1,
        ("c", "was revoked and is never closed"),
    ),
];

const OF_THE_BUS: [Expected; 7] = [
    (Mutation::LoseMessage, 2, ("c", " lacks e")),
    (Mutation::RepeatMessage, 2, ("c", " twice")),
    (
        Mutation::MisdirectMessage,
        0x1e,
        ("c", "in which it was not"),
    ),
    (Mutation::LoseAppend, 0, ("e", "is in no log")),
    (Mutation::RepeatAppend, 0, ("e", "was appended twice")),
    (Mutation::LoseSubscription, 0, ("c", " lacks e")),
    (Mutation::KeepSubscriptions, 0, ("n", " subscriptions: ")),
];

const OF_SERVERS: [Expected; 12] = [
    (Mutation::LoseToServers, 4, ("f", " lacks e")),
    (Mutation::RepeatToServers, 3, ("f", " twice")),
    (Mutation::MisdirectToServers, 3, ("f", "is not for it")),
    (Mutation::GarbleToServers, 3, ("f", " on ")),
    (Mutation::LoseResponse, 3, ("request", " responses, not ")),
    (Mutation::RepeatResponse, 3, ("request", " responses of ")),
    (Mutation::LoseServerAck, 0x1d, ("request", "no ack of c")),
    (
        Mutation::RepeatServerAck,
        4,
        ("request", " sockets, and the acks "),
    ),
    (Mutation::WrongCount, 4, ("request", "the counts ")),
    (Mutation::LoseMove, 0x2e, ("f", " moves arrived")),
    (Mutation::IgnoreMove, 0x12, ("c", " of annex")),
    (
        Mutation::IgnoreDisconnect,
        0x2e,
        ("c", "is not disconnected"),
    ),
];

const OF_THE_STORE: [Expected; 7] = [
    (Mutation::KeepKeys, 0, ("the record of ", "")),
    (Mutation::KeepFields, 0, ("", " are registered")),
    (Mutation::LoseRecords, 0, ("c", "is not recovered: unknown")),
    (
        Mutation::LoseRegistered,
        0,
        ("the end of c", "is never announced"),
    ),
    (Mutation::LosePresent, 0, ("a", " are in team:")),
    (
        Mutation::RepeatDeparture,
        0,
        ("the end of ", " is announced as "),
    ),
    (Mutation::ServeFenced, 9, ("n", "after its name was taken")),
];

/// What the oracles report of the first run in which they notice a mutation.
fn notice((mutation, known, (start, part)): Expected) -> Option<(u64, String)> {
    iter::once(known).chain(0..SEEDS).find_map(|seed| {
        let wrong = simulate_with(seed, true, Arc::new(Mutator::new(mutation))).wrong;
        let mut wrong = wrong.into_iter();
        let line = wrong.find(|line| line.starts_with(start) && line.contains(part));
        line.map(|line| (seed, line))
    })
}

#[expect(clippy::print_stdout, reason = "which line notices a mutation")]
fn are_noticed(mutations: &[Expected]) {
    let takes_all = std::env::var("ROOMWIRE_SIMULATE").is_ok_and(|chosen| chosen == "mutations");
    let mut missed = Vec::new();
    for expected in mutations.iter().step_by(if takes_all { 1 } else { USUAL }) {
        let mutation = expected.0;
        match notice(*expected) {
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
