//! `[auth]`: clients whose identity is known, for as long as they are connected.

use std::time::Duration;

use crate::config::declare::table;
use crate::config::forms::{choice, duration, number, text};
use crate::config::user_room::UserRoom;

table! {
    /// Clients whose identity is known.
    pub IdentityConfig = "auth" {
        /// Name of the room that the sockets of a user are in, with `{user}` in place of the user. Clients can neither
        /// join nor leave these rooms by request.
        user_room: UserRoom = "user:{user}", text("name with `{user}`", UserRoom::parse);
        /// How long before its end an identity is announced to the client (`roomwire:auth_expiring`). 0 = not announced.
        expiry_warning: Duration = "1m", duration(Duration::ZERO..);
        /// Time from the end of an identity (`roomwire:auth_expired`) until the session closes. The client can refresh the
        /// identity until then.
        expiry_grace: Duration = "10s", duration(Duration::ZERO..);
        /// Which session of a user remains if there are several in one namespace, on all nodes: `any` = all, `newest` = the
        /// former is disconnected (`roomwire:session_replaced`), `oldest` = others are rejected (`session_exists`).
        sessions_per_user: SessionsPerUser = "any", choice(SESSIONS_PER_USER);
        /// How long a revocation is remembered if it does not say when the last token that it concerns expires: at least the
        /// longest life of a token.
        revocation_ttl: Duration = "24h", duration(Duration::from_secs(1)..);
        /// Maximum number of revoked tokens, users and sessions that are remembered. Each takes about 100 bytes of memory on
        /// every node. More are rejected.
        revocation_limit: usize = 1000000, number(1..);
    }
}

/// Which of several sessions of a user remains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionsPerUser {
    #[default]
    Any,
    Newest,
    Oldest,
}

const SESSIONS_PER_USER: &[(&str, SessionsPerUser)] = &[
    ("any", SessionsPerUser::Any),
    ("newest", SessionsPerUser::Newest),
    ("oldest", SessionsPerUser::Oldest),
];
