//! What a directory tree lists, and what becomes of paths that are no messages.

use crate::common::{self, NOW, finished};
use crate::trees::{
    Keyring, check_tree, keys, layouts, run, scratch, store, with_suffix, write_tree,
};
use envelock::Envelope;
use envelock_ops::drivers::WorkDirectory;
use envelock_ops::stores::{Directory, Layout};
use envelock_ops::{
    Definition, EnvelopeOperation, FailureLimit, ItemKey, Page, Shard, Start, Store, Task,
};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

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
        let name = "listings::directory_that_cannot_be_read_is_an_item_that_fails";
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
        let fresh = || crate::trees::store(&root, &Layout::Inline);
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
