//! Users: who the clients are, by signed tokens (docs/auth.md), and what follows from it for as long as they are
//! connected.
//!
//! The [`Verifier`] of a node checks tokens: by the keys of the configuration, and by those of a key set that is fetched
//! over HTTP. The [`TokenGate`] takes the token of each namespace CONNECT and establishes the client's identity. No log
//! line, error or `Debug` output contains any part of a token.

mod claims;
mod counts;
mod gate;
mod jwks;
mod key_set_settings;
mod known;
mod lookup;
mod order;
mod remote_keys;
mod revocation;
mod revocations;
mod room_tokens;
mod session_locks;
mod source;
mod token_problem;
mod user_room;
mod users;
mod verifier;

pub use claims::{Verified, VerifiedClaims};
pub use counts::{UserConnection, UserCounts};
pub use gate::TokenGate;
pub use jwks::KeyFetcher;
pub use order::Order;
pub use revocation::{Revocation, Subject};
pub use revocations::{
    Announce, RECONNECT_TOPIC, REVOCATION_TOPIC, Remembered, RevocationError, RevocationParts,
    Revocations,
};
pub use room_tokens::RoomTokenKeys;
pub use session_locks::{EvictSocket, LockParts, SessionLock, SessionLocks};
pub use token_problem::{RejectedToken, TokenProblem};
pub use user_room::user_room;
pub use users::Users;
pub use verifier::Verifier;
