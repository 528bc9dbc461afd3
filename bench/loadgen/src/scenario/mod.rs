//! What is measured. Each scenario is an `Observer` of the fleet that reacts to
//! notices and counts, and a `run` that turns the counts into one JSON object.

pub(crate) mod ack;
pub(crate) mod assembly;
pub(crate) mod churn;
pub(crate) mod fanout;
pub(crate) mod hold;
pub(crate) mod joins;
pub(crate) mod open_webui;
pub(crate) mod probe;
pub(crate) mod report;
pub(crate) mod verify;

use std::time::Duration;

/// The room of every scenario that needs one.
pub(crate) const ROOM: &str = "bench";
/// How long a loop waits for sockets before it looks at its own conditions.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// The id of a join's ack; scenarios number theirs from 1.
pub(crate) const JOIN_ACK: u32 = 0;
/// Bytes of the argument of measured emits.
pub(crate) const PAYLOAD: usize = 100;

/// Whether an ack's arguments say `{ok:true}`.
pub(crate) fn accepted(answer: &str) -> bool {
    answer.contains(r#""ok":true"#) || answer.contains(r#""ok": true"#)
}

/// The argument of the `number`th measured emit: the number and filling up to [`PAYLOAD`].
pub(crate) fn payload(number: u64) -> String {
    format!("{number:016x}{:x<1$}", "", PAYLOAD - 16)
}
