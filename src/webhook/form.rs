//! Forms that apps post to URLs of their own, within the limits of `[webhook]` but unsigned.

use std::time::Duration;

use awc::http::Method;
use awc::http::header::{self, HeaderMap, HeaderValue};
use bytes::Bytes;

use super::client::{USER_AGENT, WebhookClient};
use super::failure::{HookFailure, HookFailureCode, HookRejection};
use super::target::{HookQueue, HookTarget};
use crate::metrics::labels::HookResult;

/// A form to be posted.
pub struct FormRequest {
    /// Headers besides those of every request.
    pub headers: HeaderMap,
    /// `name=value&…`
    pub body: String,
    /// Time limit of the exchange.
    pub timeout: Duration,
}

/// Why there is no response that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormFailure {
    /// The backend responded with this status.
    Status(u16),
    /// The backend did not respond, or no request was sent to it.
    Unreachable,
}

impl WebhookClient {
    /// Posts a form once, when it is its turn; returns the body of a response with the status 200.
    ///
    /// # Errors
    /// The response has another status, or there is none in time.
    pub async fn post_form(
        &self,
        target: &HookTarget,
        request: FormRequest,
    ) -> Result<Bytes, FormFailure> {
        let FormRequest {
            headers,
            body,
            timeout,
        } = request;
        let message = || {
            let mut message = self.http().request(Method::POST, target.uri.clone());
            *message.headers_mut() = headers;
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            message = message.insert_header((header::CONTENT_TYPE, form));
            if !message.headers().contains_key(header::USER_AGENT) {
                message = message.insert_header((header::USER_AGENT, USER_AGENT));
            }
            (message, Bytes::from(body))
        };
        let never = std::future::pending();
        let exchanged = self.exchange(target, HookQueue::Event, timeout, never, message);
        let (counted, result) = match exchanged.await {
            Ok(received) if received.status == 200 => (Ok(()), Ok(received.body)),
            Ok(received) => {
                let status = received.status.as_u16();
                (Err(of_status(status)), Err(FormFailure::Status(status)))
            }
            Err(failure) => (Err(failure), Err(FormFailure::Unreachable)),
        };
        self.count(target, &counted);
        result
    }
}

/// The failure that is counted and logged for a status.
fn of_status(status: u16) -> HookFailure {
    let detail = format!("HTTP {status}");
    match status {
        // A missing page or another method: the URL is wrong.
        404 | 405 => HookFailure::bad_answer(detail),
        400..=499 => {
            let rejection = HookRejection {
                code: Some("subscription_rejected".to_owned()),
                ..HookRejection::default()
            };
            HookFailure::rejected(rejection, detail)
        }
        500.. => HookFailure::temporary(
            HookFailureCode::Unavailable,
            HookResult::Unavailable,
            detail,
        ),
        // A redirect leads to an HTML page.
        _ => HookFailure::bad_answer(detail),
    }
}
