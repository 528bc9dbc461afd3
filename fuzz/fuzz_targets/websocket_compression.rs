//! Offers of compression never fail, what is accepted can be read as an offer, and compressed messages come out the same
//! however the stream is cut, within their limit.
//!
//! The lowest bit of the first byte selects offers, one header a line, or messages. Of messages the second lowest selects
//! a stream of frames or the payload of one frame, and the rest says how long the pieces are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roomwire::protocol::websocket::extension::{Negotiation, negotiate};
use roomwire::protocol::websocket::{DecodeFailure, Frame, FrameDecoder, FrameError};
use roomwire::protocol::wire_format::Compression;

const LIMIT: usize = 10_000;

fn offers(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Negotiation::Accepted(agreement) = negotiate(text.split('\n')) {
        let response = agreement.response();
        assert_eq!(negotiate([response]), Negotiation::Accepted(agreement));
        assert!(text.contains("permessage-deflate"));
    }
}

fn decode(stream: &[u8], piece: usize) -> (Vec<String>, Option<FrameError>) {
    let mut decoder = FrameDecoder::new(LIMIT).with_compression(Compression::Deflate);
    let mut seen = Vec::new();
    let mut stream = stream.to_vec();
    for chunk in stream.chunks_mut(piece) {
        let outcome = decoder.decode::<()>(chunk, &mut |frame| {
            match frame {
                Frame::Binary(content) => assert!(content.len() <= LIMIT),
                Frame::Text(text) => assert!(text.len() <= LIMIT),
                _ => {}
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

/// The compressed message with this payload, in one frame without a mask of its own.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xc2, 0x80 | 126];
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    if mode & 1 == 0 {
        return offers(rest);
    }
    let stream = match mode & 2 {
        0 => rest.to_vec(),
        _ => frame(&rest[..rest.len().min(usize::from(u16::MAX))]),
    };
    let whole = decode(&stream, stream.len().max(1));
    assert_eq!(decode(&stream, usize::from(mode >> 2).max(1)), whole);
    assert_eq!(decode(&stream, 1), whole);
});
