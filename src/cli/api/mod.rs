//! `roomwire emit`, `call`, `rooms` and the other verbs of the API, requested of the node with the same configuration.

mod arguments;
mod endpoint;
mod print;
mod request_body;

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

pub use arguments::ApiVerb;

use super::request;
use super::{Cli, load, print_error, print_line};
use crate::config::Secret;

/// Exit code of a request that was executed, but not by all nodes, or not with all acks.
const INCOMPLETE: u8 = 4;
/// Time limit of a request, besides the time of a call.
const TIME: Duration = Duration::from_secs(10);

/// Requests a verb and prints the answer.
///
/// Exit codes: 0 if it was executed, 1 if it was rejected or the node cannot be reached, 2 for an invalid request or
/// configuration, [`INCOMPLETE`].
pub fn request_api(cli: &Cli, verb: &ApiVerb) -> ExitCode {
    let loaded = match load(cli) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let options = verb.options();
    let body = match request_body::body(verb) {
        Ok(body) => body,
        Err(error) => {
            print_error(&error);
            return ExitCode::from(super::INVALID);
        }
    };
    let answer = endpoint::endpoint(&loaded.config, options).and_then(|endpoint| {
        let key = options.key.as_deref().map(Secret::from);
        let key = match key {
            Some(key) => key,
            None => endpoint::key(&loaded.config, verb.name())?,
        };
        let path = format!("/api/v1/{}", verb.name());
        request::post(&endpoint, &path, &key, &body, TIME + verb.time())
    });
    let answer = answer.and_then(|response| match serde_json::from_str(&response.body) {
        Ok(answer) if response.status == 200 => Ok(answer),
        Ok(answer) => Err(rejection(&answer).unwrap_or_else(|| response.to_string())),
        Err(_) => Err(response.to_string()),
    });
    match answer {
        Ok(answer) => printed(verb, &answer),
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// `code: message` of a rejected request.
fn rejection(answer: &Value) -> Option<String> {
    let error = answer.get("error")?;
    let (code, message) = (error["code"].as_str()?, error["message"].as_str()?);
    Some(format!("{code}: {message}"))
}

fn printed(verb: &ApiVerb, answer: &Value) -> ExitCode {
    if verb.options().json {
        print_line(&answer.to_string());
    } else {
        for line in print::lines(verb, answer) {
            print_line(&line);
        }
    }
    let missing = names(&answer["missing"]);
    if !missing.is_empty() {
        print_error(&format!("no response from {}", missing.join(", ")));
    }
    let is_complete = missing.is_empty() && names(&answer["unanswered"]).is_empty();
    match is_complete {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(INCOMPLETE),
    }
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect()
}
