//! One HTTP request and its response: the headers, the time and size limits, and what a status means.

use std::time::Duration;

use actix_http::error::ParseError;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::{StatusCode, header};
use awc::{ClientRequest, ClientResponse};
use bytes::Bytes;
use serde::Deserialize;

use super::failure::{HookFailure, HookFailureCode, HookRejection};
use crate::config::HookStatusCode;
use crate::metrics::labels::HookResult;

/// What a response without a body means, if it declares that it has none: by its status 204 or `Content-Length: 0`. A
/// body that is empty without that may have been cut off, or not been read for want of a length.
const EMPTY: &[u8] = b"{}";

/// The limits of an exchange, and what statuses mean.
#[derive(Debug, Clone)]
pub(super) struct ExchangeRules {
    pub(super) timeout: Duration,
    pub(super) response_limit: usize,
    pub(super) status_codes: Vec<HookStatusCode>,
}

/// A complete response.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

/// The body of a response that carries an error.
#[derive(Deserialize)]
struct ErrorBody {
    error: HookRejection,
}

impl ExchangeRules {
    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// The response is not complete within `time` and the limits.
    pub(super) async fn exchange(
        &self,
        request: ClientRequest,
        body: Bytes,
        time: Duration,
    ) -> Result<Received, HookFailure> {
        let exchange = async {
            let response = request.timeout(time).send_body(body).await;
            let response = response.map_err(of_sending)?;
            self.receive(response).await
        };
        match tokio::time::timeout(time, exchange).await {
            Ok(result) => result,
            Err(_elapsed) => Err(timeout(format!("no response in {time:?}"))),
        }
    }

    /// Sends a request without a body; returns the status of its response, whose body is not read.
    pub(super) async fn status(&self, request: ClientRequest) -> Result<StatusCode, HookFailure> {
        match tokio::time::timeout(self.timeout, request.send()).await {
            Ok(Ok(response)) => Ok(response.status()),
            Ok(Err(error)) => Err(of_sending(error)),
            Err(_elapsed) => Err(timeout(format!("no response in {:?}", self.timeout))),
        }
    }

    async fn receive<S>(&self, mut response: ClientResponse<S>) -> Result<Received, HookFailure>
    where
        S: futures_util::Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    {
        let status = response.status();
        let retry_after = number(&response, &header::RETRY_AFTER);
        let length = number(&response, &header::CONTENT_LENGTH);
        let body = response.body().limit(self.response_limit).await;
        let body = body.map_err(|error| self.of_body(&error))?;
        // The HTTP client takes the end of the connection for the end of the body.
        if length.is_some_and(|length| length != body.len() as u64) {
            return Err(unavailable("the response ended too early".to_owned()));
        }
        let is_empty = status == StatusCode::NO_CONTENT || length == Some(0);
        Ok(Received {
            status,
            retry_after: retry_after.map(|seconds| Duration::from_secs(seconds.min(3600))),
            body: match is_empty {
                true => Bytes::from_static(EMPTY),
                false => body,
            },
        })
    }

    fn of_body(&self, error: &PayloadError) -> HookFailure {
        match error {
            PayloadError::Overflow | PayloadError::UnknownLength => {
                let limit = self.response_limit;
                HookFailure::bad_answer(format!("the response is larger than {limit} bytes"))
            }
            PayloadError::EncodingCorrupted => HookFailure::bad_answer(error.to_string()),
            _ => unavailable(error.to_string()),
        }
    }

    /// The body of a response that accepts the request.
    ///
    /// # Errors
    /// The status rejects the request, or is none that the documentation defines.
    pub(super) fn judge(&self, received: Received) -> Result<Bytes, HookFailure> {
        let status = received.status;
        if status.is_success() {
            return Ok(received.body);
        }
        let failure = match self.configured(status) {
            Some(failure) => failure,
            None => of_status(status, &received.body),
        };
        Err(match received.retry_after {
            Some(wait) if failure.temporary => failure.after(wait),
            _ => failure,
        })
    }

    fn configured(&self, status: StatusCode) -> Option<HookFailure> {
        let mut entries = self.status_codes.iter();
        let entry = entries.find(|entry| entry.status == status.as_u16())?;
        let rejection = HookRejection {
            code: Some(entry.code.clone()),
            message: entry.message.clone(),
            temporary: entry.temporary.unwrap_or_default(),
            ..HookRejection::default()
        };
        Some(HookFailure::rejected(rejection, format!("HTTP {status}")))
    }
}

/// Whether a status shows that a gateway found no backend.
pub(super) fn is_gateway_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

/// The value of a header that is a number.
fn number<S>(response: &ClientResponse<S>, name: &header::HeaderName) -> Option<u64> {
    let value = response.headers().get(name)?;
    value.to_str().ok()?.trim().parse().ok()
}

fn of_status(status: StatusCode, body: &[u8]) -> HookFailure {
    let detail = format!("HTTP {status}");
    match status.as_u16() {
        // The status of a gateway that waited for the backend.
        504 => timeout(detail),
        // Request timeout, too early, too many requests: they concern the load, not the request.
        408 | 425 | 429 | 500.. => unavailable(detail),
        400..=499 => {
            let error = serde_json::from_slice(body).map(|body: ErrorBody| body.error);
            HookFailure::rejected(error.unwrap_or_default(), detail)
        }
        // Redirects are not followed: they could lead a signed request anywhere.
        _ => HookFailure::bad_answer(detail),
    }
}

fn of_sending(error: SendRequestError) -> HookFailure {
    let detail = error.to_string();
    match error {
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout) => {
            timeout(detail)
        }
        // Bytes that are not HTTP. A connection that ends before the response is a parser's error too.
        SendRequestError::Response(error)
            if !matches!(error, ParseError::Io(_) | ParseError::Incomplete) =>
        {
            HookFailure::bad_answer(detail)
        }
        _ => unavailable(detail),
    }
}

fn timeout(detail: String) -> HookFailure {
    HookFailure::temporary(HookFailureCode::Timeout, HookResult::Timeout, detail)
}

fn unavailable(detail: String) -> HookFailure {
    HookFailure::temporary(
        HookFailureCode::Unavailable,
        HookResult::Unavailable,
        detail,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(
        rules: &ExchangeRules,
        status: u16,
        body: &'static str,
    ) -> Result<Bytes, HookFailure> {
        rules.judge(Received {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: Some(Duration::from_secs(7)),
            body: Bytes::from_static(body.as_bytes()),
        })
    }

    #[test]
    fn a_status_has_a_code_and_the_wait_of_a_temporary_one_is_kept() {
        let rules = ExchangeRules {
            timeout: Duration::from_secs(1),
            response_limit: 10,
            status_codes: vec![HookStatusCode {
                status: 402,
                code: "payment_required".to_owned(),
                message: Some("pay first".to_owned()),
                temporary: None,
            }],
        };
        assert_eq!(judged(&rules, 200, "{}").unwrap(), "{}");
        assert_eq!(judged(&rules, 204, "").unwrap(), "");
        let cases = [
            (302, "backend_bad_answer", false),
            (400, "backend_rejected", false),
            (402, "payment_required", false),
            (403, "backend_rejected", false),
            (408, "backend_unavailable", true),
            (425, "backend_unavailable", true),
            (429, "backend_unavailable", true),
            (500, "backend_unavailable", true),
            (503, "backend_unavailable", true),
            (504, "backend_timeout", true),
        ];
        for (status, code, temporary) in cases {
            let failure = judged(&rules, status, "<html>").unwrap_err();
            assert_eq!(
                (&*failure.code, failure.temporary),
                (code, temporary),
                "{status}"
            );
            assert_eq!(failure.retry_after.is_some(), temporary, "{status}");
        }
        assert_eq!(judged(&rules, 402, "").unwrap_err().message, "pay first");
        let banned = r#"{"error":{"code":"banned","message":"not you"}}"#;
        let failure = judged(&rules, 403, banned).unwrap_err();
        assert_eq!((&*failure.code, &*failure.message), ("banned", "not you"));
    }
}
