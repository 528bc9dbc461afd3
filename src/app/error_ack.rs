//! The ack of an event that is rejected.

use std::time::Duration;

use serde_json::json;

use crate::model::Payload;

/// `{ok:false,error:{code,message,retry_after_ms?}}`. `retry_after`, rounded up to a millisecond, is the time after which
/// the same event may be accepted.
pub fn error_ack(code: &str, message: &str, retry_after: Option<Duration>) -> Payload {
    let mut error = json!({"code": code, "message": message});
    if let Some(time) = retry_after {
        error["retry_after_ms"] = milliseconds(time).into();
    }
    let rejection = json!({"ok": false, "error": error});
    Payload::text(format!("[{rejection}]"))
}

/// Milliseconds, rounded up, at least 1.
pub(super) fn milliseconds(time: Duration) -> u64 {
    time.as_micros().div_ceil(1000).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_wait_is_rounded_up() {
        let ack = error_ack("c", "m", Some(Duration::from_micros(1001)));
        assert_eq!(
            ack.json(),
            r#"[{"error":{"code":"c","message":"m","retry_after_ms":2},"ok":false}]"#
        );
        assert_eq!(milliseconds(Duration::ZERO), 1);
        let ack = error_ack("c", "m", None);
        assert_eq!(
            ack.json(),
            r#"[{"error":{"code":"c","message":"m"},"ok":false}]"#
        );
    }
}
