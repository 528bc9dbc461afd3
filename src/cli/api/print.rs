//! The answers of the API as text for people. Pure.

use serde_json::Value;

use super::arguments::ApiVerb;
use super::names;

/// The lines for an answer.
pub(super) fn lines(verb: &ApiVerb, answer: &Value) -> Vec<String> {
    match verb {
        ApiVerb::Emit(_) => vec![emitted(answer)],
        ApiVerb::Call(_) => acks(answer),
        ApiVerb::Sockets(_) => sockets(answer),
        ApiVerb::Rooms(_) => {
            let rows = rows(&answer["rooms"], ["room", "sockets"]);
            with_next(table(&["ROOM", "SOCKETS"], rows), answer)
        }
        ApiVerb::Users(_) => {
            let rows = rows(&answer["users"], ["user", "online", "sockets", "last_seen"]);
            let head = ["USER", "ONLINE", "SOCKETS", "LAST SEEN"];
            let rows = rows.into_iter().map(|[user, online, sockets, seen]| {
                let online = if online == "true" { "yes" } else { "no" };
                [user, online.to_owned(), sockets, time(&seen)]
            });
            with_next(table(&head, rows.collect()), answer)
        }
        ApiVerb::Members(_) => members(answer),
        ApiVerb::History(args) => history(answer, args.after.is_some()),
        ApiVerb::Info(_) => {
            let columns = ["node", "version", "sessions", "sockets", "rooms"];
            let head = ["NODE", "VERSION", "SESSIONS", "SOCKETS", "ROOMS"];
            table(&head, rows(&answer["nodes"], columns))
        }
        _ => vec!["done".to_owned()],
    }
}

fn emitted(answer: &Value) -> String {
    match (answer["sockets"].as_u64(), answer["nodes"].as_u64()) {
        (Some(sockets), Some(nodes)) => {
            format!(
                "sent to {} on {}",
                count(sockets, "socket"),
                count(nodes, "node")
            )
        }
        _ => "sent".to_owned(),
    }
}

fn acks(answer: &Value) -> Vec<String> {
    let acks = list(&answer["acks"]);
    let mut lines: Vec<String> = acks
        .iter()
        .map(|ack| format!("{} {}", text(&ack["socket"]), ack["args"]))
        .collect();
    let unanswered = names(&answer["unanswered"]).into_iter();
    lines.extend(unanswered.map(|socket| format!("{socket} no ack")));
    let sockets = answer["sockets"].as_u64().unwrap_or_default();
    let acks = count(acks.len() as u64, "ack");
    lines.push(format!("{acks} from {}", count(sockets, "socket")));
    lines
}

fn sockets(answer: &Value) -> Vec<String> {
    let head = ["SOCKET", "NODE", "USER", "CONNECTED", "ROOMS"];
    let sockets = list(&answer["sockets"]).iter().map(|socket| {
        let connected = time(&text(&socket["connected_at"]));
        let rooms = names(&socket["rooms"]).join(" ");
        let [id, node, user] = ["socket", "node", "user"].map(|name| text(&socket[name]));
        [id, node, user, connected, rooms]
    });
    let mut lines = table(&head, sockets.collect());
    lines.push(total(answer));
    lines
}

fn members(answer: &Value) -> Vec<String> {
    if !answer["version"].is_null() {
        return users_present(answer);
    }
    let members = list(&answer["members"])
        .iter()
        .map(|member| [text(&member["user"]), names(&member["sockets"]).join(" ")]);
    let mut lines = table(&["USER", "SOCKETS"], members.collect());
    lines.push(total(answer));
    lines
}

/// The members of a room with presence.
fn users_present(answer: &Value) -> Vec<String> {
    let members = list(&answer["members"]).iter().map(|member| {
        let data = &member["data"];
        let name = match &member["user"] {
            Value::Null => names(&member["sockets"]).join(" "),
            user => text(user),
        };
        let data = if data.is_null() {
            String::new()
        } else {
            data.to_string()
        };
        [name, data]
    });
    let mut lines = table(&["USER", "DATA"], members.collect());
    let total = answer["total"].as_u64().unwrap_or_default();
    lines.push(format!("{} in total", count(total, "user")));
    with_next(lines, answer)
}

/// One event a line, and how to read on.
fn history(answer: &Value, forward: bool) -> Vec<String> {
    let events = list(&answer["events"]).iter();
    let events = events.map(|event| {
        let [offset, name] = ["offset", "event"].map(|field| text(&event[field]));
        format!("{offset} {name} {}", event["args"])
    });
    let mut lines: Vec<String> = events.collect();
    if answer["trimmed"].as_bool() == Some(true) {
        lines.insert(0, "older events were removed from the log".to_owned());
    }
    if let Some(next) = answer["next"].as_str() {
        let option = if forward { "--after" } else { "--before" };
        lines.push(format!("more: {option} {next}"));
    }
    lines
}

fn total(answer: &Value) -> String {
    let total = answer["total"].as_u64().unwrap_or_default();
    format!("{} in total", count(total, "socket"))
}

fn with_next(mut lines: Vec<String>, answer: &Value) -> Vec<String> {
    if let Some(next) = answer["next"].as_str() {
        lines.push(format!("more: --after {next}"));
    }
    lines
}

fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn rows<const N: usize>(entries: &Value, columns: [&str; N]) -> Vec<[String; N]> {
    let row = |entry: &Value| columns.map(|name| text(&entry[name]));
    list(entries).iter().map(row).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// A text without characters that a terminal obeys.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => printable.extend(c.escape_default()),
            false => printable.push(c),
        }
    }
    printable
}

/// A Unix time in seconds as text.
fn time(seconds: &str) -> String {
    let Ok(seconds) = seconds.parse() else {
        return "-".to_owned();
    };
    let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
    time.map_or_else(
        || seconds.to_string(),
        |time| humantime::format_rfc3339_seconds(time).to_string(),
    )
}

/// Columns as wide as their longest text.
fn table<const N: usize>(head: &[&str; N], rows: Vec<[String; N]>) -> Vec<String> {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.chain([head[column].len()]).max().unwrap_or(0)
    });
    let line = |cells: [&str; N]| {
        let cells = cells.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(*head)];
    lines.extend(
        rows.iter()
            .map(|row| line(row.each_ref().map(String::as_str))),
    );
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        verb: ApiVerb,
    }

    fn printed(line: &str, answer: &Value) -> String {
        let words = std::iter::once("roomwire").chain(line.split(' '));
        lines(&Line::parse_from(words).verb, answer).join("\n")
    }

    #[test]
    fn answers_are_printed_as_sentences_or_tables() {
        let cases = [
            ("emit e", json!({}), "sent"),
            (
                "emit e",
                json!({"sockets": 1, "nodes": 2, "missing": []}),
                "sent to 1 socket on 2 nodes",
            ),
            ("join r", json!({}), "done"),
            (
                "call e",
                json!({"acks": [{"socket": "a", "args": [true, "x"]}], "unanswered": ["b"], "sockets": 2}),
                "a [true,\"x\"]\nb no ack\n1 ack from 2 sockets",
            ),
            (
                "rooms",
                json!({"rooms": [{"room": "lobby", "sockets": 12}, {"room": "a\u{1b}[m", "sockets": 1}], "next": "z"}),
                "ROOM       SOCKETS\nlobby      12\na\\u{1b}[m  1\nmore: --after z",
            ),
            (
                "users",
                json!({"users": [{"user": "ada", "online": false, "sockets": 0, "last_seen": 0}], "next": null}),
                "USER  ONLINE  SOCKETS  LAST SEEN\nada   no      0        1970-01-01T00:00:00Z",
            ),
            (
                "sockets",
                json!({"sockets": [{"socket": "s", "node": "n", "user": null, "connected_at": 60, "rooms": ["a", "b"]}], "total": 1}),
                "SOCKET  NODE  USER  CONNECTED             ROOMS\ns       n     -     1970-01-01T00:01:00Z  a b\n1 socket in total",
            ),
            (
                "members r",
                json!({"members": [{"user": "ada", "sockets": ["s", "t"]}], "total": 2}),
                "USER  SOCKETS\nada   s t\n2 sockets in total",
            ),
            (
                "info",
                json!({"nodes": [{"node": "n", "version": "1", "sessions": 2, "sockets": 3, "rooms": 4}]}),
                "NODE  VERSION  SESSIONS  SOCKETS  ROOMS\nn     1        2         3        4",
            ),
        ];
        for (line, answer, expected) in cases {
            assert_eq!(printed(line, &answer), expected, "{line}");
        }
    }
}
