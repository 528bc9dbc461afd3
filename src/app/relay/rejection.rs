//! Why a request is rejected, and the ack that the client receives.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::Effect;
use crate::app::error_ack::milliseconds;
use crate::metrics::Metrics;
use crate::metrics::labels::Label;
pub(super) use crate::metrics::labels::RelayErrorCode as Code;
use crate::model::{Payload, SocketId};
use crate::rules::RoomTokenRejection;

/// A rejected request.
#[derive(Debug, PartialEq)]
pub(super) struct RelayRejection {
    code: Code,
    message: String,
    /// What the backend gave in place of `code`.
    backend_code: Option<String>,
    /// Whether the same request may succeed later; `None` if that is not known.
    temporary: Option<bool>,
    retry_after: Option<Duration>,
}

impl RelayRejection {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            backend_code: None,
            temporary: None,
            retry_after: None,
        }
    }

    /// A rejection by the backend, with a code of its own.
    pub(super) fn by_backend(code: String, message: String, temporary: bool) -> Self {
        Self {
            backend_code: Some(code),
            temporary: Some(temporary),
            ..Self::new(Code::Backend, message)
        }
    }

    /// The same, and whether the request may succeed later.
    fn temporary(self, temporary: bool) -> Self {
        Self {
            temporary: Some(temporary),
            ..self
        }
    }

    /// The same, and the request may be repeated after this time.
    pub(super) fn retry_after(self, time: Duration) -> Self {
        Self {
            retry_after: Some(time),
            ..self
        }
    }

    fn code(&self) -> &str {
        let own = || Code::VALUES[self.code.index()];
        self.backend_code.as_deref().unwrap_or_else(own)
    }

    /// The ack of the request. The rejection is counted and logged.
    pub(super) fn ack(&self, socket: SocketId, metrics: &Metrics) -> Effect {
        metrics.relay_rejected_total.of(self.code).increment();
        log::debug!(socket = socket.log_name(), code = self.code(); "request rejected");
        let mut error = json!({"code": self.code(), "message": self.message});
        if let Some(temporary) = self.temporary {
            error["temporary"] = Value::Bool(temporary);
        }
        if let Some(time) = self.retry_after {
            error["retry_after_ms"] = milliseconds(time).into();
        }
        Effect::Ack(payload(&json!({"ok": false, "error": error})))
    }
}

impl From<RoomTokenRejection> for RelayRejection {
    fn from(rejection: RoomTokenRejection) -> Self {
        let RoomTokenRejection {
            code,
            message,
            temporary,
        } = rejection;
        match temporary {
            true => Self::new(code, message).temporary(true),
            false => Self::new(code, message),
        }
    }
}

/// The ack of a request that succeeded.
pub(super) fn ack(argument: &Value) -> Effect {
    Effect::Ack(payload(argument))
}

fn payload(argument: &Value) -> Payload {
    Payload::text(format!("[{argument}]"))
}
