//! Canaries by stratum: each has its share of the first stage, and one that fails stops the job.

use crate::common::{
    MemoryRecords, NOW, finished, forward_operation, forward_store, header, keyring, keys, open,
    rng, run_gated, run_to_end, stale,
};
use envelock::{Envelope, MemoryKeyring, Timestamp};
use envelock_ops::stores::MemoryStore;
use envelock_ops::{
    Definition, End, Expected, FailureLimit, Halt, Item, ItemKey, Operation, Replaced, Report,
    STRATUM_SAMPLE, Shard, Stage, StageReport, Start, Store, StoreError, Strata, Task, Verdict,
};
use std::sync::Arc;

/// Tenants with 2,000, 40 and 7 items, half of them under version 1, half under 2; 3 is primary.
fn tenants() -> (Arc<MemoryKeyring>, MemoryStore) {
    let mut rng = rng(8);
    let keyring = Arc::new(keyring("orders", &mut rng));
    let store = MemoryStore::new();
    for version in 1..3 {
        let envelope = Envelope::new(keyring.clone());
        for (tenant, items) in [("large", 1_000), ("middle", 20), ("small", 3 + version)] {
            for number in 0..items {
                let key = ItemKey::new(format!("{tenant}/{version}/{number}")).unwrap();
                store.insert(key, header(&envelope));
            }
        }
        keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut rng).unwrap();
    }
    (keyring, store)
}

fn definition() -> Definition {
    let first = Stage { up_to_millionths: 100_000, soak_seconds: 0 };
    let failure_limit = FailureLimit { millionths: 50_000, confidence_thousandths: 950 };
    Definition {
        stages: vec![first, Stage::all()],
        failure_limit,
        seed: 3,
        ..Definition::new("memory", Task::rewrap())
    }
}

fn dry_run(keyring: &Arc<MemoryKeyring>, store: &MemoryStore) -> Report {
    let dry = Definition { dry_run: true, ..definition() };
    let mut records = MemoryRecords::default();
    match run_to_end(&dry, store, &keys(keyring), &mut records) {
        End::Finished(report) => *report,
        other => panic!("{other:?}"),
    }
}

/// Runs the first stage alone.
fn first_stage(
    store: &MemoryStore,
    definition: &Definition,
    keys: &dyn Operation,
) -> (StageReport, Report, MemoryRecords) {
    let mut records = MemoryRecords::default();
    let start = Start::new(NOW, store.properties());
    let mut job = open(definition, Shard::WHOLE, &records, &start, keys).unwrap();
    match run_gated(&mut job, store, keys, &mut records, &mut NOW.clone(), |_| false) {
        End::Halted { why: Halt::Stage(stage), report } => (stage, *report, records),
        other => panic!("{other:?}"),
    }
}

#[test]
fn first_stage_has_30_of_each_stratum_or_all_and_every_item_has_one_stage() {
    let (keyring, store) = tenants();
    let before = store.headers();
    let planned = dry_run(&keyring, &store);
    assert_eq!(store.headers(), before);
    let strata: Strata = planned.strata.unwrap();
    assert_eq!(strata.counts().len(), 6);
    assert_eq!(strata.counts().iter().map(|count| count.items).sum::<u64>(), 2_049);
    let sample = strata.sample(&definition().stages[0]);
    let sampled = Definition { sample, ..definition() };
    let (stage, report, mut records) = first_stage(&store, &sampled, &keys(&keyring));
    assert!(stage.failing.is_empty() && report.tally.changed == stage.items);

    let after = store.headers();
    let changed = |start: &str| {
        let keys = before.keys().filter(|key| key.to_string().starts_with(start));
        keys.filter(|key| before.get(*key) != after.get(*key)).count()
    };
    for (start, items) in [("large/1", 1_000), ("middle/1", 20), ("small/1", 4), ("small/2", 5)] {
        assert!(changed(start) >= STRATUM_SAMPLE.min(items), "{start}: {}", changed(start));
    }
    assert!((150..=250).contains(&changed("large")), "{}", changed("large"));

    // What was changed first is not listed again in a later stage.
    let start = Start::new(NOW, store.properties());
    let keys = keys(&keyring);
    let mut job = open(&sampled, Shard::WHOLE, &records, &start, &keys).unwrap();
    let end = run_gated(&mut job, &store, &keys, &mut records, &mut NOW.clone(), |_| true);
    let End::Finished(report) = end else { panic!("{end:?}") };
    assert_eq!((report.tally.changed, report.tally.current), (2_049, 0), "{}", report.tally);
    // Without the sample the hash alone decides, and small strata are missed.
    let (keyring, store) = tenants();
    let (_, report, _) = first_stage(&store, &definition(), &crate::strata::keys(&keyring));
    assert!(report.tally.changed < stage.items - 30, "{}", report.tally);
}

/// Fails for one tenant.
struct Tenant<O>(O);

impl<O: Operation> Operation for Tenant<O> {
    forward_operation!(open, targets, writes, unreadable, refusal);

    fn apply(&self, item: &Item<'_>) -> Verdict {
        match item.key.to_string().starts_with("small/1") {
            true => Verdict::Failed(envelock::Error::MessageTooLong.into()),
            false => self.0.apply(item),
        }
    }
}

#[test]
fn stage_does_not_pass_if_one_stratum_fails_below_the_limit_of_all() {
    let (keyring, store) = tenants();
    let sample = dry_run(&keyring, &store).strata.unwrap().sample(&definition().stages[0]);
    let sampled = Definition { sample, ..definition() };
    let keys = Tenant(keys(&keyring));
    let (stage, _, records) = first_stage(&store, &sampled, &keys);
    assert!(stage.at_most_millionths < 50_000 && !stage.passes, "{stage}");
    let [failing] = &stage.failing[..] else { panic!("{stage:?}") };
    assert_eq!((failing.items, failing.failures), (4, 4));
    assert_eq!((failing.stratum.prefix.as_str(), failing.stratum.version), ("small", 1));
    let text = stage.to_string();
    assert!(text.ends_with("4 of 4 of orders:1, suite 1, slots 1, small/"), "{text}");
    // The counts are in the checkpoint.
    let checkpoint = String::from_utf8(records.checkpoint.unwrap()).unwrap();
    assert!(
        checkpoint.contains("\"prefix\":\"small\"},\"items\":4,\"failures\":4"),
        "{checkpoint}"
    );
}

/// A store in which another writer is always faster.
struct Contested(MemoryStore);

impl Store for Contested {
    forward_store!(properties, list, read);

    fn replace(&self, _: &ItemKey, _: Expected<'_>, _: &[u8]) -> Result<Replaced, StoreError> {
        Ok(Replaced::Conflict)
    }
}

/// Runs a job with one stage before the last.
fn gated(
    up_to_millionths: u32,
    keyring: &Arc<MemoryKeyring>,
    store: &dyn Store,
    gate: fn(&StageReport) -> bool,
) -> (End, std::time::Duration) {
    let first = Stage { up_to_millionths, soak_seconds: 900 };
    let definition = Definition {
        stages: vec![first, Stage::all()],
        ..Definition::new("memory", Task::rewrap())
    };
    let (mut records, keys, mut now) = (MemoryRecords::default(), keys(keyring), NOW);
    let start = Start::new(NOW, store.properties());
    let mut job = open(&definition, Shard::WHOLE, &records, &start, &keys).unwrap();
    let end = run_gated(&mut job, store, &keys, &mut records, &mut now, gate);
    (end, now - NOW)
}

#[test]
fn stage_of_conflicts_does_not_pass_and_a_small_one_says_what_it_lacks() {
    let (keyring, store) = stale(40);
    let (end, _) = gated(500_000, &keyring, &Contested(store), StageReport::is_clean);
    let End::Halted { why: Halt::Stage(stage), .. } = end else { panic!("{end:?}") };
    assert!(stage.items == 0 && stage.conflicts > 10 && !stage.passes, "{stage:?}");
    let text = format!("; {} not tried, changed by other writers", stage.conflicts);
    assert!(stage.to_string().ends_with(&text), "{stage}");

    let (keyring, store) = stale(40);
    let (end, _) = gated(500_000, &keyring, &store, |stage| {
        assert!(!stage.passes);
        assert_eq!(stage.missing(), Some(299 - stage.items));
        stage.is_clean()
    });
    assert_eq!(finished(end).tally.changed, 40);
}

#[test]
fn stage_without_items_neither_waits_nor_asks() {
    let (keyring, store) = stale(40);
    let (end, took) = gated(1, &keyring, &store, |stage| panic!("{stage}"));
    let report = finished(end);
    assert_eq!((report.tally.changed, took), (40, std::time::Duration::ZERO));
    assert_eq!(report.stages[0].to_string(), "stage 1: no items");
}
