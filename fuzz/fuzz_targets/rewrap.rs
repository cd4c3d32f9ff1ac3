//! Rewrap of a changed message, a slot added to it, a name removed from it: on success nothing but
//! the slots that are meant differs and doing it again changes nothing; on failure nothing differs
//! at all.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/common/detached.rs"]
mod detached;

use detached::{ReadDetached, WriteDetached};
use envelock::{
    Aad, Envelope, Error, GrantOptions, KeyVersion, MasterKey, MemoryKeyring, RewrapOptions,
    inspect, keyset::VersionRecord,
};
use envelock_fuzz::allocator::{self, BEFORE_AUTHENTICATION, Counting};
use envelock_fuzz::fixture::{AAD, BASES, NAME, READER, rng, version};
use envelock_fuzz::model::{CORE_LEN, Model, ModelSlot};
use envelock_fuzz::{Input, change};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|data: &[u8]| {
    LazyLock::force(&BASES);
    LazyLock::force(&READER);
    let mut input = Input(data);
    let retiring = match input.byte() % 8 {
        number @ 1..=4 => Some(u32::from(number)),
        _ => None,
    };
    let message = change::message(&mut input);
    granted(&message);
    let options = retiring.map_or(RewrapOptions::new(), |number| {
        RewrapOptions::new().retiring(NAME, version(number))
    });

    let mut copy = message.clone();
    let call = || READER.with_rng(&mut rng(1)).rewrap_in_place(&mut copy, options);
    let in_place = allocator::limit(BEFORE_AUTHENTICATION, call);
    let call = || READER.with_rng(&mut rng(1)).rewrap(&message, options);
    match allocator::limit(BEFORE_AUTHENTICATION, call) {
        Ok(rewrapped) => {
            let header = rewrapped.header();
            match in_place {
                Ok(report) => {
                    assert_eq!(report.is_changed(), rewrapped.is_changed());
                    assert_eq!(&copy[..header.len()], header);
                }
                Err(Error::HeaderRoom { needed, .. }) => {
                    assert!(needed <= header.len());
                    assert_eq!(copy, message);
                }
                Err(error) => panic!("a rewrap in place alone fails: {error}"),
            }
            succeeded(&message, header, rewrapped.is_changed(), retiring);
        }
        Err(error) => {
            assert_eq!(in_place.err().map(|error| error.to_string()), Some(error.to_string()));
            // SPEC R-WHOLE
            assert_eq!(copy, message);
            let opens = READER.decrypt(&message, Aad::new(AAD)).is_ok();
            // A retired version that is unknown here may open with another keyring.
            let refused = matches!(error, Error::OldVersionStillOpens { .. })
                || (retiring.is_some() && matches!(error, Error::Refused { .. }));
            assert!(!opens || refused, "what opens rewraps: {error}");
        }
    }
});

fn succeeded(message: &[u8], header: &[u8], changed: bool, retiring: Option<u32>) {
    let old = Model::read(message).expect("what rewraps is valid");
    let new = Model::read(header).expect("a rewrap is valid");
    let body = &message[old.len()..];
    assert_eq!(changed, message[..old.len()] != *header);
    // SPEC R-CORE
    assert_eq!(header[..CORE_LEN], message[..CORE_LEN]);
    assert!(new.len() >= old.len());
    kept_in_order(&old, &new);

    let rewrapped = [header, body].concat();
    let before = READER.decrypt(message, Aad::new(AAD));
    let after = READER.decrypt(&rewrapped, Aad::new(AAD));
    assert_eq!(before.ok(), after.ok());
    assert!(new.slots.iter().any(|slot| is_ours(slot) && slot.version == 2));

    // SPEC R-IDEMPOTENT, whatever the generator says the second time.
    let mut again = rewrapped.clone();
    let second = READER.with_rng(&mut rng(2)).rewrap_in_place(&mut again, RewrapOptions::new());
    assert!(second.is_ok_and(|report| !report.is_changed()));
    assert_eq!(again, rewrapped);

    let stale = READER.needs_rewrap(header).expect("a rewrap is valid");
    let not_primary = |slot: &ModelSlot| is_ours(slot) && slot.version != 2;
    assert!(!stale || new.slots.iter().any(not_primary), "a slot that opens is left stale");
    if let Some(number) = retiring {
        retired(&new, body, number);
    }
}

/// The keyring to which slots are added.
static ESCROW: LazyLock<Envelope<MemoryKeyring>> = LazyLock::new(|| {
    let key = MasterKey::from_bytes(&[0xE5; 32]);
    Envelope::new(MemoryKeyring::import("escrow", KeyVersion::FIRST, &key).expect("a valid name"))
});

/// SPEC G-ADD, G-REMOVE, R-CORE, R-WHOLE.
fn granted(message: &[u8]) {
    let before = READER.decrypt(message, Aad::new(AAD)).ok();
    let to = ESCROW.keyring();
    let mut copy = message.to_vec();
    let in_place =
        READER.with_rng(&mut rng(3)).add_slot_in_place(&mut copy, to, GrantOptions::new());
    if !matches!(in_place, Ok(true)) {
        assert_eq!(copy, message);
    }
    let added = match READER.with_rng(&mut rng(3)).add_slot(message, to, GrantOptions::new()) {
        Ok(added) => added,
        Err(error) => {
            let full = matches!(error, Error::Slot(_) | Error::HeaderRoom { .. });
            return assert!(before.is_none() || full, "what opens takes a slot: {error}");
        }
    };
    let old = Model::read(message).expect("what takes a slot is valid");
    let new = Model::read(added.header()).expect("what has taken one is valid");
    let body = &message[old.len()..];
    assert_eq!(added.header()[..CORE_LEN], message[..CORE_LEN]);
    let is_meant = |slot: &ModelSlot| slot.name == b"escrow";
    let others = |model: &Model| -> Vec<ModelSlot> {
        model.slots.iter().filter(|slot| !is_meant(slot)).cloned().collect()
    };
    assert_eq!(others(&old), others(&new));
    if in_place.is_ok() {
        assert_eq!(copy[..old.len()], *added.header());
    }
    ESCROW.verify_slots(added.header(), &["escrow"]).expect("the slot was proven");
    let again = READER.add_slot(added.header(), to, GrantOptions::new()).expect("it was added");
    assert!(!again.is_changed());
    let after = READER.decrypt_detached(added.header(), body, Aad::new(AAD)).ok();
    assert_eq!(before, after);
    let ours = ESCROW.decrypt_detached(added.header(), body, Aad::new(AAD)).ok();
    assert!(before.is_none() || ours == before);

    // By the keyring that was added, every other slot of ours can go.
    match ESCROW.remove_name(added.header(), NAME) {
        Ok(removed) => {
            let left = Model::read(removed.header()).expect("a removal is valid");
            let mut kept = new.slots.clone();
            kept.retain(|slot| !is_ours(slot));
            assert_eq!((&left.slots, left.len()), (&kept, new.len()));
            assert!(READER.verify_slots(removed.header(), &[NAME]).is_err());
            assert_eq!(ESCROW.decrypt_detached(removed.header(), body, Aad::new(AAD)).ok(), ours);
        }
        Err(error) => {
            assert!(matches!(error, Error::MissingSlot { .. }), "{error}");
            assert!(!new.slots.iter().any(is_ours));
        }
    }
}

fn is_ours(slot: &ModelSlot) -> bool {
    slot.name == NAME.as_bytes()
}

/// Whether the keyring knows the slot's name, version and material.
fn is_known(slot: &ModelSlot) -> bool {
    let of = |record: &VersionRecord| {
        record.version.number() == slot.version && record.master_key_id.0 == slot.id
    };
    is_ours(slot) && slot.algorithm == 1 && READER.keyring().versions().iter().any(of)
}

/// SPEC R-KEEP: all slots that do not open stay byte for byte, in order.
fn kept_in_order(old: &Model, new: &Model) {
    let foreign = |model: &Model| -> Vec<ModelSlot> {
        model.slots.iter().filter(|slot| !is_known(slot)).cloned().collect()
    };
    // Under the key of the new slot, another algorithm cannot be genuine (SPEC W-ONE), and both
    // in one header would be duplicates.
    let mut kept = foreign(old);
    kept.retain(|slot| !new.slots.iter().any(|new| is_known(new) && new.same_key(slot)));
    assert_eq!(kept, foreign(new));
    // Of those that are known, any that does not open stays too; at most one is new.
    let known = new.slots.iter().filter(|slot| is_known(slot));
    let fresh: Vec<_> = known.filter(|slot| !old.slots.contains(slot)).collect();
    assert!(fresh.len() <= 1 && fresh.iter().all(|slot| slot.version == 2));
}

/// No slot of a retired version opens alone.
fn retired(new: &Model, body: &[u8], number: u32) {
    let of = |slot: &&ModelSlot| is_ours(slot) && slot.version == number;
    for slot in new.slots.iter().filter(of) {
        let mut alone = new.clone();
        alone.slots = vec![slot.clone()];
        let message = [&alone.write()[..], body].concat();
        assert!(inspect(&message).is_ok());
        assert!(READER.decrypt(&message, Aad::new(AAD)).is_err());
    }
}
