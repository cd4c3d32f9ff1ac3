//! Key files: no panic, bounded memory, a line for every fault, and what is accepted is written
//! and read again. Bytes as they come, and records of the fuzzer's under right MACs.
#![no_main]

use envelock::test_access::key_file_format::{FileKey, KeyFile, salvage};
use envelock::{MasterKey, Timestamp, file::Protection};
use envelock_fuzz::Input;
use envelock_fuzz::allocator::{self, BEFORE_AUTHENTICATION, Counting};
use envelock_fuzz::key_file::{PARTS, file};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static UNPROTECTED: LazyLock<Protection> = LazyLock::new(Protection::unprotected_plaintext);
static RAW: LazyLock<Protection> =
    LazyLock::new(|| Protection::raw_key(MasterKey::from_bytes(&[7; 32])));

fuzz_target!(|data: &[u8]| {
    LazyLock::force(&UNPROTECTED);
    LazyLock::force(&RAW);
    LazyLock::force(&PARTS);
    for protection in [&*UNPROTECTED, &*RAW] {
        read(data, protection);
    }
    // Right MACs, so that what is behind them is reached.
    for parts in &*PARTS {
        read(&file(parts, &mut Input(data)), &UNPROTECTED);
    }
});

fn read(bytes: &[u8], protection: &Protection) {
    // A record is kept as text and as fields; salvage keeps both, twice.
    let limit = BEFORE_AUTHENTICATION + 64 * bytes.len();
    match allocator::limit(limit, || KeyFile::open(bytes, protection)) {
        Ok((file, key)) => accepted(bytes, &file, &key, protection),
        Err(fault) => {
            let lines = bytes.split(|byte| *byte == b'\n').count().max(1);
            let line = fault.line().unwrap_or(1);
            assert!((1..=lines).contains(&line), "{fault}");
            assert!(!fault.to_string().chars().any(char::is_control), "{fault}");
        }
    }
    let Ok(salvaged) = allocator::limit(2 * limit, || salvage(bytes, protection)) else { return };
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(salvaged.damaged.iter().all(|damaged| (1..=lines).contains(&damaged.line)));
    salvaged.file.verify_material(&salvaged.key).expect("what is salvaged opens");
    let versions: usize = salvaged.file.keysets().iter().map(|it| it.versions().len()).sum();
    assert_eq!(versions, salvaged.intact.len());
}

/// SPEC-like canonical form: what was written by this library is written again, byte for byte.
fn accepted(bytes: &[u8], file: &KeyFile, key: &FileKey, protection: &Protection) {
    assert!(KeyFile::reload(bytes, key).is_ok_and(|again| again == *file));
    let now = Timestamp::from_unix_seconds(1);
    let written = match file.encode(key, now) {
        Ok(written) => written,
        Err(fault) => {
            // It cannot be written by this version, or it grew beyond a bound.
            assert!(file.unknown_critical().is_some() || bytes.len() > 30_000, "{fault}");
            return;
        }
    };
    let (again, again_key) = KeyFile::open(&written, protection).expect("what is written is read");
    assert_eq!(again.keysets(), file.keysets());
    assert!(again.encode(&again_key, now).is_ok_and(|twice| twice == written));
}
