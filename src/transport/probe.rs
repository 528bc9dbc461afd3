//! The probe of a websocket that requests to take over a polling session (docs/protocol.md#16-upgrade).

use crate::protocol::websocket::Frame;

/// What to do with a frame of a probing websocket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ProbeStep<'a> {
    /// It sent `2probe`: respond [`PROBE_RESPONSE`], and end the pending poll.
    Respond,
    /// It sent `5`: it carries the session from now on.
    TakeOver,
    /// Send a pong with this content.
    Pong(&'a [u8]),
    Ignore,
    /// It broke the protocol: close it, the session continues over polling.
    Fail,
}

/// The response to `2probe`.
pub(super) const PROBE_RESPONSE: &str = "3probe";

/// Interprets a frame of a websocket that does not carry the session yet.
pub(super) fn probe_step<'a>(frame: &Frame<'a>) -> ProbeStep<'a> {
    match frame {
        Frame::Text("2probe") => ProbeStep::Respond,
        Frame::Text("5") => ProbeStep::TakeOver,
        Frame::Ping(content) => ProbeStep::Pong(content),
        Frame::Pong(_) => ProbeStep::Ignore,
        Frame::Text(_) | Frame::Binary(_) | Frame::Close { .. } => ProbeStep::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_packets_of_the_probe_and_control_frames_are_accepted() {
        let close = Frame::Close {
            code: None,
            reason: "",
        };
        for (frame, expected) in [
            (Frame::Text("2probe"), ProbeStep::Respond),
            (Frame::Text("5"), ProbeStep::TakeOver),
            (Frame::Ping(b"x"), ProbeStep::Pong(b"x")),
            (Frame::Pong(b""), ProbeStep::Ignore),
            (Frame::Text("2"), ProbeStep::Fail),
            (Frame::Binary(b"5"), ProbeStep::Fail),
            (close, ProbeStep::Fail),
        ] {
            assert_eq!(probe_step(&frame), expected, "{frame:?}");
        }
    }
}
