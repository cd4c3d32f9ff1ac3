//! `envelock encrypt`, `decrypt` and `rewrap`: files, pipes, associated data, several keyrings.

use crate::sandbox::{Result, Sandbox, failed, succeeded};
use envelock::file::{FileKeyring, Protection};
use envelock::{Aad, AadPairs, Envelope};
use serde_json::json;

/// A sandbox with the files `plain` and `message`, which is under version 1 of `orders`.
fn with_message() -> Result<Sandbox> {
    let sandbox = Sandbox::new()?;
    sandbox.write("plain", vec![7; 100_000])?;
    sandbox.ok("-k file:keys encrypt plain -o message")?;
    Ok(sandbox)
}

#[test]
fn file_goes_to_a_message_and_back() -> Result {
    let sandbox = with_message()?;
    assert_eq!(sandbox.ok("-k file:keys decrypt message -o back")?, "back  100000 bytes\n");
    assert_eq!(sandbox.read("back")?, sandbox.read("plain")?);
    let printed = sandbox.json("-k file:keys decrypt message -o again")?;
    assert_eq!(printed, [json!({ "file": "again", "bytes": 100_000 })]);
    Ok(())
}

#[test]
fn pipes_go_to_a_message_and_back() -> Result {
    let sandbox = Sandbox::new()?;
    for plaintext in [&b""[..], b"four score\n", &[7; 100_000]] {
        let message = sandbox.run_with("-k file:keys encrypt", plaintext)?.stdout;
        assert_eq!(sandbox.run_with("-k file:keys decrypt", &message)?.stdout, plaintext);
        sandbox.write("message", &message)?;
        assert_eq!(sandbox.run("-k file:keys decrypt message")?.stdout, plaintext);
        sandbox.run_with("-k file:keys encrypt -o message --replace", plaintext)?;
        assert_eq!(sandbox.run("-k file:keys decrypt message")?.stdout, plaintext);
    }
    Ok(())
}

#[test]
fn message_is_the_librarys_and_counted() -> Result {
    let sandbox = with_message()?;
    let keyring =
        FileKeyring::open(sandbox.path("keys"), "orders", &Protection::unprotected_plaintext())?;
    let plaintext = Envelope::new(&keyring).decrypt(&sandbox.read("message")?, Aad::none())?;
    assert_eq!(plaintext, sandbox.read("plain")?);
    assert_eq!(keyring.versions()[0].usage.wraps, 1);
    Ok(())
}

#[test]
fn existing_file_is_replaced_on_request_alone() -> Result {
    let sandbox = with_message()?;
    let before = sandbox.read("message")?;
    let errors = sandbox.fails("-k file:keys encrypt plain -o message", 2)?;
    assert!(errors.contains("message exists already") && errors.contains("--replace"), "{errors}");
    assert_eq!(sandbox.read("message")?, before);
    sandbox.ok("-k file:keys encrypt plain -o message --replace")?;
    assert_ne!(sandbox.read("message")?, before);
    Ok(())
}

#[test]
fn associated_data_has_to_be_the_same() -> Result {
    let sandbox = Sandbox::new()?;
    sandbox.write("plain", "x")?;
    sandbox.write("aad", b"order\xff")?;
    let pairs = AadPairs::new().with("tenant", "acme")?.with("row", "a=b")?;
    let cases: [(&str, Vec<u8>); 3] = [
        ("--aad order", b"order".to_vec()),
        ("--aad-file aad", b"order\xff".to_vec()),
        ("--aad-pair tenant=acme --aad-pair row=a=b", pairs.to_bytes()),
    ];
    let keyring =
        FileKeyring::open(sandbox.path("keys"), "orders", &Protection::unprotected_plaintext())?;
    for (arguments, aad) in cases {
        sandbox.ok(&format!("-k file:keys encrypt plain -o message --replace {arguments}"))?;
        let message = sandbox.read("message")?;
        assert_eq!(Envelope::new(&keyring).decrypt(&message, Aad::new(&aad))?, b"x");
        assert_eq!(sandbox.run(&format!("-k file:keys decrypt message {arguments}"))?.stdout, b"x");
        let errors = sandbox.fails("-k file:keys decrypt message --aad other", 7)?;
        assert!(errors.contains("message: authentication failed"), "{errors}");
    }
    Ok(())
}

#[test]
fn changed_message_gives_no_file_and_exit_7() -> Result {
    let sandbox = with_message()?;
    let message = sandbox.read("message")?;
    let last = message.len() - 1;
    let mut changed = message.clone();
    changed[last] ^= 1;
    sandbox.write("changed", &changed)?;
    sandbox.write("cut", &message[..last - 40_000])?;
    for name in ["changed", "cut"] {
        sandbox.fails(&format!("-k file:keys decrypt {name} -o back"), 7)?;
        assert!(!sandbox.path("back").exists());
        let output = sandbox.run(&format!("-k file:keys decrypt {name}"))?;
        let errors = failed(name, &output, 7)?;
        assert!(errors.contains("what was written is not the whole plaintext"), "{errors}");
        assert!(output.stdout.len() < 100_000);
    }
    let entries = std::fs::read_dir(sandbox.directory())?.count();
    // keys, its lock, plain, message, changed, cut: no temporary file.
    assert_eq!(entries, 6);
    Ok(())
}

#[test]
fn each_of_several_keyrings_decrypts() -> Result {
    let sandbox = with_message()?;
    sandbox.ok("-k file:escrow key create recovery --new-keyring --unprotected")?;
    sandbox.ok("-k file:keys encrypt plain -o both --also file:escrow")?;
    assert_eq!(sandbox.run("-k file:escrow decrypt both")?.stdout, sandbox.read("plain")?);
    assert_eq!(sandbox.run("-k file:keys decrypt both")?.stdout, sandbox.read("plain")?);
    let errors = sandbox.fails("-k file:escrow decrypt message", 1)?;
    assert!(
        errors.contains("is of key orders version 1") && errors.contains("inspect"),
        "{errors}"
    );
    Ok(())
}

#[test]
fn key_is_chosen_among_several() -> Result {
    let sandbox = with_message()?;
    sandbox.ok("-k file:keys key create invoices")?;
    let errors = sandbox.fails("-k file:keys encrypt plain -o m", 2)?;
    let next = "name one in the locator of the keyring: `?key=invoices`; `encrypt` takes `--key invoices`, too";
    let expected = format!(
        "envelock: keyring file:keys: no key is selected of invoices, orders\nnext: {next}\n"
    );
    assert_eq!(errors, expected);
    for arguments in ["-k file:keys encrypt --key invoices", "-k file:keys?key=invoices encrypt"] {
        sandbox.ok(&format!("{arguments} plain -o m --replace"))?;
        assert!(sandbox.ok("inspect m")?.contains("key invoices version 1"));
    }
    Ok(())
}

#[test]
fn rewrap_moves_the_header_and_leaves_the_body() -> Result {
    let sandbox = with_message()?;
    sandbox.ok("-k file:keys key rotate orders")?;
    let before = sandbox.read("message")?;
    let keys = sandbox.read("keys")?;
    assert_eq!(
        sandbox.ok("-k file:keys rewrap --dry-run message")?,
        "message  would change  rewrapped\n"
    );
    assert_eq!((sandbox.read("message")?, sandbox.read("keys")?), (before.clone(), keys));
    assert_eq!(sandbox.ok("-k file:keys rewrap message")?, "message  in place  rewrapped\n");
    let after = sandbox.read("message")?;
    assert_eq!(
        envelock::inspect(&after)?.slots().next().map(|it| it.label.version.number()),
        Some(2)
    );
    let body = envelock::inspect(&after)?.len();
    assert_eq!(after[body..], before[body..]);
    let printed = sandbox.json("-k file:keys rewrap message")?;
    assert_eq!(
        (&printed[0]["change"], &printed[0]["complete"]),
        (&json!("unchanged"), &json!(true))
    );
    sandbox.ok("-k file:keys key disable orders:1")?;
    sandbox.ok("-k file:keys decrypt message -o back")?;
    Ok(())
}

#[test]
fn rewrap_does_every_file_and_exits_with_3_if_one_is_left() -> Result {
    let sandbox = with_message()?;
    sandbox.ok("-k file:keys key rotate orders")?;
    let output = sandbox.run("-k file:keys rewrap absent plain message")?;
    let errors = failed("rewrap", &output, 3)?;
    assert!(errors.contains("2 of 3 files are left"), "{errors}");
    assert_eq!(String::from_utf8(output.stdout)?, "message  in place  rewrapped\n");
    Ok(())
}

#[test]
fn refused_version_is_reported_with_its_remedy() -> Result {
    let sandbox = with_message()?;
    sandbox.ok("-k file:keys key rotate orders")?;
    sandbox.ok("-k file:keys key disable orders:1")?;
    let errors = sandbox.fails("-k file:keys rewrap message", 6)?;
    assert!(errors.contains("key enable orders:1"), "{errors}");
    sandbox.ok("-k file:keys key enable orders:1")?;
    sandbox.ok("-k file:keys key compromise orders:1 --yes")?;
    let errors = sandbox.fails("-k file:keys rewrap message", 6)?;
    assert!(errors.contains("--from-compromised orders:1"), "{errors}");
    sandbox.ok("-k file:keys rewrap message --from-compromised orders:1")?;
    sandbox.ok("-k file:keys rewrap message --retiring orders:1")?;
    Ok(())
}

/// Each call is tried first, and prints the same slots and the same error.
#[test]
fn dry_run_of_a_rewrap_finds_what_the_call_finds() -> Result {
    let sandbox = with_message()?;
    sandbox.ok("-k file:escrow key create recovery --new-keyring --unprotected")?;
    sandbox.ok("-k file:keys key rotate orders")?;
    std::fs::create_dir(sandbox.path("two"))?;
    std::fs::copy(sandbox.path("message"), sandbox.path("two/a"))?;
    std::fs::hard_link(sandbox.path("two/a"), sandbox.path("two/b"))?;
    std::os::unix::fs::symlink("message", sandbox.path("link"))?;
    let calls = [
        ("two/a", 6, "has 2 hard links"),
        ("./link", 1, "not a regular file"),
        ("--remove orders message", 6, "no slot that opens would remain"),
        ("--remove absent message", 1, "has no slot of key"),
        ("--retiring orders:2 message", 6, "still opens"),
        ("message", 0, "rewrapped"),
        ("message", 0, "current by its label"),
        ("--add file:escrow message", 0, ""),
        ("--add file:escrow message", 0, ""),
        ("--remove recovery message", 0, ""),
    ];
    let check = |(call, code, text): (&str, i32, &str)| -> Result {
        let before = (sandbox.read("message")?, sandbox.read("keys")?, sandbox.read("escrow")?);
        let run = |arguments: &str| -> Result<(Option<i32>, String, String)> {
            let output = sandbox.run(&format!("-k file:keys rewrap {arguments} {call}"))?;
            let printed = String::from_utf8(output.stdout)?;
            Ok((output.status.code(), printed, String::from_utf8(output.stderr)?))
        };
        let tried = run("--dry-run")?;
        let after = (sandbox.read("message")?, sandbox.read("keys")?, sandbox.read("escrow")?);
        assert!(before == after, "{call}");
        let made = run("")?;
        assert_eq!((tried.0, &tried.2), (made.0, &made.2), "{call}");
        assert_eq!(
            tried.1.replace("would change", "in place"),
            made.1.replace("copied", "in place")
        );
        assert_eq!(made.0, Some(code), "{call}: {made:?}");
        assert!((made.1 + &made.2).contains(text), "{call}");
        Ok(())
    };
    calls.into_iter().try_for_each(check)?;
    sandbox.ok("-k file:keys key compromise orders:2 --yes")?;
    check(("message", 6, "is compromised"))
}

#[test]
fn slots_of_another_keyring_are_added_and_removed() -> Result {
    let sandbox = with_message()?;
    sandbox.ok("-k file:escrow key create recovery --new-keyring --unprotected")?;
    sandbox.ok("-k file:keys rewrap --add file:escrow message")?;
    sandbox.ok("-k file:escrow decrypt message -o back")?;
    sandbox.ok("-k file:escrow rewrap --remove orders message")?;
    sandbox.fails("-k file:keys decrypt message -o again", 1)?;
    let errors = sandbox.fails("-k file:escrow rewrap --remove recovery message", 6)?;
    assert!(errors.contains("--add KEYRING"), "{errors}");
    Ok(())
}

#[test]
fn messages_move_from_one_keyring_to_another() -> Result {
    let sandbox = with_message()?;
    sandbox.ok("-k file:new key create orders --new-keyring --unprotected")?;
    assert_eq!(
        sandbox.ok("-k file:new rewrap --from file:keys message")?,
        "message  in place  rewrapped\n"
    );
    succeeded("decrypt", sandbox.run("-k file:new decrypt message -o back")?)?;
    Ok(())
}
