//! Whole configurations: which are accepted, and what is said about the others.
use super::*;

#[test]
fn the_shipped_configuration_is_sound() {
    let config = Config::default();
    assert_eq!(config.engine.path, "/socket.io");
}
