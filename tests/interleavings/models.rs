//! Interleavings of wraps, rewraps, rotations, disables, destructions and alias switches, explored
//! by a scheduler that decides at every lock who comes next. Run by `ci/interleavings.sh`.
//!
//! What is meant by "a version picked for a wrap can be unwrapped when the call returns":
//!
//! 1. When the nonce of a wrap under a version is drawn, no disable of that version has returned:
//!    the version is the primary for as long as the wrap is under way.
//! 2. The slot unwraps from when the call returns until a disable of its version is begun.

use crate::conformance::{TestMessage, TestRng, TestSlot};
use crate::{
    Aad, DataKey, DataKeyReuse, Envelope, Error, KeyVersion, Keyring, Lifecycle, MasterKey,
    MemoryKeyring, Suite, Timestamp,
    keyring::{KeyringError, KeyringRng, RandomnessUnavailable, Refusal},
    keyset::{Change, ChangeOptions, Material, Operation},
};
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use core::time::Duration;
use envelock::keyset::LifecycleError;
use rand_core::{TryCryptoRng, TryRng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};
use std::sync::Mutex;
use std::{println, vec};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// Schedules of each model and scheduler.
const SCHEDULES: usize = 10_000;

/// Priority changes of a schedule: enough for every order of three events.
const DEPTH: usize = 3;

/// Explores `model` in both ways.
fn explore(name: &str, model: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    // Ciphers in a debug build need more than the usual 32 KiB.
    config.stack_size = 1 << 18;
    let runs = Arc::new(AtomicUsize::new(0));
    let model = Arc::new(model);
    let counted = || {
        let (runs, model) = (runs.clone(), model.clone());
        move || {
            runs.fetch_add(1, SeqCst);
            model();
        }
    };
    Runner::new(RandomScheduler::new(SCHEDULES), config.clone()).run(counted());
    Runner::new(PctScheduler::new(DEPTH, SCHEDULES), config).run(counted());
    println!("{name}: {} schedules", runs.load(SeqCst));
    assert_eq!(runs.load(SeqCst), 2 * SCHEDULES);
}

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

fn keyring() -> Arc<MemoryKeyring> {
    let key = MasterKey::from_bytes(&[1; 32]);
    Arc::new(MemoryKeyring::import_at("a", version(1), &key, NOW).unwrap())
}

fn change(keyring: &MemoryKeyring, changes: &[Change<'_>], seed: u64) -> Result<(), Error> {
    keyring.change(changes, &ChangeOptions::at(NOW), &mut TestRng::seeded(seed)).map(drop)
}

const fn operate(number: u32, operation: Operation) -> Change<'static> {
    let version = match KeyVersion::new(number) {
        Some(version) => version,
        None => KeyVersion::FIRST,
    };
    Change::Version { key: "a", version, operation }
}

/// Disables that were begun, and those that returned.
#[derive(Default)]
struct Log {
    begun: Mutex<BTreeSet<u32>>,
    disabled: Mutex<BTreeSet<u32>>,
}

impl Log {
    fn disable(&self, keyring: &MemoryKeyring, number: u32) {
        self.begun.lock().unwrap().insert(number);
        change(keyring, &[operate(number, Operation::Disable)], 1).unwrap();
        self.disabled.lock().unwrap().insert(number);
    }

    fn has_begun(&self, version: KeyVersion) -> bool {
        self.begun.lock().unwrap().contains(&version.number())
    }
}

/// Notes which disables had returned when a nonce was drawn.
struct Witness<'l> {
    log: &'l Log,
    seen: BTreeSet<u32>,
    rng: TestRng,
}

impl Witness<'_> {
    fn of(log: &Log) -> Witness<'_> {
        Witness { log, seen: BTreeSet::new(), rng: TestRng::seeded(7) }
    }
}

impl TryRng for Witness<'_> {
    type Error = RandomnessUnavailable;

    fn try_next_u32(&mut self) -> Result<u32, RandomnessUnavailable> {
        self.rng.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomnessUnavailable> {
        self.rng.try_next_u64()
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        // Others may come first here, too.
        thread::yield_now();
        self.seen.clone_from(&self.log.disabled.lock().unwrap());
        self.rng.try_fill_bytes(out)
    }
}

impl TryCryptoRng for Witness<'_> {}

fn message() -> TestMessage {
    TestMessage::new(Suite::ALL[0], &mut TestRng::seeded(3))
}

fn unwrap(keyring: &impl Keyring, slot: &TestSlot) -> Result<(), KeyringError> {
    let (message, mut data_key) = (message(), DataKey::empty());
    message.unwrap_over(keyring, slot, &mut data_key)?;
    assert!(message.is_data_key(&data_key), "another key came out");
    Ok(())
}

/// A wrap or rewrap: the first statement of the guarantee.
fn write(
    log: &Log,
    write: impl FnOnce(&mut KeyringRng<'_>) -> (Result<(), KeyringError>, Vec<TestSlot>),
) -> Option<TestSlot> {
    let mut witness = Witness::of(log);
    let (answer, mut slots) = write(&mut witness);
    if let Err(error) = answer {
        assert!(slots.is_empty(), "{error:?}, and a slot");
        let refused =
            matches!(error, KeyringError::Refused(Refusal::Disabled | Refusal::Destroyed));
        assert!(refused || matches!(error, KeyringError::NoPrimary), "{error:?}");
        return None;
    }
    assert_eq!(slots.len(), 1);
    let slot = slots.pop().unwrap();
    let disabled = witness.seen.contains(&slot.version.number());
    assert!(!disabled, "wrapped under version {}, which was disabled", slot.version);
    Some(slot)
}

/// The second statement.
fn check_opens(keyring: &MemoryKeyring, log: &Log, slot: &TestSlot) {
    if let Err(error) = unwrap(keyring, slot) {
        let refused = matches!(error, KeyringError::Refused(_));
        let begun = log.has_begun(slot.version);
        assert!(refused && begun, "{error:?} of version {}, begun: {begun}", slot.version);
    }
}

#[test]
fn wrapped_key_unwraps_until_disabled() {
    explore("wrap, rewrap, rotate, disable, destroy", || {
        let (keyring, log) = (keyring(), Arc::new(Log::default()));
        let old = message().wrap(&keyring, &mut TestRng::seeded(1)).1.pop().unwrap();
        let writers = [None, None, Some(old)].map(|old| {
            let (keyring, log) = (keyring.clone(), log.clone());
            thread::spawn(move || {
                let slot = write(&log, |rng| match &old {
                    None => message().wrap(&keyring, rng),
                    Some(old) => message().rewrap(&keyring, old, rng),
                });
                // A version is the primary at every time: only the old slot may be refused.
                assert!(slot.is_some() || old.is_some());
                if let Some(slot) = &slot {
                    check_opens(&keyring, &log, slot);
                }
                slot
            })
        });
        change(&keyring, &[Change::Rotate { key: "a" }], 2).unwrap();
        log.disable(&keyring, 1);
        let destroy = operate(1, Operation::DestroyImmediately);
        change(&keyring, &[destroy], 3).unwrap();
        for slot in writers.map(|writer| writer.join().unwrap()).into_iter().flatten() {
            let answer = unwrap(&keyring, &slot);
            match slot.version.number() {
                1 => assert!(matches!(answer, Err(KeyringError::Refused(Refusal::Destroyed)))),
                _ => answer.unwrap(),
            }
        }
    });
}

#[test]
fn two_operators_and_two_writers_lose_nothing() {
    explore("two operators, two writers", || {
        let (keyring, log) = (keyring(), Arc::new(Log::default()));
        let operators = [1, 2].map(|operator| {
            let (keyring, log) = (keyring.clone(), log.clone());
            thread::spawn(move || {
                let rotate = Change::Rotate { key: "a" };
                let mut rng = TestRng::seeded(operator);
                let changed = keyring.change(&[rotate], &ChangeOptions::at(NOW), &mut rng).unwrap();
                let added = changed.added().unwrap();
                if operator == 1 {
                    log.disable(&keyring, 1);
                }
                added
            })
        });
        let writers = [(); 2].map(|()| {
            let (keyring, log) = (keyring.clone(), log.clone());
            thread::spawn(move || {
                let slot = write(&log, |rng| message().wrap(&keyring, rng)).unwrap();
                check_opens(&keyring, &log, &slot);
                slot
            })
        });
        let mut added = operators.map(|operator| operator.join().unwrap().number());
        added.sort_unstable();
        assert_eq!(added, [2, 3]);
        for slot in writers.map(|writer| writer.join().unwrap()) {
            if slot.version != version(1) {
                unwrap(&keyring, &slot).unwrap();
            }
        }
        let keyset = keyring.keyset().unwrap();
        assert_eq!((keyset.highest_version(), keyset.primary()), (3, Some(version(3))));
    });
}

#[test]
fn observers_see_all_of_a_change_or_nothing() {
    explore("a batch of changes, and observers", || {
        let keyring = keyring();
        let create =
            |key| Change::CreateKey { key, version: version(1), material: Material::Fresh };
        let live = |key| Change::SetAlias { alias: "live", key };
        change(&keyring, &[create("b"), live("a")], 1).unwrap();
        let view = Arc::new(keyring.with_key("live").unwrap());
        let observers = [(); 2].map(|()| {
            let view = view.clone();
            thread::spawn(move || {
                let mut last = 0;
                for _ in 0..2 {
                    let keysets = view.keysets().unwrap();
                    let taken = |key| keysets.keyset(key).unwrap().highest_version();
                    assert_eq!(taken("a"), taken("b"));
                    let name = if taken("a") == 1 { "a" } else { "b" };
                    assert_eq!(keysets.resolve("live").unwrap().name().as_str(), name);
                    assert!(keysets.revision() >= last);
                    last = keysets.revision();
                    // What is wrapped by the alias is under the primary of the one or the other.
                    let (answer, slots) = message().wrap(&view, &mut TestRng::seeded(2));
                    answer.unwrap();
                    let slot = (&*slots[0].name, slots[0].version.number());
                    assert!(slot == ("a", 1) || slot == ("b", 2), "{slot:?}");
                    assert!(slot.0 == "b" || name == "a", "it went back");
                    unwrap(&view, &slots[0]).unwrap();
                }
            })
        });
        let failing = operate(9, Operation::Disable);
        let rotate = ["a", "b"].map(|key| Change::Rotate { key });
        change(&keyring, &[rotate[0], live("b"), failing], 3).unwrap_err();
        change(&keyring, &[rotate[0], rotate[1], live("b")], 4).unwrap();
        observers.into_iter().for_each(|observer| observer.join().unwrap());
    });
}

#[test]
fn one_of_two_concurrent_swaps_wins() {
    explore("compare and swap", || {
        let keyring = keyring();
        let seen = keyring.keysets().unwrap().change();
        let swappers = [1, 2, 3].map(|seed| {
            let keyring = keyring.clone();
            thread::spawn(move || {
                let options = ChangeOptions::at(NOW).if_unchanged_since(seen);
                let rotate = [Change::Rotate { key: "a" }];
                match keyring.change(&rotate, &options, &mut TestRng::seeded(seed)) {
                    Ok(changed) => changed.added(),
                    Err(Error::Lifecycle(LifecycleError::Conflict { expected, found })) => {
                        assert!(expected == seen && found == seen + 1);
                        // The loser sees the winner's.
                        assert_eq!(keyring.primary_version(), Some(version(2)));
                        None
                    }
                    Err(other) => panic!("{other:?}"),
                }
            })
        });
        let won: Vec<_> =
            swappers.map(|swapper| swapper.join().unwrap()).into_iter().flatten().collect();
        assert_eq!(won, [version(2)]);
        assert_eq!(keyring.keyset().unwrap().highest_version(), 2);
    });
}

#[test]
fn tenant_by_alias_opens_its_key_s_slots_or_none() {
    explore("an alias that is switched, and a tenant", || {
        let keyring = keyring();
        let create = Change::CreateKey { key: "b", version: version(1), material: Material::Fresh };
        let live = |key| Change::SetAlias { alias: "live", key };
        change(&keyring, &[create, live("a")], 1).unwrap();
        let tenant = Arc::new(keyring.only_key("live").unwrap());
        let under_a = message().wrap(&keyring, &mut TestRng::seeded(1)).1.pop().unwrap();
        let users = [(); 2].map(|()| {
            let (tenant, keyring, old) = (tenant.clone(), keyring.clone(), under_a.clone());
            thread::spawn(move || {
                let (answer, slots) = message().wrap(&tenant, &mut TestRng::seeded(2));
                answer.unwrap();
                for slot in [&slots[0], &old] {
                    match unwrap(&tenant, slot) {
                        Ok(()) | Err(KeyringError::NotMine) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
                unwrap(&keyring, &slots[0]).unwrap();
                let (answer, slots) = message().rewrap(&tenant, &old, &mut TestRng::seeded(3));
                match answer {
                    Ok(()) => assert_eq!(slots[0].name, "a"),
                    // Switched before the unwrap, or between it and the wrap.
                    Err(KeyringError::NotMine | KeyringError::UnknownKey { .. }) => {
                        assert!(slots.is_empty());
                    }
                    Err(other) => panic!("{other:?}"),
                }
            })
        });
        for (key, seed) in vec![("b", 5), ("a", 6)] {
            change(&keyring, &[live(key)], seed).unwrap();
            change(&keyring, &[Change::Rotate { key: "live" }], seed).unwrap();
        }
        users.into_iter().for_each(|user| user.join().unwrap());
        unwrap(&*tenant, &under_a).unwrap();
    });
}

/// An hour: no schedule takes so long.
fn sharing(keyring: &Arc<MemoryKeyring>, messages: u64) -> Arc<Envelope<Arc<MemoryKeyring>>> {
    let reuse = DataKeyReuse::new(messages, 1 << 20, Duration::from_secs(3600));
    Arc::new(Envelope::new(keyring.clone()).with_data_key_reuse(Arc::new(reuse)))
}

fn encrypt(envelope: &Envelope<Arc<MemoryKeyring>>, seed: u64) -> Vec<u8> {
    let mut rng = TestRng::seeded(seed);
    envelope.with_rng(&mut rng).encrypt(b"text", Aad::none()).unwrap()
}

/// A message that waits permanently is a deadlock, which the scheduler reports.
#[test]
fn messages_with_shared_data_keys_cost_a_wrap_a_batch() {
    explore("five messages in batches of two", || {
        let keyring = keyring();
        let envelope = sharing(&keyring, 2);
        let writers = [1, 2, 3, 4, 5].map(|seed| {
            let envelope = envelope.clone();
            thread::spawn(move || encrypt(&envelope, seed))
        });
        let messages = writers.map(|writer| writer.join().unwrap());
        let ids: BTreeSet<_> = messages.iter().map(|message| message[6..22].to_vec()).collect();
        let wraps = keyring.versions()[0].usage.wraps;
        assert_eq!((ids.len(), wraps), (3, 3));
        for message in messages {
            assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"text");
        }
    });
}

#[test]
fn failing_first_message_or_rotation_frees_waiters() {
    explore("a first message that fails, a rotation, a disable", || {
        let keyring = keyring();
        let envelope = sharing(&keyring, 100);
        let short = {
            let envelope = envelope.clone();
            thread::spawn(move || {
                // 60 bytes of header do not hold a slot.
                let (mut message, mut rng) = ([0; 60 + 76], TestRng::seeded(9));
                let rng = envelope.with_rng(&mut rng);
                rng.encrypt_in_place(&mut message, 60 + 56..60 + 60, Aad::none())
            })
        };
        let writers = [1, 2, 3].map(|seed| {
            let envelope = envelope.clone();
            thread::spawn(move || encrypt(&envelope, seed))
        });
        change(&keyring, &[Change::Rotate { key: "a" }], 5).unwrap();
        change(&keyring, &[operate(1, Operation::Disable)], 6).unwrap();
        // Nothing that is begun from here on is under the version that was disabled.
        let last = encrypt(&envelope, 4);
        assert_eq!(envelope.decrypt(&last, Aad::none()).unwrap(), b"text");
        assert!(matches!(short.join().unwrap(), Err(Error::HeaderRoom { .. })));
        for message in writers.map(|writer| writer.join().unwrap()) {
            match envelope.decrypt(&message, Aad::none()) {
                Ok(text) => assert_eq!(text, b"text"),
                Err(Error::Refused { refusal, .. }) => assert_eq!(refusal, Refusal::Disabled),
                Err(other) => panic!("{other:?}"),
            }
        }
    });
}
