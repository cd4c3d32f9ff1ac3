//! `examples/hsm_probe.rs`, run as its documentation says.

use crate::token_env::{CatalogueDirectory, best, name, session, variable};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The example. Cargo builds it again if it changed.
fn example() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let built = this.parent().and_then(Path::parent).unwrap();
    let profile = match built.file_name().unwrap().to_str() {
        Some("debug") => "test",
        other => other.unwrap(),
    };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--all-features"])
        .args(["--example", "hsm_probe", "--profile", profile, "--target-dir"])
        .arg(built.parent().unwrap())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    built.join("examples/hsm_probe")
}

fn run(label: Option<&str>, pin: &Path) -> Output {
    let mut command = Command::new(example());
    command.arg(variable("ENVELOCK_P11_MODULE"));
    command.arg(label.unwrap_or("nobody")).arg(pin).output().unwrap()
}

#[test]
fn probe_reports_abilities_and_leaves_nothing() {
    let (directory, label) = (CatalogueDirectory::new(), variable("ENVELOCK_P11_LABEL"));
    let pin = directory.path("pin");
    fs::write(&pin, variable("ENVELOCK_P11_PIN")).unwrap();
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    let before = session().keys().len();
    let output = run(Some(&label), &pin);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(session().keys().len(), before);
    let best = best().id();
    for needed in [
        format!("token      {label} (serial "),
        format!("\nnew keys have wrap algorithm {best}\n"),
        format!(
            "let token = envelock::pkcs11::Options::new({:?})",
            variable("ENVELOCK_P11_MODULE")
        ),
        format!("    .token_label({label:?})\n"),
        format!("    .pin_file({:?})\n", pin.to_str().unwrap()),
    ] {
        assert!(text.contains(&needed), "{needed:?} is not in:\n{text}");
    }
    let works = if name() == "opencryptoki" { 1 } else { 2 };
    assert_eq!(text.matches("known answers  right").count(), works, "{text}");
    assert_eq!(text.matches("round trip     right").count(), works, "{text}");
    assert!(!text.contains(&variable("ENVELOCK_P11_PIN")));
}

#[test]
fn probe_reports_faults() {
    let (directory, label) = (CatalogueDirectory::new(), variable("ENVELOCK_P11_LABEL"));
    let pin = directory.path("pin");
    fs::write(&pin, variable("ENVELOCK_P11_PIN")).unwrap();
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o644)).unwrap();
    let said = |output: Output| {
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let text = said(run(Some(&label), &pin));
    assert!(text.contains("others can access") && text.contains("mode 0644"), "{text}");
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    let text = said(run(None, &pin));
    assert!(text.contains("no token has label \"nobody\""), "{text}");
    assert!(
        text.contains(&format!("there are {label:?} (serial"))
            || text.contains(&format!(", {label:?} (serial")),
        "{text}"
    );
}
