//! The body of a backend's response is read or rejected, and what is read is checked, without a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roomwire::model::random::OsRandom;
use roomwire::model::{Namespace, NodeId, Room, SocketId};
use roomwire::verbs::{CheckRules, OwnSocket, VerbRequest, ack_payload};
use roomwire::webhook::HookAnswer;

fuzz_target!(|data: &[u8]| {
    let Ok(answer) = HookAnswer::parse(data) else {
        return;
    };
    let namespace = Namespace::main();
    let socket = SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom);
    let rules = CheckRules {
        max_depth: 32,
        user_room: &|user| Room::from(user),
        own_socket: Some(OwnSocket {
            id: socket,
            namespace: &namespace,
        }),
    };
    for action in &answer.actions {
        match action {
            VerbRequest::Emit(emit) => drop(emit.check(&rules)),
            VerbRequest::Join(join) => drop(join.check(&rules)),
            VerbRequest::Leave(leave) => drop(leave.check(&rules)),
            VerbRequest::Disconnect(disconnect) => drop(disconnect.check(&rules)),
            VerbRequest::CloseRoom(close) => drop(close.check()),
            _ => {}
        }
    }
    if let Some(ack) = answer.ack {
        drop(ack_payload(ack, &answer.attachments, &rules));
    }
});
