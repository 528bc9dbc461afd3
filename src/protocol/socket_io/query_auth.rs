//! What clients of revision 3 send as a query instead of a CONNECT payload (docs/protocol.md#28-socketio-2-clients).

use url::form_urlencoded;

/// Parameters of Engine.IO itself.
const ENGINE_PARAMETERS: [&str; 7] = ["EIO", "transport", "sid", "t", "b64", "j", "parser"];

/// Splits the name in a CONNECT, `/admin?token=1`, into the namespace and the query.
pub fn split_query(name: &str) -> (&str, Option<&str>) {
    match name.split_once('?') {
        Some((name, query)) => (name, Some(query)),
        None => (name, None),
    }
}

/// The auth payload for the query of a CONNECT: an object of its parameters, whose values are strings. Of repeated
/// parameters the first one counts.
pub fn auth_of_query(query: &str) -> String {
    object(query, |_| true)
}

/// The auth payload of the namespace `/`, which a client of revision 3 does not request: an object of the parameters of
/// the request that opens its session, without those of Engine.IO.
pub fn auth_of_handshake(query: &str) -> String {
    object(query, |name| !ENGINE_PARAMETERS.contains(&name))
}

/// Whether a client of revision 3 uses the msgpack parser: the server sends the first packet, so it cannot detect it.
pub fn selects_msgpack(query: &str) -> bool {
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    parameters.any(|(name, value)| name == "parser" && value == "msgpack")
}

/// Empty if the query has no such parameters.
fn object(query: &str, includes: impl Fn(&str) -> bool) -> String {
    let mut fields = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if includes(&name) && !fields.contains_key(&*name) {
            fields.insert(name.into_owned(), value.into_owned().into());
        }
    }
    match fields.is_empty() {
        true => String::new(),
        false => serde_json::Value::Object(fields).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_fields_of_an_object() {
        for (query, expected) in [
            ("", ""),
            ("token=1", r#"{"token":"1"}"#),
            ("token=a%20b&x=%22&token=c", r#"{"token":"a b","x":"\""}"#),
            ("empty=&flag", r#"{"empty":"","flag":""}"#),
            ("EIO=3", r#"{"EIO":"3"}"#),
        ] {
            assert_eq!(auth_of_query(query), expected, "{query}");
        }
        let query = "EIO=3&transport=polling&t=x&b64=1&sid=&token=a&j=0&parser=msgpack";
        assert!(selects_msgpack(query) && !selects_msgpack("parser=json"));
        assert_eq!(auth_of_handshake(query), r#"{"token":"a"}"#);
        assert_eq!(auth_of_handshake("EIO=3&transport=websocket"), "");
    }

    #[test]
    fn a_namespace_ends_at_its_query() {
        assert_eq!(split_query("/admin"), ("/admin", None));
        assert_eq!(split_query("/admin?"), ("/admin", Some("")));
        assert_eq!(split_query("/a?b=1?c"), ("/a", Some("b=1?c")));
    }
}
