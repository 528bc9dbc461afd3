//! Why a token is rejected: the codes of docs/auth.md#codes.

use crate::app::gate::GateRejection;
use crate::metrics::labels::TokenResult;
use crate::token::InvalidToken;

/// The kinds of problems, each with a stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenProblem {
    /// There is no token, and `auth.required` is on.
    Missing,
    /// It is longer than `auth.token_limit`.
    TooLarge,
    /// It is not a signed token, or a claim has the wrong form.
    Malformed,
    /// Its header names extensions that must be understood.
    Critical,
    /// Its algorithm is `none`, unknown, or not one of the key's family.
    Algorithm,
    /// No key has the id that it names.
    KeyUnknown,
    /// No key signed it.
    Signature,
    Expired,
    NotYetValid,
    Issuer,
    Audience,
    /// It, or all tokens of its user, were revoked.
    Revoked,
    /// The key set that may contain its key cannot be fetched at the moment.
    KeysUnavailable,
}

impl TokenProblem {
    /// Every problem.
    pub const ALL: [Self; 13] = [
        Self::Missing,
        Self::TooLarge,
        Self::Malformed,
        Self::Critical,
        Self::Algorithm,
        Self::KeyUnknown,
        Self::Signature,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::Revoked,
        Self::KeysUnavailable,
    ];

    /// The code for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::TooLarge => "token_too_large",
            Self::Malformed => "token_malformed",
            Self::Critical => "token_critical",
            Self::Algorithm => "token_algorithm",
            Self::KeyUnknown => "token_key_unknown",
            Self::Signature => "token_signature",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Issuer => "token_issuer",
            Self::Audience => "token_audience",
            Self::Revoked => "token_revoked",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }

    /// A sentence for people, without any part of the token.
    pub fn message(self) -> &'static str {
        match self {
            Self::Missing => "A token is required",
            Self::TooLarge => "The token is too large",
            Self::Malformed => "The token is malformed",
            Self::Critical => "The token requires an unsupported extension",
            Self::Algorithm => "The algorithm of the token is not accepted",
            Self::KeyUnknown => "The key of the token is unknown",
            Self::Signature => "The signature of the token is invalid",
            Self::Expired => "The token has expired",
            Self::NotYetValid => "The token is not valid yet",
            Self::Issuer => "The issuer of the token is not accepted",
            Self::Audience => "The token is meant for another audience",
            Self::Revoked => "The token was revoked",
            Self::KeysUnavailable => "Tokens cannot be verified at the moment",
        }
    }

    /// Whether the same token may be accepted later.
    pub fn is_temporary(self) -> bool {
        self == Self::KeysUnavailable
    }

    /// The label of its counter.
    pub fn label(self) -> TokenResult {
        match self {
            Self::Missing => TokenResult::Missing,
            Self::TooLarge => TokenResult::TooLarge,
            Self::Malformed => TokenResult::Malformed,
            Self::Critical => TokenResult::Critical,
            Self::Algorithm => TokenResult::Algorithm,
            Self::KeyUnknown => TokenResult::KeyUnknown,
            Self::Signature => TokenResult::Signature,
            Self::Expired => TokenResult::Expired,
            Self::NotYetValid => TokenResult::NotYetValid,
            Self::Issuer => TokenResult::Issuer,
            Self::Audience => TokenResult::Audience,
            Self::Revoked => TokenResult::Revoked,
            Self::KeysUnavailable => TokenResult::KeysUnavailable,
        }
    }
}

/// A problem and its exact cause: a fixed text for operators, without any part of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectedToken {
    pub problem: TokenProblem,
    pub detail: &'static str,
}

impl From<TokenProblem> for RejectedToken {
    fn from(problem: TokenProblem) -> Self {
        let detail = match problem {
            TokenProblem::Missing => "no configured source has a token",
            TokenProblem::TooLarge => "it is longer than auth.token_limit",
            TokenProblem::Malformed => "it is not a signed token",
            TokenProblem::Critical => "its header has `crit`",
            TokenProblem::Algorithm => "no key allows its algorithm",
            TokenProblem::KeyUnknown => "no valid key has the `kid` of its header",
            TokenProblem::Signature => "no key verifies it",
            TokenProblem::Expired => "its `exp` is in the past",
            TokenProblem::NotYetValid => "its `nbf` is in the future",
            TokenProblem::Issuer => "its `iss` is not in auth.issuers",
            TokenProblem::Audience => "its `aud` is not in auth.audiences",
            TokenProblem::Revoked => "it, or all tokens of its user, were revoked",
            TokenProblem::KeysUnavailable => "auth.jwks_url cannot be fetched",
        };
        Self { problem, detail }
    }
}

impl RejectedToken {
    /// A claim has the wrong form.
    pub(super) fn malformed(detail: &'static str) -> Self {
        let problem = TokenProblem::Malformed;
        Self { problem, detail }
    }
}

impl From<InvalidToken> for RejectedToken {
    fn from(invalid: InvalidToken) -> Self {
        match invalid {
            InvalidToken::Malformed(detail) => Self::malformed(detail),
            InvalidToken::Algorithm => Self {
                detail: "its `alg` is `none` or unknown",
                ..TokenProblem::Algorithm.into()
            },
            InvalidToken::Critical => TokenProblem::Critical.into(),
        }
    }
}

impl From<RejectedToken> for GateRejection {
    fn from(rejection: RejectedToken) -> Self {
        rejection.problem.into()
    }
}

impl From<TokenProblem> for GateRejection {
    fn from(problem: TokenProblem) -> Self {
        Self {
            code: problem.code().into(),
            message: problem.message().to_owned(),
            temporary: problem.is_temporary(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::labels::Label;

    #[test]
    fn codes_are_the_labels_of_the_counter() {
        for problem in TokenProblem::ALL {
            let label = TokenResult::VALUES[problem.label().index()];
            assert_eq!(problem.code(), label);
        }
    }
}
