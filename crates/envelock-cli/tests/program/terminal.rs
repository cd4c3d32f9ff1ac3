//! What a person types on a terminal: passphrases without an echo, the name of what is destroyed.

use crate::sandbox::{Result, Sandbox, VARIABLES};
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};

/// Ends a test that would wait for ever.
const TIMEOUT: Option<u64> = Some(120_000);

/// Starts the program on a terminal of its own, which shows what is typed unless the program hides it.
fn spawn(sandbox: &Sandbox, arguments: &str) -> Result<PtySession> {
    let mut command = std::process::Command::new("sh");
    command
        .arg("-c")
        .arg(r#"stty echo && exec "$@""#)
        .arg("sh")
        .arg(env!("CARGO_BIN_EXE_envelock"));
    command.args(arguments.split_whitespace()).current_dir(sandbox.directory());
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    Ok(spawn_command(command, TIMEOUT)?)
}

/// Returns what is printed up to the end, and the exit code.
fn end(mut session: PtySession) -> Result<(String, i32)> {
    let printed = session.exp_eof()?;
    match session.process().wait()? {
        WaitStatus::Exited(_, code) => Ok((printed, code)),
        other => Err(format!("{other:?}: {printed}").into()),
    }
}

#[test]
fn passphrase_is_asked_twice_and_not_shown() -> Result {
    let sandbox = Sandbox::empty()?;
    let mut session = spawn(&sandbox, "-k file:keys key create orders --new-keyring")?;
    session.exp_string("new passphrase of file:keys: ")?;
    // Backspace removes a character of two bytes, Ctrl-U the whole line.
    session.send_line("wrong\u{15}sécreté\u{7f}e")?;
    session.exp_string("new passphrase again: ")?;
    session.send_line("sécrete")?;
    let (printed, code) = end(session)?;
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("orders:1  primary") && !printed.contains("crete"), "{printed}");

    let mut session = spawn(&sandbox, "-k file:keys key list")?;
    session.exp_string("passphrase of file:keys: ")?;
    session.send_line("sécrete")?;
    let (printed, code) = end(session)?;
    assert_eq!(code, 0, "{printed}");
    assert!(!printed.contains("crete"), "{printed}");
    Ok(())
}

#[test]
fn two_passphrases_that_differ_create_nothing() -> Result {
    let sandbox = Sandbox::empty()?;
    let mut session = spawn(&sandbox, "-k file:keys key create orders --new-keyring")?;
    session.exp_string("new passphrase of file:keys: ")?;
    session.send_line("one")?;
    session.exp_string("new passphrase again: ")?;
    session.send_line("two")?;
    let (printed, code) = end(session)?;
    assert_eq!(code, 2, "{printed}");
    assert!(printed.contains("the two passphrases differ"), "{printed}");
    assert!(!sandbox.path("keys").exists());
    Ok(())
}

#[test]
fn control_c_at_a_question_stops_with_130() -> Result {
    let sandbox = Sandbox::empty()?;
    let mut session = spawn(&sandbox, "-k file:keys key create orders --new-keyring")?;
    session.exp_string("new passphrase of file:keys: ")?;
    session.send("begun\u{3}")?;
    session.flush()?;
    let (printed, code) = end(session)?;
    assert_eq!(code, 130, "{printed}");
    assert!(printed.contains("cancelled") && !printed.contains("begun"), "{printed}");
    Ok(())
}

#[test]
fn signal_at_a_question_leaves_a_terminal_that_shows_keys() -> Result {
    use rustix::process::{Pid, Signal, kill_process};
    let sandbox = Sandbox::empty()?;
    for (signal, code) in
        [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131), (Signal::INT, 130)]
    {
        let mut command = sandbox.shell(
            "stty echo; sh -c 'echo pid $$; exec \"$0\" -k file:keys key create orders --new-keyring' \"$0\"; \
             echo code $?; stty -a",
        );
        command.stdin(std::process::Stdio::inherit()).stdout(std::process::Stdio::inherit());
        command.stderr(std::process::Stdio::inherit());
        let mut session = spawn_command(command, TIMEOUT)?;
        let (_, pid) = session.exp_regex("pid [0-9]+")?;
        session.exp_string("new passphrase of file:keys: ")?;
        let program = Pid::from_raw(pid.trim_start_matches("pid ").parse()?).ok_or("no process")?;
        kill_process(program, signal)?;
        let printed = session.exp_eof()?;
        assert!(printed.contains(&format!("code {code}")), "{printed}");
        assert!(printed.contains(" echo ") && !printed.contains("-echo "), "{printed}");
    }
    Ok(())
}

/// A sandbox in which version 1 of `orders` can be destroyed.
fn with_disabled_version() -> Result<Sandbox> {
    let sandbox = Sandbox::new()?;
    sandbox.ok("-k file:keys key rotate orders")?;
    sandbox.ok("-k file:keys key disable orders:1")?;
    Ok(sandbox)
}

fn state(sandbox: &Sandbox) -> Result<String> {
    let shown = sandbox.json("-k file:keys key show orders")?;
    Ok(shown[0]["state"].as_str().ok_or("no state")?.into())
}

#[test]
fn destruction_needs_the_name_typed() -> Result {
    let sandbox = with_disabled_version()?;
    for (typed, code, expected) in
        [("orders", 130, "disabled"), ("y", 130, "disabled"), ("orders:1", 0, "destroy scheduled")]
    {
        let mut session = spawn(&sandbox, "-k file:keys key destroy orders:1 --after 7")?;
        session.exp_string("orders:1 will be destroyed in 7 days.")?;
        session.exp_string("Type orders:1 to confirm: ")?;
        session.send_line(typed)?;
        let (printed, found) = end(session)?;
        assert_eq!(found, code, "{typed}: {printed}");
        // What is not secret is shown, so the terminal would have shown a passphrase.
        assert!(printed.starts_with(typed), "{printed}");
        assert_eq!(state(&sandbox)?, expected);
    }
    Ok(())
}

#[test]
fn override_is_asked_for_although_yes_is_given() -> Result {
    let sandbox = with_disabled_version()?;
    let mut session = spawn(&sandbox, "-k file:keys key destroy orders:1 --immediately --yes")?;
    session.exp_string("Type orders:1 to confirm: ")?;
    session.send_line("orders:1")?;
    let (printed, code) = end(session)?;
    assert_eq!(code, 0, "{printed}");
    assert_eq!(state(&sandbox)?, "destroyed");
    Ok(())
}

#[test]
fn alias_that_moves_during_the_question_destroys_nothing() -> Result {
    let sandbox = with_disabled_version()?;
    for command in
        ["create invoices", "rotate invoices", "disable invoices:1", "alias current orders"]
    {
        sandbox.ok(&format!("-k file:keys key {command}"))?;
    }
    let mut session = spawn(&sandbox, "-k file:keys key destroy current:1 --immediately")?;
    session.exp_string("orders:1 will be destroyed now")?;
    session.exp_string("Type orders:1 to confirm: ")?;
    sandbox.ok("-k file:keys key alias current invoices")?;
    session.send_line("orders:1")?;
    let (printed, code) = end(session)?;
    assert_eq!(code, 6, "{printed}");
    assert!(printed.contains("keyring is at change"), "{printed}");
    assert_eq!(state(&sandbox)?, "disabled");
    let invoices = sandbox.json("-k file:keys key show invoices")?;
    assert_eq!(invoices[0]["state"], "disabled");
    Ok(())
}

#[test]
fn compromise_and_removal_of_an_alias_need_the_name_typed() -> Result {
    let sandbox = with_disabled_version()?;
    sandbox.ok("-k file:keys key alias current orders")?;
    for (command, name) in
        [("compromise current:1", "orders:1"), ("alias current --remove", "current")]
    {
        let command = format!("-k file:keys key {command}");
        let before = sandbox.read("keys")?;
        let errors = sandbox.fails(&command, 6)?;
        assert!(errors.contains("a person has to confirm it"), "{errors}");
        for (typed, expected) in [("y", 130), (name, 0)] {
            assert_eq!(sandbox.read("keys")?, before, "{command}");
            let mut session = spawn(&sandbox, &command)?;
            session.exp_string(&format!("Type {name} to confirm: "))?;
            session.send_line(typed)?;
            let (printed, code) = end(session)?;
            assert_eq!(code, expected, "{printed}");
        }
        assert_ne!(sandbox.read("keys")?, before, "{command}");
    }
    Ok(())
}

#[test]
fn destruction_that_is_refused_asks_nothing() -> Result {
    let sandbox = Sandbox::new()?;
    let (printed, code) = end(spawn(&sandbox, "-k file:keys key destroy orders:1")?)?;
    assert_eq!(code, 6, "{printed}");
    assert!(!printed.contains("Type"), "{printed}");
    Ok(())
}

/// Returns the bytes of a session, which takes each for a character.
fn bytes(printed: &str) -> Vec<u8> {
    printed.chars().filter_map(|c| u8::try_from(c).ok()).collect()
}

#[test]
fn terminal_gets_text_and_no_bytes() -> Result {
    let sandbox = Sandbox::new()?;
    let cases: [(&[u8], i32); 5] = [
        ("four score\n\tünd sieben\n".as_bytes(), 0),
        (b"", 0),
        (b"\x1b]0;title\x07", 2),
        (b"\xff\xfe", 2),
        (&[b'x'; 1 << 20], 2),
    ];
    for (plaintext, code) in cases {
        sandbox.write("plain", plaintext)?;
        sandbox.ok("-k file:keys encrypt plain -o message --replace")?;
        let (printed, found) = end(spawn(&sandbox, "-k file:keys decrypt message")?)?;
        assert_eq!(found, code, "{printed}");
        match code {
            0 => assert_eq!(bytes(&printed.replace("\r\n", "\n")), plaintext),
            _ => assert!(printed.contains("standard output is a terminal"), "{printed}"),
        }
    }
    let (printed, code) = end(spawn(&sandbox, "-k file:keys encrypt plain")?)?;
    assert_eq!(code, 2, "{printed}");
    assert!(printed.contains("a message is binary") && printed.contains("-o FILE"), "{printed}");
    Ok(())
}
