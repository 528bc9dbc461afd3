//! `[bus]`: the dialects and their translation.

use super::*;

#[test]
fn translation_between_fewer_than_two_kinds_of_programs_gets_a_warning_that_names_the_keys() {
    let on = ("ROOMWIRE_BUS__TRANSLATE", "on");
    let redis = ("ROOMWIRE_BUS__REDIS_URL", "redis://127.0.0.1");
    let python = ("ROOMWIRE_BUS__PYTHON", "on");
    let node = |adapter| ("ROOMWIRE_BUS__NODE_ADAPTER", adapter);
    let static_mode = ("ROOMWIRE_BUS__NODE_ROOM_CHANNELS", "none");
    let cases: [(Pairs<'_>, Option<&str>); 7] = [
        (&[redis, on, python, node("streams")], None),
        (&[redis, on, python, node("sharded"), static_mode], None),
        (&[redis, python], None),
        (
            &[redis, on],
            Some("has no effect without bus.python and bus.node_adapter"),
        ),
        (
            &[redis, on, python],
            Some("has no effect without bus.node_adapter"),
        ),
        (
            &[redis, on, node("emitters")],
            Some("has no effect without bus.python"),
        ),
        (
            &[redis, on, python, node("sharded")],
            Some(
                "has no effect with bus.node_adapter = \"sharded\", unless bus.python is on and bus.node_room_channels is \"none\"",
            ),
        ),
    ];
    for (pairs, expected) in cases {
        let warnings = load_environment(pairs).unwrap().warnings;
        let found = warnings.iter().find(|it| it.key == "bus.translate");
        let found = found.map(|warning| warning.message.as_str());
        assert_eq!(found, expected, "{pairs:?}");
    }
}
