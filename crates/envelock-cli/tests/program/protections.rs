//! `envelock key protection`: the secrets that open a key file.

use crate::sandbox::{Result, Sandbox};

/// A sandbox with the key file `keys` under the raw key in `one`, and another raw key in `two`.
fn with_raw_keys() -> Result<Sandbox> {
    let sandbox = Sandbox::empty()?;
    sandbox.write_secret("one", [1; 32])?;
    sandbox.write_secret("two", [2; 32])?;
    sandbox.ok("-k file:keys?raw-key-file=one key create orders --new-keyring")?;
    Ok(sandbox)
}

/// The ids of the protections.
fn ids(sandbox: &Sandbox, secret: &str) -> Result<Vec<String>> {
    let listed =
        sandbox.json(&format!("-k file:keys?raw-key-file={secret} key protection list"))?;
    Ok(listed.iter().map(|it| it["protection"].as_str().unwrap().to_string()).collect())
}

#[test]
fn protection_is_added_listed_and_removed() -> Result {
    let sandbox = with_raw_keys()?;
    sandbox.write("plain", "x")?;
    sandbox.ok("-k file:keys?raw-key-file=one encrypt plain -o message")?;
    let first = "-k file:keys?raw-key-file=one key protection";
    let added = sandbox.json(&format!("{first} add raw-key-file=two --name recovery"))?;
    let id = added[0]["protection"].as_str().ok_or("no id")?;
    let listed = sandbox.ok(&format!("{first} list"))?;
    assert!(
        listed.lines().any(|line| line.starts_with(id) && line.contains("recovery")),
        "{listed}"
    );
    assert_eq!(sandbox.run("-k file:keys?raw-key-file=two decrypt message")?.stdout, b"x");
    let errors = sandbox.fails(&format!("{first} remove {id}"), 6)?;
    assert!(errors.contains("there is no terminal"), "{errors}");
    assert_eq!(ids(&sandbox, "two")?.len(), 2);
    let removed = sandbox.ok(&format!("{first} remove {id} --yes"))?;
    assert_eq!(removed, format!("{id}  removed\nchange 3\n"));
    sandbox.fails("-k file:keys?raw-key-file=two key list", 1)?;
    // The last one stays.
    let last = ids(&sandbox, "one")?.remove(0);
    let errors = sandbox.fails(&format!("{first} remove {last} --yes"), 6)?;
    assert!(errors.contains("' key protection add SECRET`"), "{errors}");
    let errors = sandbox.fails(&format!("{first} remove 00000000000000ff --yes"), 1)?;
    assert!(errors.contains("there is no protection 00000000000000ff"), "{errors}");
    sandbox.fails(&format!("{first} remove zz --yes"), 2).map(drop)
}

#[test]
fn protection_is_replaced_under_its_id() -> Result {
    let sandbox = with_raw_keys()?;
    let id = ids(&sandbox, "one")?.remove(0);
    let replace =
        format!("-k file:keys?raw-key-file=one key protection rewrap {id} raw-key-file=two");
    sandbox.ok(&replace)?;
    sandbox.fails("-k file:keys?raw-key-file=one key list", 1)?;
    assert_eq!(ids(&sandbox, "two")?, [id]);
    Ok(())
}

#[test]
fn file_key_is_replaced_under_the_given_protections_alone() -> Result {
    let sandbox = with_raw_keys()?;
    sandbox.write("plain", "x")?;
    sandbox.ok("-k file:keys?raw-key-file=one encrypt plain -o message")?;
    let before = sandbox.read("keys")?;
    let replace = "-k file:keys?raw-key-file=one key protection replace-file-key raw-key-file=two";
    sandbox.fails(replace, 6)?;
    assert_eq!(sandbox.read("keys")?, before);
    sandbox.ok(&format!("{replace} --yes"))?;
    sandbox.fails("-k file:keys?raw-key-file=one key list", 1)?;
    assert_eq!(sandbox.run("-k file:keys?raw-key-file=two decrypt message")?.stdout, b"x");
    Ok(())
}

/// The file key of an unprotected file was in the clear, so it is replaced.
#[test]
fn unprotected_file_gets_a_protection() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.write_secret("one", [1; 32])?;
    let errors = sandbox.fails("-k file:keys key protection add raw-key-file=one", 6)?;
    let next = "`envelock -k file:keys key protection replace-file-key";
    assert!(errors.contains(next), "{errors}");
    sandbox.ok("-k file:keys key protection replace-file-key raw-key-file=one --yes")?;
    assert_eq!(ids(&sandbox, "one")?.len(), 1);
    sandbox.fails("-k file:keys key list", 2).map(drop)
}

#[test]
fn outer_key_that_was_rotated_is_shown() -> Result {
    let sandbox = with_raw_keys()?;
    sandbox.ok("-k file:outer?raw-key-file=two key create wrapping --new-keyring")?;
    let outer = "outer=file:outer%3fraw-key-file=two";
    sandbox.ok(&format!("-k file:keys?raw-key-file=one key protection add {outer}"))?;
    sandbox.ok("-k file:outer?raw-key-file=two key rotate wrapping")?;
    let listed = sandbox.ok(&format!("-k file:keys?{outer} key protection list"))?;
    assert!(listed.contains("wrapping:1, to be rewrapped"), "{listed}");
    let id = listed.lines().find(|line| line.contains("wrapping")).ok_or("none")?;
    let id = id.split_whitespace().next().ok_or("no id")?;
    sandbox.ok(&format!("-k file:keys?{outer} key protection rewrap {id} {outer}"))?;
    let listed = sandbox.ok(&format!("-k file:keys?{outer} key protection list"))?;
    assert!(listed.contains("wrapping:2") && !listed.contains("rewrapped"), "{listed}");
    Ok(())
}

#[test]
fn wrong_secret_of_a_protection_changes_nothing() -> Result {
    let sandbox = with_raw_keys()?;
    let before = sandbox.read("keys")?;
    for (secret, exit, text) in [
        ("raw-key-file=absent", 1, "absent"),
        ("passphrase=horse", 2, "passphrase-file=PATH"),
        ("key=orders", 2, "names no secret"),
        ("x", 2, "is not NAME=VALUE"),
        ("raw-key-file=two&passphrase-file=one", 2, "several of passphrase"),
    ] {
        let errors = sandbox
            .fails(&format!("-k file:keys?raw-key-file=one key protection add {secret}"), exit)?;
        assert!(errors.contains(text), "{secret}: {errors}");
    }
    assert_eq!(sandbox.read("keys")?, before);
    Ok(())
}
