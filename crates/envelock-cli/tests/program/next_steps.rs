//! The next step of an error is a command that works as it stands.

use crate::sandbox::{Result, Sandbox, failed};

#[test]
fn command_of_a_next_step_has_the_global_arguments() -> Result {
    let sandbox = Sandbox::empty()?;
    sandbox.write_secret("secret", "correct horse")?;
    sandbox.write_secret("c.toml", "[keyrings.main]\nlocator = \"file:keys\"\n")?;
    let global = "-k main --config c.toml --passphrase-file secret";
    sandbox.ok(&format!("{global} key create orders --new-keyring"))?;
    let errors = sandbox.fails(&format!("{global} key rotate absent"), 1)?;
    let (_, next) = errors.split_once("next: `envelock ").ok_or("no command")?;
    let (command, _) = next.split_once('`').ok_or("no end")?;
    assert_eq!(command, format!("{global} key list"));
    sandbox.ok(command).map(drop)
}

#[test]
fn secret_of_another_keyring_is_named_in_its_locator() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.write_secret("secret", "correct horse")?;
    sandbox.ok("-k file:other --passphrase-file secret key create admin --new-keyring")?;
    sandbox.write("plain", "x")?;
    let errors = sandbox.fails("-k file:keys encrypt plain -o m --also file:other", 2)?;
    assert!(errors.contains("file:PATH?passphrase-file=FILE"), "{errors}");
    assert!(!errors.contains("ENVELOCK_PASSPHRASE"), "{errors}");
    sandbox.ok("-k file:keys encrypt plain -o m --also file:other?passphrase-file=secret")?;
    let errors =
        sandbox.fails(&format!("-k file:keys key hold orders --reason {}", "x".repeat(257)), 2)?;
    assert!(errors.contains("at most 256 bytes"), "{errors}");
    std::fs::create_dir(sandbox.path("folder"))?;
    let errors = sandbox.fails("-k file:keys rewrap folder", 1)?;
    assert!(errors.contains("pass the path of a regular file"), "{errors}");
    let output = sandbox.run("-k file:keys --json status --policy 1d --format csv")?;
    assert_eq!(output.status.code(), Some(2));
    Ok(())
}

#[test]
fn control_characters_do_not_reach_the_terminal() -> Result {
    let sandbox = Sandbox::new()?;
    for hidden in ["\u{1b}[2J", "\u{202e}", "\u{2066}"] {
        for arguments in
            [format!("-k file:keys key show a{hidden}b"), format!("-k file:a{hidden}b key list")]
        {
            let errors = failed(&arguments, &sandbox.run(&arguments)?, 1)?;
            assert!(!errors.contains(hidden) && errors.contains('\u{fffd}'), "{errors:?}");
        }
    }
    Ok(())
}

#[test]
fn known_names_stand_in_the_next_step() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.ok("-k file:other key create orders --new-keyring --unprotected")?;
    sandbox.write("plain text", "x")?;
    sandbox.write_secret("message", "")?;
    sandbox.ok("-k file:other encrypt -o message --replace")?;
    let inspect = "`envelock -k file:keys inspect message`";
    for command in ["decrypt message", "rewrap message --retiring orders:1", "rewrap message"] {
        let errors = sandbox.fails(&format!("-k file:keys {command}"), 1)?;
        assert!(errors.contains(inspect), "{command}: {errors}");
    }
    for number in 0..16 {
        sandbox.ok(&format!("-k file:keys key label orders:1 n{number}=x"))?;
    }
    let errors = sandbox.fails("-k file:keys key label orders:1 more=x", 2)?;
    assert!(errors.contains("key label orders:1 --remove NAME`"), "{errors}");
    sandbox.ok("-k file:keys key compromise orders:1 --yes")?;
    let errors = failed("encrypt", &sandbox.run("-k file:keys encrypt -o new")?, 6)?;
    assert!(errors.contains("`envelock -k file:keys key rotate orders`"), "{errors}");
    Ok(())
}
