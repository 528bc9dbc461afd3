use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

#[test]
fn values_are_listed_with_labels_summed() {
    let metrics = Metrics::default();
    metrics.sessions.of(Transport::Polling).add(3);
    metrics.sessions.of(Transport::Websocket).add(-1);
    metrics.bus_deaf_detections_total.increment();
    metrics.delivery_seconds.observe_many(Duration::ZERO, 7);
    let values = metrics.values();
    for expected in [
        ("sessions", 2),
        ("bus_deaf_detections_total", 1),
        ("delivery_seconds", 7),
    ] {
        assert!(
            values.iter().any(|v| (v.0, v.2) == expected),
            "{expected:?}"
        );
    }
}

#[test]
fn a_scrape_has_types_labels_and_an_end_marker() {
    let metrics = Arc::new(Metrics::default());
    metrics.node_info.set("ab12");
    metrics.disconnects_total.of(Disconnect::PingTimeout).add(4);
    metrics.ping_rtt_seconds.observe(Duration::from_millis(2));
    let text = metrics.render();
    for line in [
        "# TYPE roomwire_disconnects counter",
        "roomwire_disconnects_total{reason=\"ping_timeout\"} 4",
        "roomwire_disconnects_total{reason=\"slow_consumer\"} 0",
        "roomwire_ping_rtt_seconds_bucket{le=\"0.001\"} 0",
        "roomwire_ping_rtt_seconds_bucket{le=\"0.0025\"} 1",
        "roomwire_ping_rtt_seconds_bucket{le=\"+Inf\"} 1",
        "roomwire_ping_rtt_seconds_sum 0.002",
        "roomwire_ping_rtt_seconds_count 1",
        "roomwire_node_info{node=\"ab12\"} 1",
        "roomwire_draining 0",
    ] {
        assert!(
            text.lines().any(|seen| seen == line),
            "{line} is missing in\n{text}"
        );
    }
    assert!(text.ends_with("\n# EOF\n"));
}

#[test]
fn urls_are_set_only_once() {
    let metrics = Arc::new(Metrics::default());
    assert!(metrics.upstream_up.at(0).is_none());
    for urls in [["http://a", "http://b:3000"], ["http://c", "http://d"]] {
        metrics
            .upstream_up
            .name(urls.into_iter().map(str::to_owned));
    }
    metrics.upstream_up.at(1).unwrap().set(1);
    assert!(metrics.upstream_up.at(2).is_none());
    let text = metrics.render();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("roomwire_upstream_up{"))
        .collect();
    assert_eq!(
        lines,
        [
            "roomwire_upstream_up{url=\"http://a\"} 0",
            "roomwire_upstream_up{url=\"http://b:3000\"} 1"
        ]
    );
}

/// Names of all metrics of a scrape, as Prometheus stores them.
fn rendered() -> BTreeSet<String> {
    let metrics = Arc::new(Metrics::default());
    let text = metrics.render();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut families = BTreeSet::new();
    types
        .inspect(|line| {
            let family = line.split(' ').next();
            assert!(
                families.insert(family),
                "{line}: a counter must not have the name of a gauge"
            );
        })
        .map(|line| match line.split_once(' ').unwrap() {
            (name, "counter") => format!("{name}_total"),
            (name, "info") => format!("{name}_info"),
            (name, _) => name.to_owned(),
        })
        .collect()
}

/// Names of all metrics with a row in `docs/metrics.md`.
fn documented() -> BTreeSet<String> {
    let rows = include_str!("../../docs/metrics.md").lines();
    rows.filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split(['`', '{']).next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_documented_metrics_are_those_of_a_scrape() {
    let (rendered, documented) = (rendered(), documented());
    let undocumented: Vec<_> = rendered.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&rendered).collect();
    assert!(
        undocumented.is_empty(),
        "not in docs/metrics.md: {undocumented:?}"
    );
    assert!(gone.is_empty(), "only in docs/metrics.md: {gone:?}");
    assert!(rendered.len() > 30);
}

#[test]
fn the_documented_labels_are_those_of_a_scrape() {
    let metrics = Arc::new(Metrics::default());
    metrics.node_info.set("ab12");
    let urls = || ["http://backend:3000".to_owned()].into_iter();
    metrics.upstream_up.name(urls());
    metrics.upstream_failures_total.name(urls());
    metrics.webhook_breaker_open.name(urls());
    let text = metrics.render();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let labelled = series.filter_map(|line| {
        let (name, rest) = line.split_once('{')?;
        let labels = rest.split('}').next()?.split(',');
        let names = labels.filter_map(|label| label.split('=').next());
        // `le` is added by the format.
        let names: Vec<&str> = names.filter(|name| *name != "le").collect();
        (!names.is_empty()).then(|| format!("{name}{{{}}}", names.join(",")))
    });
    let rows = include_str!("../../docs/metrics.md").lines();
    let documented = rows
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.contains('{'))
        .map(str::to_owned);
    let documented: BTreeSet<String> = documented.collect();
    assert_eq!(labelled.collect::<BTreeSet<_>>(), documented);
}

#[cfg(target_os = "linux")]
#[test]
fn metrics_of_the_process_have_the_standard_names() {
    let text = Arc::new(Metrics::default()).render();
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name}")).parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
    assert!(value("process_start_time_seconds") > 1.7e9);
    assert!(value("process_cpu_seconds_total") >= 0.0);
}
