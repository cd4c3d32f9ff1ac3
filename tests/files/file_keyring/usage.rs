//! Usage is a statistic: counting it never stops or slows an encryption, and the count is exact, or
//! low by what was not written, or high by what was reserved; never anything else.

use super::simulated_directory::{Kind, SimulatedDirectory};
use super::{ROW, TestDirectory, create, encrypt, lazy, raw, version};
use envelock::test_access::key_file::Store;
use envelock::{
    Aad, DataKeyReuse, Envelope, FileKeyring, KeyVersion, Lifecycle, OsRandom, RotationPolicy,
    Timestamp,
    file::FileKeyringOptions,
    keyset::{Change, ChangeOptions, Material, Usage},
    policy::{Action, Reason},
};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The recorded usage of version 1.
fn on_record(path: &Path) -> (u64, u64) {
    let keyring = FileKeyringOptions::new().read_only().open_any(path, &raw()).unwrap();
    let Usage { wraps, bytes } = keyring.versions()[0].usage;
    (wraps, bytes)
}

fn reported(keyring: &FileKeyring) -> (u64, u64) {
    let Usage { wraps, bytes } = keyring.versions()[0].usage;
    (wraps, bytes)
}

/// A new file, and what is on record of it after `work` with a keyring that is closed.
fn recorded_after(work: impl FnOnce(&FileKeyring)) -> (u64, u64) {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = create(&path);
    work(&keyring);
    keyring.close().unwrap();
    on_record(&path)
}

fn encrypt_times(keyring: &FileKeyring, times: usize, len: usize) {
    let plaintext = vec![0; len];
    let envelope = Envelope::new(keyring);
    (0..times).for_each(|_| drop(envelope.encrypt(&plaintext, ROW).unwrap()));
}

/// The counts that were once wrong by factors of 8,590.
#[test]
fn usage_after_an_orderly_end_is_exact() {
    for (times, len) in [(1, 1), (255, 64), (256, 64), (257, 64), (1_108, 64), (24, 32 << 20)] {
        let recorded = recorded_after(|keyring| encrypt_times(keyring, times, len));
        assert_eq!(recorded, (times as u64, (times * len) as u64));
    }
    // 50 processes with one message each.
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    drop(create(&path));
    for _ in 0..50 {
        encrypt_times(&FileKeyring::open_any(&path, &raw()).unwrap(), 1, 1);
    }
    assert_eq!(on_record(&path), (50, 50));
}

#[test]
fn usage_of_many_wraps_is_exact() {
    // 2^9 blocks of both counters once stood for them.
    let recorded = recorded_after(|keyring| encrypt_times(keyring, 130_816, 1));
    assert_eq!(recorded, (130_816, 130_816));
}

#[test]
fn usage_of_reused_data_keys_counts_their_messages() {
    let recorded = recorded_after(|keyring| {
        let reuse = DataKeyReuse::new(2, u64::MAX, Duration::from_secs(60));
        let envelope = Envelope::new(keyring).with_data_key_reuse(Arc::new(reuse));
        (0..3).for_each(|_| drop(envelope.encrypt(b"1", ROW).unwrap()));
    });
    assert_eq!(recorded, (2, 3));
}

#[test]
fn usage_of_killed_process_alone_is_missing() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = create(&path);
    encrypt_times(&keyring, 3, 10);
    assert_eq!(reported(&keyring), (3, 30), "unwritten usage is reported");
    assert_eq!(on_record(&path), (0, 0));
    keyring.flush().unwrap();
    assert_eq!((reported(&keyring), on_record(&path)), ((3, 30), (3, 30)));
    let before = fs::read(&path).unwrap();
    keyring.flush().unwrap();
    assert_eq!(fs::read(&path).unwrap(), before, "nothing to write");
    for _ in 0..50 {
        let killed = FileKeyring::open_any(&path, &raw()).unwrap();
        encrypt_times(&killed, 1, 1);
        std::mem::forget(killed);
    }
    assert_eq!(on_record(&path), (3, 30));
    // A change takes along what was counted.
    encrypt_times(&keyring, 2, 1);
    keyring.rotate().unwrap();
    assert_eq!((reported(&keyring), on_record(&path)), ((5, 32), (5, 32)));
    drop(keyring);
    assert_eq!(on_record(&path), (5, 32));
}

#[test]
fn usage_of_destroyed_version_is_dropped() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = create(&path);
    encrypt_times(&keyring, 4, 1);
    let operate = |operation| Change::Version { key: "orders", version: version(1), operation };
    let changes = [
        Change::Rotate { key: "orders" },
        operate(envelock::keyset::Operation::Disable),
        operate(envelock::keyset::Operation::DestroyImmediately),
    ];
    keyring.change(&changes, &ChangeOptions::at(Timestamp::now()), &mut OsRandom).unwrap();
    assert_eq!((reported(&keyring), on_record(&path)), ((4, 4), (4, 4)));
}

#[test]
fn reserved_usage_is_never_too_low() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let options = FileKeyringOptions::new().reserve_usage();
    let keyring = options.create(&path, "orders", &raw()).unwrap();
    let (mut written, mut last) = (0, fs::read(&path).unwrap());
    for made in 1..=2_000 {
        encrypt(&keyring, "ten bytes!");
        let now = fs::read(&path).unwrap();
        if now != last {
            (last, written) = (now, written + 1);
        }
        assert_eq!(reported(&keyring), (made, made * 10), "reserved wraps are not reported");
        if made.is_power_of_two() {
            assert!((made..=(2 * made).max(16)).contains(&on_record(&path).0));
        }
    }
    // 16, 32, 64 .. 2,048 wraps: no write for each.
    assert_eq!((written, on_record(&path).0), (8, 2_048));
    assert!(keyring.versions()[0].is_reserved);
    keyring.close().unwrap();
    assert_eq!(on_record(&path), (2_000, 20_000));

    // As a crash leaves it: nothing is given back.
    let mut done = 2_000;
    for crash in 1..=20 {
        let keyring = options.open_any(&path, &raw()).unwrap();
        for _ in 0..crash * 40 {
            encrypt(&keyring, "ten bytes!");
            done += 1;
        }
        assert!(on_record(&path).0 >= done);
        std::mem::forget(keyring);
    }
    let before = on_record(&path);
    let without = FileKeyringOptions::new().without_usage().open_any(&path, &raw()).unwrap();
    encrypt(&without, "uncounted");
    assert_eq!(reported(&without), before);
    drop(without);
    assert_eq!(on_record(&path), before);
}

/// A wait of this length would be noticed.
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn encryption_goes_on_while_another_holds_the_lock() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    drop(create(&path));
    let patient = FileKeyringOptions::new().lock_wait(HOUR);
    let keyring = patient.open_any(&path, &raw()).unwrap();
    let store = Store::open(&path).unwrap();
    let writer = store.lock(HOUR).unwrap();
    let started = Instant::now();
    encrypt_times(&keyring, 1_000, 1);
    // Tries the lock once.
    drop(keyring);
    assert!(started.elapsed() < HOUR, "{:?}", started.elapsed());
    drop(writer);
    assert_eq!(on_record(&path), (0, 0));
}

/// Calls that encryptions make on the files.
#[test]
fn encryption_makes_no_call_but_the_look_for_changes() {
    let directory = SimulatedDirectory::new();
    let name = OsStr::new("orders.keys");
    let shared = Arc::new(directory.clone());
    drop(FileKeyringOptions::new().create_in(shared.clone(), name, "orders", &raw()).unwrap());
    let keyring = lazy().open_in(shared.clone(), name, &raw()).unwrap();
    directory.plan(Default::default());
    encrypt_times(&keyring, 10_000, 1);
    assert!(directory.calls().is_empty(), "{:?}", directory.calls());
    let eager = FileKeyringOptions::new().refresh_after(Duration::ZERO);
    let keyring = eager.open_in(shared, name, &raw()).unwrap();
    directory.plan(Default::default());
    encrypt_times(&keyring, 100, 1);
    let kinds = [Kind::StatName, Kind::Open, Kind::StatFile, Kind::Read, Kind::SyncDirectory];
    for call in directory.calls() {
        assert!(kinds.contains(&call.kind), "{call:?}");
    }
}

#[test]
fn file_of_ten_thousand_keys_is_written_once() {
    const KEYS: usize = 10_000;
    let directory = SimulatedDirectory::new();
    let (name, shared) = (OsStr::new("tenants.keys"), Arc::new(directory.clone()));
    let keyring = lazy().create_in(shared.clone(), name, "tenant-0", &raw()).unwrap();
    let names: Vec<String> = (1..KEYS).map(|number| format!("tenant-{number}")).collect();
    let changes: Vec<Change<'_>> = names
        .iter()
        .map(|key| Change::CreateKey { key, version: KeyVersion::FIRST, material: Material::Fresh })
        .collect();
    keyring.change(&changes, &ChangeOptions::at(Timestamp::now()), &mut OsRandom).unwrap();
    drop(keyring);
    let keyring = lazy().open_in(shared.clone(), name, &raw()).unwrap();
    directory.plan(Default::default());
    let started = Instant::now();
    for number in 0..KEYS {
        let tenant = keyring.with_key(&format!("tenant-{number}")).unwrap();
        encrypt_times(&tenant, 1, 1);
    }
    let took = started.elapsed();
    assert!(directory.calls().is_empty(), "{:?}", directory.calls());
    let started = Instant::now();
    keyring.close().unwrap();
    let renames = directory.calls().iter().filter(|call| call.kind == Kind::Rename).count();
    println!("{KEYS} keys: first messages in {took:?}, one write in {:?}", started.elapsed());
    assert_eq!(renames, 1);
    let keyring = lazy().open_in(shared, name, &raw()).unwrap();
    let keysets = keyring.keysets().unwrap();
    let mut records = keysets.iter().flat_map(|keyset| keyset.versions());
    assert!(records.all(|record| record.usage == Usage { wraps: 1, bytes: 1 }));
    assert_eq!(keysets.iter().len(), KEYS);
}

/// Runs `work` in a child that ends without a drop, as by `_exit`.
fn in_child(work: impl FnOnce()) -> i32 {
    // SAFETY: the child calls `work` and ends: it returns to no code that other threads, which it
    // does not have, would be needed for. The C library makes its allocator usable there.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: ends this process after a while, if it has not ended by itself.
        unsafe { libc::alarm(60) };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // SAFETY: ends this process, without handlers that are the parent's.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    child
}

fn wait_for(child: i32) {
    let mut status = 0;
    // SAFETY: waits for a child of this process, with room for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
}

/// 66,000 wraps and 8 times 60,000 counted as 66,000.
#[test]
fn forked_child_counts_its_own_wraps_only() {
    for reserves in [false, true] {
        let directory = TestDirectory::new();
        let path = directory.join("orders.keys");
        let mut options = FileKeyringOptions::new();
        if reserves {
            options = options.reserve_usage();
        }
        let keyring = options.create(&path, "orders", &raw()).unwrap();
        encrypt_times(&keyring, 6_600, 1);
        let child = || {
            in_child(|| {
                encrypt_times(&keyring, 6_000, 1);
                keyring.flush().unwrap();
            })
        };
        let children: Vec<_> = (0..8).map(|_| child()).collect();
        children.into_iter().for_each(wait_for);
        // One that does nothing, and one whose drop is its last act.
        wait_for(in_child(|| drop(options.clone().open_any(&path, &raw()).unwrap())));
        wait_for(in_child(|| {
            // SAFETY: the copy has no other user, in a process of its own.
            drop(unsafe { std::ptr::read(&raw const keyring) });
        }));
        let reserved = if reserves { 8 * (8_192 - 6_000) } else { 0 };
        assert_eq!(reported(&keyring).0, 6_600 + 8 * 6_000 + reserved);
        keyring.close().unwrap();
        let (wraps, bytes) = on_record(&path);
        assert_eq!(bytes, 6_600 + 8 * 6_000);
        assert_eq!(wraps, bytes + reserved, "a child that is killed leaves what it reserved");
    }
}

/// Each message rotated the key again.
#[test]
fn policy_below_a_block_does_not_rotate_at_every_run() {
    for options in [FileKeyringOptions::new(), FileKeyringOptions::new().reserve_usage()] {
        let directory = TestDirectory::new();
        let path = directory.join("orders.keys");
        let keyring = options.create(&path, "orders", &raw()).unwrap();
        let policy =
            RotationPolicy::on_compromise().rotate_after_wraps(200).rotate_after_bytes(50_000_000);
        let cron = FileKeyring::open_any(&path, &raw()).unwrap();
        for _ in 0..20 {
            Envelope::new(&keyring).encrypt(b"ten bytes!", Aad::none()).unwrap();
            for one in [&keyring, &cron] {
                let plan =
                    policy.plan(&one.keysets().unwrap(), "orders", Timestamp::now()).unwrap();
                assert!(plan.is_empty(), "{plan}");
            }
        }
        encrypt_times(&keyring, 180, 10);
        let plan = policy.plan(&keyring.keysets().unwrap(), "orders", Timestamp::now()).unwrap();
        assert_eq!(plan.due()[0].action, Action::Rotate);
        let Reason::Wraps { wraps: 200, is_reserved, limit: 200 } = plan.due()[0].reason else {
            panic!("{plan}");
        };
        let text = plan.to_string();
        match is_reserved {
            false => assert!(text.contains("has wrapped at least 200 data keys"), "{text}"),
            true => assert!(text.contains("200 data keys are wrapped or reserved"), "{text}"),
        }
    }
}
