//! What must hold for presence after quiet: every list names the users who are in the room, and what the members of a room
//! have received adds up to it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fault::{Kind, SETTLING};
use super::history::{Connection, History, Verb};
use super::world::{ROOMS, USERS};

/// Time in which the users of a dead node have left: a lease, and the time to notice its end.
const FORGOTTEN: Duration = Duration::from_secs(45);

pub fn check(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    let surveyed = history.surveyed;
    for room in ROOMS
        .into_iter()
        .filter(|room| history.features.has_presence(room))
    {
        let (least, most) = (present(history, room, true), present(history, room, false));
        let mut compare = |who: String, users: BTreeSet<&str>| {
            if !least.is_subset(&users) || !users.is_subset(&most) {
                wrong.push(format!("{who}: {users:?} are in {room}, not {least:?}"));
            }
        };
        for (number, request) in history.api.iter().enumerate() {
            let is_list = request.verb == Verb::Members(room.to_owned());
            if let Some(response) = request.response.as_ref().filter(|_| is_list)
                && request.sent >= surveyed
            {
                let users = response.body["members"].as_array().into_iter().flatten();
                let users = users.filter_map(|user| user["user"].as_str());
                compare(format!("a{number}"), users.collect());
            }
        }
        for (number, connection) in history.connections.iter().enumerate() {
            if !is_member(connection, room, true) || !is_informed(history, connection, room) {
                continue;
            }
            let users = connection.views[room].users.iter();
            let users = users.filter(|(_, (_, present))| *present);
            compare(
                format!("c{number}"),
                users.map(|(user, _)| user.as_str()).collect(),
            );
        }
    }
    wrong
}

fn is_member(connection: &Connection, room: &str, certainly: bool) -> bool {
    let open = connection.ended.is_none() && connection.sid.is_some();
    let mut stays = connection.stays.iter().filter(|stay| stay.room == room);
    open && stays.any(|stay| match certainly {
        true => stay.joined.is_some() && stay.left.is_none(),
        false => stay.left_acked.is_none(),
    })
}

/// The users who are in a room at the end, certainly or possibly.
fn present<'a>(history: &'a History, room: &str, certainly: bool) -> BTreeSet<&'a str> {
    let members = history
        .connections
        .iter()
        .filter(|connection| is_member(connection, room, certainly));
    let users = members.map(|connection| connection.user.as_str());
    users.filter(|user| USERS.contains(user)).collect()
}

/// Whether a member has received every event since its list. Without a log, what a node does not receive is lost, and so
/// is what a node did not send before its end.
fn is_informed(history: &History, connection: &Connection, room: &str) -> bool {
    let view = connection.views.get(room);
    let Some(listed) = view.and_then(|view| view.listed) else {
        return false;
    };
    let mut faults = history.faults.iter();
    let since = listed.saturating_sub(SETTLING + Duration::from_secs(1));
    !faults.any(|fault| match fault.kind {
        Kind::Death => fault.begin + FORGOTTEN >= since,
        _ => fault.overlaps(since, Duration::MAX),
    })
}
