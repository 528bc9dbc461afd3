//! `roomwire token`: issues and checks tokens with the configuration of a node.

mod check;
mod issue;

use std::io::Read;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Subcommand;

use super::{Cli, load, print_error, print_line};
pub(super) use check::TokenChecker;
use issue::{IssueOptions, RoomTokenOptions};

/// What to do with a token.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum TokenVerb {
    /// Print a token, signed with the first secret of the configuration or with a private key
    Issue(IssueOptions),
    /// Print a room token, which lets its bearer join one room (docs/rules.md#room-tokens)
    IssueRoom(RoomTokenOptions),
    /// Check a token as a node with this configuration does: exit with 0 if it is accepted, otherwise with 1
    Check {
        /// The token; `-` reads it from standard input, so that other users of this machine do not see it
        token: String,
    },
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
        TokenVerb::Issue(options) => issue::issue(auth, options, now),
        TokenVerb::IssueRoom(options) => issue::issue_room(auth, options, now),
        TokenVerb::Check { token } => read(token).and_then(|token| check::check(auth, &token, now)),
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

/// The token of the argument, or of standard input if that is `-`.
pub(super) fn read(argument: &str) -> Result<String, String> {
    if argument != "-" {
        return Ok(argument.trim().to_owned());
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| format!("standard input cannot be read: {error}"))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::check::check;
    use super::issue::{issue, issue_room};
    use super::*;
    use crate::cli::CommandLineVerb;
    use crate::config::{AuthConfig, Environment, Sources};

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

    fn room_options(arguments: &[&str]) -> RoomTokenOptions {
        let all = [&["roomwire", "token", "issue-room"], arguments].concat();
        match Cli::try_parse_from(all).unwrap().verb() {
            CommandLineVerb::Token {
                verb: TokenVerb::IssueRoom(options),
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
    fn an_issued_room_token_is_accepted_and_described() {
        let auth = auth(&[SECRET, ("ISSUERS", "https://a.example")]);
        let now = SystemTime::now();
        for (arguments, expected) in [
            (
                &["doc:42"][..],
                "room token accepted\nroom: doc:42\nuser: anyone who has the token\ncan: join",
            ),
            (
                &["doc:42", "--user", "anna", "--can", "emit,members"],
                "room token accepted\nroom: doc:42\nuser: anna\ncan: join, emit, members",
            ),
        ] {
            let token = issue_room(&auth, &room_options(arguments), now).unwrap();
            assert_eq!(check(&auth, &token, now), Ok(expected.to_owned()));
        }
        let options = room_options(&["doc:42", "--expires", "0s", "--id", "t1"]);
        let long_ago = now - std::time::Duration::from_secs(3600);
        let expired = issue_room(&auth, &options, long_ago).unwrap();
        let rejected = check(&auth, &expired, now).unwrap_err();
        assert!(rejected.contains("token_expired"), "{rejected}");
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
        for arguments in [&[][..], &["a", "--can", "fly"], &["a", "--room", "b"]] {
            let all = [&["roomwire", "token", "issue-room"], arguments].concat();
            assert!(Cli::try_parse_from(all).is_err(), "{arguments:?}");
        }
    }
}
