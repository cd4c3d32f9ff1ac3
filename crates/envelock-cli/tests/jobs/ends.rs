//! How jobs end: what is left is counted and has an exit code, and a second run never hides it.

use crate::bench::{Bench, count};
use std::os::unix::fs::{PermissionsExt, chown};

const STEP: [&str; 6] = ["job", "start", "dir:tree", "--canary", "none", "-d"];

fn part<'a>(directory: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&STEP[..], &[directory], more].concat()
}

fn create(bench: &Bench, file: &str, key: &str) {
    bench.run_to(0, &["-k", file, "key", "create", key, "--new-keyring", "--unprotected"]);
}

#[test]
fn second_retry_repairs_what_the_job_has_torn() {
    let bench = Bench::rotated(5);
    bench.run_to(0, &part("job", &[]));
    // Half of a write: the label of the new version, and a wrapped key that does not open.
    let path = bench.plaintexts.keys().next().unwrap();
    let mut torn = std::fs::read(path).unwrap();
    torn[100] ^= 1;
    let item = path.strip_prefix(bench.path("tree")).unwrap().display();
    let line =
        format!("{{\"item\":\"{item}\",\"outcome\":\"failed\",\"why\":\"\",\"retryable\":true}}\n");
    std::fs::write(bench.path("job/0-of-1.failures.jsonl"), line).unwrap();
    // What cannot be read is left by the first retry.
    std::fs::remove_file(path).unwrap();
    std::fs::create_dir(path).unwrap();
    let first = bench.json(3, &["job", "retry", "job"]);
    assert_eq!(count(&first, "failed"), 1);
    std::fs::remove_dir(path).unwrap();
    std::fs::write(path, torn).unwrap();
    let second = bench.json(0, &["job", "retry", "job"]);
    assert_eq!((count(&second, "changed"), count(&second, "current")), (1, 0));
    bench.check(2);
}

#[test]
fn settings_that_others_can_change_are_refused() {
    let bench = Bench::rotated(5);
    bench.run_to(4, &part("job", &["--page", "2", "--set", "budget=2"]));
    let settings = bench.path("job/job.json");
    let resume = ["job", "resume", "job", "--set", "budget=none"];
    std::fs::set_permissions(&settings, std::fs::Permissions::from_mode(0o620)).unwrap();
    for arguments in [&resume[..], &["job", "undo", "job"], &["job", "retry", "job"]] {
        let refused = bench.run_to(6, arguments);
        assert!(refused.stderr.contains("others can write job/job.json"), "{}", refused.stderr);
        assert!(refused.stderr.contains("chmod go-w job/job.json"), "{}", refused.stderr);
    }
    std::fs::set_permissions(&settings, std::fs::Permissions::from_mode(0o600)).unwrap();
    // Only root gives a file away.
    if chown(&settings, Some(65534), None).is_ok() {
        let refused = bench.run_to(6, &resume);
        assert!(refused.stderr.contains("belongs to user 65534"), "{}", refused.stderr);
        bench.run_to(0, &["job", "status", "job"]);
        chown(&settings, Some(0), None).unwrap();
    }
    bench.run_to(0, &resume);
    bench.check(2);
}

#[test]
fn finished_job_does_not_stand_for_the_next_rotation() {
    let bench = Bench::rotated(5);
    for _ in 0..2 {
        let summary = bench.json(0, &part("job", &["--or-resume"]));
        assert_eq!(count(&summary, "changed"), 5);
    }
    bench.run_to(0, &["key", "rotate", "orders"]);
    let refused = bench.run_to(6, &part("job", &["--or-resume"]));
    assert!(
        refused.stderr.contains("under orders:2, and orders:3 is primary"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("job start dir:/"), "{}", refused.stderr);
    // Also where a kill came before the report.
    std::fs::remove_file(bench.path("job/0-of-1.report.json")).unwrap();
    bench.run_to(6, &part("job", &["--or-resume"]));
    // A person who asks for the finished job gets what it did, and a note.
    let again = bench.run_to(0, &["job", "resume", "job"]);
    assert!(again.stderr.starts_with("note: the job has finished under"), "{}", again.stderr);
    bench.run_to(0, &part("next", &["--or-resume"]));
    bench.check(3);
}

#[test]
fn undo_of_what_another_job_changed_is_left() {
    let bench = Bench::rotated(6);
    bench.run_to(0, &part("one", &[]));
    bench.run_to(0, &["key", "rotate", "orders"]);
    bench.run_to(0, &part("two", &[]));
    let undone = bench.run_to(3, &["job", "undo", "one"]);
    assert!(undone.stdout.contains("excluded 6 (6 not in the undo log)"), "{}", undone.stdout);
    assert!(undone.stderr.contains("undo the later job first"), "{}", undone.stderr);
    bench.run_to(0, &["job", "undo", "two"]);
    bench.run_to(0, &["job", "undo", "one"]);
    bench.check(1);
}

#[test]
fn parts_with_another_keyring_or_gate_are_refused() {
    let bench = Bench::rotated(10);
    create(&bench, "file:p.keys", "payments");
    create(&bench, "file:q.keys", "quotas");
    bench.run_to(0, &part("job", &["--shard", "0/2", "--add", "file:p.keys", "--gate", "true"]));
    let settings = std::fs::read(bench.path("job/job.json")).unwrap();
    for other in
        [["--add", "file:q.keys", "--gate", "true"], ["--add", "file:p.keys", "--gate", "false"]]
    {
        let refused = bench.run_to(6, &part("job", &[&["--shard", "1/2"], &other[..]].concat()));
        assert!(refused.stderr.contains("has another job"), "{}", refused.stderr);
        assert_eq!(std::fs::read(bench.path("job/job.json")).unwrap(), settings);
    }
    bench.run_to(0, &part("job", &["--shard", "1/2", "--add", "file:p.keys", "--gate", "true"]));
    bench.run_to(0, &["job", "merge", "job"]);
}

#[test]
fn parts_under_different_primaries_are_no_complete_job() {
    let bench = Bench::rotated(10);
    bench.run_to(0, &part("a", &["--shard", "0/2"]));
    bench.run_to(0, &["key", "rotate", "orders"]);
    bench.run_to(0, &part("b", &["--shard", "1/2"]));
    let merged = bench.run_to(3, &["job", "merge", "a", "b"]);
    assert!(merged.stdout.contains("the primary changed while the job ran"), "{}", merged.stdout);
    assert!(merged.stderr.contains("next: `envelock job start"), "{}", merged.stderr);
    let merged = bench.json(3, &["job", "merge", "a", "b"]);
    assert_eq!(merged["targets_changed"], true);
    assert_eq!(merged["undo_lost"], false);
}

#[test]
fn sum_says_that_an_undo_log_was_cut() {
    let bench = Bench::rotated(5);
    bench.run_to(4, &part("job", &["--page", "2", "--set", "budget=2"]));
    let log = bench.path("job/0-of-1.undo");
    let start = std::fs::read(&log).unwrap()[..24 + 64].to_vec();
    std::fs::write(&log, start).unwrap();
    bench.run_to(0, &["job", "resume", "job", "--set", "budget=none"]);
    let merged = bench.run_to(0, &["job", "merge", "job"]);
    assert!(merged.stdout.contains("the undo log was cut"), "{}", merged.stdout);
}

#[test]
fn source_without_a_message_of_the_keyring_is_no_success() {
    let bench = Bench::rotated(3);
    create(&bench, "file:p.keys", "payments");
    std::fs::create_dir(bench.path("empty")).unwrap();
    let wrong = bench.run_to(3, &[&["-k", "file:p.keys"], &part("wrong", &[])[..]].concat());
    assert!(wrong.stdout.contains("excluded 3 (3 of other keyrings)"), "{}", wrong.stdout);
    assert!(wrong.stderr.contains("no message of the keyring"), "{}", wrong.stderr);
    for source in ["dir:empty", "dir:tree?header=sidecar"] {
        let empty = bench.run_to(3, &["job", "start", source, "-d", "none"]);
        assert!(empty.stderr.contains("no message of the keyring"), "{}", empty.stderr);
        std::fs::remove_dir_all(bench.path("none")).unwrap();
    }
    let path = bench.plaintexts.keys().next().unwrap();
    let whole = std::fs::read(path).unwrap();
    std::fs::write(path, [b"E", &whole[1..]].concat()).unwrap();
    std::fs::write(bench.path("tree/empty"), "").unwrap();
    let some = bench.run_to(0, &part("some", &[]));
    assert!(some.stdout.contains("excluded 2 (2 not envelock)"), "{}", some.stdout);
    let tally = &bench.json(0, &["job", "status", "some"])["tally"];
    assert_eq!((&tally["not_envelock"], &tally["other_keyring"]), (&2.into(), &0.into()));
}

#[test]
fn edited_list_is_not_resumed() {
    let bench = Bench::rotated(6);
    let items: Vec<_> =
        bench.plaintexts.keys().map(|path| format!("{}\n", path.display())).collect();
    let write = |items: &[String]| std::fs::write(bench.path("list"), items.concat()).unwrap();
    write(&items[1..]);
    let start = ["job", "start", "list:list?root=tree", "--canary", "none", "-d", "job"];
    bench.run_to(4, &[&start[..], &["--page", "2", "--set", "budget=2"]].concat());
    write(&items);
    let refused = bench.run_to(6, &["job", "resume", "job", "--set", "budget=none"]);
    assert!(refused.stderr.contains("start a job of its own"), "{}", refused.stderr);
    write(&items[1..]);
    bench.run_to(0, &["job", "resume", "job", "--set", "budget=none"]);
    write(&items);
    let rest = bench.json(0, &["job", "start", "list:list?root=tree", "-d", "rest"]);
    assert_eq!((count(&rest, "changed"), count(&rest, "current")), (1, 5));
    bench.check(2);
}

#[test]
fn listed_paths_that_do_not_exist_are_left() {
    let bench = Bench::rotated(3);
    let root = bench.path("tree");
    let mut paths: Vec<String> =
        bench.plaintexts.keys().map(|it| it.display().to_string()).collect();
    // Below a directory that does not exist, too.
    paths.extend(["e", "d", "c", "b/b", "a"].map(String::from));
    let write = |paths: &[String]| std::fs::write(bench.path("list"), paths.join("\n")).unwrap();
    let source = format!("list:{}?root={}", bench.path("list").display(), root.display());
    write(&paths[..4]);
    let planned = bench.run_to(3, &["job", "plan", &source]);
    let next = "correct the list, or put back what is missing, then plan again";
    let expected = format!("envelock: 1 listed items do not exist: e\nnext: {next}\n");
    assert_eq!(planned.stderr, expected);
    write(&paths);
    let job = bench.run_to(3, &["job", "start", &source, "-d", "job"]);
    let counts =
        "rewrapped 3  current 0  excluded 0  conflict 0  gone 5 (5 absent)  failed 0  = listed 8\n";
    assert!(job.stdout.starts_with(counts), "{}", job.stdout);
    let what = "5 items are left, which do not exist: a, b/b, c and 2 more";
    let again = format!(
        "`envelock -k file:{} job start '{source}' -d job-2.job`",
        bench.path("o.keys").display()
    );
    let expected = format!(
        "envelock: {what}; job/0-of-1.failures.jsonl has each with its reason\n\
         next: put back what is missing, then `envelock job retry job`; or correct the list, then {again}\n"
    );
    assert_eq!(job.stderr, expected);
    let merged = bench.run_to(3, &["job", "merge", "job"]);
    assert!(merged.stderr.starts_with(&format!("envelock: {what}\n")), "{}", merged.stderr);
    let status = bench.json(0, &["job", "status", "job"]);
    assert_eq!((count(&status, "absent"), count(&status, "gone")), (5, 5));
    assert_eq!(status["left"].to_string(), r#"[["it was named, and does not exist",5]]"#);
    for mode in [&[][..], &["--opened"]] {
        let census = bench.run_to(3, &[&["census", source.as_str()], mode].concat());
        let next = "correct the list, or put back what is missing, then count again";
        let expected =
            format!("envelock: 5 listed items do not exist: a, b/b, c and 2 more\nnext: {next}\n");
        assert_eq!(census.stderr, expected);
    }
    // A retry finds what was put back, and leaves the rest.
    std::fs::create_dir(root.join("b")).unwrap();
    for name in ["a", "b/b", "c", "d"] {
        std::fs::copy(&paths[0], root.join(name)).unwrap();
    }
    let retry = bench.run_to(3, &["job", "retry", "job"]);
    let what = "envelock: 1 items are left, which do not exist: e;";
    assert!(retry.stderr.starts_with(what), "{}", retry.stderr);
    std::fs::copy(&paths[0], root.join("e")).unwrap();
    assert_eq!(count(&bench.json(0, &["job", "retry", "job"]), "current"), 1);
}
