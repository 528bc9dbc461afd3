//! A native message that is read means the same when it is written again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomwire::cluster::dialect::native::{NativeMessage, sender_of, stamp_of};
use roomwire::model::Position;

fuzz_target!(|message: &[u8]| {
    if let Some(Ok(position)) = std::str::from_utf8(message)
        .ok()
        .map(str::parse::<Position>)
    {
        assert_eq!(position.to_string().parse(), Ok(position));
    }
    let message = Bytes::copy_from_slice(message);
    // A malformed position is rejected, whatever else the message is.
    let _ = stamp_of(&message);
    let Ok((sender, read)) = NativeMessage::decode(&message) else {
        return;
    };
    assert_eq!(sender_of(&message), Ok(sender));
    let written = read.encode(sender).expect("what was read is not too long");
    assert_eq!(NativeMessage::decode(&written), Ok((sender, read)));
});
