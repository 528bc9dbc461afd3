use proptest::prelude::*;

use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LIMIT: usize = 1000;

/// A frame as a client sends it.
pub(super) fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_header(OpCode::Text, payload.len(), &mut out);
    out[0] = first;
    out[1] |= 0x80;
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    out
}

fn frames(parts: &[(u8, &[u8])]) -> Vec<u8> {
    parts
        .iter()
        .flat_map(|(first, payload)| client_frame(*first, payload))
        .collect()
}

/// Decodes `stream`, cut after each of `sizes` in turn; what came out as text, and the error.
fn decode(stream: &[u8], sizes: &[usize]) -> (Vec<String>, Option<FrameError>) {
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut seen = Vec::new();
    let mut stream = stream.to_vec();
    let mut rest = stream.as_mut_slice();
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
        let (chunk, behind) = rest.split_at_mut(size);
        let outcome = decoder.decode::<()>(chunk, &mut |frame| {
            seen.push(format!("{frame:?}"));
            Ok(())
        });
        match outcome {
            Ok(()) => rest = behind,
            Err(DecodeFailure::Frame(error)) => return (seen, Some(error)),
            Err(DecodeFailure::Stopped(())) => unreachable!(),
        }
    }
    (seen, None)
}

#[track_caller]
fn accepts(stream: &[u8], expected: &[Frame<'_>]) {
    let expected: Vec<String> = expected.iter().map(|frame| format!("{frame:?}")).collect();
    for size in [stream.len().max(1), 1, 3] {
        assert_eq!(
            decode(stream, &[size]),
            (expected.clone(), None),
            "chunks of {size}"
        );
    }
}

#[track_caller]
fn rejects(stream: &[u8], expected: FrameError, close_code: u16) {
    for size in [stream.len(), 1, 3] {
        assert_eq!(
            decode(stream, &[size]).1,
            Some(expected),
            "chunks of {size}"
        );
    }
    assert_eq!(expected.close_code(), close_code);
}

#[test]
fn single_frames() {
    let long = [7; 300];
    // RFC 6455 section 5.7: a masked "Hello".
    accepts(
        &[
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ],
        &[Frame::Text("Hello")],
    );
    accepts(&[], &[]);
    accepts(&client_frame(0x81, b""), &[Frame::Text("")]);
    accepts(&client_frame(0x81, "€ä𝄞".as_bytes()), &[Frame::Text("€ä𝄞")]);
    accepts(&client_frame(0x82, &long), &[Frame::Binary(&long)]);
    accepts(
        &client_frame(0x89, &long[..125]),
        &[Frame::Ping(&long[..125])],
    );
    accepts(&client_frame(0x8a, b""), &[Frame::Pong(b"")]);
}

#[test]
fn a_length_in_a_longer_form_is_accepted() {
    let head = [0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 9];
    accepts(&head, &[Frame::Binary(&[9])]);
}

#[test]
fn fragments_are_joined_around_control_frames() {
    let euro = "€".as_bytes();
    let stream = frames(&[
        (0x01, &euro[..1]),
        (0x89, b"p"),
        (0x00, &euro[1..2]),
        (0x8a, b""),
        (0x80, &euro[2..]),
        (0x02, b""),
        (0x80, b"x"),
    ]);
    accepts(
        &stream,
        &[
            Frame::Ping(b"p"),
            Frame::Pong(b""),
            Frame::Text("€"),
            Frame::Binary(b"x"),
        ],
    );
}

#[test]
fn the_stream_ends_with_a_close_frame() {
    let close = |code, reason| Frame::Close { code, reason };
    let stream = frames(&[(0x88, b""), (0x81, b"late")]);
    accepts(&stream, &[close(None, "")]);
    accepts(&client_frame(0x88, b"\x03\xe8"), &[close(Some(1000), "")]);
    accepts(
        &client_frame(0x88, b"\x0f\xa0bye"),
        &[close(Some(4000), "bye")],
    );
    rejects(
        &client_frame(0x88, b"\x03"),
        FrameError::TruncatedCloseCode,
        1002,
    );
    rejects(
        &client_frame(0x88, b"\x03\xe8\xff"),
        FrameError::InvalidUtf8,
        1007,
    );
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535_u16] {
        rejects(
            &client_frame(0x88, &code.to_be_bytes()),
            FrameError::BadCloseCode(code),
            1002,
        );
    }
}

#[test]
fn malformed_frames_are_rejected() {
    rejects(&[0x81, 0x01, b'x'], FrameError::Unmasked, 1002);
    rejects(
        &client_frame(0xc1, b"x"),
        FrameError::ReservedBits(0x40),
        1002,
    );
    rejects(
        &client_frame(0x91, b"x"),
        FrameError::ReservedBits(0x10),
        1002,
    );
    for opcode in [0x3, 0x7, 0xb, 0xf] {
        rejects(
            &client_frame(0x80 | opcode, b"x"),
            FrameError::UnknownOpCode(opcode),
            1002,
        );
    }
    rejects(
        &client_frame(0x89, &[0; 126]),
        FrameError::ControlTooLong(126),
        1002,
    );
    rejects(
        &client_frame(0x09, b""),
        FrameError::FragmentedControl,
        1002,
    );
    rejects(
        &client_frame(0x80, b"x"),
        FrameError::UnexpectedContinuation,
        1002,
    );
    rejects(
        &frames(&[(0x01, b"a"), (0x81, b"b")]),
        FrameError::InterleavedMessage,
        1002,
    );
    rejects(
        &frames(&[(0x01, b"a"), (0x80, b"b"), (0x80, b"c")]),
        FrameError::UnexpectedContinuation,
        1002,
    );
    rejects(&client_frame(0x81, b"\xff"), FrameError::InvalidUtf8, 1007);
    rejects(
        &frames(&[(0x01, b"\xe2"), (0x80, b"x")]),
        FrameError::InvalidUtf8,
        1007,
    );
}

#[test]
fn an_oversized_frame_is_rejected_by_its_header() {
    let limit = LIMIT;
    accepts(
        &client_frame(0x82, &[0; LIMIT]),
        &[Frame::Binary(&[0; LIMIT])],
    );
    let header_of = |first, size| client_frame(first, &vec![0; size])[..8].to_vec();
    rejects(
        &header_of(0x81, 1001),
        FrameError::TooLarge { size: 1001, limit },
        1009,
    );
    let mut fragmented = client_frame(0x01, &[b'a'; 600]);
    fragmented.extend(client_frame(0x00, b""));
    fragmented.extend(header_of(0x80, 401));
    rejects(
        &fragmented,
        FrameError::TooLarge { size: 1001, limit },
        1009,
    );
    let huge = [
        0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ];
    rejects(
        &huge,
        FrameError::TooLarge {
            size: u64::MAX,
            limit,
        },
        1009,
    );
}

#[test]
fn a_callback_that_stops_the_decoder_is_not_called_again() {
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut seen = 0;
    let mut stream = frames(&[(0x81, b"a"), (0x81, b"b"), (0x81, b"c")]);
    let mut on_frame = |_: Frame<'_>| {
        seen += 1;
        if seen == 2 { Err("enough") } else { Ok(()) }
    };
    let outcome = decoder.decode(&mut stream, &mut on_frame);
    assert_eq!(outcome, Err(DecodeFailure::Stopped("enough")));
    let mut more = client_frame(0x81, b"d");
    assert_eq!(decoder.decode(&mut more, &mut on_frame), Ok(()));
    assert!(decoder.is_finished());
    assert_eq!(seen, 2);
}

#[test]
fn an_idle_decoder_is_small() {
    assert!(
        size_of::<FrameDecoder>() <= 48,
        "{}",
        size_of::<FrameDecoder>()
    );
}

#[test]
fn server_headers_use_the_shortest_form() {
    for (length, expected) in [
        (0, &[0x81, 0][..]),
        (125, &[0x81, 125]),
        (126, &[0x81, 126, 0, 126]),
        (65535, &[0x81, 126, 0xff, 0xff]),
        (65536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut out = Vec::new();
        encode_header(OpCode::Text, length, &mut out);
        assert_eq!(out, expected);
    }
}

#[test]
fn close_frames_fit_a_control_frame() {
    assert_eq!(close_frame(None, "ignored"), [0x88, 0]);
    assert_eq!(close_frame(Some(1009), "big"), b"\x88\x05\x03\xf1big");
    let long = close_frame(Some(1000), &"€".repeat(50));
    assert_eq!(long.len(), 2 + 2 + 41 * 3);
    assert!(str::from_utf8(&long[4..]).is_ok());
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        10 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x00, 0x00, 0x80, 0x89, 0x8a]),
        1 => any::<u8>(),
    ];
    (first, "[aé€]{0,60}").prop_map(|(first, text)| client_frame(first, text.as_bytes()))
}

proptest! {
    #[test]
    fn cutting_the_stream_changes_nothing(
        parts in prop::collection::vec(any_frame(), 0..10),
        noise in prop::collection::vec(any::<u8>(), 0..4),
        sizes in prop::collection::vec(1_usize..40, 1..10),
    ) {
        let mut stream = parts.concat();
        stream.extend(noise);
        prop_assert_eq!(decode(&stream, &sizes), decode(&stream, &[usize::MAX]));
    }

    #[test]
    fn what_a_client_encodes_is_read_back(text in ".{0,90}", data in prop::collection::vec(any::<u8>(), 0..400)) {
        let stream = frames(&[(0x81, text.as_bytes()), (0x82, &data)]);
        let expected = [format!("{:?}", Frame::Text(&text)), format!("{:?}", Frame::Binary(&data))];
        prop_assert_eq!(decode(&stream, &[]), (expected.to_vec(), None));
    }
}

/// What a client's decoder makes of a server's stream, cut into pieces.
fn decode_of_server(stream: &[u8], piece: usize) -> (Vec<String>, Option<FrameError>) {
    let mut decoder = FrameDecoder::of_server(LIMIT);
    let mut seen = Vec::new();
    for chunk in stream.to_vec().chunks_mut(piece) {
        let outcome = decoder.decode::<()>(chunk, &mut |frame| {
            seen.push(format!("{frame:?}"));
            Ok(())
        });
        if let Err(DecodeFailure::Frame(error)) = outcome {
            return (seen, Some(error));
        }
    }
    (seen, None)
}

#[test]
fn a_client_reads_what_servers_write() {
    let mut stream = Vec::new();
    let contents: [(OpCode, Vec<u8>); 5] = [
        (OpCode::Text, b"Hello".to_vec()),
        (OpCode::Binary, vec![7; 300]),
        (OpCode::Text, Vec::new()),
        (OpCode::Ping, b"p".to_vec()),
        (OpCode::Binary, vec![9; LIMIT]),
    ];
    for (opcode, content) in &contents {
        encode_header(*opcode, content.len(), &mut stream);
        stream.extend_from_slice(content);
    }
    stream.extend(close_frame(Some(1000), "bye"));
    let long = vec![7; 300];
    let longest = vec![9; LIMIT];
    let expected: Vec<String> = [
        Frame::Text("Hello"),
        Frame::Binary(&long),
        Frame::Text(""),
        Frame::Ping(b"p"),
        Frame::Binary(&longest),
        Frame::Close {
            code: Some(1000),
            reason: "bye",
        },
    ]
    .iter()
    .map(|frame| format!("{frame:?}"))
    .collect();
    for piece in [stream.len(), 1, 3] {
        assert_eq!(
            decode_of_server(&stream, piece),
            (expected.clone(), None),
            "pieces of {piece}"
        );
    }
}

#[test]
fn a_server_must_not_mask() {
    let stream = client_frame(0x81, b"Hello");
    for piece in [stream.len(), 1] {
        assert_eq!(decode_of_server(&stream, piece).1, Some(FrameError::Masked));
    }
    assert_eq!(FrameError::Masked.close_code(), 1002);
}

proptest! {
    #[test]
    fn a_server_reads_back_what_a_client_masks(head: Vec<u8>, tail: Vec<u8>, key: [u8; 4]) {
        let mut stream = Vec::new();
        write_masked(OpCode::Binary, key, &[&head, &tail], &mut stream);
        let whole = [head, tail].concat();
        let (seen, error) = decode(&stream, &[stream.len()]);
        prop_assert_eq!(error, None);
        prop_assert_eq!(seen, [format!("{:?}", Frame::Binary(&whole))]);
    }
}
