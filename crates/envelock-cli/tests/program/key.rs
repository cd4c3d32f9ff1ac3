//! `envelock key`: changes of master keys, what they print, and what the key file has afterwards.

use crate::sandbox::{Result, Sandbox};
use envelock::file::{FileKeyring, Protection};
use envelock::keyset::{Change, ChangeOptions, Material, Operation};
use envelock::{KeyVersion, Lifecycle, OsRandom, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

const DAY: u64 = 86_400;

/// The states of all versions of a key, as the library reads them.
fn states(sandbox: &Sandbox, key: &str) -> Result<Vec<&'static str>> {
    let keyring =
        FileKeyring::open(sandbox.path("keys"), key, &Protection::unprotected_plaintext())?;
    Ok(keyring.versions().iter().map(|record| record.state.name()).collect())
}

/// Makes changes at a time in the past.
pub fn change_at(sandbox: &Sandbox, changes: &[Change<'_>], days_ago: u64) -> Result {
    let protection = Protection::unprotected_plaintext();
    let keyring = FileKeyring::open_any(sandbox.path("keys"), &protection)?;
    let now = Timestamp::now().unix_seconds() - days_ago * DAY;
    let options = ChangeOptions::at(Timestamp::from_unix_seconds(now));
    keyring.change(changes, &options, &mut OsRandom)?;
    Ok(())
}

pub fn create_key(key: &str) -> Change<'_> {
    Change::CreateKey { key, version: KeyVersion::FIRST, material: Material::Fresh }
}

#[test]
fn new_keyring_is_created_on_request_alone() -> Result {
    let sandbox = Sandbox::empty()?;
    let errors = sandbox.fails("-k file:keys key create orders", 1)?;
    assert!(errors.contains("`envelock -k file:keys key create orders --new-keyring`"), "{errors}");
    assert!(!sandbox.path("keys").exists());
    let printed = sandbox.ok("-k file:keys key create orders --new-keyring --unprotected")?;
    assert_eq!(printed, "keys  created\norders:1  primary\nchange 1\n");
    sandbox.fails("-k file:keys key create orders --new-keyring --unprotected", 2)?;
    sandbox.ok("-k file:keys key create invoices")?;
    assert_eq!(states(&sandbox, "invoices")?, ["primary"]);
    let errors = sandbox.fails("-k file:keys key create orders", 1)?;
    assert!(errors.contains("the name orders is taken"), "{errors}");
    Ok(())
}

#[test]
fn rotation_prints_its_transitions() -> Result {
    let sandbox = Sandbox::new()?;
    let printed = sandbox.ok("-k file:keys key rotate orders")?;
    let expected = "orders:2  added, pending\norders:1  primary -> enabled\norders:2  pending -> primary\n\
                    change 2\n";
    assert_eq!(printed, expected);
    let printed = sandbox.json("-k file:keys key rotate orders")?;
    let state = |version, from: &str, to: &str| json!({ "kind": "state", "key": "orders", "version": version, "from": from, "to": to });
    let transitions = json!([
        { "kind": "added", "key": "orders", "version": 3 },
        state(2, "primary", "enabled"),
        state(3, "pending", "primary"),
    ]);
    assert_eq!(printed, [json!({ "change": 3, "dry_run": false, "transitions": transitions })]);
    assert_eq!(states(&sandbox, "orders")?, ["enabled", "enabled", "primary"]);
    Ok(())
}

#[test]
fn dry_run_prints_the_same_and_writes_nothing() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.write_secret("material", "07".repeat(32))?;
    sandbox.ok("-k file:keys key add orders")?;
    let commands = [
        "key create invoices",
        "key rotate orders",
        "key add orders",
        "key promote orders:2",
        "key disable orders:2",
        "key compromise orders:1 --yes",
        "key hold orders --reason audit",
        "key label orders:1 site=berlin",
        "key alias current orders",
        "key import orders --from-file material",
        "key import legacy --new-key --version 7 --from-file material",
    ];
    for command in commands {
        let before = sandbox.read("keys")?;
        let tried = sandbox.json(&format!("-k file:keys {command} --dry-run"))?;
        assert_eq!(sandbox.read("keys")?, before, "{command}");
        // The change itself is made in a copy, so that each command meets the same keyring.
        std::fs::write(sandbox.path("copy"), &before)?;
        sandbox.set_mode("copy", 0o600)?;
        let made = sandbox.json(&format!("-k file:copy {command}"))?;
        assert_eq!(tried[0]["transitions"], made[0]["transitions"], "{command}");
        assert_eq!(tried[0]["change"], made[0]["change"], "{command}");
        assert_eq!((&tried[0]["dry_run"], &made[0]["dry_run"]), (&json!(true), &json!(false)));
    }
    Ok(())
}

#[test]
fn version_goes_through_its_states() -> Result {
    let sandbox = Sandbox::new()?;
    let key = |verb: &str| sandbox.ok(&format!("-k file:keys key {verb}"));
    key("add orders")?;
    assert_eq!(states(&sandbox, "orders")?, ["primary", "pending"]);
    key("promote orders:2")?;
    key("disable orders:1")?;
    assert_eq!(states(&sandbox, "orders")?, ["disabled", "primary"]);
    key("enable orders:1")?;
    key("promote orders:1")?;
    assert_eq!(states(&sandbox, "orders")?, ["primary", "enabled"]);
    key("compromise orders:2 --yes")?;
    key("disable orders:2")?;
    key("destroy orders:2 --after 7 --yes")?;
    assert_eq!(states(&sandbox, "orders")?, ["primary", "destroy scheduled"]);
    key("destroy orders:2 --cancel")?;
    assert_eq!(states(&sandbox, "orders")?, ["primary", "disabled"]);
    Ok(())
}

#[test]
fn state_that_refuses_names_the_step_before() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.ok("-k file:keys key rotate orders")?;
    let cases = [
        ("key disable orders:2", "key rotate orders"),
        ("key destroy orders:1 --yes", "key disable orders:1"),
        ("key destroy orders:2 --yes", "key rotate orders"),
        ("key enable orders:1", "key show orders"),
    ];
    for (command, next) in cases {
        let errors = sandbox.fails(&format!("-k file:keys {command}"), 6)?;
        assert!(errors.contains(&format!("`envelock -k file:keys {next}`")), "{command}: {errors}");
    }
    Ok(())
}

#[test]
fn due_destruction_is_carried_out_and_an_early_one_refused() -> Result {
    let sandbox = Sandbox::new()?;
    let version = |number| KeyVersion::new(number).ok_or("version");
    let one = version(1)?;
    let operate = |operation| Change::Version { key: "old", version: one, operation };
    let schedule = Operation::ScheduleDestruction { after: Duration::from_secs(7 * DAY) };
    let changes = [
        create_key("old"),
        Change::Rotate { key: "old" },
        operate(Operation::Disable),
        operate(schedule),
    ];
    change_at(&sandbox, &changes, 8)?;
    sandbox.ok("-k file:keys key rotate orders")?;
    sandbox.ok("-k file:keys key disable orders:1")?;
    sandbox.ok("-k file:keys key destroy orders:1 --yes")?;
    let errors = sandbox.fails("-k file:keys key destroy orders:1 --due --yes", 6)?;
    assert!(errors.contains("is not due before"), "{errors}");
    sandbox.ok("-k file:keys key destroy old:1 --due --yes")?;
    assert_eq!(states(&sandbox, "old")?, ["destroyed", "primary"]);
    Ok(())
}

#[test]
fn yes_confirms_no_override() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.ok("-k file:keys key rotate orders")?;
    sandbox.ok("-k file:keys key disable orders:1")?;
    let errors = sandbox.fails("-k file:keys key destroy orders:1 --immediately --yes", 6)?;
    assert!(errors.contains("a person has to confirm it"), "{errors}");
    let errors = sandbox.fails("-k file:keys key destroy orders:1", 6)?;
    assert!(errors.contains("there is no terminal"), "{errors}");
    assert_eq!(states(&sandbox, "orders")?, ["disabled", "primary"]);
    Ok(())
}

#[test]
fn hold_and_required_evidence_keep_a_version() -> Result {
    let sandbox = Sandbox::new()?;
    let version = KeyVersion::FIRST;
    let operate = |operation| Change::Version { key: "old", version, operation };
    let schedule = Operation::ScheduleDestruction { after: Duration::from_secs(7 * DAY) };
    let changes = [
        create_key("old"),
        Change::Rotate { key: "old" },
        operate(Operation::Disable),
        operate(schedule),
        Change::RequireEvidence { key: "old" },
    ];
    change_at(&sandbox, &changes, 8)?;
    sandbox.ok("-k file:keys key hold old --reason audit")?;
    let errors = sandbox.fails("-k file:keys key destroy old:1 --due --yes", 6)?;
    assert!(errors.contains("key hold old:1 --release"), "{errors}");
    sandbox.ok("-k file:keys key hold old --release")?;
    let errors = sandbox.fails("-k file:keys key destroy old:1 --due --yes", 6)?;
    assert!(errors.contains("--evidence SHA256"), "{errors}");
    let digest = "5a".repeat(32);
    sandbox.ok(&format!("-k file:keys key destroy old:1 --due --yes --evidence {digest}"))?;
    let shown = sandbox.json("-k file:keys key show old")?;
    assert_eq!((&shown[0]["state"], &shown[0]["evidence"]), (&json!("destroyed"), &json!(digest)));
    Ok(())
}

#[test]
fn list_and_show_have_what_is_on_record() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.ok("-k file:keys key rotate orders")?;
    sandbox.ok("-k file:keys key alias current orders")?;
    sandbox.ok("-k file:keys key hold current:1 --reason audit")?;
    sandbox.ok("-k file:keys key label orders:1 site=berlin owner=a=b")?;
    sandbox.ok("-k file:keys key label orders:1 --remove site")?;
    let listed = sandbox.ok("-k file:keys key list")?;
    let row = listed.lines().nth(1).ok_or("no row")?;
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["orders", "2", "2", "current"]);
    let listed = sandbox.json("-k file:keys key list")?;
    assert_eq!(
        (&listed[0]["versions"], &listed[0]["aliases"]),
        (&json!([1, 2]), &json!(["current"]))
    );
    let shown = sandbox.json("-k file:keys key show current")?;
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0]["labels"], json!({ "owner": "a=b" }));
    assert_eq!((&shown[0]["hold"], &shown[1]["hold"]), (&json!("audit"), &Value::Null));
    let text = sandbox.ok("-k file:keys key show orders")?;
    assert!(
        text.starts_with("orders:1  enabled\n") && text.contains("\norders:2  primary\n"),
        "{text}"
    );
    sandbox.ok("-k file:keys key alias current --remove --yes")?;
    sandbox.fails("-k file:keys key show current", 1)?;
    Ok(())
}

#[test]
fn imported_material_opens_messages_of_the_same_material() -> Result {
    let sandbox = Sandbox::new()?;
    // 32 bytes, the last of which is a line end.
    let mut bytes: Vec<u8> = (0..32).collect();
    bytes[31] = b'\n';
    sandbox.write_secret("raw", &bytes)?;
    sandbox.write_secret(
        "hex",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e0a\n",
    )?;
    sandbox.write_secret("base64", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHgo=\n")?;
    let mut ids = Vec::new();
    for encoding in ["raw", "hex", "base64"] {
        let create =
            format!("-k file:keys-{encoding} key create first --new-keyring --unprotected");
        sandbox.ok(&create)?;
        sandbox.ok(&format!(
            "-k file:keys-{encoding} key import a --new-key --version 7 --encoding {encoding} --from-file {encoding}"
        ))?;
        ids.push(sandbox.json(&format!("-k file:keys-{encoding} key show a"))?[0].clone());
    }
    assert_eq!((&ids[0]["version"], &ids[0]["origin"]), (&json!(7), &json!("imported")));
    assert!(ids.iter().all(|it| it["master_key_id"] == ids[0]["master_key_id"]));
    let twin = "-k file:keys-raw key import a --encoding raw --from-file raw";
    let errors = sandbox.fails(twin, 1)?;
    assert!(errors.contains("key material is all zero or there already"), "{errors}");
    assert_eq!(sandbox.fails(&format!("{twin} --dry-run"), 1)?, errors);
    Ok(())
}

#[test]
fn change_number_of_the_caller_is_compared() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.ok("-k file:keys key rotate orders --if-unchanged-since 1")?;
    let errors = sandbox.fails("-k file:keys key rotate orders --if-unchanged-since 1", 6)?;
    assert!(errors.contains("keyring is at change 2, the caller knows change 1"), "{errors}");
    assert!(errors.contains("--if-unchanged-since 2"), "{errors}");
    Ok(())
}

#[test]
fn copied_key_opens_messages_and_follows_a_rotation() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.write("plain", "x")?;
    let encrypt = |name: &str| sandbox.ok(&format!("-k file:keys encrypt plain -o {name}"));
    encrypt("one")?;
    sandbox.ok("-k file:keys key rotate orders")?;
    encrypt("two")?;
    sandbox.ok("-k file:keys key rotate orders")?;
    sandbox.ok("-k file:keys key disable orders:1")?;
    sandbox.ok("-k file:keys key compromise orders:2 --yes")?;
    sandbox.ok("-k file:keys key promote orders:3")?;
    sandbox.ok("-k file:other key create admin --new-keyring --unprotected")?;
    sandbox.ok("-k file:keys key copy orders --to file:other")?;
    let states = |keyring: &str| -> Result<Vec<Value>> {
        let shown = sandbox.json(&format!("-k file:{keyring} key show orders"))?;
        Ok(shown
            .iter()
            .map(|it| json!([it["version"], it["state"], it["master_key_id"]]))
            .collect())
    };
    assert_eq!(states("other")?, states("keys")?);
    assert_eq!(sandbox.run("-k file:other decrypt two")?.stdout, b"x");
    sandbox.fails("-k file:other decrypt one", 6)?;
    // Nothing is left to copy.
    assert_eq!(
        sandbox.ok("-k file:keys key copy orders --to file:other")?,
        "nothing changes\nchange 2\n"
    );

    sandbox.ok("-k file:keys key rotate orders")?;
    encrypt("four")?;
    sandbox.ok("-k file:keys key copy orders --to file:other")?;
    assert_eq!(sandbox.run("-k file:other decrypt four")?.stdout, b"x");
    let shown = sandbox.json("-k file:other key show orders")?;
    assert_eq!((&shown[2]["state"], &shown[3]["state"]), (&json!("primary"), &json!("pending")));
    sandbox.ok("-k file:other key promote orders:4")?;
    // Numbers and material of another origin are not mixed.
    sandbox.ok("-k file:third key create orders --new-keyring --unprotected")?;
    let errors = sandbox.fails("-k file:keys key copy orders --to file:third", 1)?;
    assert!(errors.contains("key orders cannot take another version after 1"), "{errors}");
    Ok(())
}
