//! Copies that are only tried, changes that change nothing, evidence, records and erasure.

use crate::key::{change_at, create_key};
use crate::sandbox::{Result, Sandbox};
use envelock::KeyVersion;
use envelock::keyset::{Change, Operation};
use serde_json::json;
use std::time::Duration;

#[test]
fn copy_is_tried_and_compared_like_every_change() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.ok("-k file:other key create admin --new-keyring --unprotected")?;
    let before = sandbox.read("other")?;
    let copy = "-k file:keys key copy orders --to file:other";
    let tried = sandbox.json(&format!("{copy} --dry-run"))?;
    let errors = sandbox.fails(&format!("{copy} --if-unchanged-since 7"), 6)?;
    assert!(errors.contains("keyring is at change 1, the caller knows change 7"), "{errors}");
    assert_eq!(sandbox.read("other")?, before);
    let made = sandbox.json(&format!("{copy} --if-unchanged-since 1"))?;
    assert_eq!(tried[0]["transitions"], made[0]["transitions"]);
    assert_eq!((&tried[0]["change"], &made[0]["change"]), (&json!(2), &json!(2)));
    // Nothing is left to copy, and the number is compared all the same.
    sandbox.fails(&format!("{copy} --if-unchanged-since 1"), 6)?;
    let text = sandbox.ok(&format!("{copy} --dry-run"))?;
    assert_eq!(text, "nothing changes\ndry run: nothing was changed\n");
    Ok(())
}

#[test]
fn change_that_changes_nothing_takes_no_number() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.ok("-k file:keys key label orders:1 site=berlin")?;
    sandbox.ok("-k file:keys key alias current orders")?;
    let before = sandbox.read("keys")?;
    for command in [
        "key label orders:1 --remove absent",
        "key label orders:1 site=berlin",
        "key alias current orders",
        "key hold orders --release",
        "key hold orders:1 --release",
        "key correct-dates orders",
    ] {
        let printed = sandbox.ok(&format!("-k file:keys {command}"))?;
        assert_eq!(printed, "nothing changes\nchange 3\n", "{command}");
        assert_eq!(sandbox.read("keys")?, before, "{command}");
        sandbox.fails(&format!("-k file:keys {command} --if-unchanged-since 2"), 6)?;
    }
    // One of two that changes something is made.
    let printed = sandbox.ok("-k file:keys key label orders:1 owner=a --remove absent")?;
    assert!(printed.ends_with("change 4\n"), "{printed}");
    Ok(())
}

#[test]
fn evidence_is_required_and_records_are_removed() -> Result {
    let sandbox = Sandbox::new()?;
    let (version, day) = (KeyVersion::FIRST, 86_400);
    let operate = |operation| Change::Version { key: "old", version, operation };
    let after = Duration::from_secs(7 * day);
    let changes = [
        create_key("old"),
        Change::Rotate { key: "old" },
        operate(Operation::Disable),
        operate(Operation::ScheduleDestruction { after }),
    ];
    change_at(&sandbox, &changes, 8)?;
    let printed = sandbox.ok("-k file:keys key require-evidence old")?;
    assert_eq!(printed, "old  evidence required\nchange 3\n");
    sandbox.fails("-k file:keys key destroy old:1 --due --yes", 6)?;
    // A waiver is an override, which a person confirms.
    let errors = sandbox.fails("-k file:keys key waive-evidence old --reason audit", 6)?;
    assert!(errors.contains("a person has to confirm it"), "{errors}");
    let errors = sandbox.fails("-k file:keys key remove-records old:1 --yes", 6)?;
    assert!(errors.contains("`envelock -k file:keys key show old`"), "{errors}");
    let digest = "5a".repeat(32);
    sandbox.ok(&format!("-k file:keys key destroy old:1 --due --yes --evidence {digest}"))?;
    let tried = sandbox.json("-k file:keys key remove-records old:1 --dry-run")?;
    let removed = sandbox.json("-k file:keys key remove-records old:1 --yes")?;
    let expected = json!([{ "kind": "records_removed", "key": "old", "floor": 2 }]);
    assert_eq!((&tried[0]["transitions"], &removed[0]["transitions"]), (&expected, &expected));
    assert_eq!(sandbox.json("-k file:keys key show old")?.len(), 1);
    Ok(())
}

#[test]
fn erasure_is_confirmed_by_a_person_alone() -> Result {
    let sandbox = Sandbox::new()?;
    let before = sandbox.read("keys")?;
    let tried = sandbox.json("-k file:keys key erase orders --dry-run")?;
    let kinds: Vec<_> = tried[0]["transitions"].as_array().unwrap().iter().collect();
    assert_eq!(kinds.last().ok_or("none")?["kind"], "erased");
    let errors = sandbox.fails("-k file:keys key erase orders", 6)?;
    assert!(errors.contains("Every message under it is lost"), "{errors}");
    sandbox.fails("-k file:keys key erase orders --yes", 2)?;
    assert_eq!(sandbox.read("keys")?, before);
    sandbox.ok("-k file:keys key hold orders --reason audit")?;
    let errors = sandbox.fails("-k file:keys key erase orders", 6)?;
    assert!(errors.contains("key hold orders"), "{errors}");
    Ok(())
}
