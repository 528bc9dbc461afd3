//! Finds the token of a client.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use super::token_problem::RejectedToken;
use crate::app::gate::GateRequest;
use crate::config::TokenSource;

/// The token in the first of `sources` that has one; `None` if none has.
///
/// # Errors
/// A field of the auth payload is not a string.
pub(super) fn find_token<'a>(
    sources: &[TokenSource],
    request: &GateRequest<'a>,
) -> Result<Option<Cow<'a, str>>, RejectedToken> {
    for source in sources {
        let handshake = request.handshake;
        let found = match source {
            TokenSource::Auth(name) => field(request.auth, name)?.map(Cow::Owned),
            TokenSource::Header => handshake.header("authorization").map(Cow::Borrowed),
            TokenSource::Query(name) => handshake.query_value(name),
            TokenSource::Cookie(name) => handshake.cookie(name).map(Cow::Borrowed),
        };
        let token = match (source, found) {
            (TokenSource::Header, Some(header)) => {
                bearer(&header).map(|it| Cow::Owned(it.to_owned()))
            }
            (_, Some(token)) => match bearer(&token) {
                Some(bare) => Some(Cow::Owned(bare.to_owned())),
                None => Some(token),
            },
            (_, None) => None,
        };
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            return Ok(Some(token));
        }
    }
    Ok(None)
}

/// The token in `auth`, an object like the payload of a CONNECT, in the field of a configured source or in `token`.
///
/// # Errors
/// The field is not a string.
pub(super) fn find_new_token(
    sources: &[TokenSource],
    auth: &str,
) -> Result<Option<String>, RejectedToken> {
    let names = sources.iter().filter_map(|source| match source {
        TokenSource::Auth(name) => Some(name.as_str()),
        _ => None,
    });
    for name in names.chain(["token"]) {
        if let Some(token) = field(auth, name)?.filter(|token| !token.is_empty()) {
            return Ok(Some(match bearer(&token) {
                Some(bare) => bare.to_owned(),
                None => token,
            }));
        }
    }
    Ok(None)
}

/// The token after the scheme `Bearer`.
fn bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A string in the auth payload, which is a JSON object.
fn field(auth: &str, name: &str) -> Result<Option<String>, RejectedToken> {
    // Anything but an object has no fields.
    let Ok(fields) = serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(auth) else {
        return Ok(None);
    };
    match fields.get(name).map(|value| value.get()) {
        None | Some("null") => Ok(None),
        Some(value) => serde_json::from_str(value)
            .map(Some)
            .map_err(|_| RejectedToken::malformed("the field of the auth payload is not a string")),
    }
}
