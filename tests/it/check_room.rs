//! `roomwire check --room`: which rule decides about a client, and the exit code.

use serde_json::json;

use crate::support::process::{run, text};
use crate::support::server::write_file;
use crate::support::tokens::{self, SECRET};

const RULES: &str = r#"
[[app.relay.rooms]]
pattern = "team:{claim.team}:*"
join = "users"
publish = "members"

[[app.relay.rooms]]
pattern = "board:*"
publish = "anyone"
history = "anyone"
conflate = ["cursor /user/id", "title*"]
"#;

/// The arguments of a check, its exit code and what it prints.
type Case<'a> = (Vec<&'a str>, i32, String);

fn cases(token: &str) -> Vec<Case<'_>> {
    [cases_of_rules(token), cases_without_rules(token)].concat()
}

fn cases_of_rules(token: &str) -> Vec<Case<'_>> {
    let red = "rule: app.relay.rooms[0], pattern `team:{claim.team}:*`";
    vec![
        (
            vec!["team:red:1", "--as", token],
            0,
            format!("user `anna`, join `team:red:1`\n{red}, join = users\nallowed: users\n"),
        ),
        (
            vec!["team:red:1", "--as", token, "--action", "emit"],
            1,
            format!(
                "user `anna`, emit `team:red:1`\n{red}, publish = members\n\
                 rejected: no condition of the rule applies, and no token grants the action\n"
            ),
        ),
        (
            vec!["team:red:1", "--as", token, "--action", "emit", "--member"],
            0,
            format!("user `anna`, emit `team:red:1`\n{red}, publish = members\nallowed: members\n"),
        ),
        (
            vec!["board:1", "--action", "emit"],
            0,
            "client without identity, emit `board:1`\n\
             rule: app.relay.rooms[1], pattern `board:*`, publish = anyone\n\
             latest wins: conflate = [\"cursor /user/id\", \"title*\"]\nallowed: anyone\n"
                .to_owned(),
        ),
        (
            vec!["board:1", "--action", "history"],
            0,
            "client without identity, history `board:1`\n\
             rule: app.relay.rooms[1], pattern `board:*`, history = anyone\nallowed: anyone\n"
                .to_owned(),
        ),
        // The token puts its user into this room.
        (
            vec!["team:red:2", "--as", token, "--action", "emit"],
            0,
            format!("user `anna`, emit `team:red:2`\n{red}, publish = members\nallowed: members\n"),
        ),
    ]
}

fn cases_without_rules(token: &str) -> Vec<Case<'_>> {
    vec![
        (
            vec!["news:1", "--as", token],
            0,
            "user `anna`, join `news:1`\nrule: app.relay, pattern `*`, join = nobody\n\
             allowed: the token grants it for `news:*`\n"
                .to_owned(),
        ),
        (
            vec!["team:red:1"],
            1,
            "client without identity, join `team:red:1`\nrule: app.relay, pattern `*`, join = nobody\n\
             rejected: no condition of the rule applies, and no token grants the action\n"
                .to_owned(),
        ),
        (
            vec!["user:anna", "--as", token],
            1,
            "rejected: only the node itself puts sockets into `user:anna`\n".to_owned(),
        ),
        (
            vec!["user:bert", "--as", token, "--action", "emit"],
            1,
            "user `anna`, emit `user:bert`\nrule: app.relay, pattern `*`, publish = nobody\n\
             rejected: only an entry of app.relay.rooms or a grant opens the room of a user\n"
                .to_owned(),
        ),
    ]
}

#[test]
fn the_decision_about_a_client_is_explained() {
    let file = write_file(
        "rules.toml",
        &format!("[auth]\nsecret = \"{SECRET}\"\n{RULES}"),
    );
    let can = json!({"news:*": ["join"]});
    let token =
        tokens::token(json!({"team": "red", "roomwire": {"can": can, "rooms": ["team:red:2"]}}));
    let check = |arguments: &[&str]| {
        let file = file.to_str().unwrap();
        let all = [&["check", "--config", file, "--room"], arguments].concat();
        let output = run(&all, &[]);
        (
            output.status.code().unwrap(),
            text(&output.stdout).to_owned(),
            text(&output.stderr).to_owned(),
        )
    };
    for (arguments, code, expected) in cases(&token) {
        let (exit, out, errors) = check(&arguments);
        assert_eq!((exit, out.as_str()), (code, &*expected), "{errors}");
    }
    let (exit, out, errors) = check(&["a", "--as", "x.y.z"]);
    assert_eq!((exit, out.as_str()), (1, ""));
    assert!(errors.starts_with("token_malformed: "), "{errors}");
    assert_eq!(check(&["a", "--action", "fly"]).0, 2);
}

/// A configuration with rooms that require a room token.
fn signed_rooms() -> String {
    let rule =
        "[[app.relay.rooms]]\npattern = \"doc:*\"\njoin = \"token\"\npublish = \"members\"\n";
    let config = format!("[auth]\nsecret = \"{SECRET}\"\n{rule}");
    let file = write_file("room-tokens.toml", &config);
    file.to_str().unwrap().to_owned()
}

#[test]
fn room_tokens_are_judged_and_count_for_the_room_and_user_they_name() {
    let file = signed_rooms();
    let issue = |arguments: &str| {
        let line = format!("token --config {file} {arguments}");
        let output = run(&line.split(' ').collect::<Vec<_>>(), &[]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    let anyone = issue("issue-room doc:1");
    let of_anna = issue("issue-room doc:1 --user anna --can members");
    let anna = issue("issue --user anna");
    let bert = issue("issue --user bert");
    let no_rule = "rejected: no condition of the rule applies, and no token grants the action";
    let not_signed = "room_token_malformed: the token is not a room token: it has no `room`";
    for (arguments, code, expected) in [
        ("doc:1".to_owned(), 1, no_rule),
        (format!("doc:1 --room-token {anyone}"), 0, "allowed: token"),
        (
            format!("doc:1 --room-token {anyone} --action emit"),
            0,
            "allowed: members",
        ),
        (
            format!("doc:1 --room-token {anyone} --action members"),
            1,
            no_rule,
        ),
        (
            format!("doc:1 --as {anna} --room-token {of_anna} --action members"),
            0,
            "allowed: the room token permits it",
        ),
        (
            format!("doc:1 --as {bert} --room-token {of_anna}"),
            1,
            "room_token_user: the room token is for another user",
        ),
        (
            format!("doc:2 --room-token {anyone}"),
            1,
            "room_token_room: the room token is for another room",
        ),
        (format!("doc:1 --room-token {anna}"), 1, not_signed),
    ] {
        let line = format!("check --config {file} --room {arguments}");
        let output = run(&line.split(' ').collect::<Vec<_>>(), &[]);
        let printed = [text(&output.stdout), text(&output.stderr)].concat();
        let last = printed.lines().last();
        let found = (output.status.code(), last);
        assert_eq!(found, (Some(code), Some(expected)), "{arguments}");
    }
}

#[test]
fn a_token_needs_a_key_that_verifies_it() {
    let output = run(&["check", "--room", "a", "--as", "x.y.z"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains("[auth]"), "{errors}");
}
