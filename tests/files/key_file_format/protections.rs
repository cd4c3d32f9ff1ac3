//! Passphrase, outer keyring, raw key, none: what opens, what does not, and at which cost.

use super::craft::Crafter;
use super::make::{NOW, Seeded, raw_key, twenty, version};
use envelock::test_access::key_file_format::KeyFile;
use envelock::{
    Lifecycle, MasterKey, MemoryKeyring,
    file::{Argon2Cost, CostFault, KeyFileFault, Protection, ProtectionKind, RecordFault},
    keyset::{Keyset, KeysetMap, Usage},
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

/// The cheapest that a file may be written with.
pub const CHEAP: Argon2Cost = Argon2Cost { memory_kib: 7168, passes: 5, lanes: 1 };

pub fn passphrase(text: &str) -> Protection {
    Protection::passphrase_with_cost(text, CHEAP)
}

pub fn outer() -> Arc<MemoryKeyring> {
    let key = MasterKey::from_bytes(&[9; 32]);
    Arc::new(MemoryKeyring::import_at("outer", version(3), &key, NOW).unwrap())
}

/// Each kind of protection, and one of the same kind with another secret.
pub fn all() -> [(&'static str, Protection, Option<Protection>); 4] {
    let other =
        MemoryKeyring::import_at("outer", version(3), &MasterKey::from_bytes(&[8; 32]), NOW);
    let wrong_key = Protection::raw_key(MasterKey::from_bytes(&[6; 32]));
    [
        ("passphrase", passphrase("correct horse"), Some(passphrase("correct horsf"))),
        (
            "keyring",
            Protection::keyring(outer()),
            Some(Protection::keyring(Arc::new(other.unwrap()))),
        ),
        ("raw-key", raw_key(), Some(wrong_key)),
        ("unprotected", Protection::unprotected_plaintext(), None),
    ]
}

#[test]
fn file_opens_with_its_own_protection_only() {
    for (name, protection, wrong) in all() {
        let (file, key) = twenty(&protection, 1);
        let bytes = file.encode(&key, NOW).unwrap();
        assert_eq!(file.protections()[0].kind, Some(protection.kind()));
        let (again, again_key) = KeyFile::open(&bytes, &protection).unwrap();
        assert_eq!(again.verify_material(&again_key).unwrap(), 19, "{name}");
        if let Some(wrong) = wrong {
            let fault = KeyFile::open(&bytes, &wrong).map(drop).unwrap_err();
            let outer = matches!(fault, KeyFileFault::OuterKeyring(_));
            assert!(outer == (name == "keyring"), "{name}: {fault}");
            assert!(outer || matches!(fault, KeyFileFault::Authentication), "{name}: {fault}");
        }
        for (_, other, _) in all() {
            if other.kind() == protection.kind() {
                continue;
            }
            match KeyFile::open(&bytes, &other).map(drop) {
                Err(KeyFileFault::ProtectionKind { found, offered }) => {
                    assert_eq!((found, offered), (vec![protection.kind()], other.kind()));
                }
                result => panic!("{name}: {result:?}"),
            }
        }
    }
}

#[test]
fn new_protection_is_seen_and_keeps_master_keys() {
    let mut rng = Seeded::new(3);
    let (file, key) = twenty(&raw_key(), 1);
    let bytes = file.encode(&key, NOW).unwrap();
    assert_eq!(KeyFile::reload(&bytes, &key).unwrap().keysets(), file.keysets());
    for (name, protection, _) in all() {
        let (replaced, new_key) = file.replace_file_key(&key, &[&protection], &mut rng).unwrap();
        assert_eq!(replaced.keysets(), file.keysets());
        assert_eq!(replaced.id(), file.id());
        let bytes = replaced.encode(&new_key, NOW).unwrap();
        let fault = KeyFile::reload(&bytes, &key).unwrap_err();
        assert!(matches!(fault, KeyFileFault::FileKeyReplaced), "{name}: {fault}");
        let before = ALLOCATED.get();
        let again = KeyFile::reload(&bytes, &new_key).unwrap();
        assert_eq!(again.verify_material(&new_key).unwrap(), 19);
        // A stretching takes 7 MiB.
        assert!(ALLOCATED.get() - before < 1 << 20, "{name}: a reload stretches");
        // The old file key would write material that no process can open.
        let fault = replaced.encode(&key, NOW).unwrap_err();
        assert!(matches!(fault, KeyFileFault::FileKeyReplaced), "{name}: {fault}");
        assert!(file.encode(&new_key, NOW).is_err(), "{name}");
    }
}

#[test]
fn outer_keyring_may_rotate() {
    let (outer, mut rng) = (outer(), Seeded::new(3));
    let protection = Protection::keyring(outer.clone());
    let (file, key) = twenty(&protection, 1);
    let bytes = file.encode(&key, NOW).unwrap();
    assert!(String::from_utf8_lossy(&bytes).contains(r#""keys":["outer version 3"]"#));
    outer.rotate_with_rng(NOW, &mut rng).unwrap();
    KeyFile::open(&bytes, &protection).unwrap();
    let (file, key) = file.replace_file_key(&key, &[&protection], &mut rng).unwrap();
    let bytes = file.encode(&key, NOW).unwrap();
    assert!(String::from_utf8_lossy(&bytes).contains(r#""keys":["outer version 4"]"#));
    outer.disable(version(3)).unwrap();
    KeyFile::open(&bytes, &protection).unwrap();
    outer.rotate_with_rng(NOW, &mut rng).unwrap();
    outer.disable(version(4)).unwrap();
    let fault = KeyFile::open(&bytes, &protection).map(drop).unwrap_err();
    assert!(matches!(fault, KeyFileFault::OuterKeyring(_)), "{fault}");
}

#[test]
fn empty_secrets_protect_nothing_new() {
    let zero = Protection::raw_key(MasterKey::from_bytes(&[0; 32]));
    for protection in [Protection::passphrase(""), zero] {
        let fault = KeyFile::create(&protection, &mut Seeded::new(1)).map(drop).unwrap_err();
        assert!(matches!(fault, KeyFileFault::EmptySecret), "{fault}");
    }
}

#[test]
fn no_secret_is_shown() {
    let all = [passphrase("correct horse"), raw_key(), Protection::unprotected_plaintext()];
    for protection in all {
        let kind = protection.kind();
        assert_eq!(format!("{protection:?}"), format!("Protection({kind})"));
    }
    let (_, key) = twenty(&raw_key(), 1);
    assert!(format!("{key:?}").len() < 80);
    assert_eq!(ProtectionKind::Unprotected.to_string(), "unprotected plaintext");
}

/// THREATS row 3: a wrapped key that was made to open under two keys is refused by the commitment,
/// which comes first.
#[test]
fn another_commitment_is_refused_whatever_is_sealed() {
    let (file, key) = twenty(&raw_key(), 1);
    let text = String::from_utf8(file.encode(&key, NOW).unwrap()).unwrap();
    let at = text.find(r#""commitment":""#).unwrap() + 14;
    // In both copies: then nothing says that the header is damaged.
    let commitment = &text[at..at + 64];
    let other = text.replace(commitment, &commitment.replace(['0', '1'], "2"));
    assert_ne!(other, text);
    let fault = KeyFile::open(other.as_bytes(), &raw_key()).map(drop).unwrap_err();
    assert!(matches!(fault, KeyFileFault::Authentication), "{fault}");
}

thread_local! {
    /// Bytes that this thread has allocated so far.
    pub static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system allocator unchanged; the count is beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|it| it.set(it.get() + layout.size()));
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// The rules of FORMAT F-COST, by another hand.
fn expected(cost: Argon2Cost) -> Option<CostFault> {
    let Argon2Cost { memory_kib, passes, lanes } = cost;
    let [m, t, p] = [memory_kib, passes, lanes].map(u64::from);
    if m > 1_048_576 || t > 64 || p > 16 || m * t > 4_194_304 {
        Some(CostFault::TooCostly)
    } else if t == 0 || p == 0 || m < 8 * p {
        Some(CostFault::Invalid)
    } else {
        None
    }
}

/// THREATS row 37: every power of two, its neighbours, and no number at all.
#[test]
fn cost_above_the_caps_is_refused_without_memory() {
    let (file, key) = twenty(&passphrase("x"), 1);
    let text = String::from_utf8(file.encode(&key, NOW).unwrap()).unwrap();
    let is = r#""memory_kib":7168,"passes":5,"lanes":1"#;
    let powers: Vec<u32> = [0].into_iter().chain((0..32).map(|it| 1 << it)).collect();
    let mut costs = Vec::new();
    for &memory_kib in &powers {
        for &passes in &powers {
            for &lanes in &powers {
                costs.push(Argon2Cost { memory_kib, passes, lanes });
            }
        }
    }
    for memory_kib in [1_048_575, 1_048_577, u32::MAX] {
        costs.extend([1, 4, 5, 65, u32::MAX].map(|passes| Argon2Cost {
            memory_kib,
            passes,
            lanes: 4,
        }));
    }
    let (mut refused, mut most) = (0, 0);
    let offered = passphrase("y");
    for cost in costs {
        let Some(fault) = expected(cost) else { continue };
        let Argon2Cost { memory_kib, passes, lanes } = cost;
        let asked = format!(r#""memory_kib":{memory_kib},"passes":{passes},"lanes":{lanes}"#);
        let bytes = text.replace(is, &asked).into_bytes();
        let before = ALLOCATED.get();
        let result = KeyFile::open(&bytes, &offered).map(drop);
        most = most.max(ALLOCATED.get() - before);
        match result.unwrap_err() {
            KeyFileFault::Argon2Cost { cost: found, fault: what } => {
                assert_eq!((found, what), (cost, fault));
            }
            other => panic!("{cost}: {other}"),
        }
        refused += 1;
    }
    println!("{refused} costs refused, with {most} bytes at most");
    assert!(refused > 34_000, "only {refused}");
    assert!(most < 16 << 10, "{most} bytes");
    for wrong in ["-1", "4294967296", "1e3", "\"64\"", "null", "99999999999999999999"] {
        let bytes = text.replace(is, &is.replace("7168", wrong)).into_bytes();
        let fault = KeyFile::open(&bytes, &offered).map(drop).unwrap_err();
        let what = RecordFault::Value { field: "memory_kib" };
        let exact =
            matches!(&fault, KeyFileFault::Record { line: 1, what: found, .. } if *found == what);
        assert!(exact, "{wrong}: {fault}");
    }
}

/// Files are not written with a cost that is too weak, or that no reader accepts.
#[test]
fn cost_out_of_bounds_is_not_written() {
    let write = |memory_kib, passes, lanes| {
        let cost = Argon2Cost { memory_kib, passes, lanes };
        let protection = Protection::passphrase_with_cost("x", cost);
        match KeyFile::create(&protection, &mut Seeded::new(1)) {
            Ok(_) => None,
            Err(KeyFileFault::Argon2Cost { fault, .. }) => Some(fault),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(write(7167, 5, 1), Some(CostFault::TooWeak));
    assert_eq!(write(7168, 4, 1), Some(CostFault::TooWeak));
    assert_eq!(write(35_839, 1, 1), Some(CostFault::TooWeak));
    assert_eq!(write(35_840, 1, 1), None);
    assert_eq!(write(7168, 5, 16), None);
    assert_eq!(write(7168, 5, 17), Some(CostFault::TooCostly));
    assert_eq!(write(1 << 20, 5, 4), Some(CostFault::TooCostly));
    assert_eq!(write((1 << 20) + 1, 1, 4), Some(CostFault::TooCostly));
    assert_eq!(write(7168, 65, 4), Some(CostFault::TooCostly));
    assert_eq!(write(7168, 0, 4), Some(CostFault::Invalid));
    assert_eq!(write(7168, 5, 0), Some(CostFault::Invalid));
    assert_eq!(Argon2Cost::default(), Argon2Cost { memory_kib: 65_536, passes: 3, lanes: 4 });
}

/// A file that a change fills leaves room for the digits of its counts.
#[test]
fn full_file_can_be_written_with_counts_of_any_length() {
    const MOST: usize = 64 << 20;
    let (records, crafter) = super::craft::unprotected();
    let protection = Protection::unprotected_plaintext();
    let file_of = |len: usize| {
        let mut records = records.clone();
        let filler = |len: usize| format!(r#"{{"kind":"x","y":"{}"}}"#, "z".repeat(len));
        let fixed = crafter.file(&records).len();
        // The number of lines has another length then.
        let line = crafter.line(&filler(0)).len();
        let mut left = len - fixed - 3;
        while left >= line {
            let text = left.min(60_000) - line;
            records.push(filler(text));
            left -= text + line;
        }
        crafter.file(&records)
    };
    let fault = |len: usize| {
        let (file, key) = KeyFile::open(&file_of(len), &protection).unwrap();
        file.encode(&key, NOW).map(drop)
    };
    assert!(matches!(fault(MOST - 100), Err(KeyFileFault::TooLong)));
    let (mut file, key) = KeyFile::open(&file_of(MOST - 1_000), &protection).unwrap();
    file.encode(&key, NOW).unwrap();
    let keysets = file.keysets().iter().map(|keyset| {
        let mut versions = keyset.versions().to_vec();
        let most = Usage { wraps: u64::MAX, bytes: u64::MAX };
        versions.iter_mut().for_each(|record| record.usage = most);
        Keyset::restore(keyset.name().as_str(), keyset.highest_version(), versions).unwrap()
    });
    let aliases = file.keysets().aliases();
    let aliases = aliases.map(|(alias, key)| (alias.into(), key.into())).collect();
    let (most, change) = (u64::MAX, file.keysets().change());
    let keysets = KeysetMap::restore(most, change, keysets.collect(), aliases).unwrap();
    file.update(keysets, &[], &key, &mut envelock::OsRandom).unwrap();
    assert!(file.encode(&key, NOW).unwrap().len() <= MOST);
}

/// A line that a reader would refuse is not written.
#[test]
fn bounds_hold_for_writers_and_readers() {
    let (records, crafter) = super::craft::unprotected();
    let protection = Protection::unprotected_plaintext();
    let frame = crafter.line("").len() - 1;
    for (extra, good) in [(0, true), (1, false)] {
        let mut records = records.clone();
        let room = 65_536 - frame - r#"{"kind":"x","y":""}"#.len() + extra;
        records.push(format!(r#"{{"kind":"x","y":"{}"}}"#, "z".repeat(room)));
        let result = KeyFile::open(&crafter.file(&records), &protection);
        match result {
            Ok((file, key)) => assert!(good && file.encode(&key, NOW).is_ok()),
            Err(KeyFileFault::Record { line, what, .. }) => {
                assert!(!good);
                assert_eq!((line, what), (records.len(), RecordFault::LineTooLong));
            }
            Err(other) => panic!("{other}"),
        }
    }
    let fault = KeyFile::open(&vec![b'\n'; (64 << 20) + 1], &protection).map(drop).unwrap_err();
    // FORMAT F-BOUNDS
    assert!(matches!(fault, KeyFileFault::TooLong), "{fault}");
    let fields: String = (0..256).map(|it| format!(r#","f{it}":0"#)).collect();
    for kind in ["kind", "other"] {
        let mut records = records.clone();
        records.push(format!(r#"{{"{kind}":"x"{fields}}}"#));
        assert!(KeyFile::open(&crafter.file(&records), &protection).is_err());
    }
    let _ = Crafter::of(&records[0]);
}
