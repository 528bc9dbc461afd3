//! `roomwire token issue` and `issue-room`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Map, Value, json};

use crate::config::AuthConfig;
use crate::model::Actions;
use crate::token::{Algorithm, SigningKey};

/// The claims of a token of a user, and the key that signs it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct IssueOptions {
    /// The user
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    user: String,
    /// Time until the token expires, as 1h or 30days
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// A room that the user is in from the start; can be repeated
    #[arg(long, value_name = "ROOM")]
    room: Vec<String>,
    /// What the user may do in rooms, as 'team:*=join,emit'; can be repeated
    #[arg(long, value_name = "PATTERN=ACTIONS", value_parser = grant)]
    can: Vec<(String, Vec<String>)>,
    #[command(flatten)]
    signing: SigningOptions,
}

/// The claims of a room token, and the key that signs it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RoomTokenOptions {
    /// The room
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    room: String,
    /// The only user who can use the token; without, everyone who has it
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// What the token permits besides joining, as emit,ask,members
    #[arg(long, value_name = "ACTIONS", value_delimiter = ',', value_parser = action)]
    can: Vec<String>,
    /// Time until the token expires, as 1h; a socket that has joined stays in the room
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    expires: Duration,
    #[command(flatten)]
    signing: SigningOptions,
}

/// What all tokens can have, and the key that signs them.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
struct SigningOptions {
    /// A further claim, as team=blue or level=7; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim)]
    claim: Vec<(String, Value)>,
    /// Id of the token, by which it can be revoked
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// File with the private key to sign with (PEM, PKCS #8), instead of a secret of the configuration
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Id of the key for the header; by default that of the secret
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
    /// Algorithm, as HS512 or EdDSA; by default the first that the key allows
    #[arg(long, value_name = "NAME", value_parser = algorithm)]
    algorithm: Option<Algorithm>,
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::named(text).ok_or_else(|| {
        let names = Algorithm::NAMES.map(|(name, _)| name);
        format!("it is none of {}", names.join(", "))
    })
}

fn grant(text: &str) -> Result<(String, Vec<String>), String> {
    let (pattern, actions) = text
        .rsplit_once('=')
        .ok_or("it has no `=`, as in team:*=join,emit")?;
    let actions: Result<_, _> = actions.split(',').map(action).collect();
    Ok((pattern.to_owned(), actions?))
}

fn action(text: &str) -> Result<String, String> {
    let names = Actions::NAMES.map(|(name, _)| name);
    match Actions::named(text.trim()) {
        Some(_) => Ok(text.trim().to_owned()),
        None => Err(format!("`{text}` is none of {}", names.join(", "))),
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("it has no `=`, as in team=blue")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((name.to_owned(), value))
}

/// A token of a user.
///
/// # Errors
/// There is no key to sign with, or it does not fit the algorithm.
pub(super) fn issue(
    auth: &AuthConfig,
    options: &IssueOptions,
    now: SystemTime,
) -> Result<String, String> {
    let mut own = Map::new();
    if !options.room.is_empty() {
        own.insert("rooms".to_owned(), json!(options.room));
    }
    if !options.can.is_empty() {
        let can: BTreeMap<_, _> = options.can.iter().cloned().collect();
        own.insert("can".to_owned(), json!(can));
    }
    let mut claims = vec![(auth.user_claim.as_str(), options.user.as_str().into())];
    if !own.is_empty() {
        claims.push((auth.claim.as_str(), own.into()));
    }
    sign(auth, &options.signing, claims, (now, options.expires))
}

/// A room token.
///
/// # Errors
/// As [`issue`].
pub(super) fn issue_room(
    auth: &AuthConfig,
    options: &RoomTokenOptions,
    now: SystemTime,
) -> Result<String, String> {
    let mut claims = vec![("room", options.room.as_str().into())];
    if let Some(user) = &options.user {
        claims.push(("sub", user.as_str().into()));
    }
    if !options.can.is_empty() {
        claims.push(("can", json!(options.can)));
    }
    sign(auth, &options.signing, claims, (now, options.expires))
}

/// A signed token with these claims, those of the options, and those that the configuration requires.
fn sign(
    auth: &AuthConfig,
    options: &SigningOptions,
    own: Vec<(&str, Value)>,
    (now, time): (SystemTime, Duration),
) -> Result<String, String> {
    let (signer, id, default) = signer(auth, options, now)?;
    let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut claims: Map<String, Value> = options.claim.iter().cloned().collect();
    claims.insert("iat".to_owned(), seconds(now).into());
    claims.insert("exp".to_owned(), seconds(now + time).into());
    claims.extend(
        own.into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    );
    if let Some(id) = &options.id {
        claims.insert("jti".to_owned(), id.as_str().into());
    }
    for (name, accepted) in [("iss", &auth.issuers), ("aud", &auth.audiences)] {
        if let Some(first) = accepted.first() {
            claims
                .entry(name)
                .or_insert_with(|| Value::from(first.as_str()));
        }
    }
    let algorithm = options.algorithm.unwrap_or(default);
    let id = options.kid.as_deref().or(id.as_deref());
    signer
        .sign(algorithm, id, &Value::from(claims).to_string())
        .map_err(|error| match options.algorithm {
            Some(_) => format!("--algorithm: {error}"),
            None => error.to_string(),
        })
}

/// The key that signs, its id and its usual algorithm.
fn signer(
    auth: &AuthConfig,
    options: &SigningOptions,
    now: SystemTime,
) -> Result<(SigningKey, Option<String>, Algorithm), String> {
    if let Some(file) = &options.key {
        let of_file =
            |error: &dyn std::fmt::Display| format!("--key: `{}`: {error}", file.display());
        let pem = std::fs::read(file).map_err(|error| of_file(&error))?;
        let signer = SigningKey::from_pem(&pem).map_err(|error| of_file(&error))?;
        let algorithm = signer.family().default_algorithm();
        return Ok((signer, None, algorithm));
    }
    let (own, signer) = auth.signing_key(now).ok_or(
        "the configuration has no secret to sign with (auth.secret); name a private key with --key",
    )?;
    let allowed = Algorithm::NAMES.into_iter().map(|(_, algorithm)| algorithm);
    let mut allowed = allowed.filter(|algorithm| own.key.allows(*algorithm));
    let algorithm = allowed.next().unwrap_or(Algorithm::Hs256);
    Ok((signer, own.key.id().map(str::to_owned), algorithm))
}
