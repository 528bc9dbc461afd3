use super::*;
use crate::protocol::websocket::{close_frame, encode_header};

const OPEN: &str =
    r#"0{"sid":"x","upgrades":[],"pingInterval":300,"pingTimeout":200,"maxPayload":1000}"#;
const LIMIT: usize = 10_000;

/// Masks that leave the content readable.
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

/// The frames a server decodes, as text.
fn decode(bytes: Vec<u8>) -> Vec<String> {
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
        let connect = ConnectRequest {
            namespace: Namespace::from(namespace),
            auth: auth.into(),
        };
        let connect_by = start + Duration::from_secs(5);
        Self {
            client: Client::new(connect, LIMIT, connect_by, Arc::new(NoMask)),
            start,
        }
    }

    fn connected() -> Self {
        let mut peer = Self::new("/", "");
        peer.server_sends(&text(OPEN)).unwrap();
        peer.server_sends(&text(r#"40{"sid":"abc"}"#)).unwrap();
        assert_eq!(peer.sent(), ["40"]);
        peer.client.release();
        peer
    }

    fn server_sends(&mut self, bytes: &[u8]) -> Result<Vec<ServerEvent>, EndReason> {
        self.server_sends_at(bytes, self.start)
    }

    fn server_sends_at(
        &mut self,
        bytes: &[u8],
        now: Instant,
    ) -> Result<Vec<ServerEvent>, EndReason> {
        let mut events = Vec::new();
        self.client
            .receive(&mut bytes.to_vec(), now, &mut |event| events.push(event))?;
        Ok(events)
    }

    fn sent(&mut self) -> Vec<String> {
        decode(self.client.take_outgoing())
    }
}

#[test]
fn a_connection_opens_connects_and_exchanges_events() {
    let mut peer = Peer::new("/admin", r#"{"token":"t"}"#);
    assert_eq!(
        peer.client.emit(&Payload::text(r#"["early",1]"#), false),
        None
    );
    assert_eq!(peer.server_sends(&text(OPEN)).unwrap(), []);
    assert_eq!(peer.sent(), [r#"40/admin,{"token":"t"}"#]);
    assert!(!peer.client.is_connected());
    let events = peer
        .server_sends(&text(r#"40/admin,{"sid":"abc"}"#))
        .unwrap();
    assert_eq!(events, [ServerEvent::Connected { sid: "abc".into() }]);
    assert_eq!(peer.client.emit_first(&Payload::text(r#"["hello"]"#)), 0);
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
    let events = peer
        .server_sends(
            &[
                text(r#"42/admin,7["q",2]"#),
                text(r#"43/admin,1["yes"]"#),
                text(r#"42["another namespace"]"#),
            ]
            .concat(),
        )
        .unwrap();
    assert_eq!(
        events,
        [
            ServerEvent::Event {
                payload: Payload::text(r#"["q",2]"#),
                ack: Some(AckId::Number(7)),
            },
            ServerEvent::Ack {
                id: 1,
                payload: Payload::text(r#"["yes"]"#),
            },
        ]
    );
    peer.client.ack(&AckId::Number(7), &Payload::text("[true]"));
    assert_eq!(peer.sent(), ["43/admin,7[true]"]);
    peer.client.close(true);
    assert_eq!(
        peer.sent(),
        ["41/admin,", r#"Close { code: Some(1000), reason: "" }"#]
    );
}

/// As sent by python-socketio, whose connect handler emits before the response to the CONNECT.
#[test]
fn events_before_the_connect_response_are_delivered_after_it() {
    let mut peer = Peer::new("/", "");
    peer.server_sends(&text(OPEN)).unwrap();
    let early = [
        text(r#"42["first"]"#),
        text(r#"451-3["second",{"_placeholder":true,"num":0}]"#),
        binary(&[1]),
    ];
    assert_eq!(peer.server_sends(&early.concat()), Ok(vec![]));
    let events = peer.server_sends(&[text(r#"40{"sid":"abc"}"#), text(r#"42["third"]"#)].concat());
    let names: Vec<_> = events.unwrap().iter().map(name_of).collect();
    assert_eq!(
        names,
        ["connected", r#""first""#, r#""second" 3"#, r#""third""#]
    );

    let mut peer = Peer::new("/", "");
    peer.server_sends(&text(OPEN)).unwrap();
    let many = text(r#"42["x"]"#).repeat(LIMIT);
    let end = peer.server_sends(&many).unwrap_err();
    assert!(end.to_string().contains("too many events"), "{end}");
}

fn name_of(event: &ServerEvent) -> String {
    match event {
        ServerEvent::Connected { .. } => "connected".into(),
        ServerEvent::Event { payload, ack } => {
            let id = ack.as_ref().and_then(AckId::number);
            let id = id.map(|id| format!(" {id}")).unwrap_or_default();
            format!("{}{id}", payload.elements().next().unwrap())
        }
        ServerEvent::Ack { id, .. } => format!("acked {id}"),
    }
}

#[test]
fn attachments_pass_in_both_directions() {
    let mut peer = Peer::connected();
    let bytes = [
        text(r#"451-["file",{"_placeholder":true,"num":0}]"#),
        binary(&[1, 2]),
    ];
    let events = peer.server_sends(&bytes.concat()).unwrap();
    let [ServerEvent::Event { payload, ack: None }] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(payload.attachments(), [Bytes::from_static(&[1, 2])]);
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
fn pings_get_pongs_and_a_missed_deadline_ends_the_connection() {
    let mut peer = Peer::connected();
    let max_silence = Duration::from_millis(500);
    assert_eq!(peer.client.poll_timeout(), peer.start + max_silence);
    let later = peer.start + Duration::from_millis(300);
    assert_eq!(peer.server_sends_at(&text("2"), later), Ok(vec![]));
    assert_eq!(peer.sent(), ["3"]);
    let frame = [&[0x89, 1][..], b"w"].concat();
    assert_eq!(peer.server_sends_at(&frame, later), Ok(vec![]));
    assert_eq!(peer.sent(), ["Pong([119])"]);
    assert_eq!(peer.client.handle_timeout(peer.start + max_silence), Ok(()));
    assert_eq!(
        peer.client.handle_timeout(later + max_silence),
        Err(EndReason::PingTimeout)
    );
}

#[test]
fn a_connect_error_ends_the_connection_with_its_message() {
    let rejections = [
        (
            r#"44{"message":"no","data":{"code":7}}"#,
            "no",
            Some(r#"{"code":7}"#),
        ),
        (r#"44{"message":"no"}"#, "no", None),
        (r#"44"plain""#, "plain", None),
        (r#"44{"why":1}"#, r#"{"why":1}"#, None),
    ];
    for (packet, message, data) in rejections {
        let mut peer = Peer::new("/", "");
        peer.server_sends(&text(OPEN)).unwrap();
        let end = EndReason::Rejected {
            message: message.into(),
            data: data.map(Into::into),
        };
        assert_eq!(peer.server_sends(&text(packet)), Err(end), "{packet}");
    }
    let mut peer = Peer::new("/", "");
    let late = peer.start + Duration::from_secs(5);
    assert_eq!(
        peer.client.handle_timeout(late),
        Err(EndReason::ConnectTimeout)
    );
}

#[test]
fn each_end_has_a_text_and_stops_all_events() {
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
        let mut peer = Peer::connected();
        let end = peer.server_sends(&[bytes, text(r#"42["late"]"#)].concat());
        assert!(end.as_ref().is_err(), "{expected}");
        let message = end.unwrap_err().to_string();
        assert!(
            message.starts_with(expected.split(" with ").next().unwrap()),
            "{message}"
        );
        assert_eq!(peer.server_sends(&text(r#"42["late"]"#)), Ok(vec![]));
    }
}

#[test]
fn incompatible_servers_are_recognized() {
    let mut peer = Peer::new("/", "");
    assert!(matches!(
        peer.server_sends(&text("0{}")),
        Err(EndReason::Protocol(_))
    ));
    // Socket.IO 2 sends a CONNECT without a sid, and none in response to a CONNECT.
    let mut peer = Peer::new("/", "");
    peer.server_sends(&text(OPEN)).unwrap();
    let end = peer.server_sends(&text("40")).unwrap_err();
    assert!(end.to_string().contains("older protocol"), "{end}");
}
