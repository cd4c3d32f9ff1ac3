//! `envelock inspect` prints what a header says, and reports which file has none.

use envelock::{Aad, Envelope, Lifecycle, MemoryKeyring, inspect};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn run(arguments: &[&Path], input: &[u8]) -> Result<Output> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_envelock"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("no standard input")?;
    match stdin.write_all(input) {
        // Bodies are not read.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written?,
    }
    drop(stdin);
    Ok(child.wait_with_output()?)
}

/// A message under version 2 of `orders`.
fn message() -> Result<Vec<u8>> {
    let keyring = MemoryKeyring::create("orders")?;
    keyring.rotate()?;
    Ok(Envelope::new(&keyring).encrypt(&[7; 100_000], Aad::new(b"order 42"))?)
}

#[test]
fn header_of_file_is_printed() -> Result {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("message");
    let message = message()?;
    std::fs::write(&path, &message)?;
    let output = run(&[Path::new("inspect"), &path], b"")?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success());
    assert!(text.contains("key orders version 2"), "{text}");
    assert!(text.contains(&inspect(&message)?.data_key_id().to_string()), "{text}");
    assert!(text.contains("unverified"), "{text}");
    Ok(())
}

#[test]
fn header_of_standard_input_is_json() -> Result {
    let message = message()?;
    let output = run(&[Path::new("--json"), Path::new("inspect"), Path::new("-")], &message)?;
    let value: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(value["slots"][0]["key"], "orders");
    assert_eq!(value["slots"][0]["version"], 2);
    assert_eq!(value["header_len"], inspect(&message)?.len());
    assert_eq!(value["verified"], false);
    Ok(())
}

#[test]
fn file_without_header_fails_and_others_are_printed() -> Result {
    let dir = tempfile::tempdir()?;
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    std::fs::write(&good, message()?)?;
    std::fs::write(&bad, b"-----BEGIN PGP MESSAGE-----")?;
    let output = run(&[Path::new("inspect"), &bad, &dir.path().join("absent"), &good], b"")?;
    assert_eq!(output.status.code(), Some(3));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains("bad: not an envelock message"), "{errors}");
    assert!(errors.contains("absent: No such file"), "{errors}");
    assert!(String::from_utf8(output.stdout)?.contains("key orders version 2"));
    Ok(())
}

#[test]
fn no_file_is_a_usage_error() -> Result {
    assert_eq!(run(&[Path::new("inspect")], b"")?.status.code(), Some(2));
    Ok(())
}
