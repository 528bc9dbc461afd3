//! `roomwire check --room`: the decision of the room rules about one request, and why.

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::{Cli, load, print_error, print_line};
use crate::auth::{KeyFetcher, Verified, Verifier};
use crate::config::Config;
use crate::model::{Actions, SocketId};
use crate::rules::{Explanation, RoomAction, RoomDecision, RoomRequest};

/// Exit code where the backend decides.
const UNDECIDED: u8 = 3;

/// The request to explain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
pub struct RoomCheck {
    /// Explain instead whether a client may do something in this room: exit with 0 if it may, 1 if not, 3 if the
    /// backend decides
    #[arg(long, value_name = "ROOM", conflicts_with = "live")]
    room: Option<String>,
    /// With --room: the client's token, or `-` to read it from standard input; without, the client has no identity
    #[arg(long = "as", value_name = "TOKEN", requires = "room")]
    token: Option<String>,
    /// With --room: `join` (the default), `emit`, `ask` or `members`
    #[arg(long, value_name = "ACTION", requires = "room", value_parser = action)]
    action: Option<RoomAction>,
    /// With --room: the client is a member of the room
    #[arg(long, requires = "room")]
    member: bool,
}

impl RoomCheck {
    /// Whether a request is to be explained at all.
    pub fn is_given(&self) -> bool {
        self.room.is_some()
    }
}

fn action(text: &str) -> Result<RoomAction, String> {
    let mut actions = RoomAction::ALL.into_iter();
    let found = actions.find(|action| action.name() == text);
    found.ok_or_else(|| "it is none of join, emit, ask, members".to_owned())
}

/// `roomwire check --room`
pub fn explain(cli: &Cli, request: &RoomCheck) -> ExitCode {
    let config = match load(cli) {
        Ok(loaded) => loaded.config,
        Err(code) => return code,
    };
    let client = request.token.as_deref().map(|token| client(&config, token));
    let client = match client.transpose() {
        Ok(client) => client,
        Err(problem) => {
            print_error(&problem);
            return ExitCode::FAILURE;
        }
    };
    if !config.app.relays() {
        print_line("these rules have no effect: no app of this configuration has rooms of clients");
    }
    let (line, code) = decision(&config, client.as_ref(), request);
    print_line(&line);
    code
}

/// The client with this token.
fn client(config: &Config, token: &str) -> Result<Verified, String> {
    let mut text = token.to_owned();
    if token == "-" {
        text.clear();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| format!("standard input: {error}"))?;
    }
    let text = text.trim();
    if !config.auth.is_on() {
        return Err("no key is configured that could verify a token ([auth])".to_owned());
    }
    let verifier = Verifier::new(&config.auth, Arc::default());
    let verified = verifier.verify_now(text).unwrap_or_else(|| {
        actix_rt::System::new().block_on(async {
            let _fetcher = KeyFetcher::start(Arc::clone(&verifier));
            verifier.verify(text).await
        })
    });
    verified.map_err(|rejected| {
        let problem = rejected.problem;
        let detail = rejected.detail;
        format!("{}: {} ({detail})", problem.code(), problem.message())
    })
}

/// The decision in words, and its exit code.
fn decision(config: &Config, client: Option<&Verified>, request: &RoomCheck) -> (String, ExitCode) {
    let room = request.room.as_deref().unwrap_or_default();
    let action = request.action.unwrap_or(RoomAction::Join);
    if action == RoomAction::Join && is_reserved(config, room) {
        let line = format!("rejected: only the node itself puts sockets into `{room}`");
        return (line, ExitCode::FAILURE);
    }
    let joined = client.is_some_and(|client| client.rooms.iter().any(|it| it.as_str() == room));
    let request = RoomRequest {
        action,
        room,
        is_user_room: is_user_room(config, room),
        identity: client.map(|client| &client.identity),
        is_member: &|| joined || request.member,
        token: &|| Actions::NONE,
    };
    let rules = &config.app.relay;
    let Some(decision) = request.decide(rules) else {
        return ("rejected: there is no rule".to_owned(), ExitCode::FAILURE);
    };
    let explanation = Explanation {
        request: &request,
        rules,
        decision,
    };
    let code = match decision {
        RoomDecision::Allow { .. } => ExitCode::SUCCESS,
        RoomDecision::AskBackend { .. } => UNDECIDED.into(),
        RoomDecision::Reject { .. } => ExitCode::FAILURE,
    };
    (explanation.to_string(), code)
}

/// Whether no client can join the room: it is that of a socket, or of a user.
fn is_reserved(config: &Config, room: &str) -> bool {
    is_user_room(config, room) || SocketId::parse(room).is_some()
}

fn is_user_room(config: &Config, room: &str) -> bool {
    config.identifies() && config.identity.user_room.user(room).is_some()
}
