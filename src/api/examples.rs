//! Examples of requests and rejections in the OpenAPI document.

use serde_json::{Value, json};

const SOCKET: &str = "L_quA_ZJ1kTQd2xo8fPa";
const TIME: &str = "2027-01-31T10:00:00.000Z";

/// A request to read, and to try on the page.
pub(super) fn request(verb: &str) -> Option<Value> {
    let example = match verb {
        "emit" => {
            json!({"rooms": ["news"], "event": "message", "args": [{"text": "hello"}], "counts": true})
        }
        "call" => {
            json!({"rooms": ["game:1"], "event": "ready?", "acks": "all", "timeout_ms": 1000})
        }
        "batch" => json!({"items": [
            {"join": {"users": ["ada"], "rooms": ["news"]}},
            {"emit": {"rooms": ["news"], "event": "joined", "args": ["ada"]}},
        ]}),
        "join" => json!({"users": ["ada"], "rooms": ["team:7"]}),
        "leave" => json!({"members_of": ["team:7"], "rooms": ["lobby"]}),
        "close_room" => json!({"room": "game:1"}),
        "disconnect" => json!({"users": ["eve"], "close": true}),
        "force_reconnect" => json!({"users": ["ada"]}),
        "revoke" => json!({"user": "eve"}),
        "sockets" => json!({"rooms": ["team:7"], "limit": 100}),
        "rooms" => json!({"prefix": "team:", "limit": 100}),
        "users" => json!({"users": ["ada", "eve"]}),
        "members" => json!({"room": "team:7"}),
        "history" => json!({"room": "team:7", "limit": 50}),
        "info" => json!({}),
        _ => return None,
    };
    Some(example)
}

/// Requests that nodes send to backends, by type.
pub(super) fn webhooks() -> [(&'static str, Value); 5] {
    let socket = |more: Value| {
        let mut data =
            json!({"socket": SOCKET, "namespace": "/", "user": "ada", "claims": {"team": "blue"}});
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more);
        }
        data
    };
    let notices = json!({"notices": [
        {
            "id": "ntc_1", "timestamp": TIME, "type": "joined",
            "data": socket(json!({"room": "team:7"})),
        },
        {
            "id": "ntc_2", "timestamp": TIME, "type": "room_occupied",
            "data": {"namespace": "/", "room": "team:7"},
        },
    ]});
    let data = [
        (
            "connect",
            json!({
                "socket": SOCKET, "namespace": "/", "auth": {"token": "abc"}, "headers": {"cookie": "sid=1"},
                "query": "EIO=4&transport=websocket", "address": "203.0.113.7", "secure": true,
                "transport": "websocket",
            }),
        ),
        (
            "event",
            socket(json!({"event": "message", "args": [{"text": "hello"}], "ack": true})),
        ),
        ("disconnect", socket(json!({"reason": "transport close"}))),
        (
            "authorize",
            socket(json!({"action": "join", "room": "team:7"})),
        ),
        ("notices", notices),
    ];
    data.map(|(kind, data)| {
        let message =
            json!({"id": "msg_1", "timestamp": TIME, "node": "L_qu", "type": kind, "data": data});
        (kind, message)
    })
}

/// A response of a backend to a connect or an event.
pub(super) fn webhook_answer() -> Value {
    json!({
        "user": "ada",
        "session": {"tenant": "acme"},
        "actions": [
            {"join": {"rooms": ["team:7"]}},
            {"emit": {"rooms": ["team:7"], "event": "joined", "args": ["ada"]}},
        ],
        "ack": [{"ok": true}],
    })
}

/// A rejection with this status.
pub(super) fn rejection(status: &str) -> Option<Value> {
    let (code, message) = match status {
        "400" => (
            "field_unknown",
            "unknown field `roms`, expected one of `event`, `args`, ...; did you mean `rooms`?",
        ),
        "401" => ("key_invalid", "there is no such key"),
        "403" => (
            "verb_forbidden",
            "the key `shop` does not allow the verb `disconnect`, only emit, rooms",
        ),
        "404" => (
            "verb_unknown",
            "there is no verb `room`; did you mean `rooms`?; the verbs are emit, call, ...",
        ),
        "409" => (
            "idempotency_key_in_use",
            "the first request with this `Idempotency-Key` is still running",
        ),
        "413" => (
            "body_too_large",
            "the body has more than 1048576 bytes (api.max_body)",
        ),
        "422" => (
            "idempotency_key_reused",
            "this `Idempotency-Key` was sent with another request",
        ),
        "429" => (
            "too_many_requests",
            "the key `shop` sends more than 100 requests per second",
        ),
        "503" => (
            "draining",
            "the node is draining and will stop: use another one",
        ),
        _ => return None,
    };
    Some(json!({"error": {"code": code, "message": message}}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ApiCode;
    use crate::model::Room;
    use crate::verbs::{BatchRequest, CheckRules, Code, VERBS, VerbRequest};
    use crate::webhook::HookAnswer;

    #[test]
    fn every_verb_has_an_example_that_is_accepted() {
        let rules = CheckRules {
            max_depth: 10,
            user_room: &|user| Room::from(user),
            own_socket: None,
        };
        for verb in VERBS {
            let text = request(verb).unwrap().to_string();
            let accepted = match VerbRequest::parse(verb, text.as_bytes()).unwrap() {
                VerbRequest::Emit(request) => request.check(&rules).err(),
                VerbRequest::Call(request) => request.check(&rules).err(),
                VerbRequest::Join(request) => request.check(&rules).err(),
                VerbRequest::Leave(request) => request.check(&rules).err(),
                VerbRequest::CloseRoom(request) => request.check().err(),
                VerbRequest::Disconnect(request) => request.check(&rules).err(),
                VerbRequest::ForceReconnect(request) => request.check(&rules).err(),
                VerbRequest::Sockets(request) => request.check(&rules).err(),
                VerbRequest::Rooms(request) => request.check().err(),
                VerbRequest::Users(request) => request.check().err(),
                VerbRequest::Members(request) => request.check().err(),
                VerbRequest::History(request) => request.check().err(),
                VerbRequest::Revoke(request) => request.check().err(),
                VerbRequest::Info(_) => None,
            };
            assert_eq!(accepted, None, "{verb}");
        }
        let batch = request("batch").unwrap().to_string();
        assert_eq!(
            BatchRequest::parse(batch.as_bytes(), 2)
                .unwrap()
                .items
                .len(),
            2
        );
    }

    #[test]
    fn the_example_of_a_response_to_a_webhook_is_accepted() {
        let text = webhook_answer().to_string();
        let answer = HookAnswer::parse(text.as_bytes()).unwrap();
        assert_eq!(answer.actions.len(), 2);
        assert_eq!(answer.user.as_deref(), Some("ada"));
    }

    #[test]
    fn every_example_of_a_rejection_has_a_code_of_its_status() {
        let codes = ApiCode::ALL
            .iter()
            .map(|(name, status, _)| (*name, status.as_u16()));
        let verbs = Code::ALL.iter().map(|(code, name, _)| match code {
            Code::UnknownVerb => (*name, 404),
            _ => (*name, 400),
        });
        let codes: Vec<_> = codes.chain(verbs).collect();
        for status in [400, 401, 403, 404, 409, 413, 422, 429, 503] {
            let example = rejection(&status.to_string()).unwrap();
            let code = example["error"]["code"].as_str().unwrap();
            assert!(codes.contains(&(code, status)), "{code}");
        }
    }
}
