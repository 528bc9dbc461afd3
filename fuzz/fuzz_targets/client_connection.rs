//! A client connection hears and says the same however the server's bytes are cut, and what it says is read by a server.
//!
//! The first byte of the input says how long the pieces are; the rest is what the server sends.

#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use roomwire::model::{Namespace, Payload, Random};
use roomwire::protocol::client::{Client, End, Heard, Purpose};
use roomwire::protocol::websocket::FrameDecoder;

const LIMIT: usize = 2_000;
/// No server is waited for longer, whatever it announces.
const LONGEST_SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

struct NoMask;

impl Random for NoMask {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

#[derive(Debug, PartialEq)]
struct Outcome {
    heard: Vec<Heard>,
    end: Option<End>,
    said: Vec<u8>,
    joined: bool,
}

fn converse(stream: &[u8], piece: usize, now: Instant) -> Outcome {
    let purpose = Purpose {
        namespace: Namespace::from("/"),
        auth: "".into(),
    };
    let mut client = Client::new(purpose, LIMIT, now, Arc::new(NoMask));
    client.release();
    let (mut heard, mut said) = (Vec::new(), Vec::new());
    let mut stream = stream.to_vec();
    let end = stream.chunks_mut(piece).find_map(|chunk| {
        let mut news = Vec::new();
        let end = client.receive(chunk, now, &mut |one| news.push(one)).err();
        said.extend(client.take_outgoing());
        heard.extend(news);
        end
    });
    assert!(client.poll_timeout() <= now + LONGEST_SILENCE);
    // All at the end: how early an answer leaves depends on the pieces.
    for event in &heard {
        if let Heard::Event {
            payload,
            ack: Some(id),
        } = event
        {
            client.answer(id, payload);
        }
    }
    client.emit(&Payload::text(r#"["last"]"#), true);
    said.extend(client.take_outgoing());
    let joined = client.is_joined();
    Outcome {
        heard,
        end,
        said,
        joined,
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, stream)) = input.split_first() else {
        return;
    };
    let now = Instant::now();
    let whole = converse(stream, stream.len().max(1), now);
    for piece in [usize::from(*piece).max(1), 1] {
        assert_eq!(converse(stream, piece, now), whole);
    }
    let mut said = whole.said;
    FrameDecoder::new(usize::MAX)
        .decode::<()>(&mut said, &mut |_| Ok(()))
        .expect("a server reads what a client says");
});
