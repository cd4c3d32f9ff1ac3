//! `envelock doctor` finds what a job would miss, and leaves nothing behind.

use crate::bench::Bench;
use envelock::{KeyVersion, Lifecycle};
use std::path::PathBuf;

#[test]
fn healthy_source_passes_each_check_and_keeps_its_files() {
    for is_sidecar in [false, true] {
        let bench = Bench::with_layout(10, is_sidecar);
        bench.run_to(0, &["key", "rotate", "orders"]);
        let tree = |bench: &Bench| -> Vec<_> {
            let files = bench.snapshot().into_iter();
            files.filter(|(path, _)| path.starts_with(bench.path("tree"))).collect()
        };
        let before = tree(&bench);
        let ran = bench.run_to(0, &["doctor", bench.source()]);
        let checks: Vec<&str> =
            ran.stdout.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(checks, ["wrap", "unwrap", "list", "rewrap", "replace"], "{}", ran.stdout);
        assert!(
            ran.stdout.contains("orders:1 open, 1 of them to another version"),
            "{}",
            ran.stdout
        );
        assert_eq!(tree(&bench), before);
        let ran = bench.run_to(0, &["doctor", bench.source(), "--read-only"]);
        assert!(!ran.stdout.contains("replace"), "{}", ran.stdout);
    }
}

#[test]
fn scratch_of_a_process_that_was_killed_is_no_item_and_goes() {
    let bench = Bench::rotated(10);
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let scratch = |process: u32| {
        let path = bench.path(&format!("tree/.envelock-doctor-{process}.envelock-partial"));
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("message"), "cut off").unwrap();
        path
    };
    let (of_ended, of_running) = (scratch(ended.id()), scratch(std::process::id()));
    let listed = bench.run_to(0, &["doctor", "dir:tree", "--read-only"]);
    assert!(listed.stdout.contains("dir:tree: 10 items"), "{}", listed.stdout);
    bench.run_to(0, &["doctor", "dir:tree"]);
    assert!(!of_ended.exists() && of_running.exists());
    // It is none of the failures of a job.
    bench.run_to(0, &["job", "start", "dir:tree", "--canary", "none"]);
    bench.check(2);
}

/// Whenever the signal comes.
#[test]
fn stopped_doctor_leaves_nothing_behind() {
    let bench = Bench::new(10);
    let names = |bench: &Bench| bench.snapshot().into_keys().collect::<Vec<_>>();
    let before = names(&bench);
    for wait in 0..40 {
        let mut child = bench.spawn(&["doctor", "dir:tree", "dir:tree", "dir:tree"]);
        std::thread::sleep(std::time::Duration::from_millis(wait));
        crate::bench::signal(&child, if wait % 2 == 0 { "-TERM" } else { "-INT" });
        child.wait().unwrap();
        let after = names(&bench);
        assert_eq!(after, before, "after {wait} ms");
        assert!(std::fs::read_dir(bench.path("tree")).unwrap().count() <= 7);
    }
}

#[test]
fn what_is_missing_is_told_with_what_to_do() {
    let bench = Bench::rotated(10);
    bench.keyring().disable(KeyVersion::FIRST).unwrap();
    let ran = bench.run_to(6, &["doctor", "dir:tree", "dir:absent"]);
    assert!(ran.stdout.contains("FAILS  rewrap"), "{}", ran.stdout);
    assert!(ran.stdout.contains("`envelock key enable orders:1`"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("FAILS  list     dir:absent: absent: No such file"),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains("2 checks failed"), "{}", ran.stderr);
    let json = bench.run_to(1, &["--json", "doctor", "dir:absent"]);
    let last: serde_json::Value =
        serde_json::from_str(json.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["check"], &last["ok"]), (&"list".into(), &false.into()));
}

#[test]
fn sources_of_the_configuration_are_tried_with_their_keyrings() {
    let bench = Bench::new(3);
    let config = "[keyrings.own]\nlocator = \"file:o.keys\"\n[sources.orders]\nlocator = \"dir:tree\"\nkeyring = \"own\"\n";
    std::fs::write(bench.path("envelock.toml"), config).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = bench.command(arguments);
        crate::bench::ran(command.env_remove("ENVELOCK_KEYRING").output().unwrap())
    };
    let ran = run(&["doctor"]);
    assert_eq!(ran.exit, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("wrap     own: under orders:1"), "{}", ran.stdout);
    assert!(ran.stdout.contains("list     orders: 3 items"), "{}", ran.stdout);
    // A job by the name of its source resumes in another directory, by its own directory alone.
    let ran = run(&["key", "rotate", "orders", "-k", "own"]);
    assert_eq!(ran.exit, Some(0), "{}", ran.stderr);
    assert_eq!(run(&["job", "start", "orders", "--set", "budget=1"]).exit, Some(4));
    assert!(bench.path("orders.job/job.json").exists());
    let directory: PathBuf = bench.path("orders.job");
    let ran = run(&["job", "resume", directory.to_str().unwrap(), "--set", "budget=none"]);
    assert_eq!(ran.exit, Some(0), "{}{}", ran.stdout, ran.stderr);
    bench.check(2);
}

#[test]
fn check_that_needs_a_failed_one_is_skipped() {
    let bench = Bench::rotated(2);
    bench.run_to(0, &["key", "create", "payments"]);
    let without_times = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" (").next().unwrap().into()).collect()
    };
    let next = "next: name one in the locator of the keyring: `?key=orders`; `encrypt` takes `--key orders`, too";
    let ran = bench.run_to(2, &["doctor", "dir:tree", "--read-only"]);
    let expected = [
        "FAILS  wrap     file:o.keys: no key is selected of orders, payments".to_string(),
        format!("       {next}"),
        "skip   unwrap   file:o.keys: it needs wrap".into(),
        "ok     list     dir:tree: 2 items".into(),
        "ok     rewrap   dir:tree: orders:1 open, 1 of them to another version".into(),
    ];
    assert_eq!(without_times(&ran.stdout), expected);
    let what = "1 checks failed: wrap file:o.keys: no key is selected of orders, payments";
    assert_eq!(ran.stderr, format!("envelock: {what}\n{next}\n"));
    let ran = bench.run_to(2, &["--json", "doctor"]);
    let skipped: serde_json::Value =
        serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    let expected = r#"{"check":"unwrap","needs":"wrap","ok":null,"subject":"file:o.keys"}"#;
    assert_eq!(skipped.to_string(), expected);
    bench.run_to(0, &["-k", "file:o.keys?key=orders", "doctor", "dir:tree"]);
    // A source that cannot be listed.
    std::fs::write(bench.path("list"), "absent\n").unwrap();
    let ran =
        bench.run_to(3, &["-k", "file:o.keys?key=orders", "doctor", "list:list", "--read-only"]);
    assert!(ran.stdout.contains("FAILS  rewrap   list:list: absent is listed, and does not exist"));
}
