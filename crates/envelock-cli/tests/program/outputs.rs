//! Outputs that are no other file of the call, inputs that are read as they were opened, and errors that name the
//! file that they are about.

use crate::sandbox::{Result, Sandbox, failed, finish};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

/// A sandbox with a key file that a passphrase protects, and the files `plain` and `message`.
fn protected() -> Result<Sandbox> {
    let sandbox = Sandbox::empty()?;
    sandbox.write_secret("passphrase", "correct horse\n")?;
    sandbox.write_secret("plain", "four score")?;
    sandbox.write_secret(
        "envelock.toml",
        "keyring = \"main\"\n[keyrings.main]\nlocator = \"file:keys?passphrase-file=passphrase\"\n",
    )?;
    sandbox.ok("key create orders --new-keyring")?;
    sandbox.ok("encrypt plain -o message")?;
    Ok(sandbox)
}

#[test]
fn file_in_use_is_no_output() -> Result {
    let sandbox = protected()?;
    std::fs::hard_link(sandbox.path("keys"), sandbox.path("same"))?;
    sandbox.write_secret("raw", [7; 32])?;
    sandbox.write_secret("aad", "x")?;
    sandbox.ok("-k file:other?raw-key-file=raw key create admin --new-keyring")?;
    sandbox
        .ok("-k file:inner?outer=file:other%3fraw-key-file=raw key create orders --new-keyring")?;
    let cases = [
        ("encrypt plain", "keys"),
        ("decrypt message", "keys"),
        ("encrypt plain", "same"),
        ("encrypt plain", "passphrase"),
        ("encrypt plain", "envelock.toml"),
        ("encrypt plain", "plain"),
        ("decrypt message", "message"),
        ("encrypt plain --aad-file aad", "aad"),
        ("encrypt plain --also file:other?raw-key-file=raw", "raw"),
        ("-k file:inner?outer=file:other%3fraw-key-file=raw encrypt plain", "raw"),
        ("-k file:keys --passphrase-file passphrase encrypt plain", "passphrase"),
    ];
    for (arguments, output) in cases {
        let before = sandbox.read(output)?;
        let errors = sandbox.fails(&format!("{arguments} -o {output} --replace"), 2)?;
        assert!(errors.contains("which this command reads"), "{arguments}: {errors}");
        assert_eq!(sandbox.read(output)?, before);
    }
    Ok(())
}

#[test]
fn key_file_is_never_replaced() -> Result {
    let sandbox = protected()?;
    sandbox.ok("-k file:other key create admin --new-keyring --unprotected")?;
    for command in ["encrypt plain", "decrypt message"] {
        let errors = sandbox.fails(&format!("{command} -o other --replace"), 6)?;
        assert!(errors.contains("other is a key file"), "{errors}");
    }
    sandbox.ok("-k file:other key list").map(drop)
}

#[test]
fn input_is_not_appended_to_itself() -> Result {
    let sandbox = protected()?;
    let before = sandbox.read("plain")?;
    let mut command = sandbox.command("encrypt plain");
    command.stdout(OpenOptions::new().append(true).open(sandbox.path("plain"))?);
    let errors = failed("encrypt >> itself", &finish(&mut command, b"")?, 2)?;
    assert!(errors.contains("standard output is plain"), "{errors}");
    assert_eq!(sandbox.read("plain")?, before);
    Ok(())
}

#[test]
fn plaintext_goes_to_no_file_of_others() -> Result {
    let sandbox = protected()?;
    sandbox.write("back", "old")?;
    sandbox.set_mode("back", 0o644)?;
    let errors = sandbox.fails("decrypt message -o back --replace", 6)?;
    assert!(errors.contains("mode 0644") && errors.contains("`chmod 600 back`"), "{errors}");
    assert_eq!(sandbox.read("back")?, b"old");
    sandbox.ok("encrypt plain -o back --replace")?;
    sandbox.set_mode("back", 0o600)?;
    sandbox.ok("decrypt message -o back --replace")?;
    assert_eq!(sandbox.read("back")?, b"four score");
    Ok(())
}

#[test]
fn standard_input_is_read_from_where_it_is() -> Result {
    let sandbox = protected()?;
    let mut file = File::open(sandbox.write("input", "skip this: four score")?)?;
    file.seek(SeekFrom::Start(11))?;
    let mut command = sandbox.command("encrypt -o new");
    assert!(command.stdin(file).output()?.status.success());
    assert_eq!(sandbox.run("decrypt new")?.stdout, b"four score");
    let message = sandbox.read("message")?;
    let mut file =
        File::open(sandbox.write("input", [b"skip this: ".to_vec(), message].concat())?)?;
    file.seek(SeekFrom::Start(11))?;
    let mut command = sandbox.command("decrypt -o back");
    assert!(command.stdin(file).output()?.status.success());
    assert_eq!(sandbox.read("back")?, b"four score");
    Ok(())
}

#[test]
fn standard_input_can_be_a_socket() -> Result {
    let sandbox = protected()?;
    for (arguments, input, output) in
        [("encrypt -o new", "plain", "new"), ("decrypt -o back", "message", "back")]
    {
        let (mut ours, theirs) = UnixStream::pair()?;
        ours.write_all(&sandbox.read(input)?)?;
        drop(ours);
        let mut command = sandbox.command(arguments);
        let done = command.stdin(Stdio::from(OwnedFd::from(theirs))).output()?;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert!(sandbox.path(output).exists());
    }
    Ok(())
}

#[test]
fn errors_name_the_file_that_failed() -> Result {
    let sandbox = protected()?;
    let full = || OpenOptions::new().write(true).open("/dev/full");
    for arguments in ["encrypt plain", "decrypt message"] {
        let mut command = sandbox.command(arguments);
        let output = finish(command.stdout(full()?), b"")?;
        let errors = String::from_utf8(output.stderr)?;
        assert!(!output.status.success());
        assert!(errors.starts_with("envelock: standard output: "), "{errors}");
    }
    let errors = sandbox.fails("encrypt plain -o none/new", 1)?;
    assert!(errors.contains("none") && !errors.contains("plain"), "{errors}");
    sandbox.ok("key compromise orders:1 --yes")?;
    let errors = sandbox.fails("encrypt plain -o new", 6)?;
    assert!(errors.contains("keyring main: ") && !errors.contains("plain"), "{errors}");
    let errors = sandbox.fails("decrypt plain -o new", 1)?;
    assert!(errors.contains("plain: "), "{errors}");
    Ok(())
}

#[test]
fn finished_change_is_no_failure_to_be_repeated() -> Result {
    let sandbox = protected()?;
    sandbox.ok("encrypt plain -o second")?;
    let cases = [
        (
            "key rotate orders",
            "change 2 was made, but that could not be printed: standard output: ",
        ),
        ("key create more", "change 3 was made, but that could not be printed: standard output: "),
        ("rewrap message second", "2 files are done, but "),
        ("encrypt plain --key orders -o third", "third is complete, but "),
        ("decrypt third -o back", "back is complete, but "),
        ("-k file:new key create orders --new-keyring --unprotected", "new was created, but "),
    ];
    for (arguments, done) in cases {
        let mut command = sandbox.command(arguments);
        command.stdout(OpenOptions::new().write(true).open("/dev/full")?);
        let errors = failed(arguments, &finish(&mut command, b"")?, 6)?;
        assert!(errors.contains(done) && !errors.contains("make room"), "{arguments}: {errors}");
    }
    let shown = sandbox.json("inspect message second")?;
    assert!(shown.iter().all(|it| it["slots"][0]["version"] == 2), "{shown:?}");
    Ok(())
}

#[test]
fn keyring_that_cannot_count_fails_no_message() -> Result {
    let sandbox = protected()?;
    std::fs::create_dir(sandbox.path("ro"))?;
    sandbox.ok("-k file:ro/keys key create orders --new-keyring --unprotected")?;
    sandbox.ok("-k file:ro/keys encrypt plain -o first")?;
    sandbox.ok("-k file:ro/keys key rotate orders")?;
    std::fs::create_dir(sandbox.path("data"))?;
    std::fs::copy(sandbox.path("first"), sandbox.path("data/first"))?;
    let user = if rustix::process::geteuid().is_root() { Some(65534) } else { None };
    for name in ["ro/keys", "plain", "first", "data", "data/first", "envelock.toml", "."] {
        std::os::unix::fs::chown(sandbox.path(name), user, None)?;
    }
    sandbox.set_mode("ro", 0o555)?;
    for arguments in ["encrypt plain -o third", "rewrap first second", "job start dir:data"] {
        let mut command = sandbox.command(&format!("-k file:ro/keys {arguments}"));
        if let Some(user) = user {
            command.uid(user);
        }
        let output = finish(&mut command, b"")?;
        let errors = String::from_utf8(output.stderr)?;
        let missing = arguments.contains("second");
        assert_eq!(output.status.code(), Some(if missing { 3 } else { 0 }), "{errors}");
        assert!(errors.contains("keyring file:ro/keys did not count them: "), "{errors}");
        assert_eq!(errors.contains("1 of 2 files are left"), missing, "{errors}");
    }
    sandbox.set_mode("ro", 0o755)
}

#[test]
fn closed_descriptors_lose_nothing() -> Result {
    let sandbox = protected()?;
    let lost = "standard output is closed";
    let empty = "standard input is closed";
    for (script, text) in [
        ("\"$0\" encrypt plain >&-", lost),
        ("\"$0\" decrypt message >&-", lost),
        ("\"$0\" encrypt -o new <&-", empty),
        ("\"$0\" decrypt -o new <&-", empty),
        ("\"$0\" census list:- <&-", empty),
    ] {
        let errors = failed(script, &finish(&mut sandbox.shell(script), b"")?, 2)?;
        assert!(errors.contains(text), "{script}: {errors}");
        assert!(!sandbox.path("new").exists());
    }
    // What somebody wants: an empty message, and a message that is thrown away.
    for script in [
        "\"$0\" encrypt -o empty </dev/null",
        "\"$0\" encrypt plain >/dev/null",
        "\"$0\" census list:- </dev/null",
        "\"$0\" key rotate orders >&- 2>&-",
    ] {
        assert_eq!(finish(&mut sandbox.shell(script), b"")?.status.code(), Some(0), "{script}");
    }
    assert_eq!(sandbox.run("decrypt empty")?.stdout, b"");
    Ok(())
}

#[test]
fn report_replaces_a_link_and_not_its_file() -> Result {
    let sandbox = protected()?;
    std::fs::create_dir(sandbox.path("tree"))?;
    std::os::unix::fs::symlink("plain", sandbox.path("report"))?;
    sandbox.ok("census dir:tree --report report")?;
    assert_eq!(sandbox.read("plain")?, b"four score");
    assert!(sandbox.read("report")?.starts_with(b"{"));
    assert!(!sandbox.path("report").is_symlink());
    let errors = sandbox.fails("census dir:tree --report tree", 1)?;
    assert!(errors.contains("tree: "), "{errors}");
    sandbox.fails("census dir:tree --report none/report", 1).map(drop)
}
