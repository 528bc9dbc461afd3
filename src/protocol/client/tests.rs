use super::*;
use crate::protocol::websocket::{close_frame, encode_header};

const OPEN: &str =
    r#"0{"sid":"x","upgrades":[],"pingInterval":300,"pingTimeout":200,"maxPayload":1000}"#;
const LIMIT: usize = 10_000;

/// Masks that show what they hide.
struct NoMask;

impl Random for NoMask {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

struct Peer {
    client: Client,
    start: Instant,
}

fn text(content: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_header(OpCode::Text, content.len(), &mut frame);
    frame.extend_from_slice(content.as_bytes());
    frame
}

fn binary(content: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_header(OpCode::Binary, content.len(), &mut frame);
    frame.extend_from_slice(content);
    frame
}

/// What a server reads, in words.
fn read(bytes: Vec<u8>) -> Vec<String> {
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut seen = Vec::new();
    let mut bytes = bytes;
    decoder
        .decode::<()>(&mut bytes, &mut |frame| {
            seen.push(match frame {
                Frame::Text(text) => text.to_owned(),
                other => format!("{other:?}"),
            });
            Ok(())
        })
        .unwrap();
    seen
}

impl Peer {
    fn new(namespace: &str, auth: &str) -> Self {
        let start = Instant::now();
        let purpose = Purpose {
            namespace: Namespace::from(namespace),
            auth: auth.into(),
        };
        let join_by = start + Duration::from_secs(5);
        Self {
            client: Client::new(purpose, LIMIT, join_by, Arc::new(NoMask)),
            start,
        }
    }

    fn joined() -> Self {
        let mut peer = Self::new("/", "");
        peer.says(&text(OPEN)).unwrap();
        peer.says(&text(r#"40{"sid":"abc"}"#)).unwrap();
        assert_eq!(peer.sent(), ["40"]);
        peer.client.release();
        peer
    }

    fn says(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, End> {
        self.says_at(bytes, self.start)
    }

    fn says_at(&mut self, bytes: &[u8], now: Instant) -> Result<Vec<Heard>, End> {
        let mut news = Vec::new();
        self.client
            .receive(&mut bytes.to_vec(), now, &mut |heard| news.push(heard))?;
        Ok(news)
    }

    fn sent(&mut self) -> Vec<String> {
        read(self.client.take_outgoing())
    }
}

#[test]
fn a_connection_opens_joins_and_talks() {
    let mut peer = Peer::new("/admin", r#"{"token":"t"}"#);
    assert_eq!(
        peer.client.emit(&Payload::text(r#"["early",1]"#), false),
        None
    );
    assert_eq!(peer.says(&text(OPEN)).unwrap(), []);
    assert_eq!(peer.sent(), [r#"40/admin,{"token":"t"}"#]);
    assert!(!peer.client.is_joined());
    let heard = peer.says(&text(r#"40/admin,{"sid":"abc"}"#)).unwrap();
    assert_eq!(heard, [Heard::Joined { sid: "abc".into() }]);
    assert_eq!(peer.client.greet(&Payload::text(r#"["hello"]"#)), 0);
    assert_eq!(
        peer.client.emit(&Payload::text(r#"["second"]"#), true),
        Some(1)
    );
    assert_eq!(peer.sent(), [r#"42/admin,0["hello"]"#]);
    peer.client.release();
    assert_eq!(
        peer.sent(),
        [r#"42/admin,["early",1]"#, r#"42/admin,1["second"]"#]
    );
    let heard = peer
        .says(
            &[
                text(r#"42/admin,7["asks",2]"#),
                text(r#"43/admin,1["yes"]"#),
                text(r#"42["another namespace"]"#),
            ]
            .concat(),
        )
        .unwrap();
    assert_eq!(
        heard,
        [
            Heard::Event {
                payload: Payload::text(r#"["asks",2]"#),
                ack: Some(AckId::Number(7)),
            },
            Heard::Acked {
                id: 1,
                payload: Payload::text(r#"["yes"]"#),
            },
        ]
    );
    peer.client
        .answer(&AckId::Number(7), &Payload::text("[true]"));
    assert_eq!(peer.sent(), ["43/admin,7[true]"]);
    peer.client.say_goodbye(true);
    assert_eq!(
        peer.sent(),
        ["41/admin,", r#"Close { code: Some(1000), reason: "" }"#]
    );
}

/// As python-socketio sends them, whose connect handler emits before the namespace is said to be joined.
#[test]
fn events_before_the_join_are_heard_after_it() {
    let mut peer = Peer::new("/", "");
    peer.says(&text(OPEN)).unwrap();
    let early = [
        text(r#"42["first"]"#),
        text(r#"451-3["second",{"_placeholder":true,"num":0}]"#),
        binary(&[1]),
    ];
    assert_eq!(peer.says(&early.concat()), Ok(vec![]));
    let heard = peer.says(&[text(r#"40{"sid":"abc"}"#), text(r#"42["third"]"#)].concat());
    let names: Vec<_> = heard.unwrap().iter().map(named).collect();
    assert_eq!(
        names,
        ["joined", r#""first""#, r#""second" 3"#, r#""third""#]
    );

    let mut peer = Peer::new("/", "");
    peer.says(&text(OPEN)).unwrap();
    let many = text(r#"42["x"]"#).repeat(LIMIT);
    let end = peer.says(&many).unwrap_err();
    assert!(end.to_string().contains("too many events"), "{end}");
}

fn named(heard: &Heard) -> String {
    match heard {
        Heard::Joined { .. } => "joined".into(),
        Heard::Event { payload, ack } => {
            let id = ack.as_ref().and_then(AckId::number);
            let id = id.map(|id| format!(" {id}")).unwrap_or_default();
            format!("{}{id}", payload.elements()[0])
        }
        Heard::Acked { id, .. } => format!("acked {id}"),
    }
}

#[test]
fn attachments_pass_both_ways() {
    let mut peer = Peer::joined();
    let bytes = [
        text(r#"451-["file",{"_placeholder":true,"num":0}]"#),
        binary(&[1, 2]),
    ];
    let heard = peer.says(&bytes.concat()).unwrap();
    let [Heard::Event { payload, ack: None }] = heard.as_slice() else {
        panic!("{heard:?}");
    };
    assert_eq!(
        payload.attachments.as_slice(),
        [Bytes::from_static(&[1, 2])]
    );
    assert_eq!(peer.client.emit(payload, true), Some(0));
    assert_eq!(
        peer.sent(),
        [
            r#"451-0["file",{"_placeholder":true,"num":0}]"#,
            "Binary([1, 2])",
        ]
    );
}

#[test]
fn pings_are_answered_and_silence_ends_it() {
    let mut peer = Peer::joined();
    let silence = Duration::from_millis(500);
    assert_eq!(peer.client.poll_timeout(), peer.start + silence);
    let later = peer.start + Duration::from_millis(300);
    assert_eq!(peer.says_at(&text("2"), later), Ok(vec![]));
    assert_eq!(peer.sent(), ["3"]);
    let frame = [&[0x89, 1][..], b"w"].concat();
    assert_eq!(peer.says_at(&frame, later), Ok(vec![]));
    assert_eq!(peer.sent(), ["Pong([119])"]);
    assert_eq!(peer.client.handle_timeout(peer.start + silence), Ok(()));
    assert_eq!(
        peer.client.handle_timeout(later + silence),
        Err(End::Silent)
    );
}

#[test]
fn who_is_not_let_in_learns_why() {
    let refusals = [
        (
            r#"44{"message":"no","data":{"code":7}}"#,
            "no",
            Some(r#"{"code":7}"#),
        ),
        (r#"44{"message":"no"}"#, "no", None),
        (r#"44"plain""#, "plain", None),
        (r#"44{"why":1}"#, r#"{"why":1}"#, None),
    ];
    for (packet, message, data) in refusals {
        let mut peer = Peer::new("/", "");
        peer.says(&text(OPEN)).unwrap();
        let end = End::Refused {
            message: message.into(),
            data: data.map(Into::into),
        };
        assert_eq!(peer.says(&text(packet)), Err(end), "{packet}");
    }
    let mut peer = Peer::new("/", "");
    let late = peer.start + Duration::from_secs(5);
    assert_eq!(peer.client.handle_timeout(late), Err(End::ConnectTimeout));
}

#[test]
fn every_end_has_its_name_and_is_the_last_word() {
    let ends: [(Vec<u8>, &str); 8] = [
        (text("41"), "server namespace disconnect"),
        (text("1"), "transport close"),
        (
            close_frame(Some(1009), "too\nlarge"),
            "transport close 1009 toolarge",
        ),
        (close_frame(None, ""), "transport close"),
        (
            text("42{}"),
            "protocol error: Event packet with no name that is a string or number",
        ),
        (text("9"), "protocol error: unknown packet type '9'"),
        (text(OPEN), "protocol error: unexpected packet Open(\"\")"),
        (
            binary(&[1]),
            "protocol error: binary message while no attachment is due",
        ),
    ];
    for (bytes, expected) in ends {
        let mut peer = Peer::joined();
        let end = peer.says(&[bytes, text(r#"42["late"]"#)].concat());
        assert!(end.as_ref().is_err(), "{expected}");
        let said = end.unwrap_err().to_string();
        assert!(
            said.starts_with(expected.split(" with ").next().unwrap()),
            "{said}"
        );
        assert_eq!(peer.says(&text(r#"42["late"]"#)), Ok(vec![]));
    }
}

#[test]
fn other_servers_are_recognised() {
    let mut peer = Peer::new("/", "");
    assert!(matches!(peer.says(&text("0{}")), Err(End::Protocol(_))));
    // Socket.IO 2 answers no CONNECT of ours but sends one without sid.
    let mut peer = Peer::new("/", "");
    peer.says(&text(OPEN)).unwrap();
    let end = peer.says(&text("40")).unwrap_err();
    assert!(end.to_string().contains("older protocol"), "{end}");
}
