//! Frames come out the same however the stream is cut, and no message exceeds its limit.
//!
//! The first byte of the input says how long the pieces are; the rest is the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roomwire::protocol::websocket::{DecodeFailure, Frame, FrameDecoder, FrameError};

const LIMIT: usize = 300;

fn decode(stream: &[u8], piece: usize) -> (Vec<String>, Option<FrameError>) {
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut seen = Vec::new();
    let mut stream = stream.to_vec();
    for chunk in stream.chunks_mut(piece) {
        let outcome = decoder.decode::<()>(chunk, &mut |frame| {
            if let Frame::Binary(data) = frame {
                assert!(data.len() <= LIMIT);
            }
            seen.push(format!("{frame:?}"));
            Ok(())
        });
        if let Err(DecodeFailure::Frame(error)) = outcome {
            return (seen, Some(error));
        }
    }
    (seen, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, stream)) = input.split_first() else {
        return;
    };
    let whole = decode(stream, stream.len().max(1));
    assert_eq!(decode(stream, usize::from(*piece).max(1)), whole);
    assert_eq!(decode(stream, 1), whole);
});
