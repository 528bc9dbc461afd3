//! Lists of rooms, as far as a key allows them.

use super::error::ApiError;
use super::keys::HeldKey;
use super::query::run;
use super::state::Api;
use crate::model::{Query, QueryAnswer, Room};
use crate::verbs::{Code, MAX_LISTED, RoomFilter, VerbError};

/// Maximum number of queries for one list.
const MAX_PAGES: usize = 10;

/// Rooms by name.
#[derive(Default)]
pub(super) struct ListedRooms {
    /// Each with the number of its members.
    pub(super) rooms: Vec<(Room, u64)>,
    /// Whether more rooms may follow.
    pub(super) is_partial: bool,
    /// Nodes that did not respond to one of the queries.
    pub(super) missing: Vec<String>,
}

/// Lists the rooms that the key allows and that `admits` accepts, in several queries if others lie between them.
///
/// # Errors
/// There are too many others before the first of these rooms.
pub(super) async fn listed(
    api: &Api,
    key: &HeldKey,
    filter: RoomFilter,
    admits: impl Fn(&str) -> bool,
) -> Result<ListedRooms, ApiError> {
    let (mut listed, mut after) = (ListedRooms::default(), filter.after);
    let (limit, mut page) = (filter.limit as usize, filter.limit);
    let mut prefixes = key.prefixes(&filter.prefix);
    if prefixes.len() > MAX_PAGES / 2 {
        prefixes = vec![filter.prefix];
    }
    prefixes.retain(|prefix| after <= *prefix || after.starts_with(prefix.as_str()));
    let mut prefixes = prefixes.into_iter().peekable();
    for _ in 0..MAX_PAGES {
        let Some(prefix) = prefixes.peek().filter(|_| listed.rooms.len() < limit) else {
            break;
        };
        let query = Query::RoomList {
            namespace: filter.namespace.clone(),
            prefix: prefix.clone(),
            after: after.clone(),
            limit: page,
        };
        let (answer, missing) = run(api, &query).await;
        listed.missing.extend(missing);
        let QueryAnswer::RoomList(rooms) = answer else {
            unreachable!("answers to other queries are not merged")
        };
        match rooms.last() {
            Some((last, _)) if rooms.len() >= page as usize => after = last.to_string(),
            _ => drop(prefixes.next()),
        }
        let rooms = rooms.into_iter();
        let allowed = rooms.filter(|(room, _)| key.has_room(room) && admits(room));
        listed.rooms.extend(allowed);
        page = MAX_LISTED;
    }
    listed.is_partial = prefixes.peek().is_some() || listed.rooms.len() > limit;
    listed.rooms.truncate(limit);
    listed.missing.sort_unstable();
    listed.missing.dedup();
    if listed.is_partial && listed.rooms.is_empty() {
        let message = "too many other rooms precede the first one to list: send a longer `prefix`";
        return Err(VerbError::new(Code::InvalidField, message).into());
    }
    Ok(listed)
}
