//! Holds, and whether evidence is required, are states of the keys in the file: they outlast processes,
//! hold in every one of them, and are not lost by salvage.

use super::*;
use envelock::keyset::LifecycleError;
use envelock::{
    OsRandom,
    keyset::{ChangeOptions, Guard},
};

/// A key file with three versions: the first two are disabled, the second is on hold, and evidence is
/// required.
fn guarded(path: &Path) -> FileKeyring {
    let keyring = create(path);
    keyring.rotate().unwrap();
    keyring.rotate().unwrap();
    keyring.disable(version(1)).unwrap();
    keyring.disable(version(2)).unwrap();
    keyring.hold(version(2), "case 7 \u{fc}").unwrap();
    keyring.require_evidence().unwrap();
    keyring
}

fn refusal(answer: Result<envelock::keyset::ChangeOutcome, Error>) -> Guard {
    match answer.unwrap_err() {
        Error::Lifecycle(LifecycleError::Guarded { key, guard, .. }) if key == "orders" => guard,
        other => panic!("{other:?}"),
    }
}

fn check_refusals(keyring: &FileKeyring) {
    let keyset = keyring.keyset().unwrap();
    let before = keyring.keysets().unwrap();
    assert!(keyset.evidence_required());
    let guard = refusal(keyring.destroy_immediately(version(1)));
    assert_eq!(guard, Guard::EvidenceRequired);
    match refusal(keyring.destroy_immediately(version(2))) {
        Guard::OnHold { reason, .. } => assert_eq!(reason, "case 7 \u{fc}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(keyring.keysets().unwrap(), before);
}

#[test]
fn holds_and_evidence_outlast_the_process() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = guarded(&path);
    check_refusals(&keyring);
    let other = FileKeyring::open(&path, "orders", &raw()).unwrap();
    check_refusals(&other);
    drop((keyring, other));
    let keyring = FileKeyring::open(&path, "orders", &raw()).unwrap();
    check_refusals(&keyring);

    let destroy = Change::Version {
        key: "orders",
        version: version(1),
        operation: Operation::DestroyImmediately,
    };
    let options = ChangeOptions::at(Timestamp::now()).on_evidence([0x5a; 32]);
    keyring.change(&[destroy], &options, &mut OsRandom).unwrap();
    let waive = Change::WaiveEvidence { key: "orders", reason: "OPS-7" };
    keyring.change_now(waive).unwrap();
    keyring.enable(version(2)).unwrap();
    let before = keyring.keyset().unwrap();
    drop(keyring);
    let keyring = FileKeyring::open(&path, "orders", &raw()).unwrap();
    let keyset = keyring.keyset().unwrap();
    assert_eq!(keyset, before);
    assert_eq!(keyset.versions()[0].evidence.as_deref(), Some(&[0x5a; 32]));
    assert!(keyset.versions()[1].kept.is_some() && keyset.versions()[1].hold.is_some());
    assert!(!keyset.evidence_required());
    assert_eq!(keyset.evidence_waived().unwrap().reason(), "OPS-7");
}

#[test]
fn salvage_keeps_holds_and_requires_evidence() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    drop(guarded(&path));
    let intact = fs::read_to_string(&path).unwrap();
    let without_key: Vec<_> =
        intact.lines().filter(|line| !line.contains(r#""kind":"key","#)).collect();
    assert_eq!(without_key.len() + 1, intact.lines().count());
    for (name, text) in [("intact", intact.clone()), ("damaged", without_key.join("\n") + "\n")] {
        fs::write(&path, text).unwrap();
        let salvage = Salvage::read(&path, &raw()).unwrap();
        let fresh = directory.join(name);
        let keyring = salvage.create(&fresh, &raw(), &FileKeyringOptions::new()).unwrap();
        check_refusals(&keyring);
    }
}

/// Of two states of the file one line each: what either of them keeps is kept.
#[test]
fn salvage_of_two_states_keeps_both() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = guarded(&path);
    let before = fs::read_to_string(&path).unwrap();
    keyring.release(version(2)).unwrap();
    let waive = Change::WaiveEvidence { key: "orders", reason: "OPS-7" };
    keyring.change_now(waive).unwrap();
    drop(keyring);
    let after = fs::read_to_string(&path).unwrap();
    for (first, second) in [(&before, &after), (&after, &before)] {
        fs::write(&path, first.clone() + second).unwrap();
        let salvage = Salvage::read(&path, &raw()).unwrap();
        let fresh = directory.join("fresh");
        let keyring = salvage.create(&fresh, &raw(), &FileKeyringOptions::new()).unwrap();
        check_refusals(&keyring);
        let waived = keyring.keyset().unwrap().evidence_waived().cloned();
        assert_eq!(waived.unwrap().reason(), "OPS-7");
        drop(keyring);
        fs::remove_file(&fresh).unwrap();
    }
}
