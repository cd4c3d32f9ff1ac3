//! `envelock.toml`: names, defaults, and what is refused.

use crate::sandbox::{Result, Sandbox, finish, succeeded};

const NAMED: &str = "keyring = \"main\"\n[keyrings.main]\nlocator = \"file:keys\"\n";

#[test]
fn keyring_is_found_by_name_default_and_variable() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.write_secret("envelock.toml", NAMED)?;
    sandbox.ok("key list")?;
    sandbox.ok("-k main key list")?;
    let errors = sandbox.fails("-k other key list", 2)?;
    assert!(errors.contains("there is no keyring \"other\": envelock.toml has main"), "{errors}");
    let mut command = sandbox.command("key list");
    let output = finish(command.env("ENVELOCK_KEYRING", "file:absent"), b"")?;
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

#[test]
fn relative_paths_start_at_the_configuration() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.write_secret("envelock.toml", NAMED)?;
    let elsewhere = Sandbox::empty()?;
    let path = sandbox.path("envelock.toml");
    elsewhere.ok(&format!("--config {} key list", path.display()))?;
    let mut command = elsewhere.command("key list");
    let output = finish(command.env("ENVELOCK_CONFIG", &path), b"")?;
    succeeded("key list", output)?;
    Ok(())
}

/// The keyring of calls without `-k`, that of a source, and the one that protects another: each by its locator.
#[test]
fn every_path_of_the_configuration_starts_there() -> Result {
    let sandbox = Sandbox::empty()?;
    sandbox.ok("-k file:outer key create wrapping --new-keyring --unprotected")?;
    sandbox.write_secret("passphrase", "secret")?;
    sandbox.ok("-k file:keys?outer=file:outer key create orders --new-keyring")?;
    sandbox.ok("-k file:a%20b?passphrase-file=passphrase key create orders --new-keyring")?;
    std::fs::create_dir(sandbox.path("tree"))?;
    let other = Sandbox::empty()?;
    let config = sandbox.path("envelock.toml");
    let run = |named: &str, arguments: &str| -> Result {
        sandbox.write_secret("envelock.toml", named)?;
        other.ok(&format!("--config {} {arguments}", config.display())).map(drop)
    };
    run("keyring = \"file:a%20b?passphrase-file=passphrase\"", "key list")?;
    run("keyring = \"file:keys?outer=file%3Aouter\"", "key list")?;
    run("[keyrings.main]\nlocator = \"file:keys?outer=file:outer\"\n", "-k main key list")?;
    let source =
        "[sources.tree]\nlocator = \"dir:tree\"\nkeyring = \"file:keys?outer=file:outer\"\n";
    run(source, "census tree")?;
    // The argument itself starts at the working directory.
    let arguments = format!("--config {} -k file:outer key list", config.display());
    other.fails(&arguments, 1).map(drop)
}

#[test]
fn configuration_of_a_parent_directory_is_not_read() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.write_secret("envelock.toml", NAMED)?;
    std::fs::create_dir(sandbox.path("below"))?;
    let mut command = sandbox.command("key list");
    let output = finish(command.current_dir(sandbox.path("below")), b"")?;
    assert_eq!(output.status.code(), Some(2));
    Ok(())
}

#[test]
fn file_that_others_can_write_is_refused() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.write("envelock.toml", NAMED)?;
    sandbox.set_mode("envelock.toml", 0o664)?;
    let errors = sandbox.fails("key list", 6)?;
    assert!(errors.contains("others can write envelock.toml: mode 0664"), "{errors}");
    assert!(errors.contains("`chmod go-w envelock.toml`"), "{errors}");
    // A call that needs no name does not read it.
    sandbox.fails("inspect absent", 1)?;
    sandbox.set_mode("envelock.toml", 0o644)?;
    sandbox.ok("key list")?;
    Ok(())
}

/// Each link on the way to the file belongs to the user or to root. Only root can give one away.
#[test]
fn link_of_another_user_is_refused() -> Result {
    let sandbox = Sandbox::empty()?;
    let dir = sandbox.path("real");
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("own.toml"), NAMED)?;
    sandbox.write_secret("secret", "correct horse")?;
    sandbox.ok("-k file:real/keys --passphrase-file secret key create orders --new-keyring")?;
    std::os::unix::fs::symlink("second", sandbox.path("envelock.toml"))?;
    std::os::unix::fs::symlink("real/own.toml", sandbox.path("second"))?;
    std::os::unix::fs::symlink("secret", sandbox.path("first"))?;
    sandbox.ok("--passphrase-file first key list")?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    for link in ["envelock.toml", "second"] {
        std::os::unix::fs::lchown(sandbox.path(link), Some(65_534), None)?;
        let errors = sandbox.fails("--passphrase-file secret key list", 6)?;
        assert!(errors.contains("is behind a symbolic link of user 65534"), "{errors}");
        std::os::unix::fs::lchown(sandbox.path(link), Some(0), None)?;
    }
    std::os::unix::fs::lchown(sandbox.path("first"), Some(65_534), None)?;
    let errors = sandbox.fails("--passphrase-file first key list", 6)?;
    assert!(errors.contains("first is behind a symbolic link of user 65534"), "{errors}");
    std::os::unix::fs::lchown(sandbox.path("first"), Some(0), None)?;
    std::os::unix::fs::chown(dir.join("own.toml"), Some(65_534), None)?;
    let errors = sandbox.fails("--passphrase-file secret key list", 6)?;
    assert!(errors.contains("belongs to user 65534"), "{errors}");
    Ok(())
}

#[test]
fn wrong_configuration_is_refused_by_line() -> Result {
    let sandbox = Sandbox::new()?;
    let cases = [
        ("keyrings = 1", "line 1"),
        ("keyring = \"a\"\nkeyrnig = \"b\"\n", "unknown field `keyrnig`"),
        ("[keyrings.a]\nlocator = \"file:a\"\npasphrase = \"x\"\n", "unknown field `pasphrase`"),
        ("[keyrings.a]\n", "missing field `locator`"),
        ("[keyrings.\"a b\"]\nlocator = \"file:a\"\n", "\"a b\" is not a name"),
        ("[keyrings.a]\nlocator = \"b\"\n", "the locator of a is a name itself"),
        ("[keyrings.a]\nlocator = \"file:\"\n", "\"file:\" needs a path"),
        ("[sources.a]\nlocator = \"dir:x?header=no\"\n", "header is inline or sidecar"),
        ("[sources.a]\nlocator = \"s3://bucket\"\n", "there is no kind of source \"s3\""),
    ];
    for (text, fault) in cases {
        sandbox.write_secret("envelock.toml", text)?;
        let errors = sandbox.fails("-k a key list", 2)?;
        assert!(errors.contains("envelock.toml: ") && errors.contains(fault), "{text}: {errors}");
    }
    Ok(())
}
