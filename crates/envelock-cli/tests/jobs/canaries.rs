//! Canaries with items of each stratum, prices, and headers that are read before a job begins.

use crate::bench::{Bench, count};
use envelock::{KeyVersion, Lifecycle};
use serde_json::Value;

/// The items of a plan's sample, and of the first stage of the job after it.
fn sample_and_first(bench: &Bench, more: &[&str]) -> (usize, u64) {
    let options = [&["dir:tree", "-d", "job"], more].concat();
    let plan = bench.json(0, &[&["job", "plan"], &options[..]].concat());
    let sample = plan["plan"]["definition"]["sample"].as_array().unwrap().len();
    let gate = ["--gate", "false"];
    let halted = bench.json(4, &[&["job", "start"], &options[..], &gate].concat());
    assert_eq!(halted["summary"]["definition"], plan["plan"]["definition"]);
    (sample, count(&halted, "changed"))
}

#[test]
fn first_stage_has_items_of_each_stratum_or_the_part_alone() {
    // 60 in each of 7 directories.
    let bench = Bench::rotated(420);
    let (sample, first) = sample_and_first(&bench, &["--stages", "1%", "--strata", "yes"]);
    assert!((200..=210).contains(&sample), "{sample}");
    assert!((210..=225).contains(&first), "{first}");
    let bench = Bench::rotated(420);
    let (sample, first) = sample_and_first(&bench, &["--canary", "30"]);
    assert!(sample == 0 && (10..60).contains(&first), "{sample} {first}");
    let text = bench.run_to(0, &["job", "plan", "dir:tree", "--failure-limit", "5%"]).stdout;
    let strata = "strata in the first: 7, each with 30 items or all";
    assert!(text.contains(strata), "{text}");
    let divided = ["job", "start", "dir:tree", "-d", "parts", "--stages", "1%", "--shard", "0/2"];
    let refused = bench.run_to(2, &[&divided[..], &["--strata", "yes"]].concat());
    assert!(refused.stderr.contains("strata of a divided job"), "{}", refused.stderr);
}

#[test]
fn sample_stays_while_the_source_changes() {
    let bench = Bench::rotated(420);
    let start = ["job", "start", "dir:tree", "-d", "job", "--stages", "1%", "--strata", "yes"];
    let start = [&start[..], &["--gate", "test -e released", "--or-resume"]].concat();
    bench.json(4, &start);
    std::fs::remove_file(bench.plaintexts.keys().next().unwrap()).unwrap();
    std::fs::write(bench.path("released"), "").unwrap();
    bench.json(0, &start);
    let report = bench.json(0, &["job", "merge", "job"]);
    assert!(count(&report, "changed") >= 419, "{report}");
}

#[test]
fn money_is_limited_by_the_prices_of_a_source() {
    let bench = Bench::rotated(100);
    let toml = "[sources.orders]\nlocator = \"dir:tree\"\nprices = { list = 5, read = 0.4, write = 5000, key = 0 }\n";
    std::fs::write(bench.path("envelock.toml"), toml).unwrap();
    let plan = bench.json(0, &["job", "plan", "orders"]);
    // Pages of 50 and 50 items, read twice, and written once.
    let cost = 2 * 5_000 + 100 * (2 * 400 + 5_000_000);
    assert_eq!(plan["plan"]["cost_billionths"], cost);
    let plan = bench.run_to(0, &["job", "plan", "orders", "--set", "spend=0.20"]);
    assert!(plan.stdout.contains("costs 0.50009 by its prices"), "{}", plan.stdout);
    assert!(plan.stdout.contains("limits    spend=0.20"), "{}", plan.stdout);
    let start = ["job", "start", "orders", "--page", "10", "--set", "spend=0.20"];
    let halted = bench.run_to(4, &start);
    assert!(halted.stderr.contains("halted: 0.1"), "{}", halted.stderr);
    let next = "next: `envelock job resume orders.job --set spend=none` lifts it";
    assert!(halted.stderr.contains(next), "{}", halted.stderr);
    assert!(halted.stdout.contains("cost 0."), "{}", halted.stdout);
    let status = bench.json(0, &["job", "status", "orders.job"]);
    assert!((30..40).contains(&count(&status, "changed")), "{status}");
    let set = bench.run_to(0, &["job", "set", "orders.job", "spend=0.40"]);
    assert!(set.stdout.starts_with("spend=0.40"), "{}", set.stdout);
    bench.run_to(4, &["job", "resume", "orders.job"]);
    let summary = bench.json(0, &["job", "resume", "orders.job", "--set", "spend=none"]);
    assert_eq!(count(&summary, "changed"), 100);
    assert!(summary["cost_billionths"].as_u64().unwrap() >= cost);
    // An option comes before the file.
    let plan = bench.json(0, &["job", "plan", "orders", "--price", "write=0"]);
    let prices = &plan["plan"]["definition"]["prices"];
    assert_eq!((&prices["write"], &prices["read"]), (&0.into(), &400.into()));
}

#[test]
fn limit_of_money_without_prices_is_refused() {
    let bench = Bench::rotated(5);
    for verb in ["plan", "start"] {
        let refused = bench.run_to(2, &["job", verb, "dir:tree", "--set", "spend=1"]);
        assert!(refused.stderr.contains("spend limits nothing"), "{}", refused.stderr);
    }
    bench.run_to(0, &["job", "start", "dir:tree"]);
    let refused = bench.run_to(2, &["job", "set", "tree.job", "spend=1"]);
    assert!(refused.stderr.contains("spend limits nothing"), "{}", refused.stderr);
    for (option, value, text) in [
        ("--set", "spend=-1", "no amount"),
        ("--price", "write", "is not CALL=PRICE"),
        ("--price", "put=1", "there is no call \"put\""),
        ("--price", "write=0.0001", "more than 3 digits"),
    ] {
        let refused = bench.run_to(2, &["job", "plan", "dir:tree", option, value]);
        assert!(refused.stderr.contains(text), "{}", refused.stderr);
    }
    let toml = "[sources.orders]\nlocator = \"dir:tree\"\nprices = { put = 1 }\n";
    std::fs::write(bench.path("envelock.toml"), toml).unwrap();
    let refused = bench.run_to(2, &["job", "plan", "orders"]);
    assert!(refused.stderr.contains("there is no call \"put\""), "{}", refused.stderr);
}

/// One message under a version that is disabled afterwards, behind so many others that no sample has it.
#[test]
fn one_message_that_cannot_be_read_refuses_the_start() {
    let bench = Bench::new(1_100);
    let keyring = bench.keyring();
    keyring.rotate().unwrap();
    let envelope = envelock::Envelope::new(bench.keyring());
    let message = envelope.encrypt(b"last", envelock::Aad::none()).unwrap();
    std::fs::write(bench.path("tree/z"), message).unwrap();
    drop(envelope);
    keyring.rotate().unwrap();
    keyring.disable(KeyVersion::new(2).unwrap()).unwrap();
    for verb in ["plan", "start"] {
        let refused = bench.run_to(6, &["job", verb, "dir:tree", "-d", "job"]);
        assert!(refused.stderr.contains("items under orders:2"), "{}", refused.stderr);
        assert!(refused.stderr.contains("the version is disabled"), "{}", refused.stderr);
    }
    assert!(!bench.path("job").exists());
    // A version that is disabled later fails its items, and the status has the reason.
    keyring.enable(KeyVersion::new(2).unwrap()).unwrap();
    let disable = format!(
        "{} -k file:o.keys key disable orders:2 && sleep 1.1",
        env!("CARGO_BIN_EXE_envelock")
    );
    let start = ["job", "start", "dir:tree", "-d", "job", "--canary", "1", "--gate", &disable];
    let left = bench.json(3, &start);
    assert_eq!((count(&left, "failed"), count(&left, "changed")), (1, 1_100));
    let status = bench.run_to(0, &["job", "status", "job"]);
    assert!(status.stdout.contains("\nleft 1: "), "{}", status.stdout);
    let json: Value = bench.json(0, &["job", "status", "job"]);
    assert_eq!(json["left"][0][1], 1);
    assert!(json["left"][0][0].as_str().unwrap().contains("disabled"), "{json}");
}
