//! `[auth]`: clients whose identity is known, for as long as they are connected.

use std::time::Duration;

use crate::config::declare::table;
use crate::config::forms::{choice, duration, number, text};
use crate::config::user_room::UserRoom;

table! {
    /// What follows from the identity of a client (docs/identities.md).
    pub IdentityConfig = "auth" {
        /// Name of the room that contains every socket of a user; `{user}` stands for the name of the user. Clients
        /// cannot join or leave such rooms by request.
        user_room: UserRoom = "user:{user}", text("name with `{user}`", UserRoom::parse);
        /// Time before the end of an identity at which the client is warned (`roomwire:auth_expiring`). 0 = no warning.
        expiry_warning: Duration = "1m", duration(Duration::ZERO..);
        /// Time between the end of an identity (`roomwire:auth_expired`) and the end of the session. Until then, the
        /// client can refresh its identity.
        expiry_grace: Duration = "10s", duration(Duration::ZERO..);
        /// Which session remains if a user connects to a namespace several times, on any nodes: `any` = all, `newest` =
        /// earlier ones are disconnected (`roomwire:session_replaced`), `oldest` = later ones are rejected
        /// (`session_exists`).
        sessions_per_user: SessionsPerUser = "any", choice(SESSIONS_PER_USER);
        /// How long a revocation is remembered if the request does not limit it: at least the longest lifetime of a
        /// token.
        revocation_ttl: Duration = "24h", duration(Duration::from_secs(1)..);
        /// Maximum number of revocations of tokens, users and sessions that are remembered. Each takes about 100 bytes
        /// of memory on every node. Further ones are rejected.
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
