//! Reads the body of a POST.

use actix_web::error::PayloadError;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use crate::limits::{HeldBody, Limit};

/// A body is read to its end, to be rejected with a response, up to this many times the limit.
const REJECTED_BODY_FACTOR: usize = 8;

/// Why a body is not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    TooLarge,
    /// The node holds too many bytes of bodies.
    Limited(Limit),
    /// It is incomplete or malformed.
    BrokeOff,
}

/// Reads a whole body of at most `limit` bytes. A larger body is read to its end as well, so that the client reads the
/// response instead of a connection reset, unless it is far too large.
///
/// # Errors
/// The body is not to be delivered.
pub async fn read(
    mut payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    limit: usize,
    held: &mut HeldBody,
) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    let mut length = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyError::BrokeOff)?;
        length += chunk.len();
        if length <= limit {
            held.grow(chunk.len()).map_err(BodyError::Limited)?;
            body.extend_from_slice(&chunk);
        } else if length > limit.saturating_mul(REJECTED_BODY_FACTOR) {
            break;
        }
    }
    if length > limit {
        return Err(BodyError::TooLarge);
    }
    Ok(body.freeze())
}
