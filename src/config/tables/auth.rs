//! `[auth]`: who clients are, by signed tokens.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;
use url::Url;

use crate::config::auth_values::{self, TokenSource};
use crate::config::declare::{entry, table};
use crate::config::entry::tables;
use crate::config::forms::{MILLISECOND, duration, flag, list, size, switch, text};
use crate::config::net::Secret;
use crate::config::values;
use crate::tls::{ClientTlsFiles, ClientTlsKeys, InvalidTls, client_config};
use crate::token::{Algorithm, SigningKey, VerifyingKey};

/// How often the key set is fetched at most.
const MIN_REFRESH: Duration = Duration::from_secs(10);
/// A client waits for the fetch of a key no longer than this.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// The greatest `auth.leeway`.
pub const MAX_LEEWAY: Duration = Duration::from_secs(300);
/// The largest token that is read, and the least limit.
const TOKEN_SIZES: std::ops::RangeInclusive<usize> = 256..=64 << 10;

table! {
    /// Authentication of clients by signed tokens (JWT, docs/auth.md). It is on if a key is configured: `auth.secret`,
    /// `auth.secret_file`, `auth.public_key_file`, an entry of `auth.keys`, or `auth.jwks_url`.
    pub AuthConfig = "auth" {
        /// Whether every client needs a token. `off` = clients without a token are anonymous; invalid tokens are still
        /// rejected. `auto` = on if a key is configured.
        required: bool = "auto", switch().or_auto(), reload;
        /// Secret that signs tokens with HS256, HS384 or HS512.
        secret: Option<Secret> = "", text("at least 16 characters", auth_values::secret).or_empty(), secret, reload;
        /// File that contains such a secret. Surrounding white space is ignored.
        secret_file: Option<PathBuf> = "", text("file", values::any_path).or_empty(), reload;
        /// PEM file with the public key, or the certificate, that verifies tokens signed with RS, PS, ES256, ES384 or
        /// EdDSA.
        public_key_file: Option<PathBuf> = "", text("file", values::any_path).or_empty(), reload;
        /// Further keys, as entries `[[auth.keys]]` of a file. All keys are valid at the same time. Their files are
        /// read at start and by a reload.
        keys: Vec<AuthKeyEntry> = [], tables(), reload;
        /// URL of a key set (JWKS). It is fetched at start, every `auth.jwks_refresh`, and at most once in 30 s for
        /// tokens with an unknown `kid`. If a fetch fails, the last good set stays in use.
        jwks_url: Option<Url> = "", text("`https://` URL", auth_values::jwks_url).or_empty(), reload;
        /// PEM file with the certificate authorities for `auth.jwks_url`. Empty = those of the system.
        jwks_ca: Option<PathBuf> = "", text("file", values::any_path).or_empty(), reload;
        /// Interval between fetches of `auth.jwks_url`.
        jwks_refresh: Duration = "1h", duration(MIN_REFRESH..), reload;
        /// Time limit of a fetch. A client whose token has an unknown `kid` waits no longer than this.
        jwks_timeout: Duration = "2s", duration(MILLISECOND..=MAX_TIMEOUT), reload;
        /// Places where a client can put its token; the first one that has a token counts. `auth` = the field `token`
        /// of the auth payload, `header` = `Authorization: Bearer`, `query` = the query parameter `token`, `cookie` =
        /// the cookie `token`. A colon adds another name, as in `cookie:session`.
        sources: Vec<TokenSource> = ["auth", "header"],
            list(text("`auth`, `header`, `query` or `cookie`, with `:NAME`", TokenSource::parse)).at_least_one("source");
        /// Accepted values of the claim `iss`. Empty = the issuer is not checked.
        issuers: Vec<String> = [], list(text("text", auth_values::claim_value)), reload;
        /// Accepted values of the claim `aud`; a token must contain one of them. Empty = tokens with an `aud` are
        /// rejected.
        audiences: Vec<String> = [], list(text("text", auth_values::claim_value)), reload;
        /// Clock difference that is tolerated when `exp`, `nbf` and `iat` are checked.
        leeway: Duration = "30s", duration(Duration::ZERO..=MAX_LEEWAY), reload;
        /// Whether tokens without `exp` are rejected.
        require_expiry: bool = true, flag(), reload;
        /// Claim that contains the name of the user.
        user_claim: String = "sub", text("name of a claim", auth_values::claim_value), reload;
        /// Claim with the rooms and permissions of the user: an object with `rooms`, `can`, `data` and `expire_at`.
        claim: String = "roomwire", text("name of a claim", auth_values::claim_value), reload;
        /// Size limit of a token.
        token_limit: usize = "8KiB", size(TOKEN_SIZES), reload;
    }
    derived {
        /// The keys of all settings and files.
        static_keys: Vec<StaticKey>,
    }
}

entry! {
    /// An entry of `[[auth.keys]]`: exactly one of `secret`, `secret_file` and `public_key_file`, which mean the same as
    /// in `[auth]`.
    pub AuthKeyEntry {
        /// Id of the key. Tokens whose header has another `kid` are not tried with it.
        kid: Option<String> = text("text", auth_values::claim_value).optional();
        /// See `auth.secret`.
        secret: Option<Secret> = text("at least 16 characters", auth_values::secret).optional(), secret;
        /// See `auth.secret_file`.
        secret_file: Option<PathBuf> = text("file", values::any_path).optional();
        /// See `auth.public_key_file`.
        public_key_file: Option<PathBuf> = text("file", values::any_path).optional();
        /// Algorithms for which the key may be used. Absent = all that the key supports.
        algorithms: Option<Vec<Algorithm>> = list(text("name such as `HS256`", auth_values::algorithm)).optional();
        /// Time from which the key is no longer valid, such as `2027-01-31T00:00:00Z`: the end of the overlap when a
        /// key is replaced. Absent = it does not end.
        not_after: Option<SystemTime> = text("time (RFC 3339)", auth_values::time).optional();
    }
}

/// A key that the configuration names.
#[derive(Debug, Clone)]
pub struct StaticKey {
    pub key: VerifyingKey,
    /// When it ceases to be valid.
    pub not_after: Option<SystemTime>,
    /// The secret, if it is one; such keys also sign.
    pub secret: Option<Secret>,
}

impl AuthConfig {
    /// Whether clients are authenticated at all.
    pub fn is_on(&self) -> bool {
        !self.static_keys.is_empty() || self.jwks_url.is_some()
    }

    /// The first secret that is valid at `now`, with its key: what `roomwire token issue` signs with.
    pub fn signing_key(&self, now: SystemTime) -> Option<(&StaticKey, SigningKey)> {
        let mut keys = self.static_keys.iter().filter(|key| key.is_valid(now));
        keys.find_map(|key| {
            let secret = key.secret.as_ref()?;
            Some((key, SigningKey::secret(secret.expose().as_bytes())))
        })
    }
}

/// The TLS settings of connections to `auth.jwks_url`, with the authorities in the file `ca` or those of the system.
///
/// # Errors
/// There are no authorities that can be used.
pub fn jwks_tls(ca: Option<PathBuf>) -> Result<ClientConfig, InvalidTls> {
    let files = ClientTlsFiles { ca, identity: None };
    let keys = ClientTlsKeys {
        ca: "auth.jwks_ca",
        certificate: "",
        key: "",
    };
    client_config(&files, keys)
}

impl StaticKey {
    /// Whether it is valid at `now`.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.not_after.is_none_or(|end| now < end)
    }
}
