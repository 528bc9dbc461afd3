//! `roomwire check --room`: the decision of the room rules about one request, and why.

use std::process::ExitCode;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::token::{TokenChecker, read};
use super::{Cli, load, print_error, print_line};
use crate::auth::Verified;
use crate::config::Config;
use crate::metrics::labels::{Label as _, RelayErrorCode};
use crate::model::{Actions, SocketId};
use crate::rules::{Explanation, RoomAction, RoomDecision, RoomRequest};

/// Exit code where the backend decides.
const UNDECIDED: u8 = 3;

/// The request to explain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
pub struct RoomCheck {
    /// Explain instead whether a client may do something in this room: exit with 0 if it may, 1 if not, 3 if the
    /// backend decides
    #[arg(long, value_name = "ROOM", conflicts_with = "live", value_parser = NonEmptyStringValueParser::new())]
    room: Option<String>,
    /// With --room: the client's token, or `-` to read it from standard input; without, the client has no identity
    #[arg(long = "as", value_name = "TOKEN", requires = "room")]
    token: Option<String>,
    /// With --room: `join` (the default), `emit`, `ask`, `members` or `history`
    #[arg(long, value_name = "ACTION", requires = "room", value_parser = action)]
    action: Option<RoomAction>,
    /// With --room: the room token with which the client joins, or has joined if the action is another; `-` to read it
    /// from standard input
    #[arg(long, value_name = "TOKEN", requires = "room")]
    room_token: Option<String>,
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
    found.ok_or_else(|| "it is none of join, emit, ask, members, history".to_owned())
}

/// `roomwire check --room`
pub fn explain(cli: &Cli, request: &RoomCheck) -> ExitCode {
    let config = match load(cli) {
        Ok(loaded) => loaded.config,
        Err(code) => return code,
    };
    let client = match ClientTokens::new(&config, request) {
        Ok(client) => client,
        Err(problem) => {
            print_error(&problem);
            return ExitCode::FAILURE;
        }
    };
    if !config.app.relays() {
        print_line("these rules have no effect: no app of this configuration has rooms of clients");
    }
    let (line, code) = decision(&config, &client, request);
    print_line(&line);
    code
}

/// The client of a request.
struct ClientTokens {
    verified: Option<Verified>,
    /// What its room token permits; `None` without one.
    permitted: Option<Actions>,
}

impl ClientTokens {
    /// The client with the tokens of the request.
    ///
    /// # Errors
    /// A token is rejected, or no key is configured that could verify it.
    fn new(config: &Config, request: &RoomCheck) -> Result<Self, String> {
        if (request.token.as_deref(), request.room_token.as_deref()) == (Some("-"), Some("-")) {
            return Err("only one token can be read from standard input".to_owned());
        }
        let mut client = Self {
            verified: None,
            permitted: None,
        };
        if let Some(token) = &request.token {
            let verified = TokenChecker::new(&config.auth)?.client(&read(token)?);
            client.verified = Some(verified.map_err(|rejected| {
                let problem = rejected.problem;
                let detail = rejected.detail;
                format!("{}: {} ({detail})", problem.code(), problem.message())
            })?);
        }
        if let Some(token) = &request.room_token {
            let identity = client.verified.as_ref().map(|verified| &verified.identity);
            let room = request.room.as_deref().unwrap_or_default();
            let verified = TokenChecker::new(&config.auth)?.room_token(&read(token)?);
            let permitted = verified.and_then(|token| token.permits(room, identity));
            client.permitted = Some(permitted.map_err(|rejected| {
                let code = RelayErrorCode::VALUES[rejected.code.index()];
                format!("{code}: {}", rejected.message)
            })?);
        }
        Ok(client)
    }
}

/// The decision in words, and its exit code.
fn decision(config: &Config, client: &ClientTokens, request: &RoomCheck) -> (String, ExitCode) {
    let room = request.room.as_deref().unwrap_or_default();
    let action = request.action.unwrap_or(RoomAction::Join);
    if action == RoomAction::Join && is_reserved(config, room) {
        let line = format!("rejected: only the node itself puts sockets into `{room}`");
        return (line, ExitCode::FAILURE);
    }
    let mut rooms = client.verified.iter().flat_map(|client| &client.rooms);
    // A room token always permits to join.
    let is_member = request.member
        || rooms.any(|it| it.as_str() == room)
        || (client.permitted.is_some() && action != RoomAction::Join);
    let permitted = client.permitted.unwrap_or(Actions::NONE);
    let request = RoomRequest {
        action,
        room,
        is_user_room: is_user_room(config, room),
        identity: client.verified.as_ref().map(|client| &client.identity),
        is_member: &|| is_member,
        token: &|| permitted,
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
    is_user_room(config, room) || SocketId::has_room(room)
}

fn is_user_room(config: &Config, room: &str) -> bool {
    config.identifies() && config.identity.user_room.user(room).is_some()
}
