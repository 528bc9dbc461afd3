//! Presence channels.

use std::time::Duration;

use serde_json::json;

use super::{client, cluster, event, laravel, quiet, settings_with, subscribe, unsubscribe};
use crate::support::api::{self, WITH_API};
use crate::support::{TestServer, eventually};

#[actix_rt::test]
async fn members_of_a_presence_channel_receive_users_once_over_all_nodes() {
    let backend = laravel();
    let cluster = cluster(&backend).await;
    let [first, second] = &cluster.nodes;
    let member = |user: &str| json!({"user_id": user, "user_info": {"name": user.to_uppercase()}});
    let (ada_data, bob_data) = (member("ada"), member("bob"));
    for channel in ["presence-room", "presence-text"] {
        let mut ada = client(first, "ada").await;
        subscribe(&mut ada, channel).await;
        assert_eq!(
            event(&mut ada).await,
            json!(["presence:subscribed", channel, [ada_data]])
        );
        let mut bob = client(second, "bob").await;
        subscribe(&mut bob, channel).await;
        let both = json!(["presence:subscribed", channel, [ada_data, bob_data]]);
        assert_eq!(event(&mut bob).await, both);
        assert_eq!(
            event(&mut ada).await,
            json!(["presence:joining", channel, bob_data])
        );
        // Another socket of the user, and a repeated subscription.
        let mut phone = client(first, "bob").await;
        subscribe(&mut phone, channel).await;
        assert_eq!(event(&mut phone).await, both);
        subscribe(&mut phone, channel).await;
        assert_eq!(event(&mut phone).await, both);
        // One of two sockets, then a reconnect to the other node: nobody is gone.
        unsubscribe(&mut phone, channel).await;
        drop(bob);
        let mut bob = client(second, "bob").await;
        subscribe(&mut bob, channel).await;
        assert_eq!(event(&mut bob).await, both);
        // Longer than the delay.
        tokio::time::sleep(Duration::from_millis(6600)).await;
        quiet(&mut ada).await;
        unsubscribe(&mut bob, channel).await;
        assert_eq!(
            event(&mut ada).await,
            json!(["presence:leaving", channel, bob_data])
        );
        subscribe(&mut ada, channel).await;
        assert_eq!(
            event(&mut ada).await,
            json!(["presence:subscribed", channel, [ada_data]])
        );
    }
    eventually("an empty table", || {
        let members = cluster.nodes.iter();
        let members = members.map(|node| node.metrics().presence_members.get());
        members.sum::<i64>() == 0
    })
    .await;
}

#[actix_rt::test]
async fn a_backend_ends_presence_with_the_membership_and_begins_none() {
    let backend = laravel();
    let node = TestServer::configured(settings_with(&backend, &WITH_API), None).await;
    let [mut ada, mut bob] = [client(&node, "ada").await, client(&node, "bob").await];
    for member in [&mut ada, &mut bob] {
        subscribe(member, "presence-room").await;
        assert_eq!(event(member).await[0], "presence:subscribed");
    }
    assert_eq!(event(&mut ada).await[0], "presence:joining");
    let carl = client(&node, "carl").await;
    let change = |verb: &'static str, socket: &str| {
        let body = json!({"rooms": ["presence-room"], "sockets": [socket]}).to_string();
        let node = &node;
        async move { api::request(node, verb, &body).await }
    };
    // The backend admitted nobody: the socket receives events, but its user is not present.
    change("join", &carl.socket).await;
    change("leave", &bob.socket).await;
    let left = json!({"user_id": "bob", "user_info": {"name": "BOB"}});
    assert_eq!(
        event(&mut ada).await,
        json!(["presence:leaving", "presence-room", left])
    );
    let members = api::request(&node, "members", r#"{"room":"presence-room"}"#).await;
    let ada_data = json!({"user_id": "ada", "user_info": {"name": "ADA"}});
    assert_eq!(
        members["members"],
        json!([{"user": "ada", "data": ada_data}])
    );
    // A subscription of a socket that is in the room already is decided by the backend all the same.
    let mut carl = carl;
    carl.expect(
        r#"42["presence:leaving","presence-room",{"user_id":"bob","user_info":{"name":"BOB"}}]"#,
    )
    .await;
    subscribe(&mut carl, "presence-room").await;
    let carl_data = json!({"user_id": "carl", "user_info": {"name": "CARL"}});
    let both = json!([
        "presence:subscribed",
        "presence-room",
        [ada_data, carl_data]
    ]);
    assert_eq!(event(&mut carl).await, both);
    assert_eq!(
        event(&mut ada).await,
        json!(["presence:joining", "presence-room", carl_data])
    );
}
