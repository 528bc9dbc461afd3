//! Who is present in rooms: the part of the suite for stores about presence.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::store::{
    NumberedRequest, PresenceChange, PresenceChangeKind, PresenceEvent, PresenceOutcome,
    PresencePage, PresenceSweep, PresenceSweepRequest, Store,
};

const SHORT: Duration = Duration::from_millis(50);
/// Longer than a machine stalls: what must happen before it is over does.
const LATER: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(60);

pub(super) fn change(user: &str, kind: PresenceChangeKind) -> PresenceChange {
    PresenceChange {
        room: "/,a:b".to_owned(),
        user: user.to_owned(),
        kind,
    }
}

/// A request of a node that no other one equals.
pub(super) fn request(node: &str) -> NumberedRequest {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    NumberedRequest {
        node: node.to_owned(),
        process: 0xabc,
        number: NUMBERS.fetch_add(1, Ordering::Relaxed),
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
    let applied = store.presence_apply("{p}", &request(node), vec![change(user, kind)]);
    applied.await.unwrap().unwrap().remove(0)
}

/// The sweep of a node that then emits the departures.
async fn sweep(store: &dyn Store) -> PresenceSweep {
    let id = request("zzzz");
    let swept = sweep_as(store, &id, None, 10, LONG).await;
    sweep_as(store, &request("zzzz"), Some(&id), 0, LONG).await;
    swept
}

async fn sweep_as(
    store: &dyn Store,
    id: &NumberedRequest,
    emitted: Option<&NumberedRequest>,
    limit: usize,
    time_to_emit: Duration,
) -> PresenceSweep {
    let request = PresenceSweepRequest {
        id: id.clone(),
        emitted: emitted.cloned(),
        limit,
        time_to_emit,
    };
    store.presence_sweep("{p}", request).await.unwrap()
}

/// The departures that are due within a while.
async fn departed(store: &dyn Store) -> Vec<String> {
    sleep(2 * SHORT).await;
    users(&sweep(store).await)
}

fn users(swept: &PresenceSweep) -> Vec<String> {
    let departures = swept.departures.iter();
    departures.map(|departure| departure.user.clone()).collect()
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
    let early = sweep(store).await;
    assert!(early.departures.is_empty() && early.next.is_some_and(|next| next <= LATER));
    sleep(LATER + SHORT).await;
    let swept = sweep(store).await;
    let gone = &swept.departures[0];
    let data = Some(r#"{"x":"\u00e9 é"}"#);
    assert_eq!((&*gone.user, gone.data.as_deref()), ("u:1", data));
    assert_eq!(departed(store).await, [""; 0]);
    let empty = store.presence_page("{p}", "/,a:b", None, 9).await;
    assert_eq!(empty, Ok(PresencePage::default()));
    lost_users(store).await;
    repeated_changes(store).await;
    repeated_sweeps(store).await;
    presence_pages(store, second.version).await;
}

/// A user whom the store has lost departs once, with the data that the node has.
async fn lost_users(store: &dyn Store) {
    apply(store, "aaaa", "lost", leave(Some("7"))).await;
    sleep(2 * SHORT).await;
    let swept = sweep(store).await;
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

/// The last request of a node, repeated, has the events of the first time and no effect.
async fn repeated_changes(store: &dyn Store) {
    let enter = |data: Option<&str>| PresenceChangeKind::Enter {
        data: data.map(str::to_owned),
    };
    apply(store, "aaaa", "left", enter(None)).await;
    let first = request("aaaa");
    let changes = || {
        vec![
            change("new", enter(None)),
            change("left", leave(None)),
            change("other", enter(Some("1"))),
        ]
    };
    let apply_first = || store.presence_apply("{p}", &first, changes());
    let outcomes = apply_first().await.unwrap().unwrap();
    let events: Vec<_> = outcomes.iter().map(|outcome| outcome.event).collect();
    let joined = Some(PresenceEvent::Joined);
    assert_eq!(events, [joined, None, joined]);
    assert_eq!(departed(store).await, ["left"]);
    // Others change it meanwhile.
    apply(store, "bbbb", "other", enter(Some("2"))).await;
    let again = apply_first().await.unwrap().unwrap();
    let numbers = |outcomes: &[PresenceOutcome]| -> Vec<_> {
        let joined = [&outcomes[0], &outcomes[2]];
        joined.map(|it| (it.event, it.version, it.count)).to_vec()
    };
    assert_eq!(numbers(&again), numbers(&outcomes));
    assert_eq!(departed(store).await, [""; 0], "it has not left again");
    // A request that arrives late has no effect.
    apply(store, "aaaa", "new", leave(None)).await;
    apply_first().await.unwrap();
    assert_eq!(departed(store).await, ["new"]);
    // Another process with the name of the node begins anew.
    let other = NumberedRequest {
        process: 1,
        ..first.clone()
    };
    let entered = store.presence_apply("{p}", &other, vec![change("new", enter(None))]);
    assert_eq!(entered.await.unwrap().unwrap()[0].event, joined);
    for (node, user) in [("aaaa", "new"), ("aaaa", "other"), ("bbbb", "other")] {
        apply(store, node, user, leave(None)).await;
    }
    let mut gone = departed(store).await;
    gone.sort();
    assert_eq!(gone, ["new", "other"]);
}

/// Departures are returned again to the same request, and to another node if they are not confirmed in time.
async fn repeated_sweeps(store: &dyn Store) {
    let enter = || PresenceChangeKind::Enter { data: None };
    for user in ["a", "b", "back", "stays"] {
        apply(store, "aaaa", user, enter()).await;
    }
    for user in ["a", "b", "back"] {
        apply(store, "aaaa", user, leave(Some(r#""\u00fc""#))).await;
    }
    sleep(2 * SHORT).await;
    let first = request("aaaa");
    let sweep_first = || sweep_as(store, &first, None, 2, LONG);
    let swept = sweep_first().await;
    assert_eq!(users(&swept), ["a", "b"]);
    assert_eq!(swept.next, Some(Duration::ZERO));
    assert_eq!(sweep_first().await.departures, swept.departures);
    // The last one is taken by a node that is lost, but comes back.
    let taken = sweep_as(store, &request("bbbb"), None, 10, Duration::ZERO).await;
    assert_eq!(users(&taken), ["back"]);
    apply(store, "aaaa", "back", enter()).await;
    assert_eq!(departed(store).await, [""; 0]);
    // Once the events are confirmed, nothing is left to repeat.
    sweep_as(store, &request("aaaa"), Some(&first), 0, LONG).await;
    assert_eq!(sweep_first().await.departures, []);
    apply(store, "aaaa", "back", leave(Some("7"))).await;
    sleep(2 * SHORT).await;
    let taken = sweep_as(store, &request("bbbb"), None, 10, Duration::ZERO).await;
    assert_eq!(users(&taken), ["back"]);
    sleep(SHORT).await;
    assert_eq!(sweep(store).await.departures, taken.departures);
    assert_eq!(sweep(store).await.departures, []);
    apply(store, "aaaa", "stays", leave(None)).await;
    assert_eq!(departed(store).await, ["stays"]);
}

/// Commands whose responses are lost, after `lose` has been called, are repeated by the store itself.
pub(super) async fn lost_responses(store: &dyn Store, lose: impl Fn()) {
    let enter = || PresenceChangeKind::Enter { data: None };
    apply(store, "bbbb", "other", enter()).await;
    lose();
    let joined = apply(store, "aaaa", "u", enter()).await;
    assert_eq!(
        (joined.event, joined.count),
        (Some(PresenceEvent::Joined), 2)
    );
    lose();
    apply(store, "aaaa", "u", leave(None)).await;
    sleep(2 * SHORT).await;
    lose();
    assert_eq!(users(&sweep(store).await), ["u"]);
    assert_eq!(users(&sweep(store).await), [""; 0]);
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
    let entered = store.presence_apply("{p}", &request("aaaa"), ghost);
    assert_eq!(entered.await, Ok(None));
    let left = store.presence_page("{p}", "/,a:b", None, 9).await.unwrap();
    assert_eq!((left.count, &*left.users[0].0), (1, "a"));
}
