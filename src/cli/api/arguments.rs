//! The arguments of the verbs of the API.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use url::Url;

use crate::cli::request::parse_url;

/// A verb of the API.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ApiVerb {
    /// Send an event to sockets
    Emit(EmitArgs),
    /// Send an event to sockets and wait for the acks of their clients
    Call(CallArgs),
    /// Put sockets into rooms
    Join(MembershipArgs),
    /// Take sockets out of rooms
    Leave(MembershipArgs),
    /// Take every member out of a room
    CloseRoom(RoomArgs),
    /// Disconnect sockets; stock clients do not reconnect by themselves
    Disconnect(DisconnectArgs),
    /// Close connections so that stock clients reconnect and authenticate again
    ForceReconnect(TargetedArgs),
    /// List sockets with their users and rooms
    Sockets(SocketsArgs),
    /// List rooms that have members
    Rooms(ListArgs),
    /// Show whether users are online, or list the users who are
    Users(UsersArgs),
    /// List the members of a room by user
    Members(MembersArgs),
    /// Read the events of a room that has a log
    History(HistoryArgs),
    /// Describe the nodes of the cluster
    Info(InfoArgs),
    /// Revoke a token, the tokens of a user, or a session
    Revoke(RevokeArgs),
}

/// Where the request is sent, and how the answer is printed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct ApiOptions {
    /// The key to use; without it, one of the configuration that has the verb
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// The node to send the request to, as https://host:port; without it, the address of the configuration
    #[arg(long, value_name = "URL", value_parser = node_url)]
    pub url: Option<Url>,
    /// PEM file with the authorities that may have signed the certificate of the node; without it those of the system
    /// with --url, otherwise exactly the certificate of the configuration is accepted
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file with the client certificate and its chain; without it api.client_cert
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub cert_key: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// The sockets that a verb concerns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Sockets")]
pub struct TargetArgs {
    /// Members of this room; can be repeated, as can the next three
    #[arg(long = "room", value_name = "ROOM")]
    pub rooms: Vec<String>,
    /// All sockets of this user
    #[arg(long = "user", value_name = "USER")]
    pub users: Vec<String>,
    /// The socket with this id
    #[arg(long = "socket", value_name = "ID")]
    pub sockets: Vec<String>,
    /// Leave out the members of this room, or the socket with this id
    #[arg(long, value_name = "ROOM")]
    pub except: Vec<String>,
    /// Every socket of the namespace
    #[arg(long)]
    pub everybody: bool,
    /// The namespace, `/` if absent
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct EmitArgs {
    /// Name of the event
    pub event: String,
    /// Arguments as JSON; an argument that is not JSON is a string
    #[arg(value_name = "ARGUMENT")]
    pub args: Vec<String>,
    /// Drop the event for clients that cannot receive it at once
    #[arg(long)]
    pub volatile: bool,
    /// Clients that are behind receive only the latest event with this key and these rooms
    #[arg(long, value_name = "KEY", conflicts_with = "volatile")]
    pub conflate: Option<String>,
    /// Print to how many sockets the event was sent
    #[arg(long)]
    pub counts: bool,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub options: ApiOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct CallArgs {
    /// Name of the event
    pub event: String,
    /// Arguments as JSON; an argument that is not JSON is a string
    #[arg(value_name = "ARGUMENT")]
    pub args: Vec<String>,
    /// Acks to wait for: `all`, `first` or a number
    #[arg(long, value_name = "ACKS", default_value = "all")]
    pub acks: String,
    /// How long to wait, up to 60s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub options: ApiOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct MembershipArgs {
    /// The rooms to join or leave
    #[arg(required = true, value_name = "ROOM")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub options: ApiOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RoomArgs {
    /// The room
    pub room: String,
    /// The namespace, `/` if absent
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    #[command(flatten)]
    pub options: ApiOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DisconnectArgs {
    /// Close the connections instead of disconnecting them from the namespace alone
    #[arg(long)]
    pub close: bool,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub options: ApiOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct TargetedArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub options: ApiOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SocketsArgs {
    /// Maximum number of sockets to list, up to 1000; 0 only counts
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<u32>,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub options: ApiOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
pub struct PageArgs {
    /// Only names that begin with this text
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// Only names after this one
    #[arg(long, value_name = "NAME")]
    pub after: Option<String>,
    /// Maximum number of names to list, up to 1000
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<u32>,
    /// The namespace, `/` if absent
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub options: ApiOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct UsersArgs {
    /// The users to look up; without any, the users who are online are listed
    #[arg(value_name = "USER")]
    pub users: Vec<String>,
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub options: ApiOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct MembersArgs {
    /// In a room with presence, list users whose names follow this one
    #[arg(long, value_name = "USER")]
    pub after: Option<String>,
    /// Maximum number of sockets, or of users in a room with presence, to list, up to 1000; 0 only counts
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<u32>,
    #[command(flatten)]
    pub of: RoomArgs,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct HistoryArgs {
    /// Only events after this position; without it, the newest events
    #[arg(long, value_name = "POSITION", conflicts_with = "before")]
    pub after: Option<String>,
    /// Only events before this position
    #[arg(long, value_name = "POSITION")]
    pub before: Option<String>,
    /// Maximum number of events, up to 1000
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<u32>,
    #[command(flatten)]
    pub of: RoomArgs,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct InfoArgs {
    #[command(flatten)]
    pub options: ApiOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RevokeArgs {
    /// Id of a token (`jti`)
    #[arg(long, value_name = "ID", group = "revoked")]
    pub token: Option<String>,
    /// A user: all tokens issued before now, or before `--issued-before`
    #[arg(long, value_name = "USER", group = "revoked")]
    pub user: Option<String>,
    /// Id of a session (`sid` of its tokens)
    #[arg(long, value_name = "ID", group = "revoked")]
    pub session: Option<String>,
    /// Unix time in seconds, with --user
    #[arg(long, value_name = "SECONDS", requires = "user", conflicts_with_all = ["token", "session"])]
    pub issued_before: Option<u64>,
    /// Unix time in seconds until which the revocation is kept
    #[arg(long, value_name = "SECONDS")]
    pub expires: Option<u64>,
    #[command(flatten)]
    pub options: ApiOptions,
}

impl ApiVerb {
    /// The name in the API.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Emit(_) => "emit",
            Self::Call(_) => "call",
            Self::Join(_) => "join",
            Self::Leave(_) => "leave",
            Self::CloseRoom(_) => "close_room",
            Self::Disconnect(_) => "disconnect",
            Self::ForceReconnect(_) => "force_reconnect",
            Self::Sockets(_) => "sockets",
            Self::Rooms(_) => "rooms",
            Self::Users(_) => "users",
            Self::Members(_) => "members",
            Self::History(_) => "history",
            Self::Info(_) => "info",
            Self::Revoke(_) => "revoke",
        }
    }

    pub(super) fn options(&self) -> &ApiOptions {
        match self {
            Self::Emit(args) => &args.options,
            Self::Call(args) => &args.options,
            Self::Join(args) | Self::Leave(args) => &args.options,
            Self::CloseRoom(args) => &args.options,
            Self::Disconnect(args) => &args.options,
            Self::ForceReconnect(args) => &args.options,
            Self::Sockets(args) => &args.options,
            Self::Rooms(args) => &args.options,
            Self::Users(args) => &args.options,
            Self::Members(args) => &args.of.options,
            Self::History(args) => &args.of.options,
            Self::Info(args) => &args.options,
            Self::Revoke(args) => &args.options,
        }
    }

    /// The time that the node may take because of the request itself.
    pub(super) fn time(&self) -> Duration {
        match self {
            Self::Call(args) => args.timeout,
            _ => Duration::ZERO,
        }
    }
}

/// The URL of a listener.
fn node_url(text: &str) -> Result<Url, String> {
    let url = parse_url(text)?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err("it is not of the form https://host:port or http://host:port".to_owned()),
    }
}
