//! Plans, and what a job refuses before it writes anything.

use crate::bench::{Bench, count};
use envelock::{KeyVersion, Lifecycle};

#[test]
fn plan_writes_nothing_and_tells_what_is_due() {
    let bench = Bench::rotated(30);
    std::fs::write(bench.path("tree/readme"), "no message").unwrap();
    let before = bench.snapshot();
    let plan = bench.run_to(0, &["job", "plan", "dir:tree", "--set", "items-per-second=10"]);
    for text in ["orders  1        older", "30 of 30 to be rewrapped", "3 s at 10/s", "in tree.job"]
    {
        assert!(plan.stdout.contains(text), "{text}\n{}", plan.stdout);
    }
    assert_eq!(plan.stderr, "next: envelock job start dir:tree --set items-per-second=10\n");
    let json = bench.json(0, &["job", "plan", "dir:tree"]);
    assert_eq!(json["plan"]["due"], 30);
    assert_eq!(json["plan"]["tally"]["excluded"], 1);
    assert_eq!(bench.snapshot(), before);

    // The job does what was planned, and its undo log is as long.
    let summary = bench.json(0, &["job", "start", "dir:tree"]);
    assert_eq!(count(&summary, "changed"), 30);
    let undo = json["plan"]["undo_bytes"].as_u64().unwrap();
    let log = std::fs::metadata(bench.path("tree.job/0-of-1.undo")).unwrap().len();
    assert_eq!(log, undo + 24 + 64);
    let json = bench.json(0, &["job", "plan", "dir:tree"]);
    assert_eq!(json["plan"]["due"], 0);
}

#[test]
fn version_that_cannot_be_read_is_told_by_the_plan() {
    let bench = Bench::rotated(5);
    bench.keyring().disable(KeyVersion::FIRST).unwrap();
    let plan = bench.run_to(6, &["job", "plan", "dir:tree"]);
    assert!(plan.stdout.contains("cannot be read"), "{}", plan.stdout);
    let text = "items under orders:1 would fail: the version is disabled";
    assert!(plan.stderr.contains(text), "{}", plan.stderr);
}

#[test]
fn refusals_leave_no_directory_and_say_what_to_do() {
    let bench = Bench::rotated(5);
    let before = bench.snapshot();
    let refused = [
        (6, "job start dir:tree --to orders:1", "`envelock key promote orders:1`"),
        (6, "job start dir:tree --allow-key payments", "wrap under an allowed key"),
        (2, "job start dir:tree --to orders", "write KEY:VERSION"),
        (1, "job start dir:absent", "check the name"),
        (2, "job start list:-", "write the list to a file"),
        (2, "job start dir:tree --shard 3/3", "indexes go from 0 to 3 - 1"),
        (2, "job start dir:tree --shard 1/3", "--stages 1%,10%"),
        (2, "job start dir:tree --stages 10%,1%", "stages must grow"),
        (2, "job start dir:tree --failure-limit 0%", "is no percentage"),
        (2, "job start dir:tree --set items=3", "there is no limit \"items\""),
        (2, "job start dir:tree --soak 3x", "write 90s, 15m, 2h or 1d"),
        (2, "job start dir:tree --shard auto", "no variable of a known scheduler"),
        (1, "job resume absent", "`envelock job start SOURCE` makes one"),
        (1, "job pause tree", "is no directory of a job"),
        (1, "job undo absent", "check the name"),
    ];
    for (exit, arguments, text) in refused {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let ran = bench.run_to(exit, &arguments);
        assert!(ran.stderr.contains(text), "{arguments:?}\n{}", ran.stderr);
        assert!(ran.stderr.contains("\nnext: "), "{}", ran.stderr);
        assert!(!bench.path("tree.job/job.json").exists(), "{arguments:?}");
    }
    let unchanged = |path: &std::path::PathBuf| !path.starts_with(bench.path("tree.job"));
    let now = bench.snapshot().into_iter().filter(|(path, _)| unchanged(path)).collect();
    assert_eq!(before, now);
}

#[test]
fn directory_of_another_job_is_refused_or_adopted() {
    let bench = Bench::rotated(40);
    let start = ["job", "start", "dir:tree", "--page", "10", "--set", "budget=15"];
    let halted = bench.run_to(4, &start);
    assert!(halted.stderr.contains("as many as the budget allows"), "{}", halted.stderr);
    let again = bench.run_to(6, &start);
    assert!(again.stderr.contains("has this job already"), "{}", again.stderr);
    assert!(again.stderr.contains("`-d tree-2.job`"), "{}", again.stderr);
    let other = ["job", "start", "dir:tree", "--page", "10", "--set", "budget=none"];
    let other = [&other[..], &["--failure-limit", "5%"]].concat();
    assert!(bench.run_to(6, &other).stderr.contains("has another job"));
    let summary = bench.json(0, &[&other[..], &["--adopt"]].concat());
    assert_eq!((count(&summary, "changed"), count(&summary, "listed")), (40, 40));
    assert_eq!(summary["summary"]["adopted"][0]["tally"]["changed"], 10);
    let status = bench.run_to(0, &["job", "status", "tree.job"]);
    assert!(status.stdout.contains("adopted from job"), "{}", status.stdout);
    bench.check(2);
}
