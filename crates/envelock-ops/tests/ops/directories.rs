//! Jobs over directory trees: both layouts, real kills, listings.

use crate::common::{self, NOW, finished, keyring, rng};
use envelock::{Aad, Envelope, MemoryKeyring, Timestamp, inspect};
use envelock_ops::drivers::{self, WorkDirectory, WorkDirectoryError};
use envelock_ops::stores::{Directory, Layout, Selection};
use envelock_ops::{
    Cause, Definition, End, EnvelopeOperation, FailureLimit, ItemKey, Limits, Page, Replaced,
    Shard, Start, StartError, Step, Store, Task, UndoIndex,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

type Keyring = Arc<MemoryKeyring>;

/// The same keys in every process, with so many versions.
fn keys(versions: u32) -> Keyring {
    let mut rng = rng(42);
    let keyring = Arc::new(keyring("orders", &mut rng));
    (1..versions).for_each(|_| {
        keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut rng).unwrap();
    });
    keyring
}

fn layouts() -> [Layout; 2] {
    [Layout::Inline, Layout::Sidecar { suffix: ".header".into() }]
}

/// Where files are written without waiting for a disk, if there is such a place.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

fn body(number: u64) -> Vec<u8> {
    format!("body {number}").into_bytes()
}

/// Writes messages under version 1, at most 1,000 in a directory, so that a job that is killed soon gets beyond its
/// listing. Returns the bodies, as they are stored.
fn write_tree(root: &Path, layout: &Layout, items: u64) -> BTreeMap<PathBuf, Vec<u8>> {
    let envelope = Envelope::new(keys(1));
    let mut bodies = BTreeMap::new();
    for number in 0..items {
        let path =
            root.join(format!("{}/message-{number}", number % items.div_ceil(1_000).max(10)));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let message = envelope.encrypt(&body(number), Aad::none()).unwrap();
        let header_len = inspect(&message).unwrap().len();
        let stored = message[header_len..].to_vec();
        match layout {
            Layout::Sidecar { suffix } => {
                fs::write(&path, &stored).unwrap();
                fs::write(with_suffix(&path, suffix), &message[..header_len]).unwrap();
            }
            _ => fs::write(&path, &message).unwrap(),
        }
        bodies.insert(path, stored);
    }
    bodies
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Every message opens under the present version alone, and no byte of a body has changed.
fn check_tree(layout: &Layout, bodies: &BTreeMap<PathBuf, Vec<u8>>, version: u32) {
    let envelope = Envelope::new(keys(2));
    for (path, body) in bodies {
        let (header, stored) = match layout {
            Layout::Sidecar { suffix } => {
                (fs::read(with_suffix(path, suffix)).unwrap(), fs::read(path).unwrap())
            }
            _ => {
                let message = fs::read(path).unwrap();
                let len = inspect(&message).unwrap().len();
                (message[..len].to_vec(), message[len..].to_vec())
            }
        };
        assert_eq!(stored, *body, "{path:?}");
        let opened = envelope.open(&header).unwrap();
        assert_eq!(opened.label().version.number(), version, "{path:?}");
        opened.decrypt(&stored, Aad::none()).unwrap();
    }
}

fn store(root: &Path, layout: &Layout) -> Directory<Keyring> {
    Directory::new(root, layout.clone(), Envelope::new(keys(2)))
}

/// Runs or resumes the job of a tree, as one process does.
fn run(root: &Path, layout: &Layout, work: &Path, page: usize) -> envelock_ops::Report {
    run_task(root, layout, work, page, Task::rewrap())
}

fn run_task(
    root: &Path,
    layout: &Layout,
    work: &Path,
    page: usize,
    task: Task,
) -> envelock_ops::Report {
    let store = store(root, layout);
    let definition = Definition { page, ..Definition::new(store.properties().name, task.clone()) };
    let mut records = WorkDirectory::open(work, definition, Shard::WHOLE).unwrap();
    let operation = EnvelopeOperation::new(Envelope::new(keys(2)), task);
    let mut job = records.job(&Start::new(NOW, store.properties()), &operation).unwrap();
    let end = drivers::run(&mut job, 2, &store, &operation, &mut records, &mut ());
    records.write_report(end.report()).unwrap();
    finished(end)
}

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
fn listing_is_ordered_and_goes_on_after_any_key() {
    use std::os::unix::ffi::OsStrExt;
    let directory = scratch();
    let root = directory.path();
    let odd = std::ffi::OsStr::from_bytes(b"a/\xff%");
    for name in [
        "a.txt",
        "a/b",
        "a/c/d",
        "a/c.x",
        "a-b",
        "b",
        "z/.y",
        "z/.x.envelock-rewrap",
        "a/.1.envelock-partial",
    ] {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), b"x").unwrap();
    }
    fs::write(root.join(odd), b"x").unwrap();
    std::os::unix::fs::symlink(root.join("b"), root.join("link")).unwrap();
    std::os::unix::fs::symlink(root.join("a"), root.join("tree")).unwrap();
    let store = store(root, &Layout::Inline);
    let all = store.list(None, 100).unwrap();
    let text: Vec<_> = all.items.iter().map(|item| item.key.to_string()).collect();
    assert_eq!(
        text,
        ["a-b", "a.txt", "a/b", "a/c.x", "a/c/d", "a/%ff%25", "b", "link", "tree", "z/.y"]
    );
    let links: Vec<_> = all.items.iter().map(|item| item.is_link).collect();
    assert_eq!(links.iter().filter(|&&is_link| is_link).count(), 2);
    assert!(links[7] && links[8] && all.is_last);
    for text in text {
        assert_eq!(ItemKey::parse(&text).unwrap().to_string(), text);
    }
    for most in 1..11 {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let Page { items, is_last } = store.list(after.as_ref(), most).unwrap();
            after = items.last().map(|item| item.key.clone()).or(after);
            found.extend(items);
            if is_last {
                break;
            }
        }
        assert_eq!(found, all.items);
    }
    for (at, item) in all.items.iter().enumerate() {
        assert_eq!(store.list(Some(&item.key), 100).unwrap().items, all.items[at + 1..]);
    }
    let between = ItemKey::new("a/bb").unwrap();
    assert_eq!(store.list(Some(&between), 100).unwrap().items, all.items[3..]);
}

#[test]
fn paths_that_leave_the_root_or_name_journals_are_no_items() {
    let directory = scratch();
    let outside = directory.path().join("outside");
    fs::create_dir(directory.path().join("tree")).unwrap();
    fs::write(&outside, common::header(&Envelope::new(keys(1)))).unwrap();
    let store = store(&directory.path().join("tree"), &Layout::Inline);
    for path in ["../outside", "/etc/passwd", "a//b", "./a", "a/..", ".m.envelock-rewrap", "a\0b"] {
        let item = ItemKey::new(path).unwrap();
        assert!(!store.read(&item).unwrap_err().is_retryable(), "{path}");
    }
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

fn names_of(store: &Directory<Keyring>, most: usize) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(after.as_ref(), most).unwrap();
        names.extend(page.items.iter().map(|item| item.key.to_string()));
        after = page.items.last().map(|item| item.key.clone());
        if page.is_last {
            return names;
        }
    }
}

#[test]
fn files_of_a_job_are_not_listed_and_others_beside_them_are() {
    let directory = scratch();
    let root = directory.path();
    let bodies = write_tree(root, &Layout::Inline, 3);
    for of_user in ["1/0-of-1.undo", "job.json", "z.lock"] {
        fs::write(root.join(of_user), "text").unwrap();
    }
    let expected =
        ["0/message-0", "1/0-of-1.undo", "1/message-1", "2/message-2", "job.json", "z.lock"];
    assert_eq!(names_of(&store(root, &Layout::Inline), 100), expected);
    let work = root.join("orders.job");
    let report = run(root, &Layout::Inline, &work, 1);
    assert_eq!((report.tally.changed, report.tally.listed), (3, 6), "{}", report.tally);
    for of_job in ["job.json", "job.control", "job.control.17.new", "9-of-12.report.json"] {
        fs::write(work.join(of_job), "text").unwrap();
    }
    fs::write(work.join("a message"), "text").unwrap();
    let expected = [&expected[..5], &["orders.job/a message", "z.lock"]].concat();
    for most in [1, 2, 100] {
        let fresh = store(root, &Layout::Inline);
        assert_eq!(names_of(&fresh, most), expected);
    }
    // A listing that begins behind the lock.
    let after = ItemKey::new("orders.job/0-of-1.lock").unwrap();
    let rest = store(root, &Layout::Inline).list(Some(&after), 100).unwrap();
    assert_eq!(rest.items.len(), 2, "{:?}", rest.items);
    check_tree(&Layout::Inline, &bodies, 2);
}

#[test]
fn directory_that_cannot_be_read_is_an_item_that_fails() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let directory = scratch();
    let root = directory.path().join("orders");
    write_tree(&root, &Layout::Inline, 20);
    let closed = root.join("5/lost+found");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
    if fs::read_dir(&closed).is_ok() {
        // The superuser can read it.
        let mut child = Command::new(std::env::current_exe().unwrap());
        let name = "directories::directory_that_cannot_be_read_is_an_item_that_fails";
        child.args(["--exact", name]).uid(65_534).gid(65_534);
        assert!(child.status().unwrap().success());
        return;
    }
    for page in [1, 100] {
        let work = directory.path().join(format!("job-{page}"));
        let limit = FailureLimit { millionths: 900_000, ..FailureLimit::default() };
        let store = store(&root, &Layout::Inline);
        let definition = Definition {
            page,
            failure_limit: limit,
            ..Definition::new(store.properties().name, Task::rewrap())
        };
        let keys = EnvelopeOperation::new(Envelope::new(keys(2)), Task::rewrap());
        let mut records = WorkDirectory::open(&work, definition, Shard::WHOLE).unwrap();
        let mut job = records.job(&Start::new(NOW, store.properties()), &keys).unwrap();
        let end = common::run(&mut job, &store, &keys, &mut records, &mut NOW.clone());
        let tally = finished(end).tally;
        assert_eq!((tally.listed, tally.failed, tally.conflict), (21, 1, 0), "{tally}");
        let failures = fs::read_to_string(work.join("0-of-1.failures.jsonl")).unwrap();
        assert!(failures.contains("5/lost+found/") && failures.contains("readable"), "{failures}");
        // Wherever a listing begins again.
        let fresh = || crate::directories::store(&root, &Layout::Inline);
        let all = names_of(&fresh(), 1);
        assert_eq!(all.len(), 21);
        for (at, name) in all.iter().enumerate() {
            let rest = fresh().list(ItemKey::new(name.as_str()).as_ref(), 100).unwrap();
            assert_eq!(rest.items.len(), 20 - at, "after {name}");
        }
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn file_that_is_never_replaced_fails_and_the_others_are_done() {
    for layout in layouts() {
        let directory = scratch();
        let root = directory.path().join("tree");
        let bodies = write_tree(&root, &layout, 20);
        // The first one is the probe of the store. A file with two names is not replaced.
        let first = match &layout {
            Layout::Sidecar { suffix } => with_suffix(&root.join("0/message-0"), suffix),
            _ => root.join("0/message-0"),
        };
        fs::hard_link(&first, directory.path().join("other")).unwrap();
        let before = fs::read(&first).unwrap();
        let store = Directory::new(&root, layout, Envelope::new(keys(2)));
        let definition = Definition {
            failure_limit: FailureLimit { millionths: 500_000, ..FailureLimit::default() },
            ..Definition::new(store.properties().name, Task::rewrap())
        };
        let operation = EnvelopeOperation::new(Envelope::new(keys(2)), Task::rewrap());
        let mut records = common::MemoryRecords::default();
        let end = common::run_to_end(&definition, &store, &operation, &mut records);
        let tally = finished(end).tally;
        assert_eq!((tally.changed, tally.failed), (bodies.len() as u64 - 1, 1), "{tally}");
        assert_eq!(fs::read(&first).unwrap(), before);
        let failures = String::from_utf8(records.failures).unwrap();
        assert!(failures.contains("0/message-0"), "{failures}");
    }
}

#[test]
fn paths_that_are_too_long_are_items_that_fail() {
    let (directory, name) = (scratch(), "n".repeat(250));
    let root = directory.path().join("tree");
    let bodies = write_tree(&root, &Layout::Inline, 20);
    // Each half is short enough for a call; together they are not.
    let half = |top: &str, levels| {
        let deep = (0..levels).fold(root.join(top), |path, _| path.join(&name));
        fs::create_dir_all(&deep).unwrap();
        deep
    };
    let long = half("5-long", 14);
    fs::rename(half("moved", 9).ancestors().nth(8).unwrap(), long.join("below")).unwrap();
    // The directory is short enough, and its files are not.
    let rest = 4090 - half("6-long", 16).as_os_str().len();
    let deep = half("6-long", 16).join("d".repeat(rest));
    fs::create_dir(&deep).unwrap();
    let here = fs::File::open(&deep).unwrap();
    for end in ["a", "b"] {
        let link =
            PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&here)));
        fs::write(link.join(format!("{}{end}", "f".repeat(240))), "not short").unwrap();
    }
    fs::remove_dir(root.join("moved")).unwrap();
    let store = Directory::new(&root, Layout::Inline, Envelope::new(keys(2)));
    // With pages of one item, each listing begins behind the one before.
    for page in [500, 1] {
        let limit = FailureLimit { millionths: 900_000, ..FailureLimit::default() };
        let task = Task::rewrap();
        let definition = Definition {
            failure_limit: limit,
            page,
            ..Definition::new(store.properties().name, task.clone())
        };
        let operation = EnvelopeOperation::new(Envelope::new(keys(2)), task);
        let mut records = common::MemoryRecords::default();
        let end = common::run_to_end(&definition, &store, &operation, &mut records);
        let tally = finished(end).tally;
        let text = String::from_utf8(records.failures).unwrap();
        assert!(text.contains("5-long/") && text.contains("6-long/"), "{text}");
        assert!(text.contains("shorten the path"), "{text}");
        assert_eq!(tally.changed + tally.current, bodies.len() as u64, "{tally}");
        assert!((2..=3).contains(&tally.failed) && tally.gone == 0, "{tally}");
    }
}

/// A link to a directory of messages is no silent gap, in either layout, and each is counted in one stage and one shard.
#[test]
fn links_are_counted_and_not_followed() {
    for layout in layouts() {
        let directory = scratch();
        let root = directory.path().join("tree");
        write_tree(&root, &layout, 20);
        let others = directory.path().join("others");
        write_tree(&others, &layout, 5);
        for number in 0..6 {
            std::os::unix::fs::symlink(&others, root.join(format!("{number}/link"))).unwrap();
        }
        let store = store(&root, &layout);
        let name = store.properties().name;
        let operation = EnvelopeOperation::new(Envelope::new(keys(2)), Task::rewrap());
        let half = envelock_ops::Stage { up_to_millionths: 500_000, soak_seconds: 0 };
        let definition = Definition {
            stages: vec![half, envelock_ops::Stage::all()],
            page: 3,
            ..Definition::new(name, Task::rewrap())
        };
        let mut links = 0;
        for index in 0..2 {
            let mut records = common::MemoryRecords::default();
            let shard = Shard::new(index, 2).unwrap();
            let start = Start::new(NOW, store.properties());
            let mut job = common::open(&definition, shard, &records, &start, &operation).unwrap();
            let now = &mut NOW.clone();
            let end = common::run_gated(&mut job, &store, &operation, &mut records, now, |_| true);
            let tally = finished(end).tally;
            assert!(tally.is_balanced() && tally.is_complete(), "{tally}");
            assert_eq!(tally.excluded, tally.links);
            links += tally.links;
        }
        assert_eq!(links, 6);
    }
}
