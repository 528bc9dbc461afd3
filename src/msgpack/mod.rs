//! Values of msgpack as JSON, and back: what the msgpack parser of clients and the messages of emitters have in common
//! (docs/protocol.md#27-msgpack-parser). Pure.

mod raw;
mod read;
mod write;

pub use read::{MAX_DEPTH, Reader, ValueError};
pub use write::{string, write_value, written};

/// Values for tests of everything that converts them.
#[cfg(test)]
pub(crate) mod arbitrary {
    use proptest::prelude::{Just, Strategy, any, prop_oneof};
    use serde_json::Value;

    /// Any JSON value without numbers that two encodings print differently.
    pub(crate) fn json() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f32>()
                .prop_filter("finite", |number| number.is_finite())
                .prop_map(|number| Value::from(f64::from(number))),
            any::<String>().prop_map(Value::from),
        ];
        scalar.prop_recursive(6, 64, 20, |inner| {
            let names = any::<String>();
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                proptest::collection::vec((names, inner), 0..20)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }
}
