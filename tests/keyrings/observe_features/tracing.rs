//! The observer of feature `tracing`.

use super::events::{HOSTILE, live, report_all};
use super::{secrets, table, words};
use envelock::observe::TracingObserver;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

#[derive(Clone, Debug)]
struct Seen {
    name: &'static str,
    target: String,
    level: Level,
    /// In the order of the event.
    fields: Vec<(&'static str, Value)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(u64),
    Text(String),
}

impl Seen {
    fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }
}

/// Keeps every event of this thread.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<Seen>>>);

impl Subscriber for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        let (name, target) = (metadata.name(), metadata.target().to_owned());
        let seen = Seen { name, target, level: *metadata.level(), fields: fields.0 };
        self.0.lock().unwrap().push(seen);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Fields(Vec<(&'static str, Value)>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push((field.name(), Value::Text(format!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), Value::Text(value.into())));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), Value::Number(value)));
    }
}

fn capture(work: impl FnOnce()) -> Vec<Seen> {
    let capture = Capture::default();
    tracing::subscriber::with_default(capture.clone(), work);
    let mut seen = capture.0.lock().unwrap();
    std::mem::take(&mut *seen)
}

/// Names, levels and fields are those of the table in the documentation, all of them, and no
/// others.
#[test]
fn documented_events_are_those_that_are_emitted() {
    let seen = capture(|| report_all(&TracingObserver::new(), "orders", "orders"));
    let mut emitted: BTreeMap<&str, (String, Vec<String>)> = BTreeMap::new();
    for event in &seen {
        assert_eq!(event.target, "envelock");
        assert_eq!(event.fields[0], ("message", Value::Text(event.name.into())));
        let level = event.level.to_string().to_lowercase();
        let (first_level, fields) = emitted.entry(event.name).or_insert((level.clone(), vec![]));
        assert_eq!(*first_level, level);
        for (position, (field, _)) in event.fields[1..].iter().enumerate() {
            if !fields.iter().any(|other| other == field) {
                fields.insert(position, (*field).to_owned());
            }
        }
    }
    let rows = table(include_str!("../../../src/observe/tracing.md"), "event");
    assert_eq!(rows.len(), 28);
    assert_eq!(emitted.len(), rows.len());
    for row in rows {
        let name = &words(&row[0])[0];
        let (level, fields) = &emitted[name.as_str()];
        assert_eq!((level, fields), (&row[1], &words(&row[2])), "{name}");
    }
}

#[test]
fn fields_have_the_documented_values() {
    let seen = capture(|| report_all(&TracingObserver::new(), "orders", "orders"));
    let find = |name: &str| seen.iter().find(|event| event.name == name).unwrap();
    let text = |text: &str| Some(Value::Text(text.into()));
    let wrapped = find("wrapped");
    assert_eq!(wrapped.field("key").cloned(), text("orders"));
    assert_eq!(wrapped.field("version"), Some(&Value::Number(3)));
    assert_eq!(wrapped.field("master_key_id").cloned(), text("abababababababab"));
    assert_eq!(wrapped.field("algorithm").cloned(), text("XAES-256-GCM"));
    let reasons: Vec<_> = seen.iter().filter_map(|event| event.field("reason")).collect();
    // Of slots and of outer keys.
    assert_eq!(reasons.len(), 6 + 6);
    assert_eq!(*reasons[1], Value::Text("the version is disabled".into()));
    let state = find("state_changed");
    assert_eq!(state.field("from").cloned(), text("enabled"));
    assert_eq!(state.field("to").cloned(), text("disabled"));
    let rotations: Vec<_> = seen.iter().filter(|event| event.name == "rotated").collect();
    assert_eq!(rotations[0].field("from"), None);
    assert_eq!(rotations[1].field("from"), Some(&Value::Number(2)));
    assert_eq!(rotations[1].field("to"), Some(&Value::Number(3)));
    let aliases: Vec<_> = seen.iter().filter(|event| event.name == "alias_changed").collect();
    assert_eq!((aliases[0].field("from"), aliases[1].field("to")), (None, None));
    assert_eq!(aliases[0].field("to").cloned(), text("orders"));
    assert_eq!(find("reloaded").field("from_change"), Some(&Value::Number(9)));
    let Some(Value::Text(error)) = find("unavailable").field("error") else { panic!() };
    assert!(error.starts_with("keyring is unavailable: the service refused: no"), "{error}");
}

/// No text from outside ends a line, colours a terminal or reverses the text that follows it.
#[test]
fn foreign_text_cannot_write_lines() {
    // A keyset of this crate takes no such name; a lifecycle of another crate might.
    let seen = capture(|| report_all(&TracingObserver::new(), "a/b:c@d+e=f-g.h_i", HOSTILE));
    let mut hostile = 0;
    for event in &seen {
        for (field, value) in &event.fields {
            let Value::Text(text) = value else { continue };
            let unsafe_character = |c: char| c.is_control() || "\u{202E}\u{2028}".contains(c);
            assert!(!text.contains(unsafe_character), "{} {field}: {text:?}", event.name);
            hostile += usize::from(text.contains("no\\r\\n2026-01-01 INFO all is well\\u{1b}[2J"));
            // Escaped text differs from all other text.
            assert!(!text.contains("\"x") || text.ends_with(" \"x\\\\y"), "{text}");
        }
    }
    // Three errors; added, state, two aliases with two names each, label, records, erased, hold,
    // evidence, dates, two rotations, nine of outer keys, four of tokens.
    assert_eq!(hostile, 3 + 1 + 1 + 4 + 1 + 2 + 3 + 2 + 9 + 4);
    assert_eq!(seen[0].field("key"), Some(&Value::Text("a/b:c@d+e=f-g.h_i".into())));
}

#[test]
fn no_secret_and_no_data_key_id_at_any_level() {
    let mut data_key_id = None;
    let seen = capture(|| data_key_id = Some(live(TracingObserver::new())));
    let names: Vec<&str> = seen.iter().map(|event| event.name).collect();
    let expected = [
        "wrapped",
        "unwrapped",
        "version_added",
        "state_changed",
        "state_changed",
        "rotated",
        "state_changed",
        "unwrapped_compromised",
        "unwrapped_compromised",
        "wrapped",
        "unwrapped",
        "state_changed",
        "refused",
        "not_verified",
        "version_added",
    ];
    assert_eq!(names, expected);
    let text = format!("{seen:?} {seen:#?}");
    secrets::assert_no_secret(&text);
    let id = data_key_id.unwrap();
    assert!(!text.contains(&id.to_string()) && !text.contains(&format!("{:?}", id.0)));
    // Not even its random half.
    assert!(!text.contains(&hex::encode(&id.0[..8])));
}

/// Nothing that says more than usual is at a level that is on by default.
#[test]
fn ordinary_use_is_below_info() {
    for event in capture(|| report_all(&TracingObserver::new(), "orders", "orders")) {
        let ordinary = ["wrapped", "unwrapped"].contains(&event.name);
        assert_eq!(event.level > Level::INFO, ordinary, "{}", event.name);
    }
}
