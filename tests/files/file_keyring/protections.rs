//! Several protections of one file key, changed while others run on, and the outer keys they need
//! (THREATS row 76).

use super::{decrypt, eager, encrypt, file_error, raw, version};
use crate::common::directory::TestDirectory;
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    Error, FileKeyring, KeyVersion, Keyring, Lifecycle, MasterKey, MemoryKeyring,
    file::{
        AddedProtection, KeyFileError, KeyFileFault, Protection, ProtectionId, ProtectionKind,
        ProtectionRecord, ProtectionsFault,
    },
    keyring::{Freshness, Refusal},
    observe::{Event, FnObserver},
};
use rand_chacha::ChaCha20Rng;
use std::path::Path;
use std::sync::{Arc, Mutex};

fn raw_of(byte: u8) -> Protection {
    Protection::raw_key(MasterKey::from_bytes(&[byte; 32]))
}

fn fault(error: &Error) -> KeyFileFault {
    match file_error(error) {
        KeyFileError::Content { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

fn outer() -> Arc<MemoryKeyring> {
    Arc::new(MemoryKeyring::create("root").unwrap())
}

fn by(outer: &Arc<MemoryKeyring>) -> Protection {
    Protection::keyring(outer.clone())
}

/// Makes version 1 of `outer` of no use, as a policy does.
fn retire(outer: &MemoryKeyring) {
    outer.rotate().unwrap();
    outer.disable(version(1)).unwrap();
    outer.destroy_immediately(version(1)).unwrap();
}

#[test]
fn protections_change_while_another_process_follows() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let outer = outer();
    let keyring = eager().create(&path, "orders", &raw().named("application")).unwrap();
    let other = eager().open_any(&path, &raw()).unwrap();
    let message = encrypt(&other, "kept");

    let first = keyring.protections()[0].id;
    let AddedProtection { id, change, .. } = keyring.add_protection(&by(&outer)).unwrap();
    assert_eq!(change, 2);
    assert_eq!(keyring.rewrap_protection(id, &by(&outer)).unwrap(), 3);
    let third = keyring.add_protection(&raw_of(9).named("recovery")).unwrap();
    assert_eq!(keyring.remove_protection(first).unwrap(), 5);

    // The other one goes on, sees them, and changes on top.
    assert_eq!(decrypt(&other, &encrypt(&other, "goes on")).unwrap(), b"goes on");
    other.reload().unwrap();
    assert_eq!(other.protections(), keyring.protections());
    assert_eq!(other.rotate().unwrap(), version(2));
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"kept");

    let read = FileKeyring::read_protections(&path).unwrap();
    assert_eq!(read, keyring.protections());
    assert_eq!(read, ProtectionRecord::read(&std::fs::read(&path).unwrap()).unwrap());
    let kinds = [Some(ProtectionKind::Keyring), Some(ProtectionKind::RawKey)];
    assert_eq!([read[0].kind, read[1].kind], kinds);
    assert_eq!([read[0].id, read[1].id], [id, third.id]);
    assert_eq!(read[1].name.as_deref(), Some("recovery"));
    let label = read[0].outer[0].label();
    assert_eq!((label.name.as_str(), label.version), ("root", version(1)));
    assert_eq!(label.master_key_id, outer.versions()[0].master_key_id);
    assert!(read[1].outer.is_empty());

    for protection in [by(&outer), raw_of(9)] {
        let opened = FileKeyring::open_any(&path, &protection).unwrap();
        assert_eq!(decrypt(&opened, &message).unwrap(), b"kept");
    }
    let error = FileKeyring::open_any(&path, &raw()).unwrap_err();
    assert!(matches!(fault(&error), KeyFileFault::Authentication), "{error:?}");
}

#[test]
fn refused_change_of_protections_changes_nothing() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = FileKeyring::create(&path, "orders", &raw()).unwrap();
    let first = keyring.protections()[0].id;
    let before = std::fs::read(&path).unwrap();
    let unknown = ProtectionId([0xEE; 8]);
    let refused = [
        (keyring.remove_protection(first).unwrap_err(), ProtectionsFault::Last),
        (
            keyring.remove_protection(unknown).unwrap_err(),
            ProtectionsFault::Unknown { id: unknown },
        ),
        (
            keyring.rewrap_protection(unknown, &raw()).unwrap_err(),
            ProtectionsFault::Unknown { id: unknown },
        ),
        (
            keyring.add_protection(&Protection::unprotected_plaintext()).map(drop).unwrap_err(),
            ProtectionsFault::Plaintext,
        ),
        (
            keyring.add_protection(&raw().named("no\nname")).map(drop).unwrap_err(),
            ProtectionsFault::Name,
        ),
        (keyring.replace_file_key(&[]).unwrap_err(), ProtectionsFault::Last),
    ];
    for (error, expected) in refused {
        match fault(&error) {
            KeyFileFault::Protections { what } => assert_eq!(what, expected),
            other => panic!("{other}"),
        }
        assert!(!error.is_retryable());
    }
    let empty = keyring.add_protection(&Protection::passphrase("")).map(drop).unwrap_err();
    assert!(matches!(fault(&empty), KeyFileFault::EmptySecret));
    let outer = outer();
    outer.mark_compromised(version(1)).unwrap();
    let error = keyring.add_protection(&by(&outer)).map(drop).unwrap_err();
    assert!(matches!(fault(&error), KeyFileFault::OuterKeyring(_)), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(ProtectionId::parse(&first.to_string()), Some(first));
    assert_eq!(ProtectionId::parse("EE"), None);
}

/// A file key that is replaced is another for everybody who has the file open.
#[test]
fn holder_of_old_file_key_has_to_reopen() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = eager().create(&path, "orders", &raw()).unwrap();
    let other = eager().open_any(&path, &raw()).unwrap();
    let message = encrypt(&other, "kept");
    let outer = outer();
    assert_eq!(keyring.replace_file_key(&[&raw_of(8), &by(&outer)]).unwrap(), 2);
    encrypt(&keyring, "goes on");
    assert_eq!(decrypt(&other, &message).unwrap(), b"kept");
    for error in [
        other.reload().unwrap_err(),
        other.rotate().unwrap_err(),
        other.add_protection(&raw()).map(drop).unwrap_err(),
        envelock::Envelope::new(&other).encrypt(b"lost", super::ROW).unwrap_err(),
    ] {
        assert!(matches!(fault(&error), KeyFileFault::FileKeyReplaced), "{error:?}");
    }
    let error = FileKeyring::open_any(&path, &raw()).unwrap_err();
    assert!(matches!(fault(&error), KeyFileFault::Authentication), "{error:?}");
    other.reopen(&by(&outer)).unwrap();
    assert_eq!(decrypt(&keyring, &encrypt(&other, "goes on")).unwrap(), b"goes on");
    assert_eq!(other.health().outer[0].freshness, Some(Freshness::Primary));
    for protection in [raw_of(8), by(&outer)] {
        let opened = FileKeyring::open_any(&path, &protection).unwrap();
        assert_eq!(decrypt(&opened, &message).unwrap(), b"kept");
    }
}

type Reports = Arc<Mutex<Vec<String>>>;

fn telling() -> (Reports, Arc<dyn envelock::observe::Observer>) {
    let reported: Reports = Arc::default();
    let seen = reported.clone();
    let observer = FnObserver::new(move |event: &Event<'_>| {
        if let Event::OuterKey { protection, label, freshness } = event {
            let text = format!("{protection}: {} {} {freshness:?}", label.name, label.version);
            seen.lock().unwrap().push(text);
        }
    });
    (reported, Arc::new(observer))
}

/// The outer version is retired while the process runs: this is reported while it can be repaired.
#[test]
fn lost_outer_version_is_reported_and_repaired() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let (outer, (reported, observer)) = (outer(), telling());
    let options = eager().observer(observer);
    drop(FileKeyring::create(&path, "orders", &by(&outer).named("hsm")).unwrap());
    let keyring = options.open_any(&path, &by(&outer)).unwrap();
    let of = |keyring: &FileKeyring| keyring.outer_freshness()[0].freshness;
    assert_eq!(of(&keyring), Some(Freshness::Primary));
    let message = encrypt(&keyring, "kept");
    assert!(reported.lock().unwrap().is_empty(), "nothing is wrong");

    outer.rotate().unwrap();
    encrypt(&keyring, "looks");
    assert_eq!(of(&keyring), Some(Freshness::Stale));
    outer.disable(version(1)).unwrap();
    encrypt(&keyring, "looks");
    encrypt(&keyring, "reported once");
    outer.destroy_immediately(version(1)).unwrap();
    // A change reports it, too.
    keyring.rotate().unwrap();
    assert_eq!(of(&keyring), Some(Freshness::Refused(Refusal::Destroyed)));
    assert_eq!(
        *reported.lock().unwrap(),
        ["hsm: root 1 Stale", "hsm: root 1 Refused(Disabled)", "hsm: root 1 Refused(Destroyed)"]
    );
    // Without this, every master key would be lost with the restart.
    let error = FileKeyring::open_any(&path, &by(&outer)).unwrap_err();
    assert!(matches!(fault(&error), KeyFileFault::OuterKeyring(_)), "{error:?}");
    let id = keyring.protections()[0].id;
    keyring.rewrap_protection(id, &by(&outer)).unwrap();
    assert_eq!(of(&keyring), Some(Freshness::Primary));
    let opened = FileKeyring::open_any(&path, &by(&outer)).unwrap();
    assert_eq!(decrypt(&opened, &message).unwrap(), b"kept");
    assert_eq!(reported.lock().unwrap().len(), 3, "a slot of another version is another");
}

/// Each given keyring is called. An unknown state is not guessed.
#[test]
fn outer_key_that_no_keyring_knows_is_unknown() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let (outer, (reported, observer)) = (outer(), telling());
    let options = eager().observer(observer);
    drop(FileKeyring::create(&path, "orders", &by(&outer)).unwrap());
    let keyring = FileKeyring::open_any(&path, &by(&outer)).unwrap();
    keyring.add_protection(&raw()).unwrap();
    // Opened by something else, nothing is known of the outer key.
    let other = options.open_any(&path, &raw()).unwrap();
    retire(&outer);
    encrypt(&other, "looks");
    let unknown = other.outer_freshness();
    assert_eq!((unknown.len(), unknown[0].freshness), (1, None));
    assert!(reported.lock().unwrap().is_empty());
    // A keyring of that file reports it.
    let label = unknown[0].key.label();
    assert_eq!(outer.freshness(&label).unwrap(), Freshness::Refused(Refusal::Destroyed));
    // Once one was offered, all are asked; a second one beside it is no result of the first.
    let second = Arc::new(MemoryKeyring::create("vault").unwrap());
    other.add_protection(&by(&second).named("vault")).unwrap();
    other.add_protection(&by(&outer).named("again")).unwrap();
    let known: Vec<_> = other.outer_freshness().into_iter().map(|it| it.freshness).collect();
    let refused = Some(Freshness::Refused(Refusal::Destroyed));
    assert_eq!(known, [refused, Some(Freshness::Primary), Some(Freshness::Primary)]);
    let id = other.protections()[0].id;
    assert_eq!(*reported.lock().unwrap(), [format!("{id}: root 1 Refused(Destroyed)")]);
}

/// The protections of a file in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secret {
    Raw(u8),
    Outer(usize),
}

struct Drill {
    rng: ChaCha20Rng,
    outer: [Arc<MemoryKeyring>; 2],
    model: Vec<(ProtectionId, Secret)>,
    change: u64,
}

impl Drill {
    fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound
    }

    fn secret(&mut self) -> Secret {
        match self.below(3) {
            0 => Secret::Outer(self.below(2) as usize),
            _ => Secret::Raw(1 + self.below(5) as u8),
        }
    }

    fn protection(&self, secret: Secret) -> Protection {
        match secret {
            Secret::Raw(byte) => raw_of(byte),
            Secret::Outer(at) => by(&self.outer[at]),
        }
    }

    /// One change of protections by `keyring`, or one that is refused; whether the file key is another.
    fn step(&mut self, keyring: &FileKeyring) -> bool {
        let secret = self.secret();
        let protection = self.protection(secret);
        let at = self.below(self.model.len() as u32) as usize;
        let id = self.model[at].0;
        match self.below(10) {
            0..=3 => match keyring.add_protection(&protection) {
                Ok(added) => {
                    self.model.push((added.id, secret));
                    self.change += 1;
                    assert_eq!(added.change, self.change);
                }
                Err(error) => {
                    let what = ProtectionsFault::TooMany { most: 8 };
                    assert!(matches!(fault(&error), KeyFileFault::Protections { what: found }
                        if found == what && self.model.len() == 8));
                }
            },
            4..=5 => {
                self.change += 1;
                assert_eq!(keyring.rewrap_protection(id, &protection).unwrap(), self.change);
                self.model[at].1 = secret;
            }
            6..=8 => match keyring.remove_protection(id) {
                Ok(change) => {
                    self.model.remove(at);
                    self.change += 1;
                    assert_eq!(change, self.change);
                }
                Err(_) => assert_eq!(self.model.len(), 1),
            },
            _ => {
                let other = self.secret();
                let both = [&protection, &self.protection(other)];
                self.change += 1;
                assert_eq!(keyring.replace_file_key(&both).unwrap(), self.change);
                let ids: Vec<_> = keyring.protections().iter().map(|it| it.id).collect();
                self.model = ids.into_iter().zip([secret, other]).collect();
                return true;
            }
        }
        false
    }

    /// Every secret opens the file exactly if the model says so.
    fn check(&self, path: &Path, message: &[u8]) {
        let all = (1..=5).map(Secret::Raw).chain((0..2).map(Secret::Outer));
        for secret in all {
            let opened = FileKeyring::open_any(path, &self.protection(secret));
            let has = |kind| self.model.iter().any(|(_, it)| matches!(it, Secret::Raw(_)) == kind);
            match (opened, self.model.iter().any(|(_, it)| *it == secret)) {
                (Ok(opened), true) => assert_eq!(decrypt(&opened, message).unwrap(), b"kept"),
                (Err(error), false) => match fault(&error) {
                    KeyFileFault::Authentication => assert!(matches!(secret, Secret::Raw(_))),
                    KeyFileFault::OuterKeyring(error) => {
                        assert!(matches!(*error, Error::NoKey { .. }), "{error:?}");
                    }
                    KeyFileFault::ProtectionKind { .. } => {
                        assert!(!has(matches!(secret, Secret::Raw(_))));
                    }
                    other => panic!("{other}"),
                },
                (opened, expected) => panic!("{secret:?}: {expected}, {opened:?}"),
            }
        }
    }
}

#[test]
fn random_protection_changes_are_followed() {
    let (mut replaced, mut changes) = (0, 0);
    for seed in 0..4 {
        let directory = TestDirectory::new();
        let path = directory.join("orders.keys");
        let mut drill = Drill {
            rng: ChaCha20Rng::from_seed([seed; 32]),
            outer: ["root", "vault"].map(|name| Arc::new(MemoryKeyring::create(name).unwrap())),
            model: Vec::new(),
            change: 1,
        };
        let mut keyrings = [
            eager().create(&path, "orders", &raw_of(1)).unwrap(),
            eager().open_any(&path, &raw_of(1)).unwrap(),
        ];
        drill.model.push((keyrings[0].protections()[0].id, Secret::Raw(1)));
        let message = encrypt(&keyrings[1], "kept");
        for _ in 0..60 {
            let (by, follower) = match drill.below(2) {
                0 => (&keyrings[0], 1),
                _ => (&keyrings[1], 0),
            };
            let is_replaced = drill.step(by);
            let reported: Vec<_> = by.protections().iter().map(|it| it.id).collect();
            let expected: Vec<_> = drill.model.iter().map(|(id, _)| *id).collect();
            assert_eq!(reported, expected, "seed {seed}");
            if is_replaced {
                let error = keyrings[follower].reload().unwrap_err();
                assert!(matches!(fault(&error), KeyFileFault::FileKeyReplaced), "{error:?}");
                let protection = drill.protection(drill.model[0].1);
                keyrings[follower] = eager().open_any(&path, &protection).unwrap();
                replaced += 1;
            }
            keyrings[follower].reload().unwrap();
            assert_eq!(keyrings[follower].protections(), by_protections(&keyrings, follower));
            assert_eq!(decrypt(&keyrings[follower], &message).unwrap(), b"kept");
            if drill.below(8) == 0 {
                keyrings[follower].rotate().unwrap();
                drill.change += 1;
                drill.check(&path, &message);
            }
            changes += 1;
        }
        drill.check(&path, &message);
        let last = keyrings[0].keysets().unwrap();
        assert_eq!(last.change(), drill.change, "seed {seed}");
    }
    println!("{changes} steps, {replaced} file keys replaced");
    assert!(replaced > 10);
}

fn by_protections(keyrings: &[FileKeyring; 2], follower: usize) -> Vec<ProtectionRecord> {
    keyrings[1 - follower].protections()
}

/// A file of format version 1 goes on under its protection, and gets others.
#[test]
fn file_of_version_1_takes_more_protections() {
    let directory = TestDirectory::new();
    let path = directory.join("raw-key.keys");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/keyfile/raw-key.keys");
    super::overwrite(&path, &std::fs::read(golden).unwrap());
    let keyring = eager().open_any(&path, &raw()).unwrap().with_key("orders").unwrap();
    let other = eager().open_any(&path, &raw()).unwrap().with_key("orders").unwrap();
    let first = keyring.protections()[0].id;
    assert_eq!(FileKeyring::read_protections(&path).unwrap(), keyring.protections());
    keyring.add_protection(&raw_of(9)).unwrap();
    let message = encrypt(&other, "kept");
    assert_eq!(other.protections()[0].id, first);
    keyring.remove_protection(first).unwrap();
    let opened = FileKeyring::open_any(&path, &raw_of(9)).unwrap();
    assert_eq!(decrypt(&opened, &message).unwrap(), b"kept");
    assert_eq!(opened.keysets().unwrap().keyset("orders").unwrap().primary(), KeyVersion::new(14));
}
