//! A client connection receives and sends the same however the server's bytes are split, and a server can decode what it
//! sends.
//!
//! The first byte of the input is the size of the pieces; the rest is what the server sends.

#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use roomwire::model::{Namespace, Payload, Random};
use roomwire::protocol::client::{Client, ConnectRequest, EndReason, ServerEvent};
use roomwire::protocol::websocket::FrameDecoder;

const LIMIT: usize = 2_000;
/// Upper bound of the ping deadline, whatever a server announces.
const LONGEST_SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

struct NoMask;

impl Random for NoMask {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

#[derive(Debug, PartialEq)]
struct Outcome {
    received: Vec<ServerEvent>,
    end: Option<EndReason>,
    sent: Vec<u8>,
    connected: bool,
}

fn exchange(stream: &[u8], piece: usize, now: Instant) -> Outcome {
    let connect = ConnectRequest {
        namespace: Namespace::from("/"),
        auth: "".into(),
    };
    let mut client = Client::new(connect, LIMIT, now, Arc::new(NoMask));
    client.release();
    let (mut received, mut sent) = (Vec::new(), Vec::new());
    let mut stream = stream.to_vec();
    let end = stream.chunks_mut(piece).find_map(|chunk| {
        let mut events = Vec::new();
        let end = client
            .receive(chunk, now, &mut |event| events.push(event))
            .err();
        sent.extend(client.take_outgoing());
        received.extend(events);
        end
    });
    assert!(client.poll_timeout() <= now + LONGEST_SILENCE);
    // All at the end, because how early an ack is sent depends on the pieces.
    for event in &received {
        if let ServerEvent::Event {
            payload,
            ack: Some(id),
        } = event
        {
            client.ack(id, payload);
        }
    }
    client.emit(&Payload::text(r#"["last"]"#), true);
    sent.extend(client.take_outgoing());
    let connected = client.is_connected();
    Outcome {
        received,
        end,
        sent,
        connected,
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, stream)) = input.split_first() else {
        return;
    };
    let now = Instant::now();
    let whole = exchange(stream, stream.len().max(1), now);
    for piece in [usize::from(*piece).max(1), 1] {
        assert_eq!(exchange(stream, piece, now), whole);
    }
    let mut sent = whole.sent;
    FrameDecoder::new(usize::MAX)
        .decode::<()>(&mut sent, &mut |_| Ok(()))
        .expect("a server decodes what a client sends");
});
