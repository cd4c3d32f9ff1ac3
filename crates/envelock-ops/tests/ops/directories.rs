//! Jobs over directory trees: both layouts, real kills, another medium.

use crate::common::{self, NOW, finished};
use crate::trees::{Keyring, check_tree, keys, layouts, run, run_task, scratch, store, write_tree};
use envelock::{Aad, Envelope, inspect};
use envelock_ops::drivers::{WorkDirectory, WorkDirectoryError};
use envelock_ops::stores::{Directory, Layout, Selection};
use envelock_ops::{
    Cause, Definition, End, EnvelopeOperation, ItemKey, Limits, Replaced, Shard, Start, StartError,
    Step, Store, Task, UndoIndex,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn tree_is_rewrapped_once_and_can_be_restored() {
    for layout in layouts() {
        let directory = scratch();
        let (root, work) = (directory.path().join("tree"), directory.path().join("a/b/job"));
        let bodies = write_tree(&root, &layout, 50);
        let report = run(&root, &layout, &work, 7);
        assert_eq!((report.tally.changed, report.tally.listed), (50, 50), "{}", report.tally);
        check_tree(&layout, &bodies, 2);
        let second = run(&root, &layout, &directory.path().join("second"), 7);
        assert_eq!((second.tally.changed, second.tally.current), (0, 50));

        let undo = fs::read(work.join("0-of-1.undo")).unwrap();
        let index = UndoIndex::read(&undo).unwrap();
        let task = Task::Restore { job: index.job().unwrap().clone() };
        let envelope = Envelope::new(keys(2));
        let restore = EnvelopeOperation::new(envelope, task.clone()).restoring(index.clone());
        let selection = Selection::new(store(&root, &layout), "undo", index.items().cloned());
        let definition = Definition::new(selection.properties().name, task);
        let mut records = common::MemoryRecords::default();
        let report = finished(common::run_to_end(&definition, &selection, &restore, &mut records));
        assert_eq!(report.tally.changed, 50);
        check_tree(&layout, &bodies, 1);
    }
}

/// The process that is killed; a test of its own only when it is started by the next one.
#[test]
fn child_of_kills() {
    let Some(root) = std::env::var_os("ENVELOCK_OPS_TREE") else { return };
    let layout = match std::env::var_os("ENVELOCK_OPS_SIDECAR") {
        Some(_) => layouts()[1].clone(),
        None => Layout::Inline,
    };
    let root = PathBuf::from(root);
    let task = match std::env::var_os("ENVELOCK_OPS_REENCRYPTS") {
        Some(_) => reencryption(),
        None => Task::rewrap(),
    };
    run_task(&root.join("tree"), &layout, &root.join("job"), 50, task);
}

fn reencryption() -> Task {
    Task::reencrypt(Cause::DataKeyLeaked)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Starts a job so often, and kills it.
fn kill_jobs(root: &Path, kills: u64, variables: &[&str]) {
    let mut random = envelock_ops::test_util::SplitMix::new(9);
    for _ in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "directories::child_of_kills"]);
        child.env("ENVELOCK_OPS_TREE", root);
        child.envs(variables.iter().map(|name| (name, "1")));
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(2 + random.below(30)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn kills_lose_no_message_and_no_count() {
    let (items, kills) = (setting("ENVELOCK_ITEMS", 10_000), setting("ENVELOCK_KILLS", 100));
    for layout in layouts() {
        let directory = scratch();
        let root = directory.path().join("tree");
        let bodies = write_tree(&root, &layout, items);
        let is_sidecar = layout != Layout::Inline;
        kill_jobs(
            directory.path(),
            kills,
            if is_sidecar { &["ENVELOCK_OPS_SIDECAR"] } else { &[] },
        );
        let job = directory.path().join("job");
        let log = fs::metadata(job.join("0-of-1.undo")).map_or(0, |log| log.len());
        let report = run(&root, &layout, &job, 50);
        assert_eq!((report.tally.changed, report.tally.listed), (items, items), "{}", report.tally);
        let all = fs::metadata(job.join("0-of-1.undo")).unwrap().len();
        println!("{kills} kills in the first {} % of {items} items", log * 100 / all);
        check_tree(&layout, &bodies, 2);
        let second = run(&root, &layout, &directory.path().join("second"), 500);
        assert_eq!((second.tally.changed, second.tally.current), (0, items));
        let leftovers = names(&root).into_iter().filter(|name| name.contains(".envelock-rewrap"));
        assert_eq!(leftovers.count(), 0);
    }
}

#[test]
fn kills_leave_each_message_old_or_encrypted_again_once() {
    let (items, kills) = (setting("ENVELOCK_ITEMS", 2_000), setting("ENVELOCK_KILLS", 60));
    let directory = scratch();
    let (root, job) = (directory.path().join("tree"), directory.path().join("job"));
    let layout = Layout::Inline;
    let bodies = write_tree(&root, &layout, items);
    let read = |path: &PathBuf| {
        let message = fs::read(path).unwrap();
        let id = inspect(&message).unwrap().data_key_id();
        let plaintext = Envelope::new(keys(2)).decrypt(&message, Aad::none()).unwrap();
        (id, plaintext)
    };
    let before: BTreeMap<_, _> = bodies.keys().map(|path| (path, read(path))).collect();
    for _ in 0..4 {
        kill_jobs(directory.path(), kills / 4, &["ENVELOCK_OPS_REENCRYPTS"]);
        before.iter().for_each(|(path, (_, plaintext))| assert_eq!(read(path).1, *plaintext));
    }
    let report = run_task(&root, &layout, &job, 50, reencryption());
    assert_eq!((report.tally.changed, report.tally.listed), (items, items), "{}", report.tally);
    let check = || {
        for (path, (id, plaintext)) in &before {
            let now = read(path);
            assert!(now.0 != *id && now.1 == *plaintext, "{path:?}");
        }
    };
    check();
    // What is finished begins no second time, and a restore refuses.
    let again = run_task(&root, &layout, &job, 50, reencryption());
    assert_eq!(again.tally, report.tally);
    let undo = fs::read(job.join("0-of-1.undo")).unwrap();
    let index = UndoIndex::read(&undo).unwrap();
    let task = Task::Restore { job: index.job().unwrap().clone() };
    let restore = EnvelopeOperation::new(Envelope::new(keys(2)), task.clone()).restoring(index);
    let store = store(&root, &layout);
    let definition = Definition { page: 20, ..Definition::new(store.properties().name, task) };
    let end =
        common::run_to_end(&definition, &store, &restore, &mut common::MemoryRecords::default());
    assert_eq!((end.report().tally.failed, end.report().tally.changed), (20, 0));
    check();
}

fn names(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => names.extend(self::names(&path)),
            false => names.push(path.display().to_string()),
        }
    }
    names
}

#[test]
fn journal_that_a_crash_left_is_settled_before_the_item_counts() {
    let directory = scratch();
    let root = directory.path().join("tree");
    write_tree(&root, &Layout::Inline, 1);
    let path = root.join("0/message-0");
    let before = fs::read(&path).unwrap();
    run(&root, &Layout::Inline, &directory.path().join("first"), 5);
    let after = fs::read(&path).unwrap();
    let len = inspect(&after).unwrap().len();
    // As `docs` of `envelock::file::rewrap` describe it, with a check that does not hold: it says nothing.
    let journal = root.join("0/.message-0.envelock-rewrap");
    fs::write(&journal, b"envelock rewrap journal\n").unwrap();
    let store = store(&root, &Layout::Inline);
    let item = ItemKey::new("0/message-0").unwrap();
    let stored = store.read(&item).unwrap().unwrap();
    assert!(stored.is_unsettled && stored.header == after[..len]);
    let report = run(&root, &Layout::Inline, &directory.path().join("second"), 5);
    assert_eq!((report.tally.current, report.tally.listed), (1, 1));
    assert!(!journal.exists());
    assert_ne!(before, fs::read(&path).unwrap());
}

#[test]
fn change_of_another_writer_is_a_conflict_and_a_deletion_is_gone() {
    let directory = scratch();
    write_tree(directory.path(), &Layout::Inline, 2);
    let store = store(directory.path(), &Layout::Inline);
    let item = ItemKey::new("0/message-0").unwrap();
    let stored = store.read(&item).unwrap().unwrap();
    let new = Envelope::new(keys(2)).rewrap(&stored.header, Default::default()).unwrap();
    let other = Envelope::new(keys(2)).encrypt(b"other", Aad::none()).unwrap();
    fs::write(directory.path().join("0/message-0"), &other).unwrap();
    let replaced = store.replace(&item, stored.expected(), new.header()).unwrap();
    assert_eq!(replaced, Replaced::Conflict);
    assert_eq!(fs::read(directory.path().join("0/message-0")).unwrap(), other);
    fs::remove_file(directory.path().join("0/message-0")).unwrap();
    assert_eq!(store.read(&item).unwrap(), None);
    assert_eq!(store.replace(&item, stored.expected(), new.header()).unwrap(), Replaced::Gone);
}

#[test]
fn records_are_locked_and_belong_to_one_job() {
    let directory = scratch();
    let definition = Definition::new("memory", Task::rewrap());
    let open = |definition: &Definition| {
        WorkDirectory::open(directory.path(), definition.clone(), Shard::WHOLE)
    };
    let other = Definition { seed: 1, ..definition.clone() };
    // A job that did not begin leaves nothing that keeps another one out.
    drop(open(&other).unwrap());
    let (keyring, store) = common::stale(1);
    let keys = EnvelopeOperation::new(Envelope::new(keyring), Task::rewrap());
    let mut first = open(&definition).unwrap();
    let _ = first.job(&Start::new(NOW, store.properties()), &keys).unwrap();
    assert!(matches!(open(&definition), Err(WorkDirectoryError::Locked { .. })));
    drop(first);
    assert!(matches!(open(&other), Err(WorkDirectoryError::OtherJob { .. })));
    assert!(open(&definition).is_ok());
}

#[test]
fn mount_point_without_its_file_system_is_another_source() {
    let directory = scratch();
    let root = directory.path().join("orders");
    let (away, work) = (directory.path().join("away"), directory.path().join("job"));
    fs::create_dir(&root).unwrap();
    let bodies = write_tree(&root, &Layout::Inline, 20);
    let keys = EnvelopeOperation::new(Envelope::new(keys(2)), Task::rewrap());
    let job = |adopts: bool, store: &Directory<Keyring>| {
        let definition = Definition::new(store.properties().name, Task::rewrap());
        let open = if adopts { WorkDirectory::adopt } else { WorkDirectory::open };
        let mut records = open(&work, definition, Shard::WHOLE).unwrap();
        let start = Start::new(NOW, store.properties());
        records.job(&start, &keys).map(|job| (job, records))
    };
    let mounted = store(&root, &Layout::Inline);
    let (mut begun, mut records) = job(false, &mounted).unwrap();
    assert!(matches!(begun.next(NOW, &keys), Step::Save { .. }));
    let listed = mounted.list(None, 20).unwrap().items.remove(0).key;
    let stored = mounted.read(&listed).unwrap().unwrap();

    // Unmounted while the store is open: no item is gone, and no listing is empty.
    fs::rename(&root, &away).unwrap();
    fs::create_dir_all(root.join("0")).unwrap();
    let errors = [
        mounted.list(None, 20).map(drop).unwrap_err(),
        mounted.read(&listed).map(drop).unwrap_err(),
        mounted.replace(&listed, stored.expected(), &stored.header).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_retryable() && error.to_string().contains("another directory"), "{error}");
    }
    let mut control = Limits { outage_seconds: Some(0), ..Limits::default() };
    control.concurrency = 1;
    begun.set_limits(control);
    let end = common::run(&mut begun, &mounted, &keys, &mut records, &mut NOW.clone());
    assert!(matches!(end, End::Halted { .. }), "{end:?}");
    drop(records);
    // Still so when the job is resumed.
    let refused = job(false, &store(&root, &Layout::Inline)).map(drop);
    assert!(
        matches!(refused, Err(WorkDirectoryError::Start(StartError::OtherMedium(_)))),
        "{refused:?}"
    );
    fs::remove_dir_all(&root).unwrap();
    let refused = job(false, &store(&root, &Layout::Inline)).map(drop);
    assert!(matches!(refused, Err(WorkDirectoryError::Start(StartError::OtherMedium(_)))));

    fs::rename(&away, &root).unwrap();
    let again = store(&root, &Layout::Inline);
    let (mut resumed, mut records) = job(false, &again).unwrap();
    let report = finished(common::run(&mut resumed, &again, &keys, &mut records, &mut NOW.clone()));
    assert_eq!(report.tally.changed, bodies.len() as u64);
    drop(records);

    // A restored copy is another source, too: an adopted job begins again there.
    fs::rename(&root, &away).unwrap();
    fs::create_dir(&root).unwrap();
    let bodies = write_tree(&root, &Layout::Inline, 20);
    let copy = store(&root, &Layout::Inline);
    assert!(job(false, &copy).is_err());
    let (mut adopted, mut records) = job(true, &copy).unwrap();
    let report = finished(common::run(&mut adopted, &copy, &keys, &mut records, &mut NOW.clone()));
    assert_eq!((report.tally.changed, report.adopted.len()), (20, 1));
    check_tree(&Layout::Inline, &bodies, 2);
}

#[test]
fn item_of_a_deleted_directory_is_gone() {
    for layout in layouts() {
        let directory = scratch();
        let root = directory.path().join("tree");
        write_tree(&root, &layout, 5);
        let store = store(&root, &layout);
        let item = store.list(None, 1).unwrap().items.remove(0).key;
        let stored = store.read(&item).unwrap().unwrap();
        let parent = root.join(item.to_string()).parent().unwrap().to_path_buf();
        assert_ne!(parent, root);
        fs::remove_dir_all(&parent).unwrap();
        assert!(store.read(&item).unwrap().is_none());
        let replaced = store.replace(&item, stored.expected(), &stored.header).unwrap();
        assert_eq!(replaced, Replaced::Gone);
        // A file of its name.
        fs::write(&parent, "text").unwrap();
        assert!(store.read(&item).unwrap().is_none());
        // Nothing is gone from a root that is away.
        fs::rename(&root, directory.path().join("away")).unwrap();
        assert!(store.read(&item).unwrap_err().is_retryable());
    }
}
