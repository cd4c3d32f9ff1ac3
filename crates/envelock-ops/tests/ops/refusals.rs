//! What a job refuses to begin with.

use crate::common::{MemoryRecords, NOW, finished, open, run_to_end, stale};
use envelock::{Envelope, KeyVersion, Lifecycle, MemoryKeyring, inspect};
use envelock_ops::stores::MemoryStore;
use envelock_ops::{
    CompareAndSwap, Definition, EnvelopeOperation, Job, Shard, Stage, Start, StartError, Store,
    Task, UndoRoom, VersionName,
};
use std::sync::Arc;

fn operation(keyring: &Arc<MemoryKeyring>, task: &Task) -> EnvelopeOperation<Arc<MemoryKeyring>> {
    EnvelopeOperation::new(Envelope::new(keyring.clone()), task.clone())
}

fn refused(
    keyring: &Arc<MemoryKeyring>,
    definition: &Definition,
    start: &Start<'_>,
) -> Option<StartError> {
    let keys = operation(keyring, &definition.task);
    Job::new(definition.clone(), Shard::WHOLE, (&[], 0), start, &keys).err()
}

fn start(store: &MemoryStore) -> Start<'_> {
    Start::new(NOW, store.properties())
}

#[test]
fn target_that_is_not_primary() {
    let (keyring, store) = stale(2);
    let to = |version| Task::Rewrap {
        to: vec![VersionName { name: "orders".into(), version }],
        from_compromised: vec![],
        retiring: None,
        trusts_backend: false,
    };
    let refused =
        |version| refused(&keyring, &Definition::new("memory", to(version)), &start(&store));
    assert!(refused(2).is_none());
    let text = refused(1).unwrap().to_string();
    assert_eq!(
        text,
        "orders:1 is not primary: promote it first, or plan the job for what is primary"
    );
}

#[test]
fn target_that_the_definition_does_not_allow() {
    let (keyring, store) = stale(2);
    let mut definition = Definition::new("memory", Task::rewrap());
    definition.allowed_names = vec!["orders".into()];
    assert!(refused(&keyring, &definition, &start(&store)).is_none());
    definition.allowed_names = vec!["orders-eu".into()];
    let refused = refused(&keyring, &definition, &start(&store));
    assert!(matches!(refused, Some(StartError::NameNotAllowed(_))));
}

#[test]
fn source_version_that_cannot_be_read() {
    let (keyring, store) = stale(1);
    let stored = store.headers().into_values().next().unwrap();
    let label = inspect(&stored).unwrap().slots().next().unwrap().label;
    let definition = Definition::new("memory", Task::rewrap());
    let sources = [label];
    let start = |sources| Start { sources, ..Start::new(NOW, MemoryStore::new().properties()) };
    assert!(refused(&keyring, &definition, &start(&sources)).is_none());
    keyring.mark_compromised(KeyVersion::FIRST).unwrap();
    let why = refused(&keyring, &definition, &start(&sources)).unwrap().to_string();
    assert!(why.contains("orders:1") && why.contains("compromised"), "{why}");
    let named = Task::Rewrap {
        to: vec![],
        from_compromised: vec![VersionName::new("orders", KeyVersion::FIRST)],
        retiring: None,
        trusts_backend: false,
    };
    assert!(refused(&keyring, &Definition::new("memory", named), &start(&sources)).is_none());
    keyring.disable(KeyVersion::FIRST).unwrap();
    let why = refused(&keyring, &definition, &start(&sources)).unwrap().to_string();
    assert!(why.contains("disabled"), "{why}");
}

#[test]
fn store_without_compare_and_swap_unless_nothing_is_written() {
    let (keyring, store) = stale(1);
    let mut start = start(&store);
    start.properties.compare_and_swap = CompareAndSwap::Missing;
    let mut definition = Definition::new("memory", Task::rewrap());
    let refusal = refused(&keyring, &definition, &start);
    assert!(matches!(refusal, Some(StartError::NoCompareAndSwap(_))));
    definition.dry_run = true;
    assert!(refused(&keyring, &definition, &start).is_none());
}

#[test]
fn undo_log_that_does_not_fit() {
    let (keyring, store) = stale(1);
    let room = |needed, free| Start { undo_room: Some(UndoRoom { needed, free }), ..start(&store) };
    let definition = Definition::new("memory", Task::rewrap());
    assert!(refused(&keyring, &definition, &room(10, 10)).is_none());
    let refusal = refused(&keyring, &definition, &room(11, 10));
    assert!(matches!(refusal, Some(StartError::UndoRoom { needed: 11, free: 10 })));
}

#[test]
fn other_store_other_task_and_definitions_without_sense() {
    let (keyring, store) = stale(1);
    let sound = Definition::new("memory", Task::rewrap());
    let invalid = [
        Definition { stages: vec![], ..sound.clone() },
        Definition { stages: vec![Stage::all(), Stage::all()], ..sound.clone() },
        Definition {
            stages: vec![Stage { up_to_millionths: 10, soak_seconds: 0 }],
            ..sound.clone()
        },
        Definition { page: 0, ..sound.clone() },
        Definition { attempts: 0, ..sound.clone() },
    ];
    for definition in invalid {
        let refusal = refused(&keyring, &definition, &start(&store));
        assert!(matches!(refusal, Some(StartError::Definition(_))), "{definition:?}");
    }
    let elsewhere = Definition { source: "s3://orders".into(), ..sound.clone() };
    let refusal = refused(&keyring, &elsewhere, &start(&store));
    assert!(matches!(refusal, Some(StartError::OtherSource { .. })));
    let no_target = Definition::new("memory", Task::AddName { from_compromised: vec![] });
    assert!(matches!(refused(&keyring, &no_target, &start(&store)), Some(StartError::Keys(_))));
    let no_log = Definition::new("memory", Task::Restore { job: sound.id() });
    assert!(matches!(refused(&keyring, &no_log, &start(&store)), Some(StartError::Keys(_))));
}

#[test]
fn checkpoint_of_another_job_another_shard_or_a_newer_keyring() {
    let (keyring, store) = stale(1);
    let definition = Definition::new("memory", Task::rewrap());
    let keys = operation(&keyring, &definition.task);
    let mut records = MemoryRecords::default();
    let with_change = |change| Start { keyring_change: Some(change), ..start(&store) };
    let mut job = open(&definition, Shard::WHOLE, &records, &with_change(118), &keys).unwrap();
    let _ = crate::common::run(&mut job, &store, &keys, &mut records, &mut NOW.clone());
    let opened = |definition: &Definition, shard, change| {
        open(definition, shard, &records, &with_change(change), &keys).err()
    };
    assert!(opened(&definition, Shard::WHOLE, 118).is_none());
    let older = opened(&definition, Shard::WHOLE, 117);
    assert!(matches!(older, Some(StartError::OlderKeyring { found: 117, saved: 118 })));
    let shard = opened(&definition, Shard::new(0, 2).unwrap(), 118);
    assert!(matches!(shard, Some(StartError::OtherShard { .. })));
    let other = opened(&Definition { page: 7, ..definition.clone() }, Shard::WHOLE, 118);
    assert!(matches!(other, Some(StartError::OtherJob { .. })));
}

#[test]
fn checkpoint_of_another_keyring_of_the_same_name_or_of_another_medium() {
    let (keyring, store) = stale(1);
    let definition = Definition::new("memory", Task::rewrap());
    let keys = operation(&keyring, &definition.task);
    let mut records = MemoryRecords::default();
    let with = |keyring: &[&str], medium: Option<&str>| {
        let mut start = start(&store);
        start.keyring_ids = keyring.iter().copied().map(String::from).collect();
        start.properties.id = medium.map(String::from);
        start
    };
    let bound = with(&["1f", "2c", "3d"], Some("disk 1"));
    let mut job = open(&definition, Shard::WHOLE, &records, &bound, &keys).unwrap();
    let _ = crate::common::run(&mut job, &store, &keys, &mut records, &mut NOW.clone());
    let opened = |start| open(&definition, Shard::WHOLE, &records, &start, &keys).err();
    // The records of old versions are removed, a version is added, and a backup lacks the last.
    for same in [&["1f", "2c", "3d"][..], &["3d"], &["2c", "3d", "4b"], &["1f", "2c"], &["1f"]] {
        assert!(opened(with(same, Some("disk 1"))).is_none(), "{same:?}");
    }
    // A caller that cannot tell keyrings apart is not held up.
    assert!(opened(with(&[], Some("disk 1"))).is_none());
    for (other, named) in [(&["2e"][..], "2e"), (&["2e", "3"], "2e 3"), (&["1f 3d"], "1f 3d")] {
        let refusal = opened(with(other, Some("disk 1")));
        let Some(StartError::OtherKeyring { found, saved }) = refusal else {
            panic!("{refusal:?}");
        };
        assert_eq!((found.as_str(), saved.as_str()), (named, "1f 3d"));
    }
    for medium in [Some("disk 2"), None] {
        let refusal = opened(with(&["1f"], medium));
        assert!(matches!(refusal, Some(StartError::OtherMedium(_))), "{refusal:?}");
    }
}

#[test]
fn rotation_in_the_middle_halts_a_job_with_a_target_and_is_told_otherwise() {
    let (keyring, store) = stale(4);
    let task = Task::Rewrap {
        to: vec![VersionName { name: "orders".into(), version: 2 }],
        from_compromised: vec![],
        retiring: None,
        trusts_backend: false,
    };
    let definition = Definition { page: 2, ..Definition::new("memory", task.clone()) };
    let keys = operation(&keyring, &task);
    let mut job = Job::new(definition, Shard::WHOLE, (&[], 0), &start(&store), &keys).unwrap();
    keyring.rotate().unwrap();
    let end = crate::common::run(
        &mut job,
        &store,
        &keys,
        &mut MemoryRecords::default(),
        &mut NOW.clone(),
    );
    let text = format!("{end:?}");
    assert!(text.contains("Target"), "{text}");

    let (keyring, store) = stale(4);
    let keys = operation(&keyring, &Task::rewrap());
    let mut records = MemoryRecords::default();
    let definition = Definition::new("memory", Task::rewrap());
    let mut job = open(&definition, Shard::WHOLE, &records, &start(&store), &keys).unwrap();
    keyring.rotate().unwrap();
    let end = crate::common::run(&mut job, &store, &keys, &mut records, &mut NOW.clone());
    assert!(finished(end).targets_changed);
    let again = finished(run_to_end(
        &Definition { seed: 1, ..definition },
        &store,
        &keys,
        &mut MemoryRecords::default(),
    ));
    assert!(!again.targets_changed);
    assert_eq!(again.tally.current, 4);
}
