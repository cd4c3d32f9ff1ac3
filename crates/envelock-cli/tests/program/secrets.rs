//! Passphrases and raw keys: from a file, a descriptor, a variable, never from an argument.

use crate::sandbox::{Result, Sandbox, finish, succeeded};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

const CREATE: &str = "-k file:keys --passphrase-file passphrase key create orders --new-keyring";

fn sandbox() -> Result<Sandbox> {
    let sandbox = Sandbox::empty()?;
    sandbox.write_secret("passphrase", "correct horse\n")?;
    sandbox.ok(CREATE)?;
    Ok(sandbox)
}

#[test]
fn passphrase_comes_from_each_source() -> Result {
    let sandbox = sandbox()?;
    sandbox.ok("-k file:keys?passphrase-file=passphrase key list")?;
    let mut command = sandbox.command("-k file:keys key list");
    succeeded("variable", finish(command.env("ENVELOCK_PASSPHRASE", "correct horse"), b"")?)?;
    let mut command = sandbox.command("-k file:keys?passphrase-env=OTHER key list");
    succeeded("variable", finish(command.env("OTHER", "correct horse"), b"")?)?;
    let output =
        sandbox.run_with("-k file:keys --passphrase-fd 0 key list", b"correct horse\r\n")?;
    succeeded("descriptor", output)?;
    let mut shell = sandbox.shell("\"$0\" -k file:keys --passphrase-fd 3 key list 3<passphrase");
    succeeded("descriptor 3", finish(&mut shell, b"")?)?;
    Ok(())
}

#[test]
fn descriptor_is_read_as_it_was_opened() -> Result {
    let sandbox = sandbox()?;
    let (mut ours, theirs) = UnixStream::pair()?;
    ours.write_all(b"correct horse\n")?;
    drop(ours);
    let mut file = File::open(sandbox.write("longer", "skip\ncorrect horse\n")?)?;
    file.seek(SeekFrom::Start(5))?;
    for source in [OwnedFd::from(theirs), OwnedFd::from(file)] {
        let mut shell =
            sandbox.shell("\"$0\" -k file:keys --passphrase-fd 3 key list 3<&0 </dev/null");
        let output = shell.stdin(Stdio::from(source)).output()?;
        succeeded("descriptor 3", output)?;
    }
    let errors = sandbox.fails("-k file:keys --passphrase-fd 77 key list", 1)?;
    assert!(errors.contains("descriptor 77: ") && errors.contains("3<FILE"), "{errors}");
    Ok(())
}

#[test]
fn wrong_passphrase_is_exit_1_and_none_is_a_usage_error() -> Result {
    let sandbox = sandbox()?;
    let errors = sandbox.fails("-k file:keys key list", 2)?;
    assert!(errors.contains("there is no terminal to ask for it"), "{errors}");
    assert!(
        errors.contains("--passphrase-file") && errors.contains("ENVELOCK_PASSPHRASE"),
        "{errors}"
    );
    let mut command = sandbox.command("-k file:keys key list");
    let output = finish(command.env("ENVELOCK_PASSPHRASE", "Correct horse"), b"")?;
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains("try the passphrase again"), "{errors}");
    assert!(!errors.contains("orrect horse"), "{errors}");
    Ok(())
}

#[test]
fn secret_that_others_can_read_is_refused() -> Result {
    let sandbox = sandbox()?;
    sandbox.set_mode("passphrase", 0o644)?;
    let errors = sandbox.fails("-k file:keys --passphrase-file passphrase key list", 6)?;
    assert!(errors.contains("`chmod 600 passphrase`"), "{errors}");
    Ok(())
}

#[test]
fn empty_and_long_secrets_are_refused() -> Result {
    let sandbox = sandbox()?;
    for (content, fault) in
        [(String::new(), "is empty"), ("x".repeat(4097), "more than 4096 bytes")]
    {
        sandbox.write_secret("other", &content)?;
        let errors = sandbox.fails("-k file:keys --passphrase-file other key list", 2)?;
        assert!(errors.contains("other: the passphrase ") && errors.contains(fault), "{errors}");
    }
    Ok(())
}

#[test]
fn standard_input_is_not_data_and_secret() -> Result {
    let sandbox = sandbox()?;
    let errors = sandbox.fails("-k file:keys --passphrase-fd 0 encrypt", 2)?;
    assert!(errors.contains("both the data and a secret"), "{errors}");
    Ok(())
}

#[test]
fn raw_key_and_outer_keyring_open_a_file() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.write_secret("raw", [7; 32])?;
    sandbox.write_secret("hex", "07".repeat(32) + "\n")?;
    sandbox.ok("-k file:a?raw-key-file=raw key create orders --new-keyring")?;
    sandbox.ok("-k file:a?raw-key-file=hex key list")?;
    let errors = sandbox.fails("-k file:a key list", 2)?;
    assert!(errors.contains("raw-key-file=PATH"), "{errors}");
    sandbox.ok("-k file:b?outer=file:keys key create orders --new-keyring")?;
    sandbox.ok("-k file:b?outer=file:keys key list")?;
    let errors = sandbox.fails("-k file:b key list", 2)?;
    assert!(errors.contains("outer=KEYRING"), "{errors}");
    Ok(())
}

#[test]
fn keyrings_that_protect_one_another_end() -> Result {
    let sandbox = Sandbox::new()?;
    let loops = "[keyrings.a]\nlocator = \"file:keys?outer=a\"\n";
    sandbox.write_secret("envelock.toml", loops)?;
    let errors = sandbox.fails("-k a key list", 2)?;
    assert!(errors.contains("protect one another"), "{errors}");
    Ok(())
}
