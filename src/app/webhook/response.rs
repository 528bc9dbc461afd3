//! What clients receive when a request has no usable response.

use serde_json::json;

use crate::app::ConnectRejection;
use crate::model::Payload;
use crate::webhook::HookFailure;

/// The `connect_error` of a client.
pub(super) fn connect_rejection(failure: &HookFailure) -> ConnectRejection {
    ConnectRejection {
        message: failure.message.clone().into_owned(),
        data: Some(failure.client_data().to_string()),
    }
}

/// The ack of an event: `{ok:false,error:{code,message,temporary?,retry_after_ms?,...}}`
pub(super) fn failed_ack(failure: &HookFailure) -> Payload {
    let mut error = failure.client_data();
    error["message"] = failure.message.as_ref().into();
    ack_of(&error)
}

/// The ack of an event that is not sent to the backend.
pub(super) fn rejected_ack(code: &str, message: &str) -> Payload {
    ack_of(&json!({"code": code, "message": message}))
}

fn ack_of(error: &serde_json::Value) -> Payload {
    Payload::text(json!([{"ok": false, "error": error}]).to_string())
}
