//! What a client requests of recovery in the payload of its CONNECT.

use serde::Deserialize;

use super::pid::Pid;
use crate::model::Position;

/// How a client follows its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracking {
    /// By the last argument of each event, as stock clients do that have recovery.
    Appended,
    /// By `roomwire:session` and `roomwire:offset`.
    Offsets,
}

/// The request of a client whose session can be recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryRequest {
    pub tracking: Tracking,
    /// The session to recover.
    pub resume: Option<Resume>,
}

/// A session to recover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    pub pid: Pid,
    /// The position of the last event that the client received; `None` if it received none. An error if what it sent is not
    /// a position.
    pub offset: Option<Result<Position, ()>>,
}

/// The payload of a CONNECT, as far as recovery reads it. Clients add `pid` and `offset` by themselves.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ConnectPayload {
    roomwire: Options,
    pid: serde_json::Value,
    offset: serde_json::Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Options {
    recover: serde_json::Value,
}

impl RecoveryRequest {
    /// The request in a payload; `None` if the client does not take part. If the payload has no `roomwire.recover`, the
    /// client takes part with `is_default`, and with `by_session` if it names a session, as a client that comes from a
    /// server in Node does.
    pub fn parse(auth: &str, is_default: bool, by_session: bool) -> Option<Self> {
        use serde_json::Value::{Bool, Null, String};
        let ConnectPayload {
            roomwire,
            pid,
            offset,
        } = serde_json::from_str(auth).unwrap_or_default();
        let tracking = match &roomwire.recover {
            Bool(true) => Tracking::Appended,
            String(how) if how == "offsets" => Tracking::Offsets,
            Null if is_default || by_session && pid.is_string() => Tracking::Appended,
            _ => return None,
        };
        let pid = pid.as_str().and_then(|pid| pid.parse().ok());
        let offset = match offset {
            Null => None,
            String(text) => Some(text.parse().map_err(|_invalid| ())),
            _ => Some(Err(())),
        };
        let resume = pid.map(|pid| Resume { pid, offset });
        Some(Self { tracking, resume })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(auth: &str) -> Option<RecoveryRequest> {
        RecoveryRequest::parse(auth, false, false)
    }

    #[test]
    fn clients_take_part_if_they_request_it_or_all_do() {
        for auth in [
            "",
            "{}",
            r#"{"roomwire":{}}"#,
            r#"{"roomwire":{"recover":false}}"#,
            "[",
        ] {
            assert_eq!(parse(auth), None, "{auth}");
        }
        let all = |auth| RecoveryRequest::parse(auth, true, false);
        assert_eq!(all("").map(|it| it.tracking), Some(Tracking::Appended));
        assert_eq!(all(r#"{"roomwire":{"recover":false}}"#), None);
        let offsets = parse(r#"{"roomwire":{"recover":"offsets"}}"#).unwrap();
        assert_eq!(
            (offsets.tracking, offsets.resume),
            (Tracking::Offsets, None)
        );
    }

    #[test]
    fn a_client_of_a_server_takes_part_by_naming_its_session() {
        let by_session = |auth| RecoveryRequest::parse(auth, false, true);
        assert_eq!(by_session(r#"{"token":"t"}"#), None);
        let named = r#"{"pid":"Xa-2vT1Y_0hJqVbGAAAB","offset":"1764412345678-3"}"#;
        let resume = by_session(named).unwrap().resume.unwrap();
        assert_eq!(resume.pid.as_str(), "Xa-2vT1Y_0hJqVbGAAAB");
        assert!(resume.offset.unwrap().unwrap().is_of_stream());
        assert_eq!(parse(named), None);
        let declined = r#"{"roomwire":{"recover":false},"pid":"Xa-2vT1Y_0hJqVbGAAAB"}"#;
        assert_eq!(by_session(declined), None);
    }

    #[test]
    fn pid_and_offset_are_parsed_and_others_noted() {
        let pid = "abcdefghijklmnopqrstuvwx";
        let resume = |rest: &str| {
            let auth = format!(r#"{{"roomwire":{{"recover":true}},"token":"t",{rest}}}"#);
            parse(&auth).unwrap().resume
        };
        let found = resume(&format!(r#""pid":"{pid}","offset":"abcdef-7""#)).unwrap();
        assert_eq!(found.pid.as_str(), pid);
        assert_eq!(found.offset, Some("abcdef-7".parse().map_err(|_| ())));
        assert_eq!(resume(&format!(r#""pid":"{pid}""#)).unwrap().offset, None);
        for offset in [r#""hello""#, "7", "{}"] {
            let found = resume(&format!(r#""pid":"{pid}","offset":{offset}"#)).unwrap();
            assert_eq!(found.offset, Some(Err(())), "{offset}");
        }
        for pid in [r#""short""#, "7", r#""abcdefghijklmnopqrstuvw/""#] {
            assert_eq!(resume(&format!(r#""pid":{pid}"#)), None);
        }
    }
}
