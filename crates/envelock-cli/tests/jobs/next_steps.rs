//! What the commands on jobs say of records that are absent or damaged: the fault, the file, and a step that helps.

use crate::bench::{Bench, ran};
use envelock::{KeyVersion, Lifecycle};
use std::process::Command;

const PARTS: [&str; 7] = ["job", "start", "dir:tree", "--canary", "none", "-d", "job"];

/// Runs the first command of a next step in a shell, as a person does.
#[track_caller]
fn follow(bench: &Bench, stderr: &str) {
    let (_, next) = stderr.rsplit_once("\nnext: ").unwrap();
    let command = next.split('`').nth(1).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_envelock"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(bench.path("")).env("PATH", path);
    let ran = ran(shell.env("ENVELOCK_KEYRING", "file:o.keys").output().unwrap());
    assert_eq!(ran.exit, Some(0), "{command}: {}{}", ran.stdout, ran.stderr);
}

#[test]
fn job_that_has_not_begun_says_what_begins_it() {
    let bench = Bench::rotated(3);
    bench.run_to(0, &["job", "start", "dir:tree", "-d", "first"]);
    std::fs::create_dir(bench.path("job")).unwrap();
    std::fs::copy(bench.path("first/job.json"), bench.path("job/job.json")).unwrap();
    let status = bench.run_to(0, &["job", "status", "job"]);
    assert_eq!(status.stdout, "the job has not begun: it has no checkpoint\n");
    assert_eq!(status.stderr, "next: `envelock job resume job`\n");
    let json = bench.json(0, &["job", "status", "job"]);
    assert_eq!((&json["state"], &json["running"]), (&"not begun".into(), &false.into()));
    bench.run_to(0, &["job", "resume", "job"]);
    let status = bench.run_to(0, &["job", "status", "job"]);
    assert!(status.stdout.starts_with("shard 0/1  finished"), "{}", status.stdout);
}

#[test]
fn damaged_settings_are_told_from_those_of_another_version() {
    let bench = Bench::rotated(3);
    bench.run_to(0, &["job", "start", "dir:tree", "-d", "job"]);
    let path = bench.path("job/job.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let next = "take the file from a backup, or start the job again in another directory by \
                `envelock job start SOURCE -d NEW`: what is done is found as current";
    let cut = "EOF while parsing an object at line 1 column 1";
    let member = "unknown field `more`, expected one of `format`, `version`, `source`, `keyring`, `add`, `aad`, `gate`, \
                  `gate_seconds`, `retries`, `undoes`, `definition` at line 1 column 7";
    for (content, why) in [("{", cut), ("{\"more\":1}", member)] {
        std::fs::write(&path, content).unwrap();
        for verb in ["status", "resume", "pause", "retry"] {
            let wrong = bench.run_to(7, &["job", verb, "job"]);
            let what = format!("envelock: job/job.json is damaged: {why}\nnext: {next}\n");
            assert_eq!(wrong.stderr, what);
        }
    }
    std::fs::write(&path, whole.replacen("\"version\": 1", "\"version\": 2", 1)).unwrap();
    let wrong = bench.run_to(7, &["job", "status", "job"]);
    let expected = "envelock: job/job.json is of version 2, and this program reads 1\n\
                    next: use the envelock that started the job: `envelock --version`\n";
    assert_eq!(wrong.stderr, expected);
}

#[test]
fn damaged_controls_are_removed_as_the_error_says() {
    let bench = Bench::rotated(3);
    bench.run_to(4, &["job", "start", "dir:tree", "-d", "job", "--page", "1", "--set", "budget=1"]);
    let commands = [
        &["job", "pause", "job"][..],
        &["job", "set", "job", "budget=2"],
        &["job", "stop", "job"],
        &["job", "resume", "job"],
        &["job", "status", "job"],
    ];
    for content in ["{\"limits\"", "{\"more\":1}", ""] {
        std::fs::write(bench.path("job/job.control"), content).unwrap();
        let mut last = String::new();
        for command in commands {
            last = bench.run_to(1, command).stderr;
            let first = last.lines().next().unwrap();
            assert!(first.starts_with("envelock: \"job/job.control\": "), "{first}");
            let next = "next: `rm job/job.control` removes it with its limits and its pause; then \
                        `envelock job set job KEY=VALUE` sets limits again\n";
            assert!(last.ends_with(next), "{last}");
        }
        follow(&bench, &last);
        bench.run_to(0, &["job", "set", "job", "budget=1"]);
    }
    bench.run_to(0, &["job", "resume", "job", "--set", "budget=none"]);
    bench.check(2);
}

#[test]
fn damaged_checkpoint_goes_as_the_error_says() {
    let bench = Bench::rotated(3);
    bench.run_to(0, &["job", "start", "dir:tree", "-d", "job"]);
    std::fs::write(bench.path("job/0-of-1.checkpoint"), "{}").unwrap();
    let file = "job/0-of-1.checkpoint";
    let wrong = bench.run_to(7, &["job", "status", "job"]);
    let next = format!(
        "next: `mv {file} {file}.damaged`, then `envelock job resume job`: what is done is found as current\n"
    );
    assert!(wrong.stderr.ends_with(&next), "{}", wrong.stderr);
    follow(&bench, &wrong.stderr);
    bench.run_to(0, &["job", "resume", "job"]);
}

#[test]
fn sums_that_fail_name_files_and_commands() {
    let bench = Bench::rotated(20);
    std::fs::create_dir(bench.path("empty")).unwrap();
    let failed = |exit: i32, arguments: &[&str]| {
        let ran = bench.run_to(exit, &[&["job", "merge"], arguments].concat());
        assert_eq!(ran.stdout, "");
        ran.stderr
    };
    let expected = "envelock: empty has no report of a job\nnext: `envelock job resume empty`\n";
    assert_eq!(failed(2, &["empty"]), expected);
    bench.run_to(0, &[&PARTS[..], &["--shard", "0/2"]].concat());
    let what = "envelock: no complete report of shard 1 (counted from 0): run or resume it\n";
    let expected = format!("{what}next: `envelock job resume job --shard 1/2`\n");
    assert_eq!(failed(3, &["job"]), expected);
    let expected = format!("{what}next: name its report, too: `1-of-2.report.json`\n");
    assert_eq!(failed(3, &["job/0-of-2.report.json"]), expected);
    let unclear = bench.run_to(2, &["job", "resume", "job"]);
    let expected =
        "envelock: shards 1/2 are not finished\nnext: `envelock job resume job --shard 1/2`\n";
    assert_eq!(unclear.stderr, expected);
    // A part that was stopped is resumed where its report is.
    let second = ["--shard", "1/2", "--page", "1", "--set", "budget=1"];
    bench.run_to(4, &[&PARTS[..6], &["other"], &second[..2], &second[4..]].concat());
    let expected =
        format!("{what}next: `envelock job resume other --shard 1/2 --set budget=none`\n");
    let refused = failed(3, &["job", "other"]);
    assert_eq!(refused, expected.replace(" --set budget=none", ""));
    bench.run_to(0, &["job", "resume", "other", "--shard", "1/2", "--set", "budget=none"]);
    bench.run_to(0, &["job", "merge", "job", "other"]);
    // The same job in another division, whose items are in both.
    bench.run_to(0, &["job", "start", "dir:tree", "--canary", "none", "-d", "whole"]);
    let refused = failed(2, &["job", "whole/0-of-1.report.json"]);
    let (first, other) = ("job/0-of-2.report.json", "whole/0-of-1.report.json");
    let (what, _) = refused.split_once('\n').unwrap();
    let (shard, of_first) = what.split_once(" does not belong to shard 0/2 of job ").unwrap();
    assert_eq!(shard, format!("envelock: {other}: report of shard 0/1 of job {of_first}"));
    let next = format!("\nnext: merge {first} and {other} each with the reports of its own job\n");
    assert!(refused.ends_with(&next), "{refused}");
    let mut report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.path(other)).unwrap()).unwrap();
    report["tally"]["changed"] = 99.into();
    std::fs::write(bench.path(other), report.to_string()).unwrap();
    let expected = format!(
        "envelock: {other}: counts of the report of shard 0/1 do not add up to the items that it listed\n\
         next: take {other} from a backup: it is not as the job wrote it\n"
    );
    assert_eq!(failed(7, &["whole"]), expected);
}

#[test]
fn status_checks_what_a_resume_would_refuse() {
    let bench = Bench::rotated(9);
    let start = ["job", "start", "dir:tree", "-d", "job", "--page", "3", "--set", "budget=3"];
    bench.run_to(4, &start);
    let check = ["job", "status", "job", "--check"];
    let passed = bench.run_to(0, &check).stdout;
    assert!(passed.ends_with("\nits keyring and its source let the job go on\n"), "{passed}");
    assert_eq!(bench.json(0, &check)["check"], "passed");
    bench.keyring().disable(KeyVersion::FIRST).unwrap();
    let before = bench.snapshot();
    let refused = bench.run_to(6, &check);
    assert!(refused.stdout.starts_with("shard 0/1  stopped"), "{}", refused.stdout);
    let what = "envelock: items under orders:1 cannot be rewrapped: the version is disabled\n\
                next: `envelock key show orders` tells its state: `envelock key enable orders:1` if it is disabled, ";
    assert!(refused.stderr.starts_with(what), "{}", refused.stderr);
    let resumed = bench.run_to(6, &["job", "resume", "job", "--set", "budget=none"]);
    assert_eq!(resumed.stderr, refused.stderr);
    // A part that has not begun needs the version, too. Without the option, no keyring is opened.
    std::fs::create_dir(bench.path("new")).unwrap();
    std::fs::copy(bench.path("job/job.json"), bench.path("new/job.json")).unwrap();
    let new = bench.run_to(6, &["job", "status", "new", "--check"]).stderr;
    assert_eq!(new, format!("next: `envelock job resume new`\n{}", refused.stderr));
    std::fs::remove_dir_all(bench.path("new")).unwrap();
    let mut without = bench.command(&["job", "status", "job"]);
    std::fs::rename(bench.path("o.keys"), bench.path("away")).unwrap();
    assert_eq!(ran(without.output().unwrap()).exit, Some(0));
    assert!(bench.run_to(1, &check).stderr.contains("there is no file"));
    std::fs::rename(bench.path("away"), bench.path("o.keys")).unwrap();
    assert_eq!(bench.snapshot(), before);
    // Another directory at the place of the source.
    bench.keyring().enable(KeyVersion::FIRST).unwrap();
    std::fs::rename(bench.path("tree"), bench.path("other")).unwrap();
    std::fs::create_dir(bench.path("tree")).unwrap();
    let refused = bench.run_to(6, &check);
    assert!(
        refused.stderr.contains("mount the source that the job began with"),
        "{}",
        refused.stderr
    );
    std::fs::remove_dir(bench.path("tree")).unwrap();
    std::fs::rename(bench.path("other"), bench.path("tree")).unwrap();
    bench.run_to(0, &["job", "resume", "job", "--set", "budget=none"]);
    // Nothing is checked of what is finished.
    bench.keyring().disable(KeyVersion::FIRST).unwrap();
    bench.run_to(0, &check);
}

/// Puts `orders` and `audit` in one keyring, none of which is selected, and has a job move the items of `orders` before it halts.
fn halted_over_two_keys(items: &str) -> Bench {
    let bench = Bench::rotated(4);
    bench.run_to(0, &["key", "create", "audit"]);
    for name in ["tree/y", "tree/z"] {
        bench.run_to(0, &["encrypt", "o.keys", "--key", "audit", "-o", name]);
    }
    bench.run_to(0, &["key", "rotate", "audit"]);
    let budget = format!("budget={items}");
    let start = ["job", "start", "dir:tree", "--canary", "none", "-d", "job", "--page", "2"];
    bench.run_to(4, &[&start[..], &["--set", &budget]].concat());
    bench.run_to(0, &["key", "rotate", "orders"]);
    bench
}

#[test]
fn rotation_between_two_runs_is_told() {
    // The second run moves items of the rotated key, or finds none.
    for items in ["2", "4"] {
        let bench = halted_over_two_keys(items);
        let resumed = bench.run_to(3, &["job", "resume", "job", "--set", "budget=none"]);
        let counts = "rewrapped 6  current 0  excluded 0  conflict 0  gone 0  failed 0  = listed 6";
        assert!(resumed.stdout.starts_with(counts), "{}", resumed.stdout);
        let what = "envelock: the primary changed while the job ran: items can be under either one";
        assert!(resumed.stderr.starts_with(what), "{}", resumed.stderr);
        let report = std::fs::read_to_string(bench.path("job/0-of-1.report.json")).unwrap();
        assert!(report.contains(r#""targets_changed": true"#), "{report}");
        bench.run_to(3, &["job", "resume", "job"]);
        bench.run_to(0, &["job", "start", "dir:tree", "-d", "next"]);
        bench.check(3);
    }
}
