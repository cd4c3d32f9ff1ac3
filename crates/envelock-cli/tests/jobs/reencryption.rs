//! Jobs that encrypt messages again.

use crate::bench::{Bench, count, ran, setting};
use envelock::{Aad, Envelope, Lifecycle, Suite, inspect};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

const LEAKED: [&str; 5] = ["job", "start", "dir:tree", "--re-encrypt", "leaked=orders:1"];

/// Encrypts every message with its path as associated data, in the suite that `suite` returns for its number.
fn named(bench: &Bench, suite: impl Fn(usize) -> Suite) {
    let keyring = bench.keyring();
    for (number, (path, plaintext)) in bench.plaintexts.iter().enumerate() {
        let envelope = Envelope::new(&keyring).with_suite(suite(number));
        let message = envelope.encrypt(plaintext, Aad::new(&data(bench, path))).unwrap();
        std::fs::write(path, message).unwrap();
    }
    keyring.flush().unwrap();
}

fn data(bench: &Bench, path: &Path) -> Vec<u8> {
    let item = path.strip_prefix(bench.path("tree")).unwrap();
    format!("order {{{}}}", item.display()).into_bytes()
}

/// Spells `data`.
const AAD: [&str; 2] = ["--aad", "order {{{item}}"];

/// Returns the messages, each of which decrypts.
#[track_caller]
fn messages(bench: &Bench) -> BTreeMap<PathBuf, Vec<u8>> {
    let envelope = Envelope::new(bench.keyring());
    let mut messages = BTreeMap::new();
    for (path, plaintext) in &bench.plaintexts {
        let message = std::fs::read(path).unwrap();
        let opened = envelope.decrypt(&message, Aad::new(&data(bench, path))).unwrap();
        assert_eq!(opened, *plaintext, "{path:?}");
        messages.insert(path.clone(), message);
    }
    messages
}

/// Returns how many data keys are others.
fn new_keys(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) -> usize {
    let id = |message: &[u8]| inspect(message).unwrap().data_key_id().to_string();
    before.iter().filter(|(path, old)| id(old) != id(&after[*path])).count()
}

#[test]
fn suite_that_is_left_is_planned_done_once_and_not_undone() {
    let bench = Bench::new(30);
    named(&bench, |number| [Suite::Cobblestone256, Suite::Cobblestone128][number % 2]);
    let before = messages(&bench);
    let files = bench.snapshot();
    let cause = ["--re-encrypt", "suite=2"];
    let plan = bench.json(0, &[&["job", "plan", "dir:tree"], &cause[..]].concat())["plan"].take();
    assert_eq!(plan["due"], 15);
    assert_eq!(plan["advice"][0]["need"], "nothing");
    assert_eq!(plan["advice"][1]["need"], "re-encrypt");
    let why = "the suite is that of the body, which a rewrap does not touch";
    assert_eq!(plan["advice"][1]["why"], why);
    assert_eq!(
        (&plan["advice"][0]["items"], &plan["advice"][1]["items"]),
        (&15.into(), &15.into())
    );
    let plan = bench.run_to(0, &[&["job", "plan", "dir:tree"], &cause[..], &AAD].concat());
    assert!(plan.stdout.contains("re-encrypt  15     the suite"), "{}", plan.stdout);
    assert!(plan.stdout.contains("15 of 30 to be encrypted again"), "{}", plan.stdout);
    let next = "next: envelock job start dir:tree --re-encrypt suite=2 --aad 'order {{{item}}'\n";
    assert_eq!(plan.stderr, next);
    assert_eq!(bench.snapshot(), files);

    let start = [&["job", "start", "dir:tree", "-d", "job"], &cause[..], &AAD].concat();
    let summary = bench.json(0, &start);
    assert_eq!((count(&summary, "changed"), count(&summary, "current")), (15, 15));
    let after = messages(&bench);
    assert_eq!(new_keys(&before, &after), 15);
    assert!(after.values().all(|message| inspect(message).unwrap().suite() == Suite::default()));

    let second = [&["job", "start", "dir:tree", "-d", "second"], &cause[..], &AAD].concat();
    assert_eq!(count(&bench.json(0, &second), "current"), 30);
    let undo = bench.run_to(6, &["job", "undo", "job"]);
    assert!(undo.stderr.contains("encrypted messages again, which cannot be undone"), "{undo:?}");
    assert_eq!(messages(&bench), after);
}

#[test]
fn kills_leave_each_message_whole_and_count_it_once() {
    let (items, kills) = (setting("ENVELOCK_ITEMS", 300), setting("ENVELOCK_KILLS", 8));
    let bench = Bench::new(items);
    named(&bench, |_| Suite::default());
    let before = messages(&bench);
    let start = ["job", "start", "dir:tree", "-d", "job", "--page", "20", "--re-encrypt"];
    let start = [&start[..], &["data-key-leaked"], &AAD].concat();
    let resume = ["job", "resume", "job"];
    let next = || match bench.path("job/job.json").exists() {
        true => bench.command(&resume),
        false => bench.command(&start),
    };
    for kill in 0..kills {
        let mut child = next().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(10 + kill * 17 % 60));
        child.kill().unwrap();
        child.wait().unwrap();
        messages(&bench);
    }
    let end = ran(next().output().unwrap());
    assert_eq!(end.exit, Some(0), "{}{}", end.stdout, end.stderr);
    let report = bench.json(0, &["job", "merge", "job"]);
    assert_eq!((count(&report, "changed"), count(&report, "listed")), (items, items));
    let after = messages(&bench);
    assert_eq!(new_keys(&before, &after) as u64, items);
    bench.run_to(0, &resume);
    assert_eq!(messages(&bench), after);
}

#[test]
fn leaked_version_asks_for_more_than_its_present_headers() {
    let bench = Bench::new(20);
    named(&bench, |_| Suite::default());
    let before = messages(&bench);
    let exposed = [&LEAKED[..], &["--headers-exposed"], &AAD].concat();
    let refused = bench.run_to(6, &exposed);
    assert!(refused.stderr.contains("orders:1 is primary, so new messages"), "{refused:?}");
    assert!(refused.stderr.contains("next: `envelock key rotate orders`"), "{refused:?}");
    bench.keyring().rotate().unwrap();

    // No header was read by others: a rewrap is what they need.
    let plan = bench.run_to(6, &["job", "plan", "dir:tree", "--re-encrypt", "leaked=orders:1"]);
    assert!(plan.stdout.contains("rewrap  20     no header was exposed"), "{}", plan.stdout);
    assert!(plan.stderr.contains("no message needs a new encryption"), "{}", plan.stderr);
    bench.run_to(6, &[&LEAKED[..], &AAD].concat());
    bench.run_to(0, &["job", "start", "dir:tree", "-d", "rewrap"]);

    // No date tells when a body was written, so that it may have been under the version before the rewrap.
    let retired = ["--headers-exposed", "--retired", "2020-01-01T00:00:00Z"];
    let plan = ["job", "plan", "dir:tree", "--re-encrypt", "leaked=orders:1"];
    for refused in [[&plan[..], &retired].concat(), [&LEAKED[..], &retired, &AAD].concat()] {
        let refused = bench.run_to(6, &refused);
        assert!(refused.stderr.contains("does not know when a body was written"), "{refused:?}");
    }
    let plan = bench.json(0, &[&plan[..], &["--headers-exposed"]].concat());
    assert_eq!(plan["plan"]["due"], 20);
    let why = "the message can have been under the version before a rewrap, and old headers open it still";
    assert_eq!(plan["plan"]["advice"][0]["why"], why);
    let summary = bench.json(0, &exposed);
    assert_eq!(count(&summary, "changed"), 20);
    let cause = &summary["summary"]["definition"]["task"]["reencrypt"]["cause"]["version_leaked"];
    assert_eq!(cause["headers_exposed"], true);
    assert_eq!(new_keys(&before, &messages(&bench)), 20);
}

#[test]
fn wrong_associated_data_changes_nothing_and_a_retry_has_the_right_one() {
    let bench = Bench::new(10);
    named(&bench, |_| Suite::default());
    let tree = || {
        let files = bench.snapshot().into_iter();
        files.filter(|(path, _)| path.starts_with(bench.path("tree"))).collect::<Vec<_>>()
    };
    let before = tree();
    let start =
        ["job", "start", "dir:tree", "-d", "job", "--canary", "none", "--failure-limit", "99%"];
    let start = [&start[..], &["--re-encrypt", "data-key-leaked", "--aad", "order"]].concat();
    let wrong = bench.json(3, &start);
    assert_eq!((count(&wrong, "failed"), count(&wrong, "listed")), (10, 10));
    assert_eq!(tree(), before);
    let failures = std::fs::read_to_string(bench.path("job/0-of-1.failures.jsonl")).unwrap();
    assert_eq!(failures.lines().count(), 10, "{failures}");
    assert_eq!(failures.matches("associated data").count(), 10, "{failures}");
    // A retry repeats what the job had, unless it is told another.
    assert_eq!(count(&bench.json(3, &["job", "retry", "job"]), "failed"), 10);
    assert_eq!(tree(), before);
    let right = bench.json(0, &[&["job", "retry", "job"], &AAD[..]].concat());
    assert_eq!(count(&right, "changed"), 10);
    assert_eq!(messages(&bench).len(), 10);
}

#[test]
fn refusals_say_what_to_do() {
    let bench = Bench::with_layout(3, true);
    let before = bench.snapshot();
    let refused = [
        (
            6,
            "dir:tree?header=sidecar --re-encrypt data-key-leaked",
            "`envelock encrypt` to a new name",
        ),
        (2, "dir:tree --re-encrypt suite=9", "`suite=2`"),
        (2, "dir:tree --re-encrypt because", "`data-key-leaked`"),
        (2, "dir:tree --re-encrypt leaked=orders", "write KEY:VERSION"),
        (2, "dir:tree --re-encrypt suite=2 --headers-exposed", "a version that leaked"),
        (2, "dir:tree --re-encrypt leaked=orders:1 --retired today", "write 2026-11-30T12:00:00Z"),
        (2, "dir:tree --aad {item}", "--re-encrypt"),
        (2, "dir:tree --re-encrypt data-key-leaked --remove orders", "cannot be used with"),
        (6, "dir:tree --re-encrypt suite=1", "new messages have suite 1 themselves"),
    ];
    for (exit, arguments, text) in refused {
        for verb in ["plan", "start"] {
            let arguments: Vec<&str> =
                ["job", verb].into_iter().chain(arguments.split(' ')).collect();
            let ran = bench.run_to(exit, &arguments);
            assert!(ran.stderr.contains(text), "{arguments:?}\n{}", ran.stderr);
        }
    }
    let unchanged = bench.snapshot();
    assert!(before.iter().all(|(path, file)| unchanged[path] == *file));
    assert!(!bench.path("tree.job/job.json").exists());
    let none = bench.run_to(0, &["job", "start", "dir:tree?header=sidecar", "-d", "job"]);
    assert!(none.stdout.contains("current 3"), "{}", none.stdout);
    let retry = bench.run_to(2, &["job", "retry", "job", "--aad", "x"]);
    assert!(retry.stderr.contains("encrypts nothing again"), "{}", retry.stderr);
}
