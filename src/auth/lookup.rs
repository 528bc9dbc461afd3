//! Which keys a token is tried with.

use super::token_problem::{RejectedToken, TokenProblem};
use crate::token::{CompactToken, VerifyingKey};

/// No key verified the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotVerified {
    pub(super) problem: TokenProblem,
    /// Whether a newer key set might contain the key.
    pub(super) is_key_missing: bool,
}

impl NotVerified {
    pub(super) fn rejection(self) -> RejectedToken {
        self.problem.into()
    }
}

/// Tries the keys that fit the header of a token: those of its algorithm with the id that it names, or without an id. A
/// token without an id is tried with each key of its algorithm.
pub(super) fn verify<'a>(
    token: &CompactToken<'_>,
    keys: impl Iterator<Item = &'a VerifyingKey>,
) -> Result<(), NotVerified> {
    let header = token.header();
    let wanted = header.key.as_deref();
    let (mut named, mut tried, mut of_other_family) = (false, false, false);
    for key in keys {
        let is_named = match (wanted, key.id()) {
            (Some(wanted), Some(id)) if wanted != id => continue,
            (wanted, id) => wanted.is_some() && id.is_some(),
        };
        named |= is_named;
        if !key.allows(header.algorithm) {
            of_other_family = true;
            continue;
        }
        tried = true;
        if token.is_signed_by(key) {
            return Ok(());
        }
    }
    let problem = match (tried, of_other_family) {
        (true, _) => TokenProblem::Signature,
        (false, true) => TokenProblem::Algorithm,
        (false, false) => TokenProblem::KeyUnknown,
    };
    Err(NotVerified {
        problem,
        is_key_missing: !named,
    })
}
