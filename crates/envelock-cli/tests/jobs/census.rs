//! Censuses: by labels without any key, and by what opens.

use crate::bench::{Bench, count};
use envelock::Lifecycle as _;

#[test]
fn labels_need_no_key_and_opened_says_what_a_version_is_needed_for() {
    let bench = Bench::rotated(40);
    let start = ["job", "start", "dir:tree", "-d", "job", "--page", "10", "--set", "budget=10"];
    bench.run_to(4, &start);
    let before = bench.snapshot();
    let mut command = bench.command(&["--json", "census", "dir:tree"]);
    let labels = command.env_remove("ENVELOCK_KEYRING").output().unwrap();
    let labels: serde_json::Value = serde_json::from_slice(&labels.stdout).unwrap();
    let uses = |report: &serde_json::Value, name: &str| -> Vec<u64> {
        let uses = report["census"]["uses"].as_array().unwrap();
        uses.iter().map(|one| one[name].as_u64().unwrap()).collect()
    };
    assert_eq!((uses(&labels, "labelled"), uses(&labels, "opened")), (vec![30, 10], vec![0, 0]));
    let opened = bench.json(0, &["census", "dir:tree", "--opened"]);
    assert_eq!(uses(&opened, "opened"), [30, 10]);
    let without = bench.json(3, &["census", "dir:tree", "--opened", "--without", "orders:1"]);
    assert_eq!(uses(&without, "opened"), [0, 10]);
    assert_eq!(without["census"]["unopenable"][0][1], 30);
    let text = bench.run_to(3, &["census", "dir:tree", "--opened", "--without", "orders:1"]);
    assert!(text.stderr.contains("30 items do not open without orders:1"), "{}", text.stderr);
    let unknown = bench.run(&["census", "dir:tree", "--opened", "--without", "payments:1"]);
    assert_ne!(unknown.exit, Some(0), "a name that no keyring has proves nothing");
    bench.run_to(2, &["census", "dir:tree", "--without", "orders:1"]);
    assert_eq!(bench.snapshot(), before);
    bench.run_to(0, &["job", "resume", "job", "--set", "budget=none"]);
    bench.run_to(0, &["census", "dir:tree", "--opened", "--without", "orders:1"]);
}

#[test]
fn reports_of_parts_add_up_and_those_of_other_questions_do_not() {
    let bench = Bench::rotated(40);
    let census = |shard: &'static str, report: &'static str| {
        ["census", "dir:tree", "--opened", "--shard", shard, "--report", report]
    };
    bench.run_to(0, &census("0/2", "a.report.json"));
    bench.run_to(3, &["job", "merge", "a.report.json"]);
    bench.run_to(0, &census("1/2", "b.report.json"));
    let merged = bench.json(0, &["job", "merge", "a.report.json", "b.report.json"]);
    assert_eq!(count(&merged, "current"), 40);
    assert_eq!(merged["census"]["uses"][0]["opened"], 40);
    let other = [&census("1/2", "c.report.json")[..], &["--without", "orders:2"]].concat();
    bench.run_to(0, &other);
    bench.run_to(2, &["job", "merge", "a.report.json", "c.report.json"]);
}

/// A job of a program that trusts its service has such a report.
#[test]
fn trusted_items_are_told_apart() {
    let bench = Bench::rotated(4);
    bench.run_to(0, &["job", "start", "dir:tree", "-d", "job"]);
    let report = bench.path("job/0-of-1.report.json");
    let text = std::fs::read_to_string(&report).unwrap();
    assert!(text.contains("\"trusted\": 0"), "{text}");
    std::fs::write(&report, text.replace("\"trusted\": 0", "\"trusted\": 3")).unwrap();
    let merged = bench.run_to(0, &["job", "merge", report.to_str().unwrap()]);
    assert!(merged.stdout.contains("rewrapped 4 (3 trusted)  current 0 "), "{}", merged.stdout);
}

#[test]
fn list_of_paths_is_a_source() {
    let bench = Bench::rotated(20);
    let paths: Vec<String> =
        bench.plaintexts.keys().take(3).map(|path| path.display().to_string()).collect();
    std::fs::write(bench.path("list"), paths.join("\n")).unwrap();
    let counted = bench.json(0, &["census", "list:list?root=tree"]);
    assert_eq!(count(&counted, "listed"), 3);
    let summary = bench.json(0, &["job", "start", "list:list?root=tree", "-d", "job"]);
    assert_eq!(count(&summary, "changed"), 3);
    let outside = bench.run_to(2, &["census", "list:list?root=/usr"]);
    assert!(outside.stderr.contains("is not below the root"), "{}", outside.stderr);
}

/// The digest of the items is the same however they are divided and whatever is done to them, and tells that one is missing.
#[test]
fn reports_can_be_compared_by_their_items_and_their_keyring() {
    let bench = Bench::rotated(40);
    let census = || bench.json(0, &["census", "dir:tree", "--opened"]);
    let whole = census();
    let digest = whole["population"].as_str().unwrap();
    assert_eq!(digest.len(), 64);
    let change = bench.keyring().change_number();
    assert_eq!(whole["keyring_change"], change);
    assert_eq!(whole["keyring_id"].as_str().unwrap().split(' ').count(), 2);
    for (shard, report) in [("0/2", "a.report.json"), ("1/2", "b.report.json")] {
        let part = ["census", "dir:tree", "--opened", "--shard", shard, "--report", report];
        bench.run_to(0, &part);
    }
    let merged = bench.json(0, &["job", "merge", "a.report.json", "b.report.json"]);
    assert_eq!(merged["population"], digest);
    let start = ["job", "start", "dir:tree", "-d", "job", "--page", "7", "--stages", "50%"];
    bench.run_to(4, &[&start[..], &["--gate", "false"]].concat());
    bench.run_to(0, &["job", "resume", "job", "--release"]);
    let report = std::fs::read(bench.path("job/0-of-1.report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(
        (&report["population"], &report["keyring_change"]),
        (&digest.into(), &change.into())
    );
    std::fs::remove_file(bench.plaintexts.keys().next().unwrap()).unwrap();
    assert_ne!(census()["population"], digest);
}

#[test]
fn next_step_names_a_message_that_does_not_open() {
    let bench = Bench::rotated(10);
    bench.keyring().disable(envelock::KeyVersion::FIRST).unwrap();
    let left = bench.run_to(3, &["census", "dir:tree", "--opened"]);
    let (_, next) = left.stderr.split_once("next: `envelock inspect ").unwrap();
    let file = next.split_once('`').unwrap().0;
    assert!(bench.path(file).is_file(), "{}", left.stderr);
    bench.run_to(0, &["inspect", file]);
}
