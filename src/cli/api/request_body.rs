//! The bodies of requests.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::arguments::{ApiVerb, PageArgs, TargetArgs};
use crate::verbs::{
    AcksWanted, CallRequest, CloseRoomRequest, DisconnectRequest, EmitRequest,
    ForceReconnectRequest, HistoryRequest, InfoRequest, JoinRequest, LeaveRequest, MembersRequest,
    Name, RevokeRequest, RoomsRequest, SocketsRequest, UsersRequest,
};

/// A request with the fields of a target.
macro_rules! targeted {
    ($request:ident, $rooms:ident of $target:expr, { $($field:ident: $value:expr,)* }) => {{
        let target: &TargetArgs = $target;
        $request {
            $($field: $value,)*
            namespace: name(&target.namespace),
            $rooms: names(&target.rooms),
            users: names(&target.users),
            sockets: names(&target.sockets),
            except: names(&target.except),
            everybody: target.everybody,
        }
    }};
}

/// The body of a request as JSON.
///
/// # Errors
/// An argument is invalid.
pub(super) fn body(verb: &ApiVerb) -> Result<String, String> {
    match verb {
        ApiVerb::Emit(args) => {
            let arguments = arguments(&args.args)?;
            json(&targeted!(EmitRequest, rooms of &args.target, {
            event: args.event.as_str().into(),
            args: Some(&*arguments),
            attachments: Vec::new(),
            volatile: args.volatile,
            conflate: name(&args.conflate),
            counts: args.counts,
            }))
        }
        ApiVerb::Call(args) => {
            let arguments = arguments(&args.args)?;
            json(&targeted!(CallRequest, rooms of &args.target, {
            event: args.event.as_str().into(),
            args: Some(&*arguments),
            attachments: Vec::new(),
            acks: acks(&args.acks)?,
            conflate: None,
            timeout_ms: Some(u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX)),
            }))
        }
        ApiVerb::Join(args) => json(&targeted!(JoinRequest, members_of of &args.target, {
        rooms: names(&args.names),
        })),
        ApiVerb::Leave(args) => json(&targeted!(LeaveRequest, members_of of &args.target, {
        rooms: names(&args.names),
        })),
        ApiVerb::CloseRoom(args) => json(&CloseRoomRequest {
            room: args.room.as_str().into(),
            namespace: name(&args.namespace),
        }),
        ApiVerb::Disconnect(args) => json(&targeted!(DisconnectRequest, rooms of &args.target, {
        close: args.close,
        })),
        ApiVerb::ForceReconnect(args) => {
            json(&targeted!(ForceReconnectRequest, rooms of &args.target, { }))
        }
        ApiVerb::Revoke(args) => json(&RevokeRequest {
            token: name(&args.token),
            user: name(&args.user),
            issued_before: args.issued_before,
            session: name(&args.session),
            expires: args.expires,
        }),
        ApiVerb::Sockets(_)
        | ApiVerb::Rooms(_)
        | ApiVerb::Users(_)
        | ApiVerb::Members(_)
        | ApiVerb::History(_)
        | ApiVerb::Info(_) => read_body(verb),
    }
}

/// The body of a request that changes nothing.
fn read_body(verb: &ApiVerb) -> Result<String, String> {
    match verb {
        ApiVerb::Sockets(args) => json(&targeted!(SocketsRequest, rooms of &args.target, {
        limit: args.limit,
        })),
        ApiVerb::Rooms(args) => {
            let PageArgs {
                prefix,
                after,
                limit,
                namespace,
            } = &args.page;
            json(&RoomsRequest {
                namespace: name(namespace),
                prefix: name(prefix),
                after: name(after),
                limit: *limit,
            })
        }
        ApiVerb::Users(args) => json(&UsersRequest {
            users: names(&args.users),
            namespace: name(&args.page.namespace),
            prefix: name(&args.page.prefix),
            after: name(&args.page.after),
            limit: args.page.limit,
        }),
        ApiVerb::Members(args) => json(&MembersRequest {
            room: args.of.room.as_str().into(),
            namespace: name(&args.of.namespace),
            after: name(&args.after),
            limit: args.limit,
        }),
        ApiVerb::History(args) => json(&HistoryRequest {
            room: args.of.room.as_str().into(),
            namespace: name(&args.of.namespace),
            after: name(&args.after),
            before: name(&args.before),
            limit: args.limit,
        }),
        _ => json(&InfoRequest {}),
    }
}

fn json(request: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(request).map_err(|error| error.to_string())
}

fn name(text: &Option<String>) -> Option<Name<'_>> {
    text.as_deref().map(Name::from)
}

fn names(texts: &[String]) -> Vec<Name<'_>> {
    texts.iter().map(|text| Name::from(text.as_str())).collect()
}

/// The arguments of an event as a JSON array. An argument that is not JSON is a string, so that words need
/// no quotes in the shell.
fn arguments(texts: &[String]) -> Result<Box<RawValue>, String> {
    let values = texts
        .iter()
        .map(|text| match RawValue::from_string(text.clone()) {
            Ok(value) => value.get().to_owned(),
            Err(_) => Value::from(text.as_str()).to_string(),
        });
    let values: Vec<String> = values.collect();
    let array = format!("[{}]", values.join(","));
    RawValue::from_string(array).map_err(|error| error.to_string())
}

fn acks(text: &str) -> Result<AcksWanted, String> {
    match (text, text.parse()) {
        ("all", _) => Ok(AcksWanted::All),
        ("first", _) => Ok(AcksWanted::First),
        (_, Ok(count @ 1..)) => Ok(AcksWanted::Count(count)),
        _ => Err(format!(
            "--acks {text}: it is neither all, first nor a number"
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        verb: ApiVerb,
    }

    fn body_of(line: &str) -> Result<Value, String> {
        let words = std::iter::once("roomwire").chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let body = body(&line.verb)?;
        let request = crate::verbs::VerbRequest::parse(line.verb.name(), body.as_bytes());
        request.map_err(|error| error.to_string())?;
        serde_json::from_str(&body).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_become_the_request_of_the_same_verb() {
        let cases = [
            (
                r#"emit hi {"a":1} two 3 --room r --user ada --except s --volatile"#,
                r#"{"event":"hi","args":[{"a":1},"two",3],"volatile":true,"rooms":["r"],"users":["ada"],"except":["s"]}"#,
            ),
            (
                "emit price 7 --room r --conflate price:ROW",
                r#"{"event":"price","args":[7],"conflate":"price:ROW","rooms":["r"]}"#,
            ),
            (
                "call sure --everybody --acks 2 --timeout 1s --namespace /chat",
                r#"{"event":"sure","args":[],"acks":2,"timeout_ms":1000,"namespace":"/chat","everybody":true}"#,
            ),
            (
                "join a b --room c",
                r#"{"rooms":["a","b"],"members_of":["c"]}"#,
            ),
            ("leave a --socket x", r#"{"rooms":["a"],"sockets":["x"]}"#),
            ("close-room a", r#"{"room":"a"}"#),
            (
                "disconnect --user ada --close",
                r#"{"close":true,"users":["ada"]}"#,
            ),
            ("force-reconnect --everybody", r#"{"everybody":true}"#),
            (
                "sockets --everybody --limit 0",
                r#"{"limit":0,"everybody":true}"#,
            ),
            (
                "rooms --prefix team: --limit 5",
                r#"{"prefix":"team:","limit":5}"#,
            ),
            ("users ada bob", r#"{"users":["ada","bob"]}"#),
            ("members r", r#"{"room":"r"}"#),
            ("info", "{}"),
            (
                "revoke --user ada --issued-before 7",
                r#"{"user":"ada","issued_before":7}"#,
            ),
        ];
        for (line, expected) in cases {
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert_eq!(body_of(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn arguments_that_exclude_each_other_are_rejected() {
        for line in [
            "revoke --user ada --token t",
            "revoke --token t --issued-before 7",
            "call sure --everybody --acks none",
            "join --room r",
            "info --url ftp://host",
            "info --url https://host --cert c.pem",
            "info --url https://host --cert-key k.pem",
        ] {
            assert!(body_of(line).is_err(), "{line}");
        }
    }
}
