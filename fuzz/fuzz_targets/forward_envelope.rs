//! A forwarded message that is read is the same bytes when it is written again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomwire::transport::forward::envelope::Envelope;

fuzz_target!(|message: &[u8]| {
    let message = Bytes::copy_from_slice(message);
    if let Some(envelope) = Envelope::decode(&message) {
        assert_eq!(envelope.encode(), message);
    }
});
