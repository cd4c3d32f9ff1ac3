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

#[test]
fn secret_in_the_wrong_place_is_not_repeated() -> Result {
    let sandbox = Sandbox::new()?;
    let cases = [
        "-k file:keys?passphrase=hunter2 key list",
        "-k file:keys?passphrase=hunter2",
        "-k file:keys?hunter2 key list",
        "-k file:keys?key=hunter2%2 key list",
        "-k pkcs11:token=a?pin-value=hunter2 key list",
        "-k pkcs11:token=a;pin-value=hunter2 key list",
    ];
    for arguments in cases {
        let errors = sandbox.fails(arguments, 2)?;
        assert!(!errors.contains("hunter2"), "{errors}");
    }
    let cases = [
        (
            "[keyrings.a]\nlocator = \"file:a\"\npassphrase = \"hunter2\"\n",
            "line 3, column 1: unknown",
        ),
        ("[keyrings]\npassphrase = \"hunter2\"\n", "line 2, column 14: it is not struct"),
        ("[keyrings.a]\nlocator = \"file:a?passphrase=hunter2\"\n", "read a passphrase in an"),
        ("passphrase = hunter2\n", "line 1, column 14: "),
    ];
    for (text, fault) in cases {
        sandbox.write_secret("envelock.toml", text)?;
        let errors = sandbox.fails("-k a key list", 2)?;
        assert!(errors.contains(fault) && !errors.contains("hunter2"), "{text}: {errors}");
    }
    Ok(())
}

#[test]
fn secret_that_is_not_used_is_refused() -> Result {
    let sandbox = sandbox()?;
    sandbox.write_secret("raw", [7; 32])?;
    sandbox.ok("-k file:clear key create orders --new-keyring --unprotected")?;
    sandbox.ok("-k file:raw-keys?raw-key-file=raw key create orders --new-keyring")?;
    let cases = [
        ("-k file:new?raw-key-file=raw key create a --new-keyring --unprotected", 6),
        ("-k file:new?outer=file:clear key create a --new-keyring --unprotected", 6),
        ("-k file:new --passphrase-file passphrase key create a --new-keyring --unprotected", 6),
        ("-k file:new?passphrase-file=passphrase key create a --new-keyring --unprotected", 6),
        ("-k file:clear --passphrase-file passphrase key list", 6),
        ("-k file:clear?passphrase-file=passphrase key list", 6),
        ("-k file:raw-keys?raw-key-file=raw --passphrase-file passphrase key list", 6),
        ("-k file:raw-keys?raw-key-file=raw&passphrase-file=passphrase key list", 2),
        ("-k file:clear --pin-file passphrase key list", 2),
    ];
    for (arguments, code) in cases {
        sandbox.fails(arguments, code)?;
        assert!(!sandbox.path("new").exists(), "{arguments}");
    }
    let mut command = sandbox.command("-k file:clear key list");
    let output = finish(command.env("ENVELOCK_PASSPHRASE", "correct horse"), b"")?;
    assert_eq!(output.status.code(), Some(6));
    let mut command = sandbox.command("-k file:raw-keys?raw-key-file=raw key list");
    succeeded("raw key", finish(command.env("ENVELOCK_PASSPHRASE", "unused"), b"")?)?;
    Ok(())
}

#[test]
fn new_passphrase_can_be_typed_again() -> Result {
    let sandbox = Sandbox::empty()?;
    for secret in ["a\0b", "a\nb\n", "\u{feff}abc", "a\u{1b}[b"].map(str::as_bytes) {
        sandbox.write_secret("passphrase", secret)?;
        let errors = sandbox.fails(CREATE, 2)?;
        assert!(errors.contains("is no line of text"), "{errors}");
    }
    sandbox.write_secret("passphrase", b"caf\xe9")?;
    sandbox.fails(CREATE, 2)?;
    assert!(!sandbox.path("keys").exists());
    sandbox.write_secret("passphrase", "tab\tand caf\u{e9}\n")?;
    sandbox.ok(CREATE).map(drop)
}

#[test]
fn secret_of_another_owner_is_refused() -> Result {
    let sandbox = sandbox()?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(sandbox.path("passphrase"), Some(65534), None)?;
        let errors = sandbox.fails("-k file:keys --passphrase-file passphrase key list", 6)?;
        assert!(errors.contains("passphrase belongs to user 65534"), "{errors}");
    }
    Ok(())
}

#[test]
fn only_regular_files_of_limited_size_are_read() -> Result {
    let sandbox = sandbox()?;
    sandbox.write("plain", "x")?;
    assert!(std::process::Command::new("mkfifo").arg(sandbox.path("fifo")).status()?.success());
    let name = "-k file:keys?passphrase-file=passphrase";
    for file in ["fifo", "/dev/zero", "."] {
        for arguments in [
            format!("--config {file} key list"),
            format!("-k file:keys --passphrase-file {file} key list"),
            format!("{name} encrypt plain -o message --aad-file {file}"),
        ] {
            let errors = sandbox.fails(&arguments, 1)?;
            assert!(errors.contains("is not a regular file"), "{arguments}: {errors}");
        }
    }
    File::create(sandbox.path("large"))?.set_len(1 << 30)?;
    for arguments in
        ["--config large key list", &format!("{name} encrypt plain -o message --aad-file large")]
    {
        let errors = sandbox.fails(arguments, 1)?;
        assert!(errors.contains("it has more than"), "{errors}");
    }
    Ok(())
}

#[test]
fn empty_variable_is_none() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.write_secret("envelock.toml", "keyring = \"file:keys\"\n")?;
    let mut command = sandbox.command("key list");
    for variable in crate::sandbox::VARIABLES {
        command.env(variable, "");
    }
    succeeded("key list", finish(&mut command, b"")?).map(drop)
}
