//! What is done with the records of a job: retries, restores, sums of shards.

use crate::bench::{Bench, count};
use envelock::{KeyVersion, Lifecycle};

#[test]
fn merge_refuses_a_missing_shard_and_adds_up_all() {
    let bench = Bench::rotated(50);
    let start = |shard: &'static str, directory: &'static str| {
        ["job", "start", "dir:tree", "--canary", "none", "--shard", shard, "-d", directory]
    };
    let first = bench.json(0, &start("0/2", "job"));
    let missing = bench.run_to(3, &["job", "merge", "job"]);
    assert!(missing.stderr.contains("no complete report of shard 1"), "{}", missing.stderr);
    assert!(
        missing.stderr.ends_with("`envelock job resume job --shard 1/2`\n"),
        "{}",
        missing.stderr
    );
    // The second part is done on another machine, in a directory of its own.
    let second = bench.json(0, &start("1/2", "other"));
    let report = "other/1-of-2.report.json";
    let merged = bench.json(0, &["job", "merge", "job", report, report]);
    assert_eq!((count(&merged, "changed"), count(&merged, "listed")), (50, 50));
    assert_eq!(count(&first, "changed") + count(&second, "changed"), 50);
    assert!(count(&first, "changed") > 0 && count(&second, "changed") > 0);
    bench.check(2);
    let alien = bench.json(0, &["job", "start", "dir:tree", "-d", "alien"]);
    assert_eq!(count(&alien, "current"), 50);
    let refused = bench.run_to(2, &["job", "merge", "job", "alien"]);
    assert!(refused.stderr.contains("does not belong to shard 0/2 of job"), "{}", refused.stderr);
    assert!(bench.run_to(2, &["job", "merge", "o.keys"]).stderr.contains("is no report"));
    // An undo log for each shard.
    bench.run_to(0, &["job", "undo", "job"]);
    bench.run_to(0, &["job", "undo", "other"]);
    bench.check(1);
}

#[test]
fn retry_does_what_is_left_and_undo_takes_both_back() {
    let bench = Bench::rotated(40);
    let path = bench.plaintexts.keys().nth(17).unwrap();
    let whole = std::fs::read(path).unwrap();
    let mut damaged = whole.clone();
    // In the wrapped key of the only slot.
    damaged[100] ^= 1;
    std::fs::write(path, &damaged).unwrap();
    let start =
        bench.run_to(3, &["job", "start", "dir:tree", "-d", "job", "--failure-limit", "50%"]);
    assert!(start.stdout.contains("rewrapped 39"), "{}", start.stdout);
    assert!(start.stderr.contains("1 items are left"), "{}", start.stderr);
    assert!(start.stderr.ends_with("next: `envelock job retry job`\n"), "{}", start.stderr);
    // As long as the cause is there, it is left again.
    let again = bench.json(3, &["job", "retry", "job"]);
    assert_eq!((count(&again, "failed"), count(&again, "listed")), (1, 1));
    std::fs::write(path, &whole).unwrap();
    let again = bench.json(0, &["job", "retry", "job"]);
    assert_eq!(count(&again, "changed"), 1);
    bench.check(2);
    let nothing = bench.run_to(0, &["job", "retry", "job"]);
    assert_eq!(nothing.stdout, "nothing is left\n");
    let undone = bench.run_to(0, &["job", "undo", "job"]);
    assert!(undone.stdout.contains("restored 39") && undone.stdout.contains("restored 1 "));
    bench.check(1);
    // Nothing is restored twice.
    let twice = bench.run_to(0, &["job", "undo", "job"]);
    assert!(twice.stdout.contains("restored 0  current 39"), "{}", twice.stdout);
}

#[test]
fn damaged_records_are_told_and_nothing_is_changed() {
    let bench = Bench::rotated(20);
    let start = ["job", "start", "dir:tree", "-d", "job", "--page", "5", "--set", "budget=10"];
    bench.run_to(4, &start);
    let path = bench.path("job/0-of-1.checkpoint");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let before = bench.snapshot();
    for arguments in [["job", "resume", "job"], ["job", "status", "job"]] {
        let ran = bench.run_to(7, &arguments);
        assert!(ran.stderr.contains("checkpoint is damaged"), "{}", ran.stderr);
    }
    assert_eq!(bench.snapshot(), before);
    // As the text says: what is done is found as current.
    std::fs::remove_file(&path).unwrap();
    let summary = bench.json(0, &["job", "resume", "job", "--set", "budget=none"]);
    assert_eq!(count(&summary, "changed") + count(&summary, "current"), 20);
    bench.check(2);
}

#[test]
fn names_are_added_and_removed_by_jobs() {
    let bench = Bench::rotated(20);
    let create =
        ["-k", "file:p.keys", "key", "create", "payments", "--new-keyring", "--unprotected"];
    bench.run_to(0, &create);
    let add = ["job", "start", "dir:tree", "-d", "add", "--add", "file:p.keys"];
    let summary = bench.json(0, &add);
    assert_eq!(count(&summary, "changed"), 20);
    let plan = bench.json(0, &["job", "plan", "dir:tree", "--add", "file:p.keys"]);
    assert_eq!(plan["plan"]["due"], 0);
    bench.run_to(0, &["-k", "file:p.keys", "census", "dir:tree", "--opened"]);
    let plan = bench.json(0, &["job", "plan", "dir:tree", "--remove", "payments"]);
    assert_eq!(plan["plan"]["due"], 20);
    bench.run_to(0, &["job", "start", "dir:tree", "-d", "remove", "--remove", "payments"]);
    bench.run_to(3, &["-k", "file:p.keys", "census", "dir:tree", "--opened"]);
    bench.check(1);
}

#[test]
fn retry_of_a_retry_is_one_of_the_job_and_is_undone() {
    let bench = Bench::rotated(20);
    let path = bench.plaintexts.keys().next().unwrap();
    let whole = std::fs::read(path).unwrap();
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    std::fs::write(path, &damaged).unwrap();
    let start = ["job", "start", "dir:tree", "-d", "job", "--failure-limit", "50%"];
    bench.run_to(3, &start);
    let again = bench.run_to(3, &["job", "retry", "job"]);
    assert!(again.stderr.ends_with("next: `envelock job retry job`\n"), "{}", again.stderr);
    std::fs::write(path, &whole).unwrap();
    bench.run_to(0, &["job", "retry", "job/retry-1"]);
    assert!(bench.path("job/retry-2/job.json").exists());
    bench.check(2);
    // Where an earlier version of this program has put one, it is found, too.
    std::fs::rename(bench.path("job/retry-2"), bench.path("job/retry-1/retry-1")).unwrap();
    bench.run_to(0, &["job", "undo", "job"]);
    bench.check(1);
}

#[test]
fn undo_reports_what_its_log_has_lost() {
    let bench = Bench::rotated(20);
    bench.run_to(0, &["job", "start", "dir:tree", "-d", "job"]);
    let path = bench.path("job/0-of-1.undo");
    let log = std::fs::read(&path).unwrap();
    let mut damaged = log.clone();
    damaged[150] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    for _ in 0..2 {
        let undone = bench.run_to(7, &["job", "undo", "job"]);
        assert!(undone.stderr.contains("records of 19 items, of 20 that were changed"));
    }
    std::fs::write(&path, &log[..24 + 64]).unwrap();
    let undone = bench.run_to(7, &["job", "undo", "job"]);
    assert!(undone.stderr.contains("records of 0 items, of 20"), "{}", undone.stderr);
    // Half a record at the end is what a kill leaves.
    std::fs::write(&path, [&log[..], &log[88..120]].concat()).unwrap();
    let undone = bench.run_to(0, &["job", "undo", "job"]);
    assert!(undone.stdout.contains("restored 1 "), "{}", undone.stdout);
    bench.check(1);
}

#[test]
fn retry_waits_until_every_part_is_finished() {
    let bench = Bench::rotated(40);
    let start = ["job", "start", "dir:tree", "-d", "job", "--page", "5", "--set", "budget=10"];
    bench.run_to(4, &start);
    let refused = bench.run_to(6, &["job", "retry", "job"]);
    assert!(refused.stderr.contains("shards 0/1 of the job are not finished"));
    let part = ["job", "start", "dir:tree", "-d", "parts", "--canary", "none", "--shard"];
    let first = bench.json(0, &[&part[..], &["0/2"]].concat());
    let refused = bench.run_to(6, &["job", "retry", "parts"]);
    assert!(refused.stderr.contains("shards 1/2 of the job have no records here"));
    let unclear = bench.run_to(2, &["job", "resume", "parts"]);
    assert!(unclear.stderr.contains("shards 1/2 are not finished"), "{}", unclear.stderr);
    bench.run_to(0, &["job", "retry", "parts", "--other-directories"]);
    let second = bench.json(0, &["job", "resume", "parts", "--shard", "1/2"]);
    assert_eq!(count(&first, "listed") + count(&second, "listed"), 40);
    assert_eq!(bench.run_to(0, &["job", "retry", "parts"]).stdout, "nothing is left\n");
}

#[test]
fn environment_does_not_change_the_keyring_of_a_job() {
    let bench = Bench::rotated(20);
    let create =
        ["-k", "file:p.keys", "key", "create", "payments", "--new-keyring", "--unprotected"];
    bench.run_to(0, &create);
    bench.run_to(4, &["job", "start", "dir:tree", "-d", "job", "--page", "5", "--set", "budget=5"]);
    bench.run_to(0, &["-k", "file:p.keys", "key", "rotate", "payments"]);
    let wrong = bench.run_to(6, &["-k", "file:p.keys", "job", "resume", "job"]);
    assert!(wrong.stderr.contains("name the keyring of the job by `-k`"), "{}", wrong.stderr);
    let resume = ["--json", "job", "resume", "job", "--set", "budget=none"];
    let mut command = bench.command(&resume);
    let end = command.env("ENVELOCK_KEYRING", "file:p.keys").output().unwrap();
    let summary = serde_json::from_slice(&end.stdout).unwrap();
    assert_eq!((count(&summary, "changed"), count(&summary, "excluded")), (20, 0));
    let named = bench.run_to(0, &["-k", "file:./o.keys", "job", "resume", "job"]);
    assert!(named.stderr.contains("the job was started with file:/"), "{}", named.stderr);
    let part = ["job", "start", "dir:tree", "-d", "parts", "--canary", "none", "--shard"];
    bench.run_to(0, &[&part[..], &["0/2"]].concat());
    bench.run_to(6, &[&["-k", "file:p.keys"], &part[..], &["1/2"]].concat());
    bench.run_to(0, &[&part[..], &["1/2"]].concat());
}

#[test]
fn start_refuses_a_version_that_cannot_be_read() {
    let bench = Bench::rotated(5);
    bench.keyring().disable(KeyVersion::FIRST).unwrap();
    let refused = bench.run_to(6, &["job", "start", "dir:tree"]);
    assert!(refused.stderr.contains("items under orders:1 cannot be rewrapped"));
    assert!(!bench.path("tree.job/job.json").exists());
}

/// As at the start, before any item fails.
#[test]
fn resume_refuses_a_version_that_was_disabled_meanwhile() {
    let bench = Bench::rotated(30);
    let start = ["job", "start", "dir:tree", "-d", "job", "--page", "10", "--set", "budget=10"];
    bench.run_to(4, &start);
    bench.keyring().disable(KeyVersion::FIRST).unwrap();
    let before = bench.snapshot();
    let refused = bench.run_to(6, &["job", "resume", "job", "--set", "budget=none"]);
    let text = "items under orders:1 cannot be rewrapped: the version is disabled";
    assert!(refused.stderr.contains(text), "{}", refused.stderr);
    assert_eq!(bench.snapshot(), before);
    bench.keyring().enable(KeyVersion::FIRST).unwrap();
    bench.run_to(0, &["job", "resume", "job", "--set", "budget=none"]);
    bench.check(2);
}

#[test]
fn undo_needs_no_settings_of_the_job() {
    let bench = Bench::rotated(10);
    bench.run_to(0, &["job", "start", "dir:tree", "-d", "job"]);
    bench.keyring().disable(KeyVersion::FIRST).unwrap();
    let left = bench.run_to(3, &["job", "undo", "job"]);
    assert!(left.stderr.contains("next: `envelock key enable orders:1`, then"), "{}", left.stderr);
    bench.keyring().enable(KeyVersion::FIRST).unwrap();
    std::fs::write(bench.path("job/job.json"), "{").unwrap();
    let refused = bench.run_to(7, &["job", "undo", "job"]);
    assert!(refused.stderr.contains("`--source SOURCE`"), "{}", refused.stderr);
    bench.run_to(0, &["job", "undo", "job", "--source", "dir:tree"]);
    bench.check(1);
}

/// The command in backquotes of a next step, as arguments.
fn next_command(stderr: &str) -> Vec<String> {
    let (_, next) = stderr.rsplit_once("next: `envelock ").unwrap();
    let (command, _) = next.split_once('`').unwrap();
    command.split(' ').map(String::from).collect()
}

#[test]
fn finished_job_with_a_target_is_no_reason_to_promote_it_again() {
    let bench = Bench::rotated(20);
    let start = ["job", "start", "dir:tree", "-d", "job", "--to", "orders:2"];
    let first = bench.run_to(0, &start);
    bench.keyring().rotate().unwrap();
    let before = bench.snapshot();
    let again = bench.run_to(0, &["job", "resume", "job"]);
    assert_eq!(again.stdout, first.stdout);
    let note = "note: the job has finished under orders:2, and orders:3 is primary now\n";
    assert!(again.stderr.starts_with(note), "{}", again.stderr);
    assert!(!again.stderr.contains("promote"), "{}", again.stderr);
    let mut now = bench.snapshot();
    now.retain(|path, _| before.contains_key(path));
    assert_eq!(now, before);
    let next = next_command(&again.stderr);
    bench.run_to(0, &next.iter().map(String::as_str).collect::<Vec<_>>());
    bench.check(3);
}

#[test]
fn unfinished_job_with_a_former_target_names_a_new_job() {
    let bench = Bench::rotated(20);
    let start = ["job", "start", "dir:tree", "-d", "job", "--to", "orders:2", "--page", "5"];
    bench.run_to(4, &[&start[..], &["--set", "budget=5"]].concat());
    bench.keyring().rotate().unwrap();
    let refused = bench.run_to(6, &["job", "resume", "job", "--set", "budget=none"]);
    assert!(refused.stderr.contains("orders:2 is not primary"), "{}", refused.stderr);
    let next = next_command(&refused.stderr);
    assert!(next.ends_with(&["-d".into(), "job-2.job".into()]), "{next:?}");
    bench.run_to(0, &next.iter().map(String::as_str).collect::<Vec<_>>());
    bench.check(3);
}

#[test]
fn next_steps_of_jobs_name_what_is_known() {
    let bench = Bench::rotated(6);
    bench.run_to(0, &["job", "start", "dir:tree", "-d", "job"]);
    std::fs::write(bench.path("job/job.control"), "{").unwrap();
    for verb in ["status", "pause"] {
        let wrong = bench.run_to(1, &["job", verb, "job"]);
        assert!(wrong.stderr.contains("`envelock job set job KEY=VALUE`"), "{}", wrong.stderr);
    }
    std::fs::remove_file(bench.path("job/job.control")).unwrap();
    bench.keyring().disable(KeyVersion::FIRST).unwrap();
    let undone = bench.run_to(3, &["job", "undo", "job"]);
    assert!(!undone.stderr.contains("DIRECTORY"), "{}", undone.stderr);
    std::fs::remove_file(bench.path("job/0-of-1.undo")).unwrap();
    let lost = bench.run(&["job", "undo", "job"]);
    assert!(!lost.stderr.contains("SOURCE"), "{}", lost.stderr);
}

#[test]
fn options_and_reports_that_cannot_be_right_are_refused_before_the_first_item() {
    let bench = Bench::rotated(9);
    let refused = |exit: i32, arguments: &[&str], what: &str| {
        let ran = bench.run(arguments);
        assert_eq!(ran.exit, Some(exit), "{}", ran.stderr);
        assert!(ran.stderr.contains(what), "{}", ran.stderr);
    };
    let never = "0 begins nothing: use `envelock job pause`";
    for rate in ["items-per-second=0", "bytes-per-second=0", "key-calls-per-second=0"] {
        refused(2, &["job", "start", "dir:tree", "-d", "a", "--set", rate], never);
    }
    let primary = "orders:2 is the primary: new headers are under it";
    refused(6, &["job", "start", "dir:tree", "-d", "a", "--retiring", "orders:2"], primary);
    refused(1, &["job", "start", "dir:tree", "-d", "a", "--retiring", "orders:9"], "version 9");
    refused(1, &["census", "dir:tree", "--opened", "--without", "orders:9"], "version 9");
    assert!(!bench.path("a").exists());

    for shard in ["0/2", "1/2"] {
        bench.run_to(
            0,
            &["job", "start", "dir:tree", "-d", "b", "--canary", "none", "--shard", shard],
        );
    }
    let other = "has this job in 2 shards, not 3";
    let third = ["job", "start", "dir:tree", "-d", "b", "--canary", "none", "--shard", "2/3"];
    refused(6, &third, other);
    bench.run_to(0, &["job", "merge", "b"]);
    let path = bench.path("b/0-of-2.report.json");
    let report = std::fs::read_to_string(&path).unwrap();
    let mut report: serde_json::Value = serde_json::from_str(&report).unwrap();
    report["tally"]["changed"] = 99.into();
    std::fs::write(&path, report.to_string()).unwrap();
    refused(7, &["job", "merge", "b"], "of shard 0/2 do not add up");
}

#[test]
fn reasons_with_paths_are_one_group() {
    let bench = Bench::rotated(7);
    // A message of several names is not replaced, by any of them.
    for (number, path) in bench.plaintexts.keys().enumerate() {
        std::fs::hard_link(path, bench.path(&format!("tree/other-{number}"))).unwrap();
    }
    bench.run_to(3, &["job", "start", "dir:tree", "-d", "job", "--canary", "none"]);
    let status = bench.run_to(0, &["job", "status", "job"]);
    let reasons = status.stdout.lines().filter(|line| line.starts_with("left "));
    let expected = "left 14: store failed: it has 2 hard links";
    assert_eq!(reasons.collect::<Vec<_>>(), [expected], "{}", status.stdout);
    let failures = std::fs::read_to_string(bench.path("job/0-of-1.failures.jsonl")).unwrap();
    assert_eq!(failures.matches("/tree/").count(), 14, "the list has the paths");
}
