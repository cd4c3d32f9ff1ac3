//! `envelock inspect` prints what a header says, and reports which file has none.

use crate::sandbox::{Result, Sandbox, failed};
use envelock::{Aad, Envelope, Lifecycle, MemoryKeyring, inspect};

/// A message under version 2 of `orders`.
fn message() -> Result<Vec<u8>> {
    let keyring = MemoryKeyring::create("orders")?;
    keyring.rotate()?;
    Ok(Envelope::new(&keyring).encrypt(&[7; 100_000], Aad::new(b"order 42"))?)
}

#[test]
fn header_of_file_is_printed() -> Result {
    let sandbox = Sandbox::empty()?;
    let message = message()?;
    sandbox.write("message", &message)?;
    let text = sandbox.ok("inspect message")?;
    assert!(text.contains("key orders version 2"), "{text}");
    assert!(text.contains(&inspect(&message)?.data_key_id().to_string()), "{text}");
    assert!(text.contains("unverified"), "{text}");
    Ok(())
}

#[test]
fn header_of_standard_input_is_json() -> Result {
    let message = message()?;
    let output = Sandbox::empty()?.run_with("--json inspect -", &message)?;
    let value: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(value["slots"][0]["key"], "orders");
    assert_eq!(value["slots"][0]["version"], 2);
    assert_eq!(value["header_len"], inspect(&message)?.len());
    assert_eq!(value["verified"], false);
    Ok(())
}

#[test]
fn file_without_header_fails_and_others_are_printed() -> Result {
    let sandbox = Sandbox::empty()?;
    sandbox.write("good", message()?)?;
    sandbox.write("bad", b"-----BEGIN PGP MESSAGE-----")?;
    let output = sandbox.run("inspect bad absent good")?;
    let errors = failed("inspect", &output, 3)?;
    assert!(errors.contains("bad: not an envelock message"), "{errors}");
    assert!(errors.contains("absent: No such file"), "{errors}");
    assert!(String::from_utf8(output.stdout)?.contains("key orders version 2"));
    Ok(())
}

#[test]
fn name_with_terminal_commands_is_printed_without_them() -> Result {
    let sandbox = Sandbox::empty()?;
    sandbox.write("\u{1b}]0;x", message()?)?;
    let mut command = sandbox.command("inspect");
    let output = crate::sandbox::finish(command.arg("\u{1b}]0;x"), b"")?;
    assert!(!output.stdout.contains(&0x1b));
    assert_eq!(output.status.code(), Some(0));
    Ok(())
}

#[test]
fn change_that_was_cut_off_is_reported() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.write("plain", "x")?;
    sandbox.ok("-k file:keys encrypt plain -o message")?;
    sandbox.write(".message.envelock-rewrap", "cut off")?;
    let output = sandbox.run("inspect message")?;
    assert_eq!(output.status.code(), Some(0));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains("`envelock rewrap message` finishes it"), "{errors}");
    Ok(())
}
