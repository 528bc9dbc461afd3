//! Who may do what in which room, as values: nothing here keeps state or waits.
//!
//! [`RoomRequest::decide`] applies the rules of the configuration to one request and returns what decided it, so that
//! `roomwire check` can print it. The order of its sources is documented in `docs/rules.md`.

mod authority;
mod claims;
mod decision;
mod explanation;
mod pattern;
mod token;

pub use authority::{AuthorityAnswer, AuthorityFactory, AuthorityRequest, RoomAuthority};
pub use claims::{claim_contains, claim_is};
pub use decision::{Basis, RoomAction, RoomDecision, RoomRequest};
pub use explanation::Explanation;
pub use pattern::pattern_matches;
pub use token::{RoomToken, RoomTokenRejection, RoomTokenVerifier};
