//! Random keysets: what is written is read again, also after changes and other protections.

use super::make::{NOW, Seeded, change, create_key, operate, raw_key, version};
use envelock::keyset::LifecycleError;
use envelock::rand_core::Rng;
use envelock::test_access::key_file_format::{FileKey, KeyFile};
use envelock::{
    KeyVersion, Timestamp,
    file::Protection,
    keyset::{Change, Material, Operation},
};
use std::collections::BTreeSet;
use std::time::Duration;

const NAMES: [&str; 5] = ["orders", "a", "eu/invoices@2026", "0", "z.Z_9:+=-"];

fn below(rng: &mut Seeded, bound: u32) -> u32 {
    rng.0.next_u32() % bound
}

fn pick<'a>(rng: &mut Seeded, all: &[&'a str]) -> &'a str {
    all[below(rng, all.len() as u32) as usize]
}

/// One change that may or may not be allowed.
fn any_change<'a>(rng: &mut Seeded, number: u32, text: &'a str) -> Change<'a> {
    let few = below(rng, 4) > 0;
    let key = if few { NAMES[0] } else { pick(rng, &NAMES) };
    let number = version(number);
    match below(rng, 12) {
        0 => create_key(key),
        1 | 2 => Change::Rotate { key },
        3 => Change::AddVersion { key, version: None, material: Material::Fresh },
        4 => Change::AddVersion { key, version: Some(number), material: Material::Fresh },
        5 => Change::SetAlias { alias: pick(rng, &["current", "next"]), key },
        6 => Change::RemoveAlias { alias: pick(rng, &["current", "next"]) },
        7 => Change::SetLabel { key, version: number, name: "note", value: Some(text) },
        _ => {
            let after = Duration::from_secs(u64::from(7 + below(rng, 23)) * 86_400);
            let all = [
                Operation::Promote,
                Operation::Enable,
                Operation::Disable,
                Operation::Disable,
                Operation::MarkCompromised,
                Operation::ScheduleDestruction { after },
                Operation::CancelDestruction,
                Operation::DestroyImmediately,
            ];
            operate(key, number.number(), all[below(rng, 8) as usize])
        }
    }
}

fn random_text(rng: &mut Seeded) -> String {
    let all: Vec<char> = "aZ9 \"\\/{}[]:,<>&'\u{fc}\u{20ac}\u{1f600}\u{2028}".chars().collect();
    (0..below(rng, 20)).map(|_| all[below(rng, all.len() as u32) as usize]).collect()
}

fn allowed(file: &KeyFile, one: &Change<'_>, now: Timestamp) -> bool {
    let mut material = |_: envelock::KeyName<'_>, _: KeyVersion, _: Material<'_>| {
        let algorithm = envelock::format::WrapAlgorithm::XAES_256_GCM;
        let master_key_id = envelock::MasterKeyId([0xEE; 8]);
        Ok(envelock::keyset::NewMaterial {
            master_key_id,
            algorithm,
            origin: envelock::keyset::Origin::Generated,
        })
    };
    file.keysets()
        .with_changes::<LifecycleError>(
            &[*one],
            &envelock::keyset::ChangeOptions::at(now),
            &mut material,
        )
        .is_ok()
}

fn check(file: &KeyFile, key: &FileKey, protection: &Protection, seed: u8) -> KeyFile {
    let bytes = file.encode(key, NOW).unwrap();
    let (again, again_key) = KeyFile::open(&bytes, protection).unwrap();
    assert_eq!(again.keysets(), file.keysets(), "seed {seed}");
    assert!(again.encode(&again_key, NOW).unwrap() == bytes, "seed {seed}");
    assert!(KeyFile::reload(&bytes, key).unwrap() == again, "seed {seed}");
    let undestroyed = |keyset: &envelock::keyset::Keyset| {
        let kept = |it: &&envelock::keyset::VersionRecord| {
            it.state != envelock::keyset::VersionState::Destroyed
        };
        keyset.versions().iter().filter(kept).count()
    };
    let count: usize = file.keysets().iter().map(undestroyed).sum();
    assert_eq!(again.verify_material(&again_key).unwrap(), count, "seed {seed}");
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.matches("\"sealed\"").count(), count + 2 * usize::from(sealed(protection)));
    again
}

fn sealed(protection: &Protection) -> bool {
    protection.kind() == envelock::file::ProtectionKind::RawKey
}

#[test]
fn random_keysets_survive() {
    let (mut states, mut made) = (BTreeSet::new(), 0);
    for seed in 0..50 {
        let mut rng = Seeded::new(seed);
        let protection =
            if seed % 2 == 0 { raw_key() } else { Protection::unprotected_plaintext() };
        let (mut file, mut key) = KeyFile::create(&protection, &mut rng).unwrap();
        for step in 0..150 {
            let now = NOW.plus(Duration::from_secs(step * 3600));
            let number = 1 + below(&mut rng, 8);
            let text = random_text(&mut rng);
            let one = any_change(&mut rng, number, &text);
            if !allowed(&file, &one, now) {
                continue;
            }
            change(&mut file, &key, &[one], now, &mut rng).unwrap();
            made += 1;
            if step % 13 == 0 {
                file = check(&file, &key, &protection, seed);
            }
            if step % 31 == 30 {
                (file, key) = file.replace_file_key(&key, &[&protection], &mut rng).unwrap();
            }
        }
        check(&file, &key, &protection, seed);
        let versions = file.keysets().iter().flat_map(|keyset| keyset.versions());
        states.extend(versions.map(|it| it.state.name()));
    }
    println!("{made} changes, states {states:?}");
    assert_eq!(states.len(), 7);
    assert!(made > 800, "only {made}");
}
