//! What clients send to recover their session, and what the store has of it: rejected, or read and written unchanged.

#![no_main]

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use libfuzzer_sys::fuzz_target;
use roomwire::history::Stamp;
use roomwire::model::random::OsRandom;
use roomwire::model::{Namespace, NodeId, Position, SocketId, WorkerIndex};
use roomwire::recovery::{NodeRecord, Pid, RecoveryRequest, SessionRecord};

fuzz_target!(|input: &[u8]| {
    if let Some(record) = SessionRecord::decode(input) {
        let written = record.encode();
        assert_eq!(SessionRecord::decode(&written), Some(record));
    }
    // Of servers in Node, also as it is before base64.
    let encoded = BASE64_STANDARD.encode(input);
    for value in [input, encoded.as_bytes()] {
        if let Ok(NodeRecord { mut record, .. }) = NodeRecord::decode(value, &Namespace::main()) {
            // It is written for the socket that continues the session.
            let node = NodeId::random(&OsRandom);
            record.continue_as(SocketId::random(node, WorkerIndex::default(), &OsRandom));
            let written = NodeRecord::encode(&record, Pid::random_for_node_js(&OsRandom));
            let again = NodeRecord::decode(&written, &Namespace::main());
            assert_eq!(again.map(|it| it.record), Ok(record));
        }
    }
    if let Some(stamp) = Stamp::read(input) {
        let mut written = bytes::BytesMut::new();
        stamp.write(&mut written);
        // Behind the tag and the length of the extension.
        assert_eq!(Stamp::read(&written[6..]), Some(stamp));
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    for is_default in [false, true] {
        let request = RecoveryRequest::parse(text, is_default, !is_default);
        let offset = request.and_then(|request| request.resume?.offset);
        if let Some(Ok(position)) = offset {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
    }
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string().parse(), Ok(position));
    }
});
