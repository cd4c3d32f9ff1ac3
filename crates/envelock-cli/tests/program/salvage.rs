//! `envelock key salvage`: what is intact of a damaged key file.

use crate::sandbox::{Result, Sandbox};
use serde_json::json;

/// A sandbox with the key file `keys` under the raw key in `one`: `orders` with two versions, and `other`.
fn sandbox() -> Result<Sandbox> {
    let sandbox = Sandbox::empty()?;
    sandbox.write_secret("one", [1; 32])?;
    sandbox.write_secret("two", [2; 32])?;
    sandbox.ok("-k file:keys?raw-key-file=one key create orders --new-keyring")?;
    sandbox.write("plain", "x")?;
    sandbox.ok("-k file:keys?raw-key-file=one encrypt plain -o message")?;
    sandbox.ok("-k file:keys?raw-key-file=one key rotate orders")?;
    Ok(sandbox)
}

/// Damages the line of a record.
fn damage(sandbox: &Sandbox, record: &str) -> Result {
    let text = String::from_utf8(sandbox.read("keys")?)?;
    let lines = text.lines().map(|line| match line.contains(record) {
        true => line.replacen("\"mac\":\"", "\"mac\":\"00", 1) + "\n",
        false => format!("{line}\n"),
    });
    sandbox.write_secret("keys", lines.collect::<String>()).map(drop)
}

const SALVAGE: &str = "-k file:keys?raw-key-file=one key salvage new";

#[test]
fn intact_versions_go_to_a_new_file() -> Result {
    let sandbox = sandbox()?;
    damage(&sandbox, "\"key\":\"orders\",\"version\":2")?;
    let damaged = sandbox.read("keys")?;
    sandbox.fails("-k file:keys?raw-key-file=one key list", 7)?;
    let errors = sandbox.fails(&format!("{SALVAGE} --dry-run"), 3)?;
    assert!(!sandbox.path("new").exists(), "{errors}");
    let output = sandbox.run(SALVAGE)?;
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout)?;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "orders:1  intact", "{text}");
    assert!(lines[1].starts_with("line 4  key orders version 2: "), "{text}");
    assert_eq!(lines[lines.len() - 2], "new  created", "{text}");
    let errors = String::from_utf8(output.stderr)?;
    let next = "next: look for a backup with them before new takes the place of the damaged file\n";
    assert!(errors.ends_with(next), "{errors}");
    assert_eq!(sandbox.run("-k file:new?raw-key-file=one decrypt message")?.stdout, b"x");
    assert_eq!(sandbox.read("keys")?, damaged);
    // A file that exists is not replaced.
    sandbox.fails(SALVAGE, 2)?;
    Ok(())
}

#[test]
fn whole_file_is_salvaged_without_a_loss() -> Result {
    let sandbox = sandbox()?;
    let salvaged = sandbox.json(SALVAGE)?;
    let expected = json!([["orders", 1], ["orders", 2]]);
    assert_eq!((&salvaged[0]["intact"], &salvaged[0]["damaged"]), (&expected, &json!([])));
    assert_eq!(salvaged[0]["created"], "new");
    sandbox.ok("-k file:new?raw-key-file=one key show orders").map(drop)
}

#[test]
fn what_cannot_be_salvaged_writes_nothing() -> Result {
    let sandbox = sandbox()?;
    sandbox.fails("-k file:keys?raw-key-file=two key salvage new", 1)?;
    damage(&sandbox, "\"kind\":\"version\"")?;
    let errors = sandbox.fails(SALVAGE, 7)?;
    let expected = "envelock: keyring file:keys?raw-key-file=one: no version is intact: nothing was written\n\
                    next: take the key file from a backup; keep the damaged one\n";
    assert_eq!(errors, expected);
    sandbox.fails("-k file:absent?raw-key-file=one key salvage new", 1)?;
    assert!(!sandbox.path("new").exists());
    Ok(())
}
