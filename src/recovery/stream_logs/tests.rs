use bytes::Bytes;

use super::*;
use crate::model::{Emit, Namespace, Payload, Selector};
use crate::recovery::node_streams::{StreamedEvent, entry_id};
use crate::store::{MemoryStore, SharedEntry};

/// Entries of the namespace `/`, whose payload is the field `e`. A node has added those with a field `e<number>`, another
/// one those with `f<number>`. A `!` follows the number if they may be repeated.
fn decode(entry: &SharedEntry, namespace: &Namespace) -> Option<StreamedEvent> {
    let field = entry
        .fields
        .iter()
        .find(|(name, _)| name.starts_with(b"e") || name.starts_with(b"f"))?;
    let process = u64::from(field.0[0]);
    let number = std::str::from_utf8(&field.0[1..]).unwrap();
    let (number, may_be_repeated) = match number.strip_suffix('!') {
        Some(number) => (number, true),
        None => (number, false),
    };
    let number = number.parse().ok();
    (namespace == &Namespace::main()).then(|| StreamedEvent {
        emit: Emit {
            to: Selector::everybody(namespace.clone()),
            payload: Payload::text(std::str::from_utf8(&field.1).unwrap()),
            volatile: false,
            ack: None,
            conflate: None,
        },
        number: number.map(|number| (process, number)),
        may_be_repeated,
    })
}

fn limited(store: &MemoryStore, read_count: usize, max_entries: usize) -> StreamLogs {
    StreamLogs {
        store: Arc::new(store.clone()),
        streams: Arc::new(NodeStreams {
            stream_of: Box::new(|_| "s".to_owned()),
            decode: Box::new(|_, entry, namespace| decode(entry, namespace)),
            read_count,
            max_entries,
        }),
    }
}

fn logs(store: &MemoryStore, read_count: usize) -> StreamLogs {
    limited(store, read_count, 1000)
}

fn append(store: &MemoryStore, field: &'static str, value: String) -> u64 {
    let id = store.stream_append("s", vec![(Bytes::from(field), Bytes::from(value))]);
    id.parse::<Position>().unwrap().n
}

#[tokio::test]
async fn the_events_of_a_namespace_are_read_in_pages_of_any_size() {
    let store = MemoryStore::default();
    let log = LogName::of_namespace(Namespace::main());
    let begin = logs(&store, 1)
        .tails(std::slice::from_ref(&log))
        .await
        .unwrap();
    assert_eq!(begin.epoch, Some(Epoch::STREAM));
    let events: Vec<u64> = (0..20)
        .map(|number| {
            for _ in 0..number % 4 {
                append(&store, "other", String::new());
            }
            append(&store, "e", format!("[{number}]"))
        })
        .collect();
    let end = append(&store, "other", String::new());
    for read_count in [1, 2, 3, 7, 100] {
        let logs = logs(&store, read_count);
        let tails = logs.tails(&[log.clone(), log.clone()]).await.unwrap();
        assert_eq!(tails.tails, [end, end]);
        for limit in [1, 4, 100] {
            let (mut after, mut read) = (begin.tails[0], Vec::new());
            loop {
                let part = logs.read(&log, after, end, limit).await.unwrap();
                let page = part.page;
                assert!(!page.trimmed && page.events.len() <= limit);
                assert_eq!(page.events.first().map_or(after, |it| it.prev), after);
                read.extend(page.events.iter().map(|event| event.n));
                after = part.until;
                if after == end {
                    break;
                }
            }
            assert_eq!(read, events, "{read_count} {limit}");
        }
        let part = logs.read(&log, events[3], events[5], 100).await.unwrap();
        assert_eq!(payloads(&part), ["[4]", "[5]"]);
    }
}

fn payloads(read: &EventPage) -> Vec<&str> {
    let events = read.page.events.iter();
    events.map(|event| event.emit.payload.json()).collect()
}

#[tokio::test]
async fn a_read_of_a_long_stream_ends_before_its_end_and_the_next_one_continues() {
    let store = MemoryStore::default();
    let log = LogName::of_namespace(Namespace::main());
    let begin = append(&store, "other", String::new());
    let mut events = Vec::new();
    for number in 0..10 {
        for _ in 0..30 {
            append(&store, "other", String::new());
        }
        events.push(append(&store, "e", format!("[{number}]")));
    }
    let end = append(&store, "other", String::new());
    for (read_count, max_entries) in [(1, 1), (3, 20), (7, 100), (100, 5)] {
        let logs = limited(&store, read_count, max_entries);
        let (mut after, mut read, mut entries, mut pages) = (begin, Vec::new(), 0, 0);
        while after < end {
            let part = logs.read(&log, after, end, 1000).await.unwrap();
            assert!(part.entries <= max_entries + read_count, "{part:?}");
            assert!(part.until > after && !part.page.trimmed);
            read.extend(part.page.events.iter().map(|event| event.n));
            entries += part.entries;
            after = part.until;
            pages += 1;
        }
        assert_eq!(
            (&read, entries),
            (&events, 311),
            "{read_count} {max_entries}"
        );
        assert!(pages > 2, "{pages}");
    }
}

#[tokio::test]
async fn an_entry_that_was_added_twice_is_read_once_and_a_late_one_is_not_lost() {
    let log = LogName::of_namespace(Namespace::main());
    for (before, after, expected) in [
        (
            &["e1"][..],
            &["e2", "e1!", "e2!", "e3"][..],
            &["[e2]", "[e3]"][..],
        ),
        // The client received an event of another node between.
        (&["e1", "e2", "f9"], &["e1!", "e2!", "e3!"], &["[e3!]"]),
        (
            &["e1", "e2"],
            &["e1!", "f9", "e2!", "f9!", "e3"],
            &["[f9]", "[e3]"],
        ),
        // Redis rejected it at first.
        (&["e2", "e3"], &["e1", "e4"], &["[e1]", "[e4]"]),
        (&["e2", "e3"], &["e1!", "e2!", "e3!", "e1!"], &["[e1!]"]),
    ] {
        let store = MemoryStore::default();
        let add = |fields: &[&'static str]| {
            fields.iter().fold(None, |_, field| {
                Some(append(&store, field, format!("[{field}]")))
            })
        };
        add(&["other"]);
        let received = add(before).unwrap();
        add(after);
        let end = append(&store, "e", "[end]".to_owned());
        for read_count in [1, 2, 100] {
            let read = logs(&store, read_count).read(&log, received, end, 10).await;
            let read = read.unwrap();
            let expected = [expected, &["[end]"]].concat();
            assert_eq!(payloads(&read), expected, "{after:?} {read_count}");
            let mut prev = received;
            for event in &read.page.events {
                assert_eq!(std::mem::replace(&mut prev, event.n), event.prev);
            }
        }
    }
}

#[tokio::test]
async fn entries_that_were_removed_are_noticed_wherever_they_were() {
    let store = MemoryStore::default();
    let log = LogName::of_namespace(Namespace::main());
    let begin = logs(&store, 2)
        .tails(std::slice::from_ref(&log))
        .await
        .unwrap()
        .tails[0];
    let events: Vec<u64> = (0..10)
        .map(|_| append(&store, "e", "[1]".to_owned()))
        .collect();
    store.stream_trim("s", &entry_id(events[4]));
    let end = events[9];
    let read = logs(&store, 2).read(&log, begin, end, 3).await.unwrap();
    let page = read.page;
    assert!(page.trimmed);
    let numbers: Vec<u64> = page.events.iter().map(|it| it.n).collect();
    assert_eq!(numbers, events[4..7]);
    assert_eq!(page.events[0].prev, events[4] - 1);
    let read = logs(&store, 2).read(&log, events[4], end, 3).await.unwrap();
    let page = read.page;
    assert!(!page.trimmed);
    // Nothing is left.
    store.stream_trim("s", "9999999999999-0");
    let read = logs(&store, 2).read(&log, events[4], end, 3).await.unwrap();
    let page = read.page;
    assert!(page.trimmed && page.events.is_empty());
    assert_eq!(page.tail, end);
}
