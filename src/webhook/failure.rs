//! Why a request to a backend has no usable response, as clients receive it.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::{RawValue, Value};

use crate::metrics::labels::HookResult;

/// The stable codes of failures (`docs/webhooks.md#failures`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookFailureCode {
    /// It cannot be reached, is overloaded, or is in a pause of the circuit breaker.
    Unavailable,
    Timeout,
    /// It decided against the client.
    Rejected,
    /// Its response is not what the documentation defines.
    BadAnswer,
}

impl HookFailureCode {
    /// The code for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "backend_unavailable",
            Self::Timeout => "backend_timeout",
            Self::Rejected => "backend_rejected",
            Self::BadAnswer => "backend_bad_answer",
        }
    }
}

/// The sentence of a rejection for which the backend gives none.
const REJECTED: &str = "the backend rejected the request";

/// A request without a usable response.
#[derive(Debug, Clone)]
pub struct HookFailure {
    /// One of [`HookFailureCode`], or a code that the backend or the configuration defines.
    pub code: Cow<'static, str>,
    /// A sentence for people, without internals of the installation.
    pub message: Cow<'static, str>,
    /// Data of the backend for the client.
    pub data: Option<Box<RawValue>>,
    /// Whether the client may try again.
    pub temporary: bool,
    /// When it should try again.
    pub retry_after: Option<Duration>,
    /// Its label in the metrics.
    pub result: HookResult,
    /// What happened, for the log.
    pub detail: String,
}

impl HookFailure {
    /// A failure after which the client may try again.
    pub(super) fn temporary(
        code: HookFailureCode,
        result: HookResult,
        detail: impl Into<String>,
    ) -> Self {
        let message = match code {
            HookFailureCode::Timeout => "the backend did not respond in time",
            _ => "the backend is not available",
        };
        Self {
            code: code.as_str().into(),
            message: message.into(),
            data: None,
            temporary: true,
            retry_after: None,
            result,
            detail: detail.into(),
        }
    }

    /// A request whose client has left before it was sent.
    pub(super) fn abandoned() -> Self {
        Self::temporary(
            HookFailureCode::Unavailable,
            HookResult::Abandoned,
            "the client left",
        )
    }

    /// A response that cannot be used.
    pub fn bad_answer(detail: impl Into<String>) -> Self {
        Self {
            code: HookFailureCode::BadAnswer.as_str().into(),
            message: "the backend sent a response that cannot be used".into(),
            data: None,
            temporary: false,
            retry_after: None,
            result: HookResult::BadAnswer,
            detail: detail.into(),
        }
    }

    /// The decision of the backend against the client.
    pub fn rejected(rejection: HookRejection, detail: impl Into<String>) -> Self {
        let code = rejection.code.filter(|code| is_code(code));
        let code = code.map_or_else(|| HookFailureCode::Rejected.as_str().into(), Cow::Owned);
        let message = rejection.message.filter(|message| !message.is_empty());
        Self {
            code,
            message: message.map_or(Cow::Borrowed(REJECTED), Cow::Owned),
            data: rejection.data,
            temporary: rejection.temporary,
            retry_after: rejection.retry_after_ms.map(limited),
            result: HookResult::Rejected,
            detail: detail.into(),
        }
    }

    /// Whether the status alone rejects the request, and is one of a missing page or a wrong signature.
    pub(super) fn is_unexplained(&self) -> bool {
        let statuses = ["HTTP 401", "HTTP 404", "HTTP 405"];
        self.code == HookFailureCode::Rejected.as_str()
            && statuses
                .iter()
                .any(|status| self.detail.starts_with(status))
    }

    /// The same, to be tried again after `wait`.
    pub(super) fn after(self, wait: Duration) -> Self {
        let retry_after = Some(wait);
        Self {
            retry_after,
            ..self
        }
    }

    /// `{code, temporary?, retry_after_ms?}` with the members of the backend's data; data that is not an object
    /// becomes the member `data`.
    pub fn client_data(&self) -> Value {
        let mut data = serde_json::Map::new();
        data.insert("code".to_owned(), self.code.as_ref().into());
        if self.temporary {
            data.insert("temporary".to_owned(), true.into());
        }
        if let Some(wait) = self.retry_after {
            data.insert(
                "retry_after_ms".to_owned(),
                (wait.as_millis() as u64).into(),
            );
        }
        match self
            .data
            .as_ref()
            .map(|raw| serde_json::from_str(raw.get()))
        {
            Some(Ok(Value::Object(members))) => data.extend(members),
            Some(Ok(other)) => drop(data.insert("data".to_owned(), other)),
            Some(Err(_)) | None => {}
        }
        Value::Object(data)
    }
}

/// The member `error` of a response.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HookRejection {
    /// Code for programs: at most 64 lower-case letters, digits and `_`. Absent = `backend_rejected`.
    #[serde(default)]
    pub code: Option<String>,
    /// Sentence for people.
    #[serde(default)]
    pub message: Option<String>,
    /// Any data for the client.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Box<RawValue>>,
    /// Whether the client may try again.
    #[serde(default)]
    pub temporary: bool,
    /// Milliseconds after which the client should try again.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
}

fn is_code(code: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !code.is_empty() && code.len() <= 64 && code.chars().all(is_plain)
}

/// A wait that a backend suggests, up to an hour.
fn limited(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds).min(Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rejected(rejection: Value) -> HookFailure {
        HookFailure::rejected(serde_json::from_value(rejection).unwrap(), "")
    }

    #[test]
    fn clients_receive_the_code_and_the_data_of_the_backend() {
        let cases = [
            (json!({}), json!({"code": "backend_rejected"})),
            (
                json!({"code": "Not A Code"}),
                json!({"code": "backend_rejected"}),
            ),
            (
                json!({"code": "banned", "data": {"until": 5}}),
                json!({"code": "banned", "until": 5}),
            ),
            (
                json!({"temporary": true, "retry_after_ms": 1200, "data": [1]}),
                json!({"code": "backend_rejected", "temporary": true, "retry_after_ms": 1200, "data": [1]}),
            ),
        ];
        for (rejection, expected) in cases {
            assert_eq!(
                rejected(rejection.clone()).client_data(),
                expected,
                "{rejection}"
            );
        }
        let patient = rejected(json!({"retry_after_ms": u64::MAX}));
        assert_eq!(patient.retry_after, Some(Duration::from_secs(3600)));
    }
}
