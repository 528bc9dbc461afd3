//! Whatever comes on python-socketio's channel is decoded or rejected; what was decoded can be encoded again and
//! keeps its namespace.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roomwire::cluster::dialect::python::{Decoded, PythonCodec};
use roomwire::model::NodeId;

fuzz_target!(|message: &[u8]| {
    let node = NodeId::parse("abcd").expect("four letters");
    let (ours, theirs) = (
        PythonCodec::new("ours", node),
        PythonCodec::new("theirs", node),
    );
    match ours.decode(message) {
        Ok(Decoded::Command(command)) => {
            let said = theirs.encode(&command).unwrap_or_default();
            for again in said {
                if let Ok(Decoded::Command(read)) = ours.decode(&again) {
                    assert_eq!(read.namespace(), command.namespace());
                }
            }
        }
        Ok(Decoded::AckReply(reply)) => {
            let _ = PythonCodec::encode_reply(&reply);
        }
        Ok(Decoded::Own | Decoded::Ignored(_)) | Err(_) => {}
    }
});
