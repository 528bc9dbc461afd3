//! Rejected requests: status, stable code and a sentence (docs/api.md#errors).

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::verbs::{Code, VerbError};

/// Declares codes with their statuses.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $status:ident;)*) => {
        /// The stable code of a rejection by the API, besides those of the verbs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ApiCode {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl ApiCode {
            /// All codes: name, HTTP status and meaning.
            pub const ALL: &[(&'static str, StatusCode, &'static str)] =
                &[$(($name, StatusCode::$status, concat!($($doc),+)),)*];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                Self::ALL[self as usize].0
            }

            /// The HTTP status.
            pub fn status(self) -> StatusCode {
                Self::ALL[self as usize].1
            }
        }
    };
}

codes! {
    /// The request has no key.
    KeyMissing = "key_missing", UNAUTHORIZED;
    /// There is no such key.
    KeyInvalid = "key_invalid", UNAUTHORIZED;
    /// The key has expired.
    KeyExpired = "key_expired", UNAUTHORIZED;
    /// The key does not allow this verb.
    VerbForbidden = "verb_forbidden", FORBIDDEN;
    /// The key does not allow this room, user or socket.
    RoomForbidden = "room_forbidden", FORBIDDEN;
    /// There is nothing at this path.
    NotFound = "not_found", NOT_FOUND;
    /// The room has no log.
    NoLog = "no_log", NOT_FOUND;
    /// Verbs are requested by POST.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The body is larger than `api.max_body`.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE;
    /// The body did not arrive completely.
    BodyIncomplete = "body_incomplete", BAD_REQUEST;
    /// The header `Idempotency-Key` is empty, or longer than 255 bytes.
    InvalidIdempotencyKey = "idempotency_key_invalid", BAD_REQUEST;
    /// The first request with this `Idempotency-Key` is still running.
    IdempotencyConflict = "idempotency_key_in_use", CONFLICT;
    /// Another request was sent with this `Idempotency-Key` before.
    IdempotencyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY;
    /// The key sends more requests per second than it may.
    TooManyRequests = "too_many_requests", TOO_MANY_REQUESTS;
    /// The node is starting; some of its parts are not running yet.
    Starting = "starting", SERVICE_UNAVAILABLE;
    /// The node is draining and will stop.
    Draining = "draining", SERVICE_UNAVAILABLE;
    /// The node has more work than it can do at the moment.
    Busy = "busy", SERVICE_UNAVAILABLE;
    /// The store that the request needs cannot be reached.
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE;
    /// The limit `auth.revocation_limit` is reached.
    TooManyRevocations = "too_many_revocations", SERVICE_UNAVAILABLE;
}

/// A rejected request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// The position of the item of a batch, from 0.
    pub item: Option<usize>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// The body of a response to a rejected request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ErrorAnswer {
    pub(super) error: ErrorDetails,
}

/// Why a request is rejected.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ErrorDetails {
    /// Stable name of the problem, see docs/api.md.
    #[schema(example = "field_unknown")]
    pub code: String,
    /// A sentence for the developer of the backend.
    pub message: String,
    /// The position of the item of a batch that the error is about, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<usize>,
}

impl ApiError {
    pub(super) fn new(code: ApiCode, message: impl Into<String>) -> Self {
        Self {
            status: code.status(),
            code: code.name(),
            message: message.into(),
            item: None,
            retry_after: (code.status() == StatusCode::SERVICE_UNAVAILABLE)
                .then_some(Duration::from_secs(1)),
        }
    }

    /// The same about an item of a batch.
    #[must_use]
    pub(super) fn in_item(self, item: usize) -> Self {
        Self {
            message: format!("item {item}: {}", self.message),
            item: Some(item),
            ..self
        }
    }

    /// The body of the response.
    pub(super) fn answer(&self) -> ErrorAnswer {
        ErrorAnswer {
            error: ErrorDetails {
                code: self.code.to_owned(),
                message: self.message.clone(),
                item: self.item,
            },
        }
    }

    /// The response.
    pub(super) fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.insert_header((header::ALLOW, "POST"));
        }
        if let Some(time) = self.retry_after {
            // Whole seconds, at least 1.
            let seconds = time.as_millis().div_ceil(1000).max(1);
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        response.json(self.answer())
    }
}

impl From<VerbError> for ApiError {
    fn from(error: VerbError) -> Self {
        let status = match error.code {
            Code::UnknownVerb if error.item.is_none() => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        };
        Self {
            status,
            code: error.code.name(),
            message: error.message,
            item: error.item,
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_with_its_status() {
        let document = include_str!("../../docs/api.md");
        let own = ApiCode::ALL
            .iter()
            .map(|(name, status, _)| (*name, status.as_u16()));
        let verbs = Code::ALL.iter().map(|(code, name, _)| {
            let error = ApiError::from(VerbError::new(*code, ""));
            (*name, error.status.as_u16())
        });
        for (name, status) in own.chain(verbs) {
            let row = format!("| `{name}` | {status} | ");
            assert_eq!(document.matches(&row).count(), 1, "{row}");
        }
    }
}
