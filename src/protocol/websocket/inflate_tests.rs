//! Compressed messages of a client, as frames.

use flate2::{Compress, FlushCompress};
use proptest::prelude::*;

use super::tests::client_frame;
use super::*;
use crate::protocol::wire_format::Compression;

const LIMIT: usize = 1000;
/// FIN, RSV1, and the opcode for text.
const TEXT: u8 = 0xc1;

/// Compressed as RFC 7692 section 7.2.1 requires.
fn deflated(content: &[u8]) -> Vec<u8> {
    let mut stream = Compress::new_with_window_bits(flate2::Compression::new(6), false, 15);
    let mut out = Vec::with_capacity(2 * content.len() + 100);
    stream
        .compress_vec(content, &mut out, FlushCompress::Sync)
        .unwrap();
    out.truncate(out.len() - 4);
    out
}

/// The bits of `groups` (value, number of bits), the least significant first.
fn bits(groups: &[(u32, u32)]) -> Vec<u8> {
    let (mut out, mut used) = (Vec::new(), 0);
    for (value, count) in groups {
        for bit in 0..*count {
            if used % 8 == 0 {
                out.push(0);
            }
            *out.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (used % 8);
            used += 1;
        }
    }
    out
}

fn decode(stream: &[u8], piece: usize) -> (Vec<String>, Option<FrameError>) {
    let mut decoder = FrameDecoder::new(LIMIT).with_compression(Compression::Deflate);
    let mut seen = Vec::new();
    for chunk in stream.to_vec().chunks_mut(piece) {
        let outcome = decoder.decode::<()>(chunk, &mut |frame| {
            seen.push(match frame {
                Frame::Text(text) => text.to_owned(),
                other => format!("{other:?}"),
            });
            Ok(())
        });
        if let Err(DecodeFailure::Frame(error)) = outcome {
            return (seen, Some(error));
        }
    }
    (seen, None)
}

#[track_caller]
fn accepts(stream: &[u8], expected: &[&str]) {
    for piece in [stream.len(), 1, 3] {
        let expected = expected.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(decode(stream, piece), (expected, None));
    }
}

#[track_caller]
fn rejects(stream: &[u8], expected: FrameError, close_code: u16) {
    for piece in [stream.len(), 1, 3] {
        assert_eq!(decode(stream, piece), (vec![], Some(expected)));
    }
    assert_eq!(expected.close_code(), close_code);
}

#[test]
fn the_examples_of_the_rfc() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let fragmented = [
        client_frame(0x41, &hello[..3]),
        client_frame(0x80, &hello[3..]),
    ];
    let stored = [0, 5, 0, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0];
    let last_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let two_blocks = [
        0xf2, 0x48, 0x05, 0, 0, 0, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0,
    ];
    for stream in [
        client_frame(TEXT, &hello),
        fragmented.concat(),
        client_frame(TEXT, &stored),
        client_frame(TEXT, &last_block),
        // Without the byte after the final block, as some libraries send it.
        client_frame(TEXT, &last_block[..7]),
        client_frame(TEXT, &two_blocks),
    ] {
        accepts(&stream, &["Hello"]);
    }
    accepts(&client_frame(TEXT, &[0]), &[""]);
    // A second message that refers to the window of the first is for clients with context takeover.
    let with_context = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let both = [
        client_frame(TEXT, &hello),
        client_frame(TEXT, &with_context),
    ]
    .concat();
    assert_eq!(
        decode(&both, both.len()),
        (vec!["Hello".to_owned()], Some(FrameError::InvalidDeflate))
    );
}

#[test]
fn compressed_and_other_messages_and_control_frames_may_alternate() {
    let compressed = deflated(b"abcabcabc");
    let (first, rest) = compressed.split_at(2);
    let stream = [
        client_frame(0x81, b"plain"),
        client_frame(0x41, first),
        client_frame(0x89, b"ping"),
        client_frame(0x80, rest),
        client_frame(0xc2, &deflated(&[1, 2])),
        client_frame(0x01, b"in "),
        client_frame(0x80, b"parts"),
    ];
    let ping = format!("{:?}", Frame::Ping(b"ping"));
    let binary = format!("{:?}", Frame::Binary(&[1, 2]));
    accepts(
        &stream.concat(),
        &["plain", &ping, "abcabcabc", &binary, "in parts"],
    );
}

#[test]
fn reserved_bits_that_were_not_agreed_on_or_are_out_of_place_break_the_connection() {
    for first in [0xc9, 0xca, 0xc8, 0xa1, 0x91, 0xe1, 0xd1, 0xf2] {
        let reserved = FrameError::ReservedBits(match first {
            // RSV1 is allowed in messages.
            0xc8..=0xca => 0x40,
            other => other & 0x70,
        });
        rejects(&client_frame(first, b""), reserved, 1002);
    }
    let mut decoder = FrameDecoder::new(LIMIT).with_compression(Compression::Deflate);
    let mut stream = [client_frame(0x41, &[0]), client_frame(0xc0, &[0])].concat();
    let outcome = decoder.decode::<()>(&mut stream, &mut |_| Ok(()));
    let reserved = FrameError::ReservedBits(0x40);
    assert_eq!(outcome, Err(DecodeFailure::Frame(reserved)));
    let mut plain = FrameDecoder::new(LIMIT);
    let outcome = plain.decode::<()>(&mut client_frame(TEXT, &[0]), &mut |_| Ok(()));
    assert_eq!(outcome, Err(DecodeFailure::Frame(reserved)));
}

#[test]
fn what_is_no_sequence_of_whole_blocks_is_malformed() {
    let whole =
        deflated(&b"some text that is compressed with codes of its own: aaaabbbb ".repeat(9));
    let fixed_block_cut_off = bits(&[(0, 1), (1, 2), (0x4a, 7)]);
    let reserved_block_type = bits(&[(0, 1), (3, 2)]);
    let distance_before_the_start = bits(&[(0, 1), (1, 2), (0b100_0000, 7), (0, 5), (0, 7)]);
    for payload in [
        &whole[..whole.len() / 2],
        &whole[1..],
        &fixed_block_cut_off,
        &reserved_block_type,
        &distance_before_the_start,
        b"plain text",
        b"",
        &[0xff; 20],
    ] {
        rejects(
            &client_frame(TEXT, payload),
            FrameError::InvalidDeflate,
            1007,
        );
    }
}

#[test]
fn decompressed_text_must_be_utf8() {
    rejects(
        &client_frame(TEXT, &deflated(&[b'a', 0xff])),
        FrameError::InvalidUtf8,
        1007,
    );
}

#[test]
fn a_message_may_have_as_many_bytes_as_the_limit_and_a_larger_one_is_not_decompressed_to_its_end() {
    accepts(
        &client_frame(TEXT, &deflated(&[b'x'; LIMIT])),
        &[&"x".repeat(LIMIT)],
    );
    let (size, limit) = (LIMIT as u64 + 1, LIMIT);
    let larger = FrameError::TooLarge { size, limit };
    for bytes in [LIMIT + 1, LIMIT + 2, 900_000] {
        let bomb = deflated(&vec![b'x'; bytes]);
        assert!(bomb.len() < LIMIT);
        rejects(&client_frame(TEXT, &bomb), larger, 1009);
    }
    // One that is too large before it is decompressed.
    let header = client_frame(TEXT, &[0; LIMIT + 1]);
    rejects(&header, larger, 1009);
}

#[test]
fn a_decoder_that_is_used_while_another_delivers_decompresses_too() {
    let mut seen = Vec::new();
    let mut outer = FrameDecoder::new(LIMIT).with_compression(Compression::Deflate);
    let mut stream = client_frame(TEXT, &deflated(b"outer"));
    let outcome = outer.decode::<()>(&mut stream, &mut |frame| {
        let inner = decode(&client_frame(TEXT, &deflated(b"inner")), 100);
        seen.push((format!("{frame:?}"), inner.0));
        Ok(())
    });
    assert_eq!(outcome, Ok(()));
    assert_eq!(
        seen,
        [("Text(\"outer\")".to_owned(), vec!["inner".to_owned()])]
    );
}

#[test]
fn decoding_stops_after_the_message_that_exhausts_the_budget_and_the_rest_is_decoded_next() {
    let bomb = client_frame(TEXT, &deflated(&[b'x'; LIMIT]));
    let large = "x".repeat(LIMIT);
    let stream = [
        client_frame(0x81, b"first"),
        bomb.clone(),
        bomb.clone(),
        client_frame(0x89, b"ping"),
        bomb.clone(),
        client_frame(0x81, b"last"),
    ]
    .concat();
    let ping = format!("{:?}", Frame::Ping(b"ping"));
    let turns: [&[&str]; 2] = [&["first", &large, &large], &[&ping, &large, "last"]];
    // In one piece, and with the end of the last message of a turn in a piece of its own.
    for cut in [0, 20] {
        let mut decoder = FrameDecoder::new(LIMIT).with_compression(Compression::Deflate);
        let mut rest = stream.clone();
        let mut start = rest.drain(..cut).collect::<Vec<_>>();
        let mut seen = Vec::new();
        let mut turn = |input: &mut [u8], budget: &mut InflateBudget| {
            let used = decoder.decode_within::<()>(budget, input, &mut |frame| {
                seen.push(match frame {
                    Frame::Text(text) => text.to_owned(),
                    other => format!("{other:?}"),
                });
                Ok(())
            });
            (used.unwrap(), std::mem::take(&mut seen))
        };
        let mut budget = InflateBudget::new(LIMIT + 1);
        let (used, before) = turn(&mut start, &mut budget);
        assert_eq!(used, cut);
        let (used, after) = turn(&mut rest, &mut budget);
        assert_eq!([before, after].concat(), turns[0]);
        assert!(budget.is_exhausted());
        let compressed = deflated(&[b'x'; LIMIT]).len();
        assert_eq!(budget.excess(), 2 * (LIMIT - compressed));
        assert_eq!(turn(&mut rest[used..], &mut budget), (0, vec![]));
        let mut budget = InflateBudget::new(LIMIT + 1);
        let (behind, seen) = turn(&mut rest[used..], &mut budget);
        assert_eq!(
            (used + behind, seen),
            (
                rest.len(),
                turns[1].iter().map(|it| (*it).to_owned()).collect()
            )
        );
        assert!(!budget.is_exhausted());
    }
}

#[test]
fn messages_that_are_not_compressed_take_nothing_from_the_budget() {
    let mut decoder = FrameDecoder::new(LIMIT).with_compression(Compression::Deflate);
    let mut stream = client_frame(0x81, &[b'x'; LIMIT]).repeat(5);
    let mut budget = InflateBudget::new(1);
    let used = decoder.decode_within::<()>(&mut budget, &mut stream, &mut |_| Ok(()));
    assert_eq!(used, Ok(stream.len()));
    assert_eq!((budget.is_exhausted(), budget.excess()), (false, 0));
}

proptest! {
    #[test]
    fn what_is_compressed_is_read_back(text in ".{0,200}", pieces in 1_usize..40) {
        let compressed = deflated(text.as_bytes());
        let cut = compressed.len() / 2;
        let stream = [
            client_frame(TEXT, &compressed),
            client_frame(0x41, &compressed[..cut]),
            client_frame(0x80, &compressed[cut..]),
        ].concat();
        prop_assert_eq!(decode(&stream, pieces), (vec![text.clone(), text], None));
    }

    #[test]
    fn a_budget_changes_nothing_but_the_number_of_turns(
        messages in prop::collection::vec((any::<bool>(), "a{0,60}"), 1..10),
        bytes in 1_usize..100,
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|(compressed, text)| match compressed {
            true => client_frame(TEXT, &deflated(text.as_bytes())),
            false => client_frame(0x81, text.as_bytes()),
        }).collect();
        let mut decoder = FrameDecoder::new(LIMIT).with_compression(Compression::Deflate);
        let (mut seen, mut rest) = (Vec::new(), stream);
        while !rest.is_empty() {
            let mut turn = 0;
            let used = decoder.decode_within::<()>(&mut InflateBudget::new(bytes), &mut rest, &mut |frame| {
                let Frame::Text(text) = frame else { unreachable!() };
                turn += text.len();
                seen.push(text.to_owned());
                Ok(())
            });
            rest.drain(..used.unwrap());
            let uncompressed: usize = messages.iter().filter(|it| !it.0).map(|it| it.1.len()).sum();
            prop_assert!(turn < bytes + 60 + uncompressed);
        }
        let sent: Vec<String> = messages.into_iter().map(|it| it.1).collect();
        prop_assert_eq!(seen, sent);
    }

    #[test]
    fn any_bytes_yield_a_message_within_the_limit_or_an_error(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let stream = client_frame(0xc2, &payload);
        let whole = decode(&stream, stream.len());
        prop_assert_eq!(decode(&stream, 1), whole);
    }
}
