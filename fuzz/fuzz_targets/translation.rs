//! Servers in Node and in Python publish anything on the bus of a node that translates: what the node publishes is well-formed
//! and within the limits, whatever they publish and respond, and an emit keeps its name and its target.
//!
//! The first byte of the input selects the adapter of the servers in Node. The rest is a sequence of steps: a byte that selects
//! one, the length of its bytes in two more, and these.

#![no_main]

mod translation_bus;

use libfuzzer_sys::fuzz_target;
use roomwire::config::NodeAdapter;
use translation_bus::{Bus, Place};

/// One step of an input.
struct Step<'a> {
    kind: u8,
    bytes: &'a [u8],
}

/// The steps of an input. The last one ends where the input ends.
fn steps(mut input: &[u8]) -> impl Iterator<Item = Step<'_>> {
    std::iter::from_fn(move || {
        let [kind, low, high, rest @ ..] = input else {
            return None;
        };
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (bytes, later) = rest.split_at(length.min(rest.len()));
        input = later;
        Some(Step { kind: *kind, bytes })
    })
}

async fn run(adapter: NodeAdapter, input: &[u8]) {
    let mut bus = Bus::start(adapter).await;
    for Step { kind, bytes } in steps(input) {
        match kind % 9 {
            0 | 1 => bus.publish(Place::Python, bytes).await,
            2 => bus.publish(Place::Namespace, bytes).await,
            3 => bus.publish(Place::Room, bytes).await,
            4 => bus.publish(Place::Requests, bytes).await,
            5 => bus.publish(Place::OtherNamespace, bytes).await,
            6 => bus.ack_as_node(bytes).await,
            7 => bus.ack_as_python(bytes).await,
            _ => bus.wait(bytes.len()).await,
        }
    }
    bus.wait(1).await;
}

fuzz_target!(|input: &[u8]| {
    let [first, rest @ ..] = input else {
        return;
    };
    let adapter = match first % 3 {
        0 => NodeAdapter::PubSub,
        1 => NodeAdapter::Sharded,
        _ => NodeAdapter::Streams,
    };
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without threads")
    });
    system.block_on(run(adapter, rest));
});
