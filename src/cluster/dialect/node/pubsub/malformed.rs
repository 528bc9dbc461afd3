//! Messages that cannot be decoded.

use crate::model::Unfit;
use crate::msgpack::ValueError;

/// The message cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum MalformedPubSub {
    #[error("not msgpack: {0}")]
    Msgpack(#[from] ValueError),
    #[error("not a list of packet and options")]
    List,
    #[error("bytes after the message")]
    TrailingBytes,
    #[error("field {0} is missing or malformed")]
    Field(&'static str),
    #[error("the data of an event is not a list that begins with its name")]
    NoName,
    #[error("a placeholder has no attachment")]
    Placeholder,
    #[error("not a JSON object of a request: {0}")]
    Json(#[from] serde_json::Error),
    #[error("request of socket.io-redis 5 or older, whose types have other numbers")]
    OldNumbering,
}

impl MalformedPubSub {
    /// Why a server can send the message and clients cannot receive it.
    pub(super) fn unfit(&self) -> Option<Unfit> {
        match self {
            Self::Msgpack(error) => error.unfit(),
            Self::NoName => Some(Unfit::NoName),
            Self::Placeholder => Some(Unfit::Placeholder),
            _ => None,
        }
    }
}
