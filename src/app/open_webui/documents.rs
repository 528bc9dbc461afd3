//! What a socket has open at a backend that the backend forgets with the connection: documents and a private channel.

use std::collections::BTreeSet;

use serde::Deserialize;

/// Documents tracked per socket; backends allow 20.
const MAX_DOCUMENTS: usize = 64;
/// Maximum size in bytes of the id of a document; those of backends have about 40.
const MAX_DOCUMENT_ID: usize = 256;

/// The open documents of a socket, and whether it is in a private channel.
#[derive(Debug, Default)]
pub(super) struct OpenDocuments {
    documents: BTreeSet<String>,
    private_channel: bool,
}

#[derive(Deserialize)]
struct Document {
    document_id: String,
}

impl OpenDocuments {
    /// Whether an event named `name` concerns documents or private channels.
    pub(super) fn concerns(name: &str) -> bool {
        matches!(name.split(':').next(), Some("ydoc" | "encryption"))
    }

    /// Tracks what an event opens or closes; `argument` is its first argument in JSON.
    pub(super) fn track(&mut self, name: &str, argument: Option<&str>) {
        match name {
            "ydoc:document:join" if self.documents.len() < MAX_DOCUMENTS => {
                self.documents.extend(document_id(argument));
            }
            "ydoc:document:leave" => {
                if let Some(document) = document_id(argument) {
                    self.documents.remove(&document);
                }
            }
            "encryption:leave" => self.private_channel = false,
            "encryption:status" => {}
            _ => self.private_channel |= name.starts_with("encryption:"),
        }
    }

    /// Whether nothing is open.
    pub(super) fn is_empty(&self) -> bool {
        self.documents.is_empty() && !self.private_channel
    }
}

fn document_id(argument: Option<&str>) -> Option<String> {
    let document = serde_json::from_str::<Document>(argument?).ok()?;
    (document.document_id.len() <= MAX_DOCUMENT_ID).then_some(document.document_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_open_and_close_documents_and_private_channels() {
        let mut open = OpenDocuments::default();
        let document = Some(r#"{"document_id":"note:n"}"#);
        assert!(open.is_empty());
        let cases = [
            ("ydoc:document:join", document, true),
            ("ydoc:document:update", document, true),
            ("ydoc:document:leave", document, false),
            ("encryption:status", None, false),
            ("encryption:start", None, true),
            ("encryption:ping", None, true),
            ("encryption:leave", None, false),
        ];
        for (name, argument, expected) in cases {
            open.track(name, argument);
            assert_eq!(!open.is_empty(), expected, "{name}");
        }
        let endless = format!(r#"{{"document_id":"{}"}}"#, "n".repeat(MAX_DOCUMENT_ID + 1));
        open.track("ydoc:document:join", Some(&endless));
        assert!(open.is_empty(), "no backend has such a document");
    }
}
