//! The file of controls, by a virtual clock, and jobs that go on under another definition.

use crate::common::{MemoryRecords, NOW, finished, key, open, run, stale};
use envelock::{Envelope, Lifecycle, MemoryKeyring};
use envelock_ops::drivers::{
    Calendar, ControlFile, ControlFileError, Controls, Records, Window, WorkDirectory,
    WorkDirectoryError,
};
use envelock_ops::stores::Selection;
use envelock_ops::{
    Definition, End, EnvelopeOperation, FailureLimit, Halt, Job, Limits, Shard, Stage, Start,
    StartError, Step, Store, Task, VersionName,
};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn file(calendar: Option<Calendar>) -> (tempfile::TempDir, std::path::PathBuf, ControlFile) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("job.control");
    let file = ControlFile::open(&path, calendar, NOW).unwrap();
    (directory, path, file)
}

#[test]
fn file_is_read_once_a_second_and_changes_the_limits() {
    let (_directory, path, mut file) = file(None);
    assert_eq!(file.changed(), Some(Limits::default()));
    let limits = Limits { items_per_second: Some(7), ..Limits::default() };
    Controls { limits, ..Controls::default() }.write(&path).unwrap();
    file.poll(NOW + SECOND / 2);
    assert_eq!(file.changed(), None);
    file.poll(NOW + SECOND);
    assert_eq!((file.changed(), file.changed()), (Some(limits), None));
    Controls { limits, paused: true, ..Controls::default() }.write(&path).unwrap();
    // The clock was set back.
    file.poll(NOW - 3600 * SECOND);
    assert_eq!(file.changed().unwrap().items_per_second, Some(0));
    std::fs::remove_file(&path).unwrap();
    file.poll(NOW);
    assert_eq!((file.changed(), file.error()), (None, None));
    assert!(file.controls().paused);
}

#[cfg(unix)]
#[test]
fn link_at_the_name_of_a_file_that_is_not_complete_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let [victim, path] = ["victim", "job.json"].map(|name| directory.path().join(name));
    std::fs::write(&victim, "theirs").unwrap();
    std::os::unix::fs::symlink(&victim, directory.path().join("job.json.new")).unwrap();
    envelock_ops::drivers::replace(&path, ".new", b"ours").unwrap();
    assert_eq!(std::fs::read(&victim).unwrap(), b"theirs");
    assert_eq!(std::fs::read(&path).unwrap(), b"ours");
    assert!(path.symlink_metadata().unwrap().is_file());
}

#[test]
fn wrong_content_is_reported_once_and_changes_nothing() {
    let (_directory, path, mut file) = file(None);
    file.changed();
    let contents = [
        ("not json", "expected"),
        (r#"{"limits":{"items_per_second":-1}}"#, "-1"),
        (r#"{"limits":{"items":5}}"#, "unknown field `items`"),
        (r#"{"limits":{"concurrency":0}}"#, "concurrency is 0"),
        (r#"{"window":"22:00-05:00"}"#, "needs a calendar"),
        (r#"{"pause":true}"#, "unknown field `pause`"),
        ("", "EOF"),
    ];
    let mut now = NOW;
    for (content, expected) in contents {
        std::fs::write(&path, content).unwrap();
        now += SECOND;
        file.poll(now);
        let error = file.error().unwrap();
        assert!(error.contains(expected) && error.contains("job.control"), "{error}");
        now += SECOND;
        file.poll(now);
        assert_eq!((file.error(), file.changed()), (None, None));
        assert_eq!(*file.controls(), Controls::default());
        let opened = ControlFile::open(&path, None, now);
        assert!(matches!(opened, Err(ControlFileError::Content { .. })), "{content}");
    }
    std::fs::write(&path, r#"{"limits":{"budget":5}}"#).unwrap();
    file.poll(now + SECOND);
    assert_eq!(file.changed().unwrap().budget, Some(5));
}

#[test]
fn stop_is_for_jobs_that_run_and_not_for_those_that_begin_later() {
    let (_directory, path, mut file) = file(None);
    assert!(!file.wants_stop());
    Controls { stop: Some(1), ..Controls::default() }.write(&path).unwrap();
    file.poll(NOW + SECOND);
    assert!(file.wants_stop());
    let mut later = ControlFile::open(&path, None, NOW).unwrap();
    later.poll(NOW + SECOND);
    assert!(!later.wants_stop());
    Controls { stop: Some(2), ..Controls::default() }.write(&path).unwrap();
    later.poll(NOW + 2 * SECOND);
    assert!(later.wants_stop());
}

#[test]
fn windows_are_followed_without_a_change_of_the_file() {
    // Ten seconds of each minute.
    let calendar: Calendar = Box::new(|text, now| {
        let start = now.as_secs() / 60 * 60;
        let start = if now.as_secs() < start + 10 { start } else { start + 60 };
        (text == "x")
            .then_some(Window { opens_at: start, closes_at: start + 10 })
            .ok_or("no".into())
    });
    let (_directory, path, mut file) = file(Some(calendar));
    Controls { window: Some("x".into()), ..Controls::default() }.write(&path).unwrap();
    let (keyring, store) = stale(300);
    let keys = EnvelopeOperation::new(Envelope::new(keyring), Task::rewrap());
    let (mut records, mut now) = (MemoryRecords::default(), NOW + 3 * SECOND);
    let limits = Limits { items_per_second: Some(10), ..Limits::default() };
    let start = Start { limits, ..Start::new(now, store.properties()) };
    let definition = Definition::new("memory", Task::rewrap());
    let mut job = open(&definition, Shard::WHOLE, &records, &start, &keys).unwrap();
    let mut begun = std::collections::BTreeMap::new();
    let end = loop {
        file.poll(now);
        if let Some(limits) = file.changed() {
            job.set_limits(Limits { items_per_second: Some(10), ..limits });
        }
        match job.next(now, &keys) {
            Step::List { after, most } => job.listed(store.list(after.as_ref(), most), now),
            Step::Work(mut work) => {
                // It is given out again to be written, which no window holds back.
                begun.entry(work.key().clone()).or_insert((now - NOW).as_secs());
                work.run(&store, &keys, || Duration::ZERO);
                job.done(work, now);
            }
            Step::Probe(probe) => job.probed(probe.run(&store), now),
            Step::Append(batch) => job.appended(records.append(&batch)),
            Step::Save { failures_at, failures, checkpoint } => {
                job.saved(records.save(failures_at, &failures, &checkpoint));
            }
            Step::Wait { until } => now = until.unwrap().min(now + SECOND),
            Step::Done(end) => break end,
            step => panic!("{step:?}"),
        }
    };
    assert_eq!(finished(end).tally.changed, 300);
    assert!(begun.values().all(|second| second % 60 < 10), "{begun:?}");
    assert!(begun.values().max().unwrap() >= &120, "{begun:?}");
}

#[test]
fn window_is_computed_again_each_minute_so_that_a_clock_can_be_set_back() {
    // The first hour of each day.
    let calendar: Calendar = Box::new(|_, now| {
        let day = now.as_secs() / 86_400 * 86_400;
        let opens_at = if now.as_secs() < day + 3_600 { day } else { day + 86_400 };
        Ok(Window { opens_at, closes_at: opens_at + 3_600 })
    });
    let (_directory, path, mut file) = file(Some(calendar));
    Controls { window: Some("x".into()), ..Controls::default() }.write(&path).unwrap();
    let day = Duration::from_secs(86_400);
    let midnight = Duration::from_secs(NOW.as_secs() / 86_400 * 86_400) + day;
    file.poll(midnight + 2 * 3_600 * SECOND);
    assert_eq!(file.changed().unwrap().closed_until, (midnight + day).as_secs());
    let set_back = midnight + 60 * SECOND;
    file.poll(set_back);
    assert_eq!(file.changed().unwrap().closed_until, midnight.as_secs());
    file.poll(set_back + 60 * SECOND);
    assert!(file.changed().is_none());
}

struct Tree {
    _directory: tempfile::TempDir,
    work: std::path::PathBuf,
    keyring: Arc<MemoryKeyring>,
    store: envelock_ops::stores::MemoryStore,
}

/// A job over 50 items in pages of 10 that was stopped after 23.
fn stopped() -> (Tree, Definition) {
    let (keyring, store) = stale(50);
    let directory = tempfile::tempdir().unwrap();
    let tree = Tree { work: directory.path().join("job"), _directory: directory, keyring, store };
    let definition = Definition { page: 10, ..Definition::new("memory", Task::rewrap()) };
    let limits = Limits { budget: Some(23), ..Limits::default() };
    let (end, _) = tree.run(&definition, limits, false).unwrap();
    assert!(matches!(end, End::Halted { .. }), "{end:?}");
    (tree, definition)
}

impl Tree {
    fn run(
        &self,
        definition: &Definition,
        limits: Limits,
        adopts: bool,
    ) -> Result<(End, Job), WorkDirectoryError> {
        let opened = if adopts { WorkDirectory::adopt } else { WorkDirectory::open };
        let mut records = opened(&self.work, definition.clone(), Shard::WHOLE)?;
        let envelope = Envelope::new(self.keyring.clone());
        let keys = EnvelopeOperation::new(envelope, definition.task.clone());
        let start = Start { limits, ..Start::new(NOW, self.store.properties()) };
        let mut job = records.job(&start, &keys)?;
        let end = run(&mut job, &self.store, &keys, &mut records, &mut NOW.clone());
        Ok((end, job))
    }

    fn checkpoint(&self) -> String {
        std::fs::read_to_string(self.work.join("0-of-1.checkpoint")).unwrap()
    }
}

#[test]
fn other_definition_is_refused_unless_it_is_adopted_and_goes_on() {
    let (tree, definition) = stopped();
    let failure_limit = FailureLimit { millionths: 500_000, ..FailureLimit::default() };
    let other = Definition { failure_limit, ..definition.clone() };
    let refused = tree.run(&other, Limits::default(), false).map(drop);
    assert!(matches!(refused, Err(WorkDirectoryError::OtherJob { .. })), "{refused:?}");
    let before = tree.checkpoint();
    assert!(!before.contains("adopted"));

    let report = finished(tree.run(&other, Limits::default(), true).unwrap().0);
    assert_eq!((report.tally.changed, report.tally.listed), (50, 50), "{}", report.tally);
    let [adopted] = report.adopted.as_slice() else { panic!("{:?}", report.adopted) };
    assert_eq!((&adopted.job, &adopted.definition), (&definition.id(), &definition));
    assert_eq!((adopted.tally.changed, adopted.at), (20, NOW.as_secs()));
    // From now on it is the definition of the job, and its undo log has both parts.
    finished(tree.run(&other, Limits::default(), false).unwrap().0);
    let back = tree.run(&definition, Limits::default(), false).map(drop);
    let Err(WorkDirectoryError::Start(StartError::OtherJob { .. })) = back else {
        panic!("{back:?}")
    };
    let records = WorkDirectory::open(&tree.work, other, Shard::WHOLE).unwrap();
    let undo = records.undo_index().unwrap();
    assert_eq!((undo.items().count(), undo.job()), (50, Some(&definition.id())));
}

#[test]
fn adopted_job_with_other_stages_or_targets_begins_again() {
    let (tree, definition) = stopped();
    let stages = vec![Stage { up_to_millionths: 300_000, soak_seconds: 0 }, Stage::all()];
    let limit = FailureLimit { millionths: 900_000, ..FailureLimit::default() };
    let staged = Definition { stages, failure_limit: limit, ..definition };
    let report = finished(tree.run(&staged, Limits::default(), true).unwrap().0);
    // The three items behind the checkpoint are on record as changed.
    assert_eq!((report.tally.changed, report.tally.current), (30, 20), "{}", report.tally);
    assert!(!report.targets_changed);

    let to = vec![VersionName { name: "orders".into(), version: 3 }];
    let task = Task::Rewrap { to, from_compromised: vec![], retiring: None, trusts_backend: false };
    let third = Definition { task, ..staged };
    let refused = tree.run(&third, Limits::default(), true).map(drop);
    let Err(WorkDirectoryError::Start(StartError::NotPrimary(_))) = refused else {
        panic!("{refused:?}")
    };
    tree.keyring.rotate().unwrap();
    let report = finished(tree.run(&third, Limits::default(), true).unwrap().0);
    assert_eq!((report.tally.changed, report.adopted.len()), (50, 2), "{}", report.tally);
}

#[test]
fn job_of_another_kind_is_never_adopted() {
    let (tree, definition) = stopped();
    let trusting =
        Task::Rewrap { to: vec![], from_compromised: vec![], retiring: None, trusts_backend: true };
    // What one job has proven and the other has not is never in one count.
    for task in [Task::RemoveName { name: "orders".into() }, trusting] {
        let other = Definition { task, ..definition.clone() };
        let refused = tree.run(&other, Limits::default(), true).map(drop);
        assert!(
            matches!(refused, Err(WorkDirectoryError::Start(StartError::OtherJob { .. }))),
            "{refused:?}"
        );
    }
}

#[test]
fn job_of_another_source_is_never_adopted() {
    let (tree, definition) = stopped();
    let store = Selection::new(&tree.store, "half", (0..50).step_by(2).map(key));
    let definition = Definition { source: store.properties().name, ..definition };
    let mut records = WorkDirectory::adopt(&tree.work, definition, Shard::WHOLE).unwrap();
    let keys = EnvelopeOperation::new(Envelope::new(tree.keyring.clone()), Task::rewrap());
    let refused = records.job(&Start::new(NOW, store.properties()), &keys).map(drop);
    assert!(
        matches!(refused, Err(WorkDirectoryError::Start(StartError::OtherSource { .. }))),
        "{refused:?}"
    );
}

#[test]
fn adopted_job_with_another_sample_begins_again_and_loses_no_item() {
    let (keyring, store) = stale(50);
    let directory = tempfile::tempdir().unwrap();
    let tree = Tree { work: directory.path().join("job"), _directory: directory, keyring, store };
    let stages = vec![Stage { up_to_millionths: 300_000, soak_seconds: 0 }, Stage::all()];
    let definition = Definition { stages, page: 10, ..Definition::new("memory", Task::rewrap()) };
    let (end, _) = tree.run(&definition, Limits::default(), false).unwrap();
    assert!(matches!(end, End::Halted { why: Halt::Stage(_), .. }), "{end:?}");
    // Every item is of the first stage, which has ended.
    let limit = FailureLimit { millionths: 900_000, ..FailureLimit::default() };
    let dry = Definition { dry_run: true, ..definition.clone() };
    let keys = EnvelopeOperation::new(Envelope::new(tree.keyring.clone()), Task::rewrap());
    let (planned, fresh) = (Start::new(NOW, tree.store.properties()), stale(50).1);
    let mut job = Job::new(dry, Shard::WHOLE, (&[], 0), &planned, &keys).unwrap();
    let planned = finished(run(&mut job, &fresh, &keys, &mut (), &mut NOW.clone()));
    let sample = planned.strata.unwrap().sample(&definition.stages[0]);
    let sampled = Definition { sample, failure_limit: limit, ..definition };
    let report = finished(tree.run(&sampled, Limits::default(), true).unwrap().0);
    assert_eq!((report.tally.listed, report.tally.is_balanced()), (50, true), "{}", report.tally);
}

#[test]
fn adopted_job_that_is_stopped_at_once_stays_adopted() {
    let (tree, definition) = stopped();
    let other = Definition { seed: 7, ..definition };
    let mut records = WorkDirectory::adopt(&tree.work, other.clone(), Shard::WHOLE).unwrap();
    let keys = EnvelopeOperation::new(Envelope::new(tree.keyring.clone()), Task::rewrap());
    let start = Start::new(NOW, tree.store.properties());
    let mut job = records.job(&start, &keys).unwrap();
    job.stop();
    let end = run(&mut job, &tree.store, &keys, &mut records, &mut NOW.clone());
    assert!(matches!(end, End::Stopped(_)), "{end:?}");
    drop(records);
    let report = finished(tree.run(&other, Limits::default(), false).unwrap().0);
    assert_eq!((report.tally.listed, report.adopted.len()), (50, 1), "{}", report.tally);
}
