//! What the nodes of this process wrote to the log: the reason of a session's end stands nowhere else.

use std::sync::{Mutex, Once, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};
use roomwire::logging::Text;

use super::eventually;

struct Capture(Mutex<Vec<String>>);

static CAPTURE: Capture = Capture(Mutex::new(Vec::new()));

impl Log for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("roomwire")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Text(record).to_string());
        }
    }

    fn flush(&self) {}
}

/// Keeps the log of this process from now on.
pub fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&CAPTURE).unwrap();
        log::set_max_level(LevelFilter::Info);
    });
}

/// Waits for a line that begins so.
pub async fn logged(head: &str) -> String {
    let mut found = None;
    eventually("a line of the log", || {
        let lines = CAPTURE.0.lock().unwrap_or_else(PoisonError::into_inner);
        found = lines.iter().find(|line| line.starts_with(head)).cloned();
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// Waits for a line that contains this text.
pub async fn logged_with(text: &str) -> String {
    let mut found = None;
    eventually("a line of the log", || {
        let lines = CAPTURE.0.lock().unwrap_or_else(PoisonError::into_inner);
        found = lines.iter().find(|line| line.contains(text)).cloned();
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// Waits until the session is reported closed; returns the reason.
pub async fn close_reason(sid: &str) -> String {
    let head = format!("session closed sid={} reason=", &sid[..10]);
    let mut reason = None;
    eventually("the end of a session in the log", || {
        let lines = CAPTURE.0.lock().unwrap_or_else(PoisonError::into_inner);
        reason = lines
            .iter()
            .find_map(|line| line.strip_prefix(&head))
            .map(|rest| {
                let quoted = rest
                    .strip_prefix('"')
                    .and_then(|rest| rest.split('"').next());
                let bare = || rest.split(' ').next();
                quoted.or_else(bare).unwrap().to_owned()
            });
        reason.is_some()
    })
    .await;
    reason.unwrap()
}
