//! Versions with a limit of wraps, over all processes together (FORMAT F-USAGE).

use super::simulated_directory::{EIO, Fault, Kind, Plan, SimulatedDirectory};
use super::token::Token;
use super::{create, decrypt, encrypt, open, open_as, version};
use crate::{
    Error, FileKeyring, Lifecycle, RewrapOptions, Timestamp, file::FileKeyringOptions,
    keyset::VersionState,
};
use core::time::Duration;
use std::{format, thread};

/// The recorded usage of version 1.
fn on_record(keyring: &FileKeyring) -> u64 {
    keyring.reload().unwrap();
    keyring.versions()[0].usage.wraps
}

#[track_caller]
fn expect_limit(keyring: &FileKeyring, most: u64) {
    let refused = encrypt(keyring).unwrap_err();
    let reported = matches!(&refused, Error::WrapLimit { key, version: reported, limit }
        if key == "orders" && *reported == version(1) && *limit == most);
    assert!(reported && !refused.is_retryable(), "{refused:?}");
}

#[test]
fn last_wrap_is_made_and_the_next_refused() {
    for limit in [1, 2, 255, 256, 257, 300, 1000] {
        let directory = SimulatedDirectory::new();
        let token = Token::limited(limit);
        let keyring = create(&directory, &token.source()).unwrap();
        let mut message = encrypt(&keyring).unwrap();
        for made in 2..=limit {
            message = encrypt(&keyring).unwrap_or_else(|error| panic!("{made}: {error}"));
        }
        for _ in 0..3 {
            expect_limit(&keyring, limit);
        }
        assert_eq!(on_record(&keyring), limit);
        // Existing messages stay readable, and a rotation lifts the limit.
        assert_eq!(decrypt(&keyring, &message).unwrap(), b"text");
        keyring.rotate().unwrap();
        encrypt(&keyring).unwrap();
    }
}

#[test]
fn refusal_names_version_and_remedy() {
    let directory = SimulatedDirectory::new();
    let keyring = create(&directory, &Token::limited(1).source()).unwrap();
    let message = encrypt(&keyring).unwrap();
    let refused = encrypt(&keyring).unwrap_err();
    assert_eq!(
        format!("{refused}"),
        "key orders version 1 may wrap no more than 1 data keys: rotate"
    );
    // A rewrap to the primary is a wrap as well.
    keyring.rotate().unwrap();
    let envelope = crate::Envelope::new(&keyring);
    assert!(envelope.rewrap(&message, RewrapOptions::new()).unwrap().is_changed());
    let refused = envelope.rewrap(&message, RewrapOptions::new()).map(drop).unwrap_err();
    assert!(matches!(refused, Error::WrapLimit { limit: 1, .. }), "{refused:?}");
}

/// Several keyrings of one file, some of which never return their reservation.
#[test]
fn all_processes_together_keep_to_the_limit() {
    const LIMIT: u64 = 2000;
    let directory = SimulatedDirectory::new();
    let token = Token::limited(LIMIT);
    let mut last = 0;
    drop(create(&directory, &token.source()).unwrap());
    let mut made = 0;
    for round in 0.. {
        let keyring = open(&directory, &token.source()).unwrap();
        let mut wraps = 0;
        while wraps < 100 && encrypt(&keyring).is_ok() {
            wraps += 1;
        }
        made += wraps;
        let now = on_record(&keyring);
        assert!((made..=LIMIT).contains(&now), "{made} made, {now} on record");
        if round % 3 == 0 {
            // A crash: reserved wraps count as used.
            core::mem::forget(keyring);
            assert!(now >= last, "{last} went down to {now}");
        } else {
            drop(keyring);
        }
        last = on_record(&open(&directory, &token.source()).unwrap());
        if wraps < 100 {
            break;
        }
    }
    assert!(made > LIMIT / 4, "only {made}");
    assert_eq!(last, LIMIT);
    expect_limit(&open(&directory, &token.source()).unwrap(), LIMIT);
}

#[test]
fn returned_reservation_can_be_used() {
    let directory = SimulatedDirectory::new();
    let token = Token::limited(16);
    let one = create(&directory, &token.source()).unwrap();
    let other = open(&directory, &token.source()).unwrap();
    // The first reservation is the whole limit.
    encrypt(&one).unwrap();
    expect_limit(&other, 16);
    drop(one);
    for _ in 0..15 {
        encrypt(&other).unwrap();
    }
    expect_limit(&other, 16);
}

/// A keyring that has not seen the rotation yet polls the file before it refuses.
#[test]
fn rotation_by_another_process_is_found_at_the_limit() {
    let directory = SimulatedDirectory::new();
    let token = Token::limited(1);
    let lazy = FileKeyringOptions::new().refresh_after(Duration::from_secs(1 << 30));
    let one = create(&directory, &token.source()).unwrap();
    let other = open_as(&directory, lazy, &token.source()).unwrap();
    encrypt(&other).unwrap();
    one.rotate().unwrap();
    encrypt(&other).unwrap();
    assert_eq!(other.primary_version(), Some(version(2)));
}

#[test]
fn threads_share_the_remaining_wraps() {
    const LIMIT: u64 = 1000;
    let directory = SimulatedDirectory::new();
    let keyring = create(&directory, &Token::limited(LIMIT).source()).unwrap();
    let made: u64 = thread::scope(|scope| {
        let threads = [0; 4].map(|_| {
            scope.spawn(|| {
                let (mut made, mut refused) = (0, 0);
                while refused < 3 {
                    match encrypt(&keyring) {
                        Ok(_) => made += 1,
                        Err(Error::WrapLimit { .. }) => refused += 1,
                        Err(error) => panic!("{error:?}"),
                    }
                }
                made
            })
        });
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(made, LIMIT);
}

/// A file that cannot be written reserves no wraps.
#[test]
fn uncounted_wraps_are_not_made() {
    let directory = SimulatedDirectory::new();
    let keyring = create(&directory, &Token::limited(10).source()).unwrap();
    for _ in 0..50 {
        let next_faults = [(Kind::Create, Fault::Error(EIO))].into_iter().collect();
        directory.plan(Plan { next_faults, ..Plan::default() });
        let refused = encrypt(&keyring).unwrap_err();
        assert!(matches!(refused, Error::Backend(_)), "{refused:?}");
    }
    directory.plan(Plan::default());
    for _ in 0..10 {
        encrypt(&keyring).unwrap();
    }
    expect_limit(&keyring, 10);
}

/// Where the file is not written, one keyring wraps 2^28 times at most (DESIGN 4.3).
#[test]
fn uncounted_keyring_has_its_own_limit() {
    const MOST: u64 = 1 << 28;
    let directory = SimulatedDirectory::new();
    let token = Token::limited(1 << 32);
    drop(create(&directory, &token.source()).unwrap());
    let uncounted =
        [FileKeyringOptions::new().read_only(), FileKeyringOptions::new().without_usage()];
    for options in uncounted {
        token.begin_with(MOST - 2);
        let keyring = open_as(&directory, options.clone(), &token.source()).unwrap();
        encrypt(&keyring).unwrap();
        encrypt(&keyring).unwrap();
        expect_limit(&keyring, MOST);
        expect_limit(&keyring, MOST);
        // Another keyring begins again.
        token.begin_with(0);
        encrypt(&open_as(&directory, options, &token.source()).unwrap()).unwrap();
    }
}

#[test]
fn recorded_usage_bounds_uncounted_processes() {
    let directory = SimulatedDirectory::new();
    let token = Token::limited(60);
    let keyring = create(&directory, &token.source()).unwrap();
    encrypt(&keyring).unwrap();
    core::mem::forget(keyring);
    let options = FileKeyringOptions::new().read_only();
    let keyring = open_as(&directory, options, &token.source()).unwrap();
    for _ in 0..44 {
        encrypt(&keyring).unwrap();
    }
    expect_limit(&keyring, 60);
}

/// The limit is each version's own, and a version keeps its count through a rollback.
#[test]
fn rollback_to_a_version_at_its_limit_is_refused() {
    let directory = SimulatedDirectory::new();
    let keyring = create(&directory, &Token::limited(2).source()).unwrap();
    encrypt(&keyring).unwrap();
    encrypt(&keyring).unwrap();
    keyring.rotate().unwrap();
    encrypt(&keyring).unwrap();
    keyring.promote(version(1)).unwrap();
    expect_limit(&keyring, 2);
    keyring.promote(version(2)).unwrap();
    encrypt(&keyring).unwrap();
    let states =
        keyring.versions().iter().map(|record| record.state).collect::<alloc::vec::Vec<_>>();
    assert_eq!(states, [VersionState::Enabled, VersionState::Primary]);
    assert!(keyring.versions()[0].created <= Timestamp::now());
}
