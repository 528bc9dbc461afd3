//! Who is present in rooms: the part of the suite for stores about presence.

use std::time::Duration;

use tokio::time::sleep;

use crate::store::{
    PresenceChange, PresenceChangeKind, PresenceEvent, PresenceOutcome, PresencePage, Store,
};

const SHORT: Duration = Duration::from_millis(50);
/// Longer than a machine stalls: what must happen before it is over does.
const LATER: Duration = Duration::from_secs(4);

pub(super) fn change(user: &str, kind: PresenceChangeKind) -> PresenceChange {
    PresenceChange {
        room: "/,a:b".to_owned(),
        user: user.to_owned(),
        kind,
    }
}

fn leave(data: Option<&str>) -> PresenceChangeKind {
    PresenceChangeKind::Leave {
        delay: SHORT,
        data: data.map(str::to_owned),
    }
}

fn leave_later() -> PresenceChangeKind {
    PresenceChangeKind::Leave {
        delay: LATER,
        data: None,
    }
}

async fn apply(
    store: &dyn Store,
    node: &str,
    user: &str,
    kind: PresenceChangeKind,
) -> PresenceOutcome {
    let applied = store.presence_apply("{p}", node, vec![change(user, kind)]);
    applied.await.unwrap().unwrap().remove(0)
}

/// The departures that are due within a while.
async fn departed(store: &dyn Store) -> Vec<String> {
    sleep(2 * SHORT).await;
    let swept = store.presence_sweep("{p}", 10).await.unwrap();
    let departures = swept.departures.into_iter();
    departures.map(|departure| departure.user).collect()
}

/// Who is present, as every store decides it.
pub(in crate::bus) async fn presence(store: &dyn Store) {
    let enter = |data: Option<&str>| PresenceChangeKind::Enter {
        data: data.map(str::to_owned),
    };
    let leave = || leave(None);
    let (joined, updated) = (Some(PresenceEvent::Joined), Some(PresenceEvent::Updated));
    // The first node joins, the second one is no news, a repetition neither.
    let first = apply(store, "aaaa", "u:1", enter(None)).await;
    assert_eq!((first.event, first.count), (joined, 1));
    let second = apply(store, "bbbb", "u:1", enter(Some(r#"{"x":"\u00e9 é"}"#))).await;
    assert_eq!(
        (second.event, second.version > first.version),
        (updated, true)
    );
    let again = apply(store, "aaaa", "u:1", enter(None)).await;
    assert_eq!((again.event, again.version), (None, second.version));
    assert_eq!(again.data.as_deref(), Some(r#"{"x":"\u00e9 é"}"#));
    // Only the last node departs, after the delay, and a return in time is no news.
    apply(store, "aaaa", "u:1", leave()).await;
    assert_eq!(departed(store).await, [""; 0]);
    apply(store, "bbbb", "u:1", leave_later()).await;
    assert_eq!(apply(store, "cccc", "u:1", enter(None)).await.event, None);
    sleep(LATER).await;
    assert_eq!(departed(store).await, [""; 0]);
    apply(store, "cccc", "u:1", leave_later()).await;
    let early = store.presence_sweep("{p}", 10).await.unwrap();
    assert!(early.departures.is_empty() && early.next.is_some_and(|next| next <= LATER));
    sleep(LATER + SHORT).await;
    let swept = store.presence_sweep("{p}", 10).await.unwrap();
    let gone = &swept.departures[0];
    let data = Some(r#"{"x":"\u00e9 é"}"#);
    assert_eq!((&*gone.user, gone.data.as_deref()), ("u:1", data));
    assert_eq!(departed(store).await, [""; 0]);
    let empty = store.presence_page("{p}", "/,a:b", None, 9).await;
    assert_eq!(empty, Ok(PresencePage::default()));
    lost_users(store).await;
    presence_pages(store, second.version).await;
}

/// A user whom the store has lost departs once, with the data that the node has.
async fn lost_users(store: &dyn Store) {
    apply(store, "aaaa", "lost", leave(Some("7"))).await;
    sleep(2 * SHORT).await;
    let swept = store.presence_sweep("{p}", 10).await.unwrap();
    let gone = &swept.departures[0];
    assert_eq!((&*gone.user, gone.data.as_deref()), ("lost", Some("7")));
    assert_eq!(swept.departures.len(), 1);
    // Data that the store has is newer.
    let data = |text: &str| Some(text.to_owned());
    let enter = |data| PresenceChangeKind::Enter { data };
    apply(store, "bbbb", "known", enter(data("2"))).await;
    apply(store, "aaaa", "known", leave(Some("1"))).await;
    let page = store.presence_page("{p}", "/,a:b", None, 9).await.unwrap();
    assert_eq!(page.users, [("known".to_owned(), data("2"))]);
    apply(store, "bbbb", "known", leave(Some("1"))).await;
    assert_eq!(departed(store).await, ["known"]);
    // A departure is repeated only if the store has the user again.
    let again = || PresenceChangeKind::LeaveAgain { delay: SHORT };
    apply(store, "aaaa", "lost", again()).await;
    assert_eq!(departed(store).await, [""; 0]);
    apply(store, "aaaa", "back", enter(None)).await;
    apply(store, "aaaa", "back", again()).await;
    assert_eq!(departed(store).await, ["back"]);
}

/// Pages of members, and a node that is removed.
async fn presence_pages(store: &dyn Store, before: u64) {
    let enter = |data: Option<&str>| PresenceChangeKind::Enter {
        data: data.map(str::to_owned),
    };
    for user in ["c", "a", "b", "\u{1f600}"] {
        let data = (user == "b").then_some("1");
        apply(store, "aaaa", user, enter(data)).await;
    }
    let page = store.presence_page("{p}", "/,a:b", None, 2).await.unwrap();
    let b = ("b".to_owned(), Some("1".to_owned()));
    assert_eq!(page.users, [("a".to_owned(), None), b]);
    assert_eq!((page.count, page.version > before), (4, true));
    let next = store
        .presence_page("{p}", "/,a:b", Some("b"), 9)
        .await
        .unwrap();
    let users: Vec<_> = next.users.iter().map(|(user, _)| user.as_str()).collect();
    assert_eq!(users, ["c", "\u{1f600}"]);
    let counted = store.presence_page("{p}", "/,a:b", None, 0).await.unwrap();
    assert_eq!((counted.count, counted.users.len()), (4, 0));
    // A node that is removed keeps nobody, in steps, and can enter nobody.
    apply(store, "bbbb", "a", enter(None)).await;
    let mut steps = 1;
    while store
        .presence_remove_node("{p}", "aaaa", SHORT, 3)
        .await
        .unwrap()
        > 0
    {
        steps += 1;
    }
    assert_eq!(steps, 2);
    let mut gone = departed(store).await;
    gone.sort();
    assert_eq!(gone, ["b", "c", "\u{1f600}"]);
    let ghost = vec![change("ghost", enter(None))];
    assert_eq!(store.presence_apply("{p}", "aaaa", ghost).await, Ok(None));
    let left = store.presence_page("{p}", "/,a:b", None, 9).await.unwrap();
    assert_eq!((left.count, &*left.users[0].0), (1, "a"));
}
