//! Why a request of a backend is rejected before it has any effect.

use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

/// Declares the codes with their names on the wire.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)*) => {
        /// The stable code of a rejection (docs/api.md#errors).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)*
        }

        impl Code {
            /// All codes, each with its name and meaning.
            pub const ALL: &[(Self, &'static str, &'static str)] =
                &[$((Self::$variant, $name, concat!($($doc),+)),)*];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

codes! {
    /// The body is not JSON; the message has the position.
    NotJson = "json_invalid",
    /// The verb has no field of this name.
    UnknownField = "field_unknown",
    /// A required field is missing.
    MissingField = "field_missing",
    /// The value of a field has the wrong type, or is out of range.
    InvalidField = "field_invalid",
    /// There is no such verb.
    UnknownVerb = "verb_unknown",
    /// The request names no sockets: neither rooms, users nor sockets, nor everybody.
    MissingTarget = "target_missing",
    /// A namespace does not begin with `/`, or contains `,` or `?`.
    InvalidNamespace = "namespace_invalid",
    /// The name of a room, user, namespace or token is empty, or longer than 255 bytes.
    InvalidName = "name_invalid",
    /// A list has more than 1000 names.
    TooManyNames = "too_many_names",
    /// A text is not the id of a socket.
    InvalidSocket = "socket_invalid",
    /// Clients cannot receive the event: its name is reserved, or it is nested too deep.
    InvalidEvent = "event_invalid",
    /// An attachment is not base64, or a placeholder has no attachment.
    InvalidAttachment = "attachment_invalid",
    /// A conflation key is empty or longer than 128 bytes, or the event is volatile or requests acks.
    InvalidConflation = "conflate_invalid",
    /// A batch has more items than allowed.
    TooManyItems = "too_many_items",
}

/// A rejected request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct VerbError {
    pub code: Code,
    /// A sentence for the developer of the backend.
    pub message: String,
    /// The position of the item of a batch, from 0.
    pub item: Option<usize>,
}

impl VerbError {
    /// An error about a whole request.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            item: None,
        }
    }

    /// The same about an item of a batch, counted from 0.
    #[must_use]
    pub fn in_item(self, item: usize) -> Self {
        Self {
            message: format!("item {item}: {}", self.message),
            item: Some(item),
            ..self
        }
    }
}
