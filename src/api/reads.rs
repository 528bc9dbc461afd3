//! Verbs that read: sockets, rooms, users, members and nodes.

use futures_util::future::join_all;
use serde_json::value::RawValue;

use super::answers::{
    Answer, InfoAnswer, ListedSocket, MembersAnswer, NodeInfo, RoomCount, RoomsAnswer,
    SocketsAnswer, UserSockets, UserState, UsersAnswer,
};
use super::error::{ApiCode, ApiError};
use super::keys::HeldKey;
use super::last_seen::unix_seconds;
use super::listing::listed;
use super::query::run;
use super::state::Api;
use crate::clock;
use crate::model::{
    Namespace, NodeId, Query, QueryAnswer, Room, Selector, ServerSocket, SocketDetails, SocketId,
};
use crate::presence::PresenceRooms;
use crate::store::StoreError;
use crate::verbs::{MembersFilter, RoomFilter, UsersFilter};

/// A socket of a node or of another server.
struct FoundSocket {
    id: String,
    /// `None` for a socket of another server.
    node: Option<NodeId>,
    connected_at: Option<u64>,
    rooms: Vec<Room>,
}

impl From<SocketDetails> for FoundSocket {
    fn from(details: SocketDetails) -> Self {
        Self {
            id: details.socket.to_string(),
            node: Some(details.socket.node()),
            connected_at: Some(details.connected_at),
            rooms: details.rooms,
        }
    }
}

impl From<ServerSocket> for FoundSocket {
    fn from(socket: ServerSocket) -> Self {
        Self {
            id: socket.id.to_string(),
            node: None,
            connected_at: socket.connected_at,
            rooms: socket.rooms,
        }
    }
}

async fn details(
    api: &Api,
    selector: Selector,
    limit: u32,
) -> (u64, Vec<FoundSocket>, Vec<String>) {
    let query = Query::Details { selector, limit };
    let (answer, missing) = run(api, &query).await;
    let QueryAnswer::Details {
        total,
        sockets,
        of_servers,
    } = answer
    else {
        return (0, Vec::new(), missing);
    };
    let sockets = sockets.into_iter().map(FoundSocket::from);
    let found = sockets.chain(of_servers.into_iter().map(FoundSocket::from));
    (total, found.collect(), missing)
}

/// The user of a socket, whose room it is in, if the key allows that room.
fn user_of(api: &Api, key: &HeldKey, socket: &FoundSocket) -> Option<String> {
    let rooms = socket.rooms.iter();
    let mut users = rooms
        .filter(|room| key.has_room(room))
        .filter_map(|room| api.settings.user_room.user(room));
    users.next().map(str::to_owned)
}

pub(super) async fn sockets(
    api: &Api,
    key: &HeldKey,
    selector: Selector,
    limit: u32,
) -> Result<Answer, ApiError> {
    let (total, found, missing) = details(api, selector, limit).await;
    let entries = found.iter().map(|socket| ListedSocket {
        socket: socket.id.clone(),
        node: socket.node.map(|node| node.to_string()),
        user: user_of(api, key, socket),
        connected_at: socket.connected_at,
        rooms: {
            let allowed = socket.rooms.iter().filter(|room| key.has_room(room));
            allowed.map(ToString::to_string).collect()
        },
    });
    Ok(Answer::Sockets(SocketsAnswer {
        total,
        sockets: entries.collect(),
        missing,
    }))
}

pub(super) async fn members(
    api: &Api,
    key: &HeldKey,
    filter: MembersFilter,
) -> Result<Answer, ApiError> {
    let namespace = &filter.selector.namespace;
    if let Some(presence) = &api.presence
        && presence.rule(namespace, &filter.room).is_some()
    {
        return present(api, key, presence, &filter).await;
    }
    let (total, found, missing) = details(api, filter.selector, filter.limit).await;
    let mut members: Vec<UserSockets> = Vec::new();
    let mut owned: Vec<(Option<String>, String)> = found
        .iter()
        .map(|socket| (user_of(api, key, socket), socket.id.clone()))
        .collect();
    // Those without a user come last.
    owned.sort_by(|left, right| {
        (left.0.is_none(), &left.0, &left.1).cmp(&(right.0.is_none(), &right.0, &right.1))
    });
    for (user, socket) in owned {
        match members.last_mut() {
            Some(last) if last.user == user => last.sockets.push(socket),
            _ => members.push(UserSockets {
                user,
                sockets: vec![socket],
                data: None,
            }),
        }
    }
    Ok(Answer::Members(MembersAnswer {
        total,
        members,
        next: None,
        version: None,
        missing,
    }))
}

/// The users of a room with presence.
async fn present(
    api: &Api,
    key: &HeldKey,
    presence: &PresenceRooms,
    filter: &MembersFilter,
) -> Result<Answer, ApiError> {
    let after = (!filter.after.is_empty()).then_some(&*filter.after);
    let (namespace, limit) = (&filter.selector.namespace, filter.limit as usize);
    let unavailable =
        |error: StoreError| ApiError::new(ApiCode::StoreUnavailable, error.to_string());
    let page = presence.page(namespace, &filter.room, after, limit).await;
    let page = page.map_err(unavailable)?;
    let is_partial = limit > 0 && page.users.len() == limit;
    let last = page.users.last().filter(|_| is_partial);
    let next = last.map(|(user, _)| user.clone());
    let members = page.users.into_iter().map(|(user, data)| {
        // Without an identity, the id of a socket stands for its user.
        let (user, sockets) = match SocketId::parse(&user) {
            Some(_) => (None, vec![user]),
            None => (Some(user), Vec::new()),
        };
        let user_room = |user: &String| api.settings.user_room.room(user);
        UserSockets {
            user: user.filter(|user| key.has_room(&user_room(user))),
            sockets,
            data: data.and_then(|data| RawValue::from_string(data).ok()),
        }
    });
    Ok(Answer::Members(MembersAnswer {
        total: page.count,
        members: members.collect(),
        next,
        version: Some(page.version),
        missing: Vec::new(),
    }))
}

pub(super) async fn rooms(
    api: &Api,
    key: &HeldKey,
    filter: RoomFilter,
) -> Result<Answer, ApiError> {
    let listed = listed(api, key, filter, |_| true).await?;
    let rooms = listed.rooms.into_iter().map(|(room, sockets)| RoomCount {
        room: room.to_string(),
        sockets,
    });
    let rooms: Vec<RoomCount> = rooms.collect();
    let last = rooms.last().filter(|_| listed.is_partial);
    Ok(Answer::Rooms(RoomsAnswer {
        next: last.map(|last| last.room.clone()),
        rooms,
        missing: listed.missing,
    }))
}

pub(super) async fn users(
    api: &Api,
    key: &HeldKey,
    filter: UsersFilter,
) -> Result<Answer, ApiError> {
    let answer = match filter {
        UsersFilter::Named { namespace, users } => named(api, namespace, users).await?,
        UsersFilter::Online(filter) => online(api, key, filter).await?,
    };
    Ok(Answer::Users(answer))
}

/// The states of users by name.
async fn named(
    api: &Api,
    namespace: Namespace,
    users: Vec<String>,
) -> Result<UsersAnswer, ApiError> {
    let pattern = &api.settings.user_room;
    let rooms = users.iter().map(|user| Room::from(pattern.room(user)));
    let query = Query::RoomCounts {
        namespace,
        rooms: rooms.collect(),
    };
    let (answer, missing) = run(api, &query).await;
    let QueryAnswer::RoomList(counts) = answer else {
        return Err(ApiError::new(ApiCode::Busy, "the query was not answered"));
    };
    let now = unix_seconds();
    let states = join_all(users.into_iter().map(|user| {
        let room = pattern.room(&user);
        let found = counts.iter().find(|(name, _)| name.as_str() == room);
        let sockets = found.map_or(0, |(_, sockets)| *sockets);
        async move {
            let last_seen = match sockets {
                0 => api.last_seen.read(&user).await?,
                _ => Some(now),
            };
            Ok(UserState {
                user,
                online: sockets > 0,
                sockets,
                last_seen,
            })
        }
    }));
    let states: Result<Vec<UserState>, ApiError> = states.await.into_iter().collect();
    Ok(UsersAnswer {
        users: states?,
        next: None,
        missing,
    })
}

/// The users who are online: the rooms of users that have members.
async fn online(api: &Api, key: &HeldKey, filter: RoomFilter) -> Result<UsersAnswer, ApiError> {
    let pattern = &api.settings.user_room;
    let rooms = RoomFilter {
        prefix: [pattern.prefix(), &filter.prefix].concat(),
        after: match filter.after.is_empty() {
            true => String::new(),
            false => pattern.room(&filter.after),
        },
        ..filter
    };
    let now = unix_seconds();
    // The names of other rooms can begin like those of users' rooms.
    let listed = listed(api, key, rooms, |room| pattern.user(room).is_some()).await?;
    let users = listed.rooms.iter().filter_map(|(room, sockets)| {
        Some(UserState {
            user: pattern.user(room)?.to_owned(),
            online: true,
            sockets: *sockets,
            last_seen: Some(now),
        })
    });
    let users: Vec<UserState> = users.collect();
    let last = users.last().filter(|_| listed.is_partial);
    Ok(UsersAnswer {
        next: last.map(|last| last.user.clone()),
        users,
        missing: listed.missing,
    })
}

pub(super) async fn info(api: &Api) -> Result<Answer, ApiError> {
    let (answer, missing) = run(api, &Query::Nodes).await;
    let mut nodes = match answer {
        QueryAnswer::Nodes(nodes) => nodes,
        _ => Vec::new(),
    };
    nodes.sort_by_key(|summary| summary.node);
    let nodes = nodes.into_iter().map(|summary| NodeInfo {
        node: summary.node.to_string(),
        version: summary.version,
        sessions: summary.sessions,
        sockets: summary.sockets,
        rooms: summary.rooms,
    });
    Ok(Answer::Info(InfoAnswer {
        node: api.ingress.node().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: clock::now()
            .saturating_duration_since(api.started)
            .as_secs(),
        nodes: nodes.collect(),
        missing,
    }))
}
