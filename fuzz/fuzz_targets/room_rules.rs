//! Patterns, policies and claims of any text neither panic nor loop, and what is parsed is written as it was read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roomwire::config::{ClaimPath, RoomPattern, RoomPolicy};
use roomwire::model::Identity;
use roomwire::rules::{claim_contains, claim_is, pattern_matches};

fuzz_target!(|texts: (&str, &str, &str, &str)| {
    let (pattern, policy, claims, room) = texts;
    let identity = Identity {
        user: room.to_owned(),
        claims: claims.to_owned(),
        ..Identity::default()
    };
    if let Ok(pattern) = RoomPattern::parse(pattern) {
        let _ = pattern_matches(&pattern, room, None);
        let _ = pattern_matches(&pattern, room, Some(&identity));
    }
    if let Ok(policy) = RoomPolicy::parse(policy) {
        assert_eq!(RoomPolicy::parse(&policy.to_string()), Ok(policy));
    }
    if let Ok(path) = ClaimPath::parse(pattern) {
        let is = claim_is(claims, &path, room);
        let contains = claim_contains(claims, &path, room);
        assert!(!(is && contains), "a claim is a list or a value");
    }
});
