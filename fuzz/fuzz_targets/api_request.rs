//! A request of a backend, alone or in a batch, is parsed and checked, or rejected with a position and a code.
//!
//! What is parsed is the same request after it has been written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roomwire::model::Room;
use roomwire::verbs::{BatchRequest, CheckRules, VERBS, VerbRequest};

const MAX_ITEMS: usize = 100;

fn check(request: &VerbRequest<'_>) {
    let rules = CheckRules {
        max_depth: 100,
        user_room: &|user| Room::from(format!("user:{user}")),
        own_socket: None,
    };
    let rejected = match request {
        VerbRequest::Emit(emit) => emit.check(&rules).err(),
        VerbRequest::Call(call) => call.check(&rules).err(),
        VerbRequest::Join(join) => join.check(&rules).err(),
        VerbRequest::Leave(leave) => leave.check(&rules).err(),
        VerbRequest::CloseRoom(close) => close.check().err(),
        VerbRequest::Disconnect(disconnect) => disconnect.check(&rules).err(),
        VerbRequest::ForceReconnect(request) => request.check(&rules).err(),
        VerbRequest::Sockets(sockets) => sockets.check(&rules).err(),
        VerbRequest::Rooms(rooms) => rooms.check().err(),
        VerbRequest::Users(users) => users.check().err(),
        VerbRequest::Members(members) => members.check().err(),
        VerbRequest::History(history) => history.check().err(),
        VerbRequest::Revoke(revoke) => revoke.check().err(),
        VerbRequest::Info(_) => None,
    };
    if let Some(error) = rejected {
        assert!(!error.message.is_empty() && error.message.len() < 2000);
    }
    let written = serde_json::to_string(request).expect("a request is written");
    let again = VerbRequest::parse_tagged(written.as_bytes()).expect("what was written is read");
    assert_eq!(again.verb(), request.verb());
    assert_eq!(serde_json::to_string(&again).ok(), Some(written));
}

fuzz_target!(|input: &[u8]| {
    for verb in VERBS {
        match VerbRequest::parse(verb, input) {
            Ok(request) => check(&request),
            Err(error) => assert!(error.message.len() < 2000),
        }
    }
    match BatchRequest::parse(input, MAX_ITEMS) {
        Ok(batch) => batch.items.iter().for_each(check),
        Err(error) => assert!(error.item.is_none_or(|item| item < input.len())),
    }
});
