//! `roomwire token`: issues and checks tokens with the configuration of a node.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Cli, load, print_error, print_line};
use crate::auth::{KeyFetcher, Verified, Verifier};
use crate::config::AuthConfig;
use crate::metrics::Metrics;
use crate::model::{Actions, Identity};
use crate::token::{Algorithm, SigningKey};

/// What to do with a token.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum TokenVerb {
    /// Print a token, signed with the first secret of the configuration or with a private key
    Issue(IssueOptions),
    /// Check a token as a node with this configuration does: exit with 0 if it is accepted, otherwise with 1
    Check {
        /// The token; `-` reads it from standard input, so that other users of this machine do not see it
        token: String,
    },
}

/// The claims of a token, and the key that signs it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct IssueOptions {
    /// The user
    #[arg(long, value_name = "NAME")]
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
    let actions: Vec<String> = actions.split(',').map(|it| it.trim().to_owned()).collect();
    let names = Actions::NAMES.map(|(name, _)| name);
    match actions.iter().find(|it| Actions::named(it).is_none()) {
        Some(unknown) => Err(format!("`{unknown}` is none of {}", names.join(", "))),
        None => Ok((pattern.to_owned(), actions)),
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("it has no `=`, as in team=blue")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((name.to_owned(), value))
}

/// `roomwire token`
pub fn run(cli: &Cli, verb: &TokenVerb) -> ExitCode {
    let loaded = match load(cli) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let auth = &loaded.config.auth;
    let now = SystemTime::now();
    let result = match verb {
        TokenVerb::Issue(options) => issue(auth, options, now),
        TokenVerb::Check { token } => read(token).and_then(|token| check(auth, &token, now)),
    };
    match result {
        Ok(text) => {
            print_line(&text);
            ExitCode::SUCCESS
        }
        Err(problem) => {
            print_error(&problem);
            ExitCode::FAILURE
        }
    }
}

/// The token of the argument, or of standard input.
fn read(argument: &str) -> Result<String, String> {
    if argument != "-" {
        return Ok(argument.trim().to_owned());
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| format!("standard input cannot be read: {error}"))?;
    Ok(text.trim().to_owned())
}

fn issue(auth: &AuthConfig, options: &IssueOptions, now: SystemTime) -> Result<String, String> {
    let (signer, id, default) = signer(auth, options, now)?;
    let algorithm = options.algorithm.unwrap_or(default);
    let id = options.kid.as_deref().or(id.as_deref());
    signer
        .sign(algorithm, id, &claims(auth, options, now).to_string())
        .map_err(|error| error.to_string())
}

/// The key that signs, its id and its usual algorithm.
fn signer(
    auth: &AuthConfig,
    options: &IssueOptions,
    now: SystemTime,
) -> Result<(SigningKey, Option<String>, Algorithm), String> {
    if let Some(file) = &options.key {
        let of_file = |error: &dyn std::fmt::Display| format!("`{}`: {error}", file.display());
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

fn claims(auth: &AuthConfig, options: &IssueOptions, now: SystemTime) -> Value {
    let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut claims: Map<String, Value> = options.claim.iter().cloned().collect();
    claims.insert(auth.user_claim.clone(), options.user.as_str().into());
    claims.insert("iat".to_owned(), seconds(now).into());
    claims.insert("exp".to_owned(), seconds(now + options.expires).into());
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
    let mut own = Map::new();
    if !options.room.is_empty() {
        own.insert("rooms".to_owned(), json!(options.room));
    }
    if !options.can.is_empty() {
        let can: BTreeMap<_, _> = options.can.iter().cloned().collect();
        own.insert("can".to_owned(), json!(can));
    }
    if !own.is_empty() {
        claims.insert(auth.claim.clone(), own.into());
    }
    claims.into()
}

/// Checks a token; returns what is in it, one line each.
fn check(auth: &AuthConfig, token: &str, now: SystemTime) -> Result<String, String> {
    if !auth.is_on() {
        return Err("the configuration has no key to check tokens with (auth.secret)".to_owned());
    }
    let checked = actix_rt::System::new().block_on(async {
        let verifier = Verifier::new(auth, Arc::new(Metrics::default()));
        let _fetcher = KeyFetcher::start(Arc::clone(&verifier));
        verifier.verify(token).await
    });
    match checked {
        Ok(verified) => Ok(described(&verified, now)),
        Err(rejection) => Err(format!(
            "token rejected: {}: {}",
            rejection.problem.code(),
            rejection.detail
        )),
    }
}

fn described(verified: &Verified, now: SystemTime) -> String {
    let Identity {
        user,
        token,
        claims,
        grants,
        issued,
        expires,
        ..
    } = &verified.identity;
    let mut lines = vec!["token accepted".to_owned(), format!("user: {user}")];
    lines.push(match expires {
        Some(end) => {
            let left = end.duration_since(now).unwrap_or_default();
            let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
            let end = humantime::format_rfc3339_seconds(*end);
            format!("expires: {end} (in {left})")
        }
        None => "expires: never".to_owned(),
    });
    if let Some(issued) = issued {
        let issued = humantime::format_rfc3339_seconds(*issued);
        lines.push(format!("issued: {issued}"));
    }
    if let Some(id) = token {
        lines.push(format!("id: {id}"));
    }
    for room in &verified.rooms {
        lines.push(format!("in room: {room}"));
    }
    for grant in grants {
        let actions: Vec<_> = grant.actions.names().collect();
        lines.push(format!("can in {}: {}", grant.rooms, actions.join(", ")));
    }
    if !claims.is_empty() {
        lines.push(format!("claims: {claims}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::CommandLineVerb;
    use crate::config::{Environment, Sources};

    fn auth(settings: &[(&str, &str)]) -> AuthConfig {
        let settings = settings.iter();
        let environment: Environment = settings
            .map(|(name, value)| (format!("ROOMWIRE_AUTH__{name}"), (*value).to_owned()))
            .collect();
        let file = None;
        let loaded = crate::config::load(&Sources { file, environment });
        loaded.unwrap().config.auth
    }

    fn options(arguments: &[&str]) -> IssueOptions {
        let all = [&["roomwire", "token", "issue"], arguments].concat();
        match Cli::try_parse_from(all).unwrap().verb() {
            CommandLineVerb::Token {
                verb: TokenVerb::Issue(options),
            } => options,
            other => panic!("{other:?}"),
        }
    }

    const SECRET: (&str, &str) = ("SECRET", "a secret of forty characters, more or less");

    #[test]
    fn an_issued_token_is_accepted_and_described() {
        let auth = auth(&[
            SECRET,
            ("ISSUERS", "https://a.example"),
            ("AUDIENCES", "chat"),
        ]);
        let now = SystemTime::now();
        let options = options(&[
            "--user",
            "anna",
            "--expires",
            "2h",
            "--room",
            "team:1",
            "--room",
            "news",
            "--can",
            "team:*=join,emit",
            "--claim",
            "team=blue",
            "--claim",
            "level=7",
            "--id",
            "t1",
            "--algorithm",
            "HS384",
        ]);
        let token = issue(&auth, &options, now).unwrap();
        let text = check(&auth, &token, now).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..2], ["token accepted", "user: anna"]);
        assert!(
            lines[2].starts_with("expires: ") && lines[2].contains("(in 1h 59m"),
            "{text}"
        );
        assert_eq!(
            lines[4..],
            [
                "id: t1",
                "in room: team:1",
                "in room: news",
                "can in team:*: join, emit",
                r#"claims: {"iss":"https://a.example","level":7,"team":"blue"}"#,
            ]
        );
    }

    #[test]
    fn a_rejected_token_is_explained() {
        let auth = auth(&[SECRET]);
        let now = SystemTime::now();
        let token = issue(&auth, &options(&["--user", "a", "--claim", "aud=x"]), now).unwrap();
        let rejected = check(&auth, &token, now).unwrap_err();
        let expected = "token rejected: token_audience: its `aud` is not in auth.audiences";
        assert_eq!(rejected, expected);
    }

    #[test]
    fn a_key_is_needed() {
        let none = auth(&[]);
        let options = options(&["--user", "a"]);
        let now = SystemTime::now();
        assert!(issue(&none, &options, now).unwrap_err().contains("--key"));
        assert!(check(&none, "x", now).unwrap_err().contains("auth.secret"));
    }

    #[test]
    fn arguments_are_checked() {
        for arguments in [
            &["--user", "a", "--can", "team"][..],
            &["--user", "a", "--can", "team=fly"],
            &["--user", "a", "--claim", "team"],
            &["--user", "a", "--algorithm", "none"],
            &["--room", "a"],
        ] {
            let all = [&["roomwire", "token", "issue"], arguments].concat();
            assert!(Cli::try_parse_from(all).is_err(), "{arguments:?}");
        }
    }
}
