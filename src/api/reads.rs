//! Verbs that read: sockets, rooms, users, members and nodes.

use futures_util::future::join_all;

use super::answers::{
    Answer, InfoAnswer, ListedSocket, MembersAnswer, NodeInfo, RoomCount, RoomsAnswer,
    SocketsAnswer, UserSockets, UserState, UsersAnswer,
};
use super::error::{ApiCode, ApiError};
use super::keys::HeldKey;
use super::last_seen::unix_seconds;
use super::query::run;
use super::state::Api;
use crate::model::{Namespace, Query, QueryAnswer, Room, Selector, SocketDetails};
use crate::verbs::{RoomFilter, UsersFilter};

async fn details(
    api: &Api,
    selector: Selector,
    limit: u32,
) -> (u64, Vec<SocketDetails>, Vec<String>) {
    let query = Query::Details { selector, limit };
    match run(api, &query).await {
        (QueryAnswer::Details { total, sockets }, missing) => (total, sockets, missing),
        (_, missing) => (0, Vec::new(), missing),
    }
}

/// The user of a socket, whose room it is in.
fn user_of(api: &Api, socket: &SocketDetails) -> Option<String> {
    let mut users = socket
        .rooms
        .iter()
        .filter_map(|room| api.settings.user_room.user(room));
    users.next().map(str::to_owned)
}

pub(super) async fn sockets(api: &Api, selector: Selector, limit: u32) -> Result<Answer, ApiError> {
    let (total, found, missing) = details(api, selector, limit).await;
    let entries = found.iter().map(|socket| ListedSocket {
        socket: socket.socket.to_string(),
        node: socket.socket.node().to_string(),
        user: user_of(api, socket),
        connected_at: socket.connected_at,
        rooms: socket.rooms.iter().map(ToString::to_string).collect(),
    });
    Ok(Answer::Sockets(SocketsAnswer {
        total,
        sockets: entries.collect(),
        missing,
    }))
}

pub(super) async fn members(api: &Api, selector: Selector, limit: u32) -> Result<Answer, ApiError> {
    let (total, found, missing) = details(api, selector, limit).await;
    let mut members: Vec<UserSockets> = Vec::new();
    let mut owned: Vec<(Option<String>, String)> = found
        .iter()
        .map(|socket| (user_of(api, socket), socket.socket.to_string()))
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
            }),
        }
    }
    Ok(Answer::Members(MembersAnswer {
        total,
        members,
        missing,
    }))
}

/// Lists rooms, and the name after which the next ones follow.
async fn listed(api: &Api, filter: RoomFilter) -> (Vec<(Room, u64)>, Option<String>, Vec<String>) {
    let limit = filter.limit;
    let query = Query::RoomList {
        namespace: filter.namespace,
        prefix: filter.prefix,
        after: filter.after,
        limit,
    };
    let (answer, missing) = run(api, &query).await;
    let QueryAnswer::RoomList(rooms) = answer else {
        return (Vec::new(), None, missing);
    };
    let is_full = rooms.len() >= limit as usize;
    let next = rooms.last().filter(|_| is_full);
    let next = next.map(|(room, _)| room.to_string());
    (rooms, next, missing)
}

pub(super) async fn rooms(
    api: &Api,
    key: &HeldKey,
    filter: RoomFilter,
) -> Result<Answer, ApiError> {
    let (rooms, next, missing) = listed(api, filter).await;
    let rooms = rooms.into_iter().filter(|(room, _)| key.has_room(room));
    let rooms = rooms.map(|(room, sockets)| RoomCount {
        room: room.to_string(),
        sockets,
    });
    Ok(Answer::Rooms(RoomsAnswer {
        rooms: rooms.collect(),
        next,
        missing,
    }))
}

pub(super) async fn users(
    api: &Api,
    key: &HeldKey,
    filter: UsersFilter,
) -> Result<Answer, ApiError> {
    let answer = match filter {
        UsersFilter::Named { namespace, users } => named(api, namespace, users).await?,
        UsersFilter::Online(filter) => online(api, key, filter).await,
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
async fn online(api: &Api, key: &HeldKey, filter: RoomFilter) -> UsersAnswer {
    let pattern = &api.settings.user_room;
    let limit = filter.limit as usize;
    let mut after = match filter.after.is_empty() {
        true => String::new(),
        false => pattern.room(&filter.after),
    };
    let prefix = [pattern.prefix(), &filter.prefix].concat();
    let now = unix_seconds();
    let mut answer = UsersAnswer {
        users: Vec::new(),
        next: None,
        missing: Vec::new(),
    };
    // The names of other rooms can begin like those of users' rooms; such rooms are skipped.
    loop {
        let page = RoomFilter {
            namespace: filter.namespace.clone(),
            prefix: prefix.clone(),
            after,
            limit: filter.limit,
        };
        let (rooms, next, missing) = listed(api, page).await;
        answer.missing = missing;
        for (room, sockets) in rooms {
            if let Some(user) = pattern.user(&room).filter(|_| key.has_room(&room)) {
                answer.users.push(UserState {
                    user: user.to_owned(),
                    online: true,
                    sockets,
                    last_seen: Some(now),
                });
            }
        }
        match next {
            Some(room) if answer.users.len() < limit => after = room,
            next => {
                let is_full = next.is_some() || answer.users.len() > limit;
                answer.users.truncate(limit);
                let last = answer.users.last().filter(|_| is_full);
                answer.next = last.map(|last| last.user.clone());
                return answer;
            }
        }
    }
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
        uptime: api.started.elapsed().as_secs(),
        nodes: nodes.collect(),
        missing,
    }))
}
