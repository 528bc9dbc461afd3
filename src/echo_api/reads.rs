//! What backends read: the node, channels and users.

use std::time::Duration;

use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Answer, EchoApi, rejected};
use crate::metrics::resident_memory;
use crate::model::{Query, QueryAnswer, Room};

/// Time limit of a query.
const QUERY_TIME: Duration = Duration::from_secs(2);
/// Maximum number of channels or users in one response.
const MAX_LISTED: u32 = 10_000;

impl EchoApi {
    async fn query(&self, query: Query) -> QueryAnswer {
        let gather = self
            .parts
            .ingress
            .query_with_servers(query.clone(), QUERY_TIME);
        query.combine(gather.finish().await.answers)
    }

    /// The sessions of the cluster, and this node.
    pub(super) async fn status(&self) -> Answer {
        let sessions = match self.query(Query::Nodes).await {
            QueryAnswer::Nodes(nodes) => nodes.iter().map(|node| node.sessions).sum(),
            _ => 0,
        };
        let mut memory = Map::new();
        if let Some(bytes) = resident_memory() {
            memory.insert("rss".to_owned(), bytes.into());
        }
        let status = json!({
            "subscription_count": sessions,
            "uptime": self.started.elapsed().as_secs_f64(),
            "memory_usage": memory,
        });
        (StatusCode::OK, status)
    }

    /// The channels whose names begin with `prefix`.
    pub(super) async fn channels(&self, prefix: String) -> Answer {
        let query = Query::RoomList {
            namespace: self.namespace.clone(),
            prefix,
            after: String::new(),
            limit: MAX_LISTED,
        };
        let mut channels = Map::new();
        if let QueryAnswer::RoomList(rooms) = self.query(query).await {
            for (room, count) in rooms {
                let channel = json!({"subscription_count": count, "occupied": true});
                channels.insert(room.to_string(), channel);
            }
        }
        (StatusCode::OK, json!({"channels": channels}))
    }

    /// The subscriptions of one channel, and its users.
    pub(super) async fn channel(&self, name: &str) -> Answer {
        let query = Query::RoomCounts {
            namespace: self.namespace.clone(),
            rooms: vec![Room::from(name)],
        };
        let count = match self.query(query).await {
            QueryAnswer::RoomList(rooms) => rooms.first().map_or(0, |(_, count)| *count),
            _ => 0,
        };
        let mut channel = json!({"subscription_count": count, "occupied": count > 0});
        if is_presence(name) {
            match self.page(name, 0).await {
                Ok((users, _)) => channel["user_count"] = users.into(),
                Err(rejection) => return rejection,
            }
        }
        (StatusCode::OK, channel)
    }

    /// The users of a presence channel.
    pub(super) async fn users(&self, name: &str) -> Answer {
        if !is_presence(name) {
            let error = "User list is only possible for Presence Channels";
            return rejected(StatusCode::BAD_REQUEST, error);
        }
        let members = match self.page(name, MAX_LISTED as usize).await {
            Ok((_, members)) => members,
            Err(rejection) => return rejection,
        };
        let users = members.into_iter().map(|(user, data)| {
            let data = data.and_then(|data| serde_json::from_str(&data).ok());
            let mut data: Value = data.unwrap_or_else(|| json!({"user_id": user}));
            json!({"id": data["user_id"].take(), "user_info": data["user_info"].take()})
        });
        (StatusCode::OK, json!({"users": users.collect::<Vec<_>>()}))
    }

    /// The number of users of a presence channel, and at most `limit` of them with their data.
    async fn page(&self, name: &str, limit: usize) -> Result<UsersPage, Answer> {
        let unavailable = || {
            let error = "The users cannot be read at the moment";
            rejected(StatusCode::SERVICE_UNAVAILABLE, error)
        };
        let presence = self.parts.presence.as_ref().ok_or_else(unavailable)?;
        let page = presence.page(&self.namespace, &Room::from(name), None, limit);
        let page = page.await.map_err(|_| unavailable())?;
        Ok((page.count, page.users))
    }
}

/// The number of all users, and some of them with their data.
type UsersPage = (u64, Vec<(String, Option<String>)>);

fn is_presence(channel: &str) -> bool {
    channel.starts_with("presence-")
}
