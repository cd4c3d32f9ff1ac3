//! Keys, messages and jobs under a key of the service.

use crate::sandbox::{Result, Sandbox};
use crate::server::Server;
use serde_json::json;

/// A server with the key `orders`, a directory, and the options of a call.
fn orders() -> Result<(Server, Sandbox, String)> {
    let (server, sandbox) = (Server::start(), Sandbox::empty()?);
    sandbox.write_secret("token", &server.root)?;
    let options = format!("-k transit:orders;address={}?token-file=token", server.address());
    sandbox.ok(&format!("{options} key create orders"))?;
    Ok((server, sandbox, options))
}

#[test]
fn message_moves_to_another_version() -> Result {
    let (server, sandbox, options) = orders()?;
    let ok = |command: &str| sandbox.ok(&format!("{options} {command}"));
    sandbox.write("boxes", "four boxes")?;
    ok("encrypt boxes -o boxes.envelock")?;
    assert!(ok("inspect boxes.envelock")?.contains("key orders version 1\n"));
    assert!(ok("key rotate orders")?.contains("\norders:2  pending -> primary\n"));
    assert_eq!(ok("rewrap boxes.envelock")?, "boxes.envelock  in place  rewrapped\n");
    assert!(ok("inspect boxes.envelock")?.contains("key orders version 2\n"));
    assert!(ok("key disable orders:1")?.contains("orders:1  enabled -> disabled\n"));
    assert_eq!(server.get("transit/keys/orders").field("min_decryption_version"), "2");
    assert_eq!(ok("decrypt boxes.envelock")?, "four boxes");
    let listed = sandbox.json(&format!("{options} key list"))?;
    assert_eq!((&listed[0]["primary"], &listed[0]["versions"]), (&json!(2), &json!([1, 2])));
    let shown = sandbox.json(&format!("{options} key show orders"))?;
    let states: Vec<_> = shown.iter().map(|version| version["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["disabled", "primary"]);
    assert_eq!(shown[1]["algorithm"], "AES-256-GCM by Transit");
    Ok(())
}

#[test]
fn job_census_doctor_and_status_work() -> Result {
    let (_server, sandbox, options) = orders()?;
    let ok = |command: &str| sandbox.ok(&format!("{options} {command}"));
    sandbox.write("boxes", "four boxes")?;
    std::fs::create_dir(sandbox.path("tree"))?;
    for number in 0..20 {
        ok(&format!("encrypt boxes -o tree/{number}"))?;
    }
    ok("key rotate orders")?;
    let plan = sandbox.run(&format!("{options} job plan dir:tree"))?;
    assert_eq!(plan.status.code(), Some(0), "{}", String::from_utf8_lossy(&plan.stderr));
    let job = sandbox.run(&format!("{options} --json job start dir:tree -d job"))?;
    assert_eq!(job.status.code(), Some(0), "{}", String::from_utf8_lossy(&job.stderr));
    let census =
        sandbox.run(&format!("{options} --json census dir:tree --opened --without orders:1"))?;
    let census: serde_json::Value = serde_json::from_slice(&census.stdout)?;
    assert_eq!(census["census"]["uses"][0]["opened"], 20, "{census}");
    assert_eq!(census["census"]["uses"][0]["version"], 2, "{census}");
    assert_eq!(ok("decrypt tree/7")?, "four boxes");
    assert!(ok("doctor dir:tree")?.contains("ok     wrap "));
    assert!(ok("status --policy every-90-days")?.contains("orders"));
    Ok(())
}

/// The service counts no changes: the record of a key with fewer disabled versions has a smaller number.
#[test]
fn job_goes_on_after_a_version_is_enabled() -> Result {
    let (_server, sandbox, options) = orders()?;
    let ok = |command: &str| sandbox.ok(&format!("{options} {command}"));
    sandbox.write("boxes", "four boxes")?;
    std::fs::create_dir(sandbox.path("tree"))?;
    for command in ["key rotate orders", "key disable orders:1"] {
        ok(command)?;
    }
    (0..3).try_for_each(|number| ok(&format!("encrypt boxes -o tree/{number}")).map(drop))?;
    ok("key rotate orders")?;
    let halted = "job start dir:tree -d job --canary 1 --strata no --gate false";
    sandbox.run(&format!("{options} {halted}"))?;
    ok("key enable orders:1")?;
    let status = ok("job status job --check")?;
    assert!(status.contains("stage 1 of 2") && status.contains("let the job go on"), "{status}");
    Ok(())
}

#[test]
fn key_file_is_protected_by_the_service() -> Result {
    let (mut server, sandbox, options) = orders()?;
    let locator = options.replace("-k ", "").replace('?', "%3f");
    let file = format!("-k file:keys?outer={locator}");
    sandbox.ok(&format!("{file} key create inner --new-keyring"))?;
    sandbox.write("boxes", "four boxes")?;
    sandbox.ok(&format!("{file} encrypt boxes -o boxes.envelock"))?;
    assert_eq!(sandbox.ok(&format!("{file} decrypt boxes.envelock"))?, "four boxes");
    server.kill();
    let away = sandbox.fails(&format!("{file} decrypt boxes.envelock"), 75)?;
    assert!(away.ends_with("next: run the same command again later\n"), "{away}");
    Ok(())
}

#[test]
fn next_step_says_what_to_do_instead() -> Result {
    let (server, sandbox, options) = orders()?;
    sandbox.ok(&format!("{options} key rotate orders"))?;
    sandbox.ok("-k file:keys key create inner --new-keyring --unprotected")?;
    let what = |text: &str| format!("envelock: keyring {}: {text}\n", options.replace("-k ", ""));
    for (command, expected) in [
        ("key promote orders:1", "key orders: Transit encrypts under its newest version alone"),
        // Nothing is asked or promised that the service refuses.
        (
            "key promote orders:1 --dry-run",
            "key orders: Transit encrypts under its newest version alone",
        ),
        ("key protection list", "the keys of a service are in no key file"),
        ("key copy orders --to file:keys", "the keys of a service are in no key file"),
    ] {
        let failure = sandbox.fails(&format!("{options} {command}"), 6)?;
        assert!(failure.starts_with(&what(expected)), "{command}: {failure}");
    }
    let rotate = sandbox.fails(&format!("{options} key promote orders:1"), 6)?;
    assert!(rotate.ends_with("\nnext: rotate instead\n"), "{rotate}");
    let there = sandbox.fails(&format!("{options} key create orders --new-keyring"), 2)?;
    assert!(there.contains("key create orders` creates the key in it\n"), "{there}");

    let unknown = options.replace("transit:orders", "transit:invoices");
    let failure = sandbox.fails(&format!("{unknown} encrypt token -o out"), 1)?;
    assert!(failure.contains("the service has no key of this name\n"), "{failure}");
    assert!(failure.contains("key create KEY` makes it"), "{failure}");
    let reader = server.token(r#"path "transit/keys/orders" { capabilities = ["read"] }"#);
    sandbox.write_secret("token", reader)?;
    let denied = sandbox.fails(&format!("{options} key rotate orders"), 1)?;
    assert!(
        denied.contains("permission denied\nnext: check the token, and its policy"),
        "{denied}"
    );
    Ok(())
}
