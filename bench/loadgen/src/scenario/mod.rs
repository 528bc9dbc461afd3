//! The scenarios. Each is an `Observer` of the fleet, which reacts to events and counts,
//! and a `run`, which returns the counts as one JSON object.

pub(crate) mod ack;
pub(crate) mod churn;
pub(crate) mod emit;
pub(crate) mod fanout;
pub(crate) mod hold;
pub(crate) mod joins;
pub(crate) mod open_webui;
pub(crate) mod probe;
pub(crate) mod publisher;
pub(crate) mod report;
pub(crate) mod setup;
pub(crate) mod tokens;
pub(crate) mod verify;
pub(crate) mod webhook;

use std::time::Duration;

/// The room of every scenario that needs one.
pub(crate) const ROOM: &str = "bench";
/// How long a loop waits for socket events before it checks its own conditions.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// The id of a join's ack; scenarios number theirs from 1.
pub(crate) const JOIN_ACK: u32 = 0;
/// Bytes of the argument of measured emits.
pub(crate) const PAYLOAD: usize = 100;

/// Warm-up of runs with HTTP requests, as a share of the measured time: Node compiles express for two seconds.
pub(crate) const WARM_UP: f64 = 0.5;

/// Whether the arguments of an ack are `{ok:true}`.
pub(crate) fn accepted(arguments: &str) -> bool {
    arguments.contains(r#""ok":true"#) || arguments.contains(r#""ok": true"#)
}

/// The argument of the `number`th measured emit: the number, padded to [`PAYLOAD`].
pub(crate) fn payload(number: u64) -> String {
    format!("{number:016x}{:x<1$}", "", PAYLOAD - 16)
}

/// A JSON document of about `bytes` bytes as an application sends it, another one for each number. Its keys are sorted
/// and its numbers are whole, so that all servers and parsers preserve it.
pub(crate) fn document(number: u64, bytes: usize) -> String {
    let mut text = format!(r#"{{"number":{number},"rows":["#);
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut row = 0;
    while text.len() < bytes {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (id, at, likes) = (random, 1_764_300_000 + random % 86_400, random >> 58);
        let comma = if row == 0 { "" } else { "," };
        text.push_str(&format!(
            r#"{comma}{{"at":{at},"id":"{id:016x}","likes":{likes},"text":"message {row} of the room","user":"user-{}"}}"#,
            random >> 50
        ));
        row += 1;
    }
    text.push_str("]}");
    text
}
