//! Help screens, completion scripts and manual pages.

use crate::sandbox::{Result, Sandbox};

/// Every help screen, one after the other. `ENVELOCK_UPDATE_HELP=1` writes it anew.
const GOLDEN: &str = "tests/program/help.txt";

/// Returns the commands that a help screen lists.
fn commands(help: &str) -> Vec<String> {
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let names = list.lines().take_while(|line| !line.is_empty());
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(String::from).collect()
}

fn screens(sandbox: &Sandbox, command: &str, text: &mut String) -> Result {
    let help = sandbox.ok(&format!("{command} --help"))?;
    *text += &format!("$ envelock {command} --help\n{help}\n");
    commands(&help)
        .iter()
        .try_for_each(|name| screens(sandbox, format!("{command} {name}").trim(), text))
}

#[test]
fn help_screens_are_as_recorded() -> Result {
    let mut text = String::new();
    screens(&Sandbox::empty()?, "", &mut text)?;
    if std::env::var_os("ENVELOCK_UPDATE_HELP").is_some() {
        std::fs::write(GOLDEN, &text)?;
    }
    let recorded = std::fs::read_to_string(GOLDEN)?;
    let same = text.lines().zip(recorded.lines()).take_while(|(one, other)| one == other).count();
    assert!(
        text == recorded,
        "line {}: run with ENVELOCK_UPDATE_HELP=1, and read the difference",
        same + 1
    );
    Ok(())
}

#[test]
fn no_command_tells_how_to_begin() -> Result {
    let errors = Sandbox::empty()?.fails("", 2)?;
    assert!(errors.contains("key create orders --new-keyring"), "{errors}");
    Ok(())
}

#[test]
fn completion_and_manual_know_the_commands() -> Result {
    let sandbox = Sandbox::empty()?;
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(sandbox.ok(&format!("completion {shell}"))?.contains("rotate"), "{shell}");
    }
    assert!(sandbox.ok("man")?.contains("envelock\\-rewrap(1)"));
    assert!(sandbox.ok("man key destroy")?.contains("\\-\\-immediately"));
    std::fs::create_dir(sandbox.path("pages"))?;
    assert_eq!(sandbox.ok("man --dir pages")?, "");
    assert!(sandbox.path("pages/envelock-key-rotate.1").exists());
    assert!(!sandbox.path("pages/envelock-help.1").exists());
    // A link is replaced, and the file that it leads to stays.
    sandbox.write("precious", "old")?;
    std::fs::remove_file(sandbox.path("pages/envelock.1"))?;
    std::os::unix::fs::symlink("../precious", sandbox.path("pages/envelock.1"))?;
    sandbox.ok("man --dir pages")?;
    assert_eq!(sandbox.read("precious")?, b"old");
    assert!(sandbox.read("pages/envelock.1")?.starts_with(b".ie"));
    let names = std::fs::read_dir(sandbox.path("pages"))?;
    let is_page = |name: &std::ffi::OsStr| name.to_string_lossy().ends_with(".1");
    assert!(names.into_iter().all(|entry| is_page(&entry.unwrap().file_name())));
    sandbox.fails("man --dir absent", 1)?;
    Ok(())
}
