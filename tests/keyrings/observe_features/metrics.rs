//! The observer of feature `metrics`.

use super::events::{HOSTILE, label, live, report_all, version};
use super::{secrets, table, words};
use envelock::{
    keyring::Refusal,
    keyset::{Transition, VersionState},
    observe::{Event, MetricsObserver, Observer},
};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit, with_local_recorder,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Counter,
    Gauge,
}

/// Name, kind and labels of one series.
type Series = (String, Kind, Vec<(String, String)>);

/// Keeps the values of every series.
#[derive(Default)]
struct Capture {
    values: Arc<Mutex<BTreeMap<Series, Vec<f64>>>>,
    described: Mutex<Vec<(String, Kind)>>,
}

struct Handle {
    series: Series,
    values: Arc<Mutex<BTreeMap<Series, Vec<f64>>>>,
}

impl Handle {
    fn put(&self, value: f64) {
        self.values.lock().unwrap().entry(self.series.clone()).or_default().push(value);
    }
}

impl CounterFn for Handle {
    fn increment(&self, value: u64) {
        assert_eq!(value, 1);
        self.put(1.0);
    }

    fn absolute(&self, _: u64) {
        panic!("a counter counts");
    }
}

impl GaugeFn for Handle {
    fn increment(&self, _: f64) {
        panic!("the gauge is set");
    }

    fn decrement(&self, _: f64) {
        panic!("the gauge is set");
    }

    fn set(&self, value: f64) {
        self.put(value);
    }
}

impl Capture {
    fn handle(&self, key: &Key, kind: Kind) -> Arc<Handle> {
        let labels = key.labels().map(|label| (label.key().into(), label.value().into()));
        let series = (key.name().to_owned(), kind, labels.collect());
        Arc::new(Handle { series, values: self.values.clone() })
    }

    fn series(&self) -> BTreeMap<Series, Vec<f64>> {
        self.values.lock().unwrap().clone()
    }

    /// How often a counter with these labels counted.
    fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        self.series().get(&(name.into(), Kind::Counter, labels)).map_or(0, Vec::len)
    }

    fn primary(&self, key: &str) -> Vec<f64> {
        let labels = vec![("key".into(), key.into())];
        let series = ("envelock_primary_version".into(), Kind::Gauge, labels);
        self.series().get(&series).cloned().unwrap_or_default()
    }

    fn keys(&self) -> BTreeSet<String> {
        let labels = self.series().into_keys().flat_map(|(_, _, labels)| labels);
        labels.filter(|(key, _)| key == "key").map(|(_, value)| value).collect()
    }
}

impl Recorder for Capture {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().push((name.as_str().into(), Kind::Counter));
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().push((name.as_str().into(), Kind::Gauge));
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("there is none");
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.handle(key, Kind::Counter))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.handle(key, Kind::Gauge))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("there is none");
    }
}

fn capture(work: impl FnOnce()) -> Capture {
    let capture = Capture::default();
    with_local_recorder(&capture, work);
    capture
}

fn kind(cell: &str) -> Kind {
    match cell {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        other => panic!("{other} is no kind"),
    }
}

const DOCUMENTATION: &str = include_str!("../../../src/observe/metrics.md");

/// Names, kinds, labels and their values are those of the tables in the documentation, all of
/// them, and no others.
#[test]
fn documented_metrics_are_those_that_are_emitted() {
    let seen = capture(|| report_all(&MetricsObserver::new(), "orders", "orders"));
    let mut emitted: BTreeMap<(String, Kind), Vec<String>> = BTreeMap::new();
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, kind, labels) in seen.series().into_keys() {
        let names: Vec<String> = labels.iter().map(|(label, _)| label.clone()).collect();
        assert_eq!(*emitted.entry((name.clone(), kind)).or_insert(names.clone()), names);
        for (label, value) in labels {
            let meaning = match (label.as_str(), name.as_str()) {
                ("reason", "envelock_refusals_total") => "`reason` of refusals".into(),
                ("reason", name) => format!("`reason` of `{name}`"),
                ("event", name) => format!("`event` of `{name}`"),
                (label, _) => format!("`{label}`"),
            };
            values.entry(meaning).or_default().insert(value);
        }
    }
    let rows = table(DOCUMENTATION, "metric");
    let documented =
        rows.iter().map(|row| ((words(&row[0])[0].clone(), kind(&row[1])), words(&row[2])));
    assert_eq!(emitted, documented.collect());
    assert_eq!(values.remove("`key`").unwrap().into_iter().collect::<Vec<_>>(), ["orders"]);
    let rows = table(DOCUMENTATION, "label");
    let documented = rows[1..].iter().map(|row| (row[0].clone(), words(&row[1])));
    let documented = documented.map(|(label, words)| (label, words.into_iter().collect()));
    assert_eq!(values, documented.collect());
}

#[test]
fn documented_metrics_are_those_that_are_described() {
    let seen = capture(MetricsObserver::describe);
    let mut described = seen.described.into_inner().unwrap();
    described.sort();
    let rows = table(DOCUMENTATION, "metric");
    let mut documented: Vec<_> =
        rows.iter().map(|row| (words(&row[0])[0].clone(), kind(&row[1]))).collect();
    documented.sort();
    assert_eq!(described, documented);
}

#[test]
fn life_is_counted() {
    let seen = capture(|| {
        live(MetricsObserver::new());
    });
    let orders = ("key", "orders");
    assert_eq!(seen.count("envelock_wraps_total", &[orders]), 2);
    assert_eq!(seen.count("envelock_unwraps_total", &[orders, ("compromised", "false")]), 2);
    assert_eq!(seen.count("envelock_unwraps_total", &[orders, ("compromised", "true")]), 2);
    assert_eq!(seen.count("envelock_refusals_total", &[orders, ("reason", "disabled")]), 1);
    assert_eq!(seen.count("envelock_authentication_failures_total", &[orders]), 1);
    assert_eq!(seen.count("envelock_changes_total", &[orders, ("change", "added")]), 2);
    assert_eq!(seen.count("envelock_changes_total", &[orders, ("change", "state")]), 4);
    assert_eq!(seen.count("envelock_rotations_total", &[orders]), 1);
    // Wrap, rotation, wrap.
    assert_eq!(seen.primary("orders"), [1.0, 2.0, 2.0]);
    assert_eq!(seen.series().values().map(Vec::len).sum::<usize>(), 2 + 2 + 2 + 1 + 1 + 6 + 1 + 3);
}

#[test]
fn gauge_shows_a_lost_primary() {
    let seen = capture(|| {
        let observer = MetricsObserver::new();
        let (key, version) = ("orders".to_owned(), version(1));
        let (from, to) = (VersionState::Primary, VersionState::Enabled);
        let transition = Transition::State { key: key.clone(), version, from, to };
        observer.event(&Event::Changed { transition: &transition, change: 2 });
        let to = VersionState::Compromised;
        let transition = Transition::State { key, version, from, to };
        observer.event(&Event::Changed { transition: &transition, change: 3 });
    });
    // An ordinary rotation does not touch zero.
    assert_eq!(seen.primary("orders"), [0.0]);
}

/// Foreign names in headers make no series, however many there are.
#[test]
fn names_in_headers_make_no_series() {
    let seen = capture(|| {
        let observer = MetricsObserver::new().with_key("billing");
        observer.event(&Event::Wrapped { label: label("orders") });
        for number in 0..1000 {
            for name in [&format!("attack-{number}"), "orders", "billing"] {
                let label = label(name);
                observer.event(&Event::Refused { label, refusal: Refusal::UnknownVersion });
                observer.event(&Event::NotVerified { label });
            }
        }
        // The foreign names used none of the room for our own.
        for number in 0..98 {
            observer.event(&Event::Wrapped { label: label(&format!("tenant-{number}")) });
        }
    });
    let unknown = ("reason", "unknown_version");
    for key in ["other", "orders", "billing"] {
        assert_eq!(seen.count("envelock_refusals_total", &[("key", key), unknown]), 1000, "{key}");
        let failures = seen.count("envelock_authentication_failures_total", &[("key", key)]);
        assert_eq!(failures, 1000, "{key}");
    }
    assert_eq!(seen.keys().len(), 98 + 3);
    assert_eq!(seen.count("envelock_wraps_total", &[("key", "tenant-97")]), 1);
    assert_eq!(seen.count("envelock_wraps_total", &[("key", "other")]), 0);
}

#[test]
fn keys_beyond_the_limit_share_one_series() {
    for (max, named) in [(None, 100), (Some(0), 0), (Some(1), 1), (Some(1000), 1000)] {
        let seen = capture(|| {
            let observer = MetricsObserver::new();
            let observer = match max {
                Some(max) => observer.with_max_keys(max),
                None => observer,
            };
            for number in 0..1100 {
                let name = format!("tenant-{number}");
                for _ in 0..2 {
                    report_all(&observer, &name, &name);
                }
            }
        });
        assert_eq!(seen.keys().len(), named + 1);
        let others = 2 * (1100 - named);
        assert_eq!(seen.count("envelock_wraps_total", &[("key", "other")]), others);
        // A version of all the others says nothing.
        assert!(seen.primary("other").is_empty());
        // That of key files has no key.
        let gauges = seen.series().keys().filter(|(_, kind, _)| *kind == Kind::Gauge).count();
        assert_eq!(gauges, named + 1);
        // For each key: wraps, two unwraps, six refusals, failures, nine changes, rotations,
        // gauge. The others lack the gauge; fourteen series have no key: reasons, unfinished streams,
        // outcomes, events of tokens and of outer keys, the gauge of key files.
        assert_eq!(seen.series().len(), named * 21 + 20 + 14);
        // No label holds a version.
        let mut labels = seen.series().into_keys().flat_map(|(_, _, labels)| labels);
        assert!(labels.all(|(label, _)| label != "version"));
    }
}

#[test]
fn key_named_other_has_no_gauge() {
    let seen = capture(|| {
        let observer = MetricsObserver::default().with_key("other").with_max_keys(1);
        observer.event(&Event::Wrapped { label: label("other") });
        observer.event(&Event::Wrapped { label: label("orders") });
    });
    assert_eq!(seen.count("envelock_wraps_total", &[("key", "other")]), 1);
    assert_eq!(seen.count("envelock_wraps_total", &[("key", "orders")]), 1);
    assert!(seen.primary("other").is_empty());
}

#[test]
fn no_secret_is_in_a_label() {
    let mut data_key_id = None;
    let seen = capture(|| {
        data_key_id = Some(live(MetricsObserver::new()));
        report_all(&MetricsObserver::new(), "orders", HOSTILE);
    });
    let text = format!("{:?}", seen.series());
    secrets::assert_no_secret(&text);
    assert!(!text.contains(&data_key_id.unwrap().to_string()));
    // The text of a back end is no label.
    assert!(!text.contains("the service refused"));
}
