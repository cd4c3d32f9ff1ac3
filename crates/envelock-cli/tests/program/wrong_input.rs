//! Wrong input of every kind: the exit code, the fault by name, and a next step, as text and as JSON.

use crate::sandbox::{Result, Sandbox, failed};
use serde_json::Value;

/// Arguments, exit code, and a part of the error.
const CASES: &[(&str, i32, &str)] = &[
    // Commands and options.
    ("", 2, "no command is given"),
    ("frobnicate", 2, "unrecognized subcommand 'frobnicate'"),
    ("key", 2, "a subcommand is missing"),
    ("key rotate", 2, "<KEY>"),
    ("key rotate a b", 2, "unexpected argument 'b'"),
    ("--frobnicate key list", 2, "unexpected argument '--frobnicate'"),
    ("key list -k", 2, "a value is required"),
    ("inspect", 2, "<FILE>"),
    ("rewrap -k file:keys", 2, "<FILE>"),
    ("completion tcsh", 2, "invalid value 'tcsh'"),
    ("man frobnicate", 2, "there is no command"),
    ("man --dir absent", 1, "absent: No such file"),
    ("-k file:keys --passphrase-fd 3 --passphrase-file x key list", 2, "cannot be used with"),
    ("-k file:keys --passphrase-fd -1 key list", 2, "-1"),
    ("-k file:keys --passphrase-fd 70000 key list", 2, "70000"),
    // Locators of keyrings.
    ("key list", 2, "no keyring is named"),
    ("-k orders.keys key list", 2, "neither a locator nor a name"),
    ("-k orders key list", 2, "there is no keyring \"orders\": there is no envelock.toml here"),
    ("-k awskms:x key list", 2, "there is no kind of keyring \"awskms\""),
    ("-k file: key list", 2, "\"file:\" needs a path"),
    ("-k file://host/keys key list", 2, "a key file is on this machine"),
    ("-k file:a%2 key list", 2, "ends within a percent code"),
    ("-k file:a%zz key list", 2, "wrong percent code"),
    ("-k file:a%00 key list", 2, "has a zero byte"),
    ("-k file:keys?key key list", 2, "a parameter is not NAME=VALUE"),
    ("-k file:keys?colour=red key list", 2, "there is no parameter \"colour\""),
    ("-k file:keys?key=a&key=b key list", 2, "\"key\" is given twice"),
    ("-k file:keys?passphrase=x key list", 2, "every user of this machine can read a passphrase"),
    (
        "-k file:keys?passphrase-env=A&passphrase-file=b key list",
        2,
        "two sources of one passphrase",
    ),
    ("-k file:keys?key=absent key list", 1, "there is no key absent"),
    ("-k file:keys?raw-key-file=plain key list", 6, "others have access to the raw key"),
    ("-k file:keys?outer=absent key list", 2, "there is no keyring \"absent\""),
    ("-k file:absent key list", 1, "there is no file"),
    ("-k file:plain key list", 6, "gives access to users other than its owner"),
    ("-k file:short key list", 7, "\"short\" cannot be used"),
    ("-k file:. key list", 1, "usable file name"),
    ("-k pkcs11: key list", 2, "it selects no token"),
    ("-k pkcs11:token=a key list", 2, "module-path=PATH is missing or not absolute"),
    ("-k pkcs11:token=a?module-path=lib.so key list", 2, "missing or not absolute"),
    ("-k pkcs11:token=a?module-path=/lib.so key list", 2, "x-catalogue=PATH is missing"),
    ("-k pkcs11:token=a?pin-value=1234 key list", 2, "every user of this machine can read a PIN"),
    ("-k pkcs11:token=a?pin-source=|cat key list", 2, "pin-source runs no command"),
    ("-k pkcs11:token=a?module-name=x key list", 2, "module-path, not module-name"),
    ("-k pkcs11:manufacturer=x;token=a key list", 2, "attribute \"manufacturer\" selects nothing"),
    ("-k pkcs11:token=a;token=b key list", 2, "\"token\" is given twice"),
    ("--config absent key list", 1, "absent: No such file"),
    // Keys and versions.
    ("-k file:keys key show absent", 1, "there is no key absent"),
    ("-k file:keys key rotate absent", 1, "there is no key absent"),
    ("-k file:keys key promote orders", 2, "names no version: write KEY:VERSION"),
    ("-k file:keys key promote orders:0", 2, "\"0\" is no version"),
    ("-k file:keys key promote orders:4294967296", 2, "is no version"),
    ("-k file:keys key promote :1", 2, "names no version"),
    ("-k file:keys key promote orders:9", 1, "key orders has no version 9"),
    ("-k file:keys key create -", 2, "\"-\" is no name of a key: character 1 is '-'"),
    ("-k file:keys key create a --unprotected", 2, "--new-keyring"),
    ("-k file:keys key alias orders orders", 1, "the name orders is taken"),
    ("-k file:keys key alias a", 2, "<KEY>"),
    ("-k file:keys key alias a orders --remove", 2, "cannot be used with"),
    ("-k file:keys key hold orders", 2, "--reason"),
    ("-k file:keys key hold orders --reason a --release", 2, "cannot be used with"),
    ("-k file:keys key hold orders:9 --reason a", 1, "key orders has no version 9"),
    ("-k file:keys key label orders:1", 2, "<NAME=VALUE>"),
    ("-k file:keys key label orders:1 a", 2, "is not NAME=VALUE"),
    ("-k file:keys key label orders:1 =a", 2, "\"\" is no name of a label: it is empty"),
    ("-k file:keys key destroy orders:1 --after 6 --yes", 6, "is the primary"),
    ("-k file:keys key destroy orders:1 --due --cancel", 2, "cannot be used with"),
    ("-k file:keys key destroy orders:1 --evidence 12", 2, "64 hexadecimal digits"),
    // Key material.
    ("-k file:keys key import orders", 2, "--from-file"),
    ("-k file:keys key import orders --from-fd 3 --from-env A", 2, "cannot be used with"),
    ("-k file:keys key import orders --from-env ABSENT_VARIABLE", 2, "ABSENT_VARIABLE is not set"),
    ("-k file:keys key import orders --from-file absent", 1, "absent: No such file"),
    (
        "-k file:keys key import orders --from-file plain",
        6,
        "others have access to the key material",
    ),
    (
        "-k file:keys key import orders --from-file short",
        1,
        "short: the key material is not 32 bytes",
    ),
    ("-k file:keys key import orders --from-file zero", 1, "key material is all zero"),
    ("-k file:keys key import orders --version 0 --from-file short", 2, "there is no version 0"),
    (
        "-k file:keys key import orders --encoding rot13 --from-file short",
        2,
        "invalid value 'rot13'",
    ),
    // Messages.
    ("-k file:keys encrypt absent", 1, "absent: No such file"),
    ("-k file:keys encrypt absent -o m", 1, "there is no file \"absent\""),
    ("-k file:keys encrypt plain -o absent/m", 1, "absent"),
    ("-k file:keys encrypt plain --replace", 2, "--output"),
    ("-k file:keys encrypt plain --key absent", 1, "there is no key absent"),
    ("-k file:keys encrypt plain --also file:absent", 1, "keyring file:absent: there is no file"),
    ("-k file:keys encrypt plain --aad a --aad-pair b=c", 2, "cannot be used with"),
    ("-k file:keys encrypt plain --aad-pair a", 2, "\"a\" is not NAME=VALUE"),
    ("-k file:keys encrypt plain --aad-pair a=1 --aad-pair a=2", 2, "associated data pair \"a\""),
    ("-k file:keys encrypt plain --aad-file absent", 1, "absent: No such file"),
    ("-k file:keys decrypt plain", 1, "plain: not an envelock message"),
    ("-k file:keys decrypt plain -o back", 1, "not an envelock message"),
    ("-k file:keys decrypt absent", 1, "absent: No such file"),
    ("-k file:keys decrypt .", 1, ".: "),
    ("-k file:keys rewrap plain", 1, "plain: not an envelock message"),
    ("-k file:keys rewrap absent", 1, "absent"),
    ("-k file:keys rewrap plain --retiring orders", 2, "names no version"),
    ("-k file:keys rewrap plain --add a --remove b", 2, "cannot be used with"),
    ("inspect plain", 1, "plain: not an envelock message"),
    ("inspect absent", 1, "absent: No such file"),
    ("inspect .", 1, ".: "),
    // Status.
    ("-k file:keys status --policy never", 2, "neither a policy nor an age"),
    ("-k file:keys status --policy 0d", 2, "neither a policy nor an age"),
    ("-k file:keys status --policy 1d --format xml", 2, "invalid value 'xml'"),
];

fn sandbox() -> Result<Sandbox> {
    let sandbox = Sandbox::new()?;
    sandbox.write("plain", "plain text")?;
    sandbox.set_mode("plain", 0o644)?;
    sandbox.write_secret("short", "0707")?;
    sandbox.write_secret("zero", "00".repeat(32))?;
    Ok(sandbox)
}

#[test]
fn wrong_input_has_its_exit_code_fault_and_next_step() -> Result {
    let sandbox = sandbox()?;
    let mut wrong = Vec::new();
    for (arguments, code, fault) in CASES {
        let output = sandbox.run(arguments)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let has_next = errors.contains("\nnext: ") && !errors.trim_end().ends_with("next:");
        if output.status.code() != Some(*code) || !errors.contains(fault) || !has_next {
            wrong.push(format!("{arguments}: {:?}\n{errors}", output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn wrong_input_is_one_json_object_on_request() -> Result {
    let sandbox = sandbox()?;
    let mut wrong = Vec::new();
    for (arguments, code, fault) in CASES {
        let output = sandbox.run(&format!("--json {arguments}"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let is_right = serde_json::from_str::<Value>(&errors).is_ok_and(|value| {
            let has = |name: &str| value[name].as_str().is_some_and(|text| !text.is_empty());
            let names = value.as_object().map(|object| object.len());
            let error = value["error"].as_str().is_some_and(|error| error.contains(fault));
            error && has("next") && value["exit"] == *code && names == Some(3)
        });
        if output.status.code() != Some(*code) || !is_right {
            wrong.push(format!("{arguments}: {:?}\n{errors}", output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn key_file_is_not_touched_by_wrong_input() -> Result {
    let sandbox = sandbox()?;
    let before = sandbox.read("keys")?;
    for (arguments, code, _) in CASES {
        if arguments.starts_with("-k file:keys key") {
            failed(arguments, &sandbox.run(arguments)?, *code)?;
        }
    }
    assert_eq!(sandbox.read("keys")?, before);
    Ok(())
}

/// Arguments, and the whole of the error as text.
const WHOLE: &[(&str, &str)] = &[
    (
        "job",
        "a subcommand is missing after `envelock job`
next: name one of plan, start, resume, status, set, pause, stop, retry, undo, merge; `envelock job --help` explains them",
    ),
    (
        "job set",
        "the following required arguments were not provided: <DIRECTORY>, <KEY=VALUE>...
next: `envelock job set --help` explains it",
    ),
    (
        "key lsit",
        "unrecognized subcommand 'lsit'
next: a similar subcommand exists: 'list'; `envelock key --help` explains it",
    ),
    (
        "job start a --frob",
        "unexpected argument '--frob' found
next: to pass '--frob' as a value, use '-- --frob'; `envelock job start --help` explains it",
    ),
    (
        "-k key status --format xml",
        "invalid value 'xml' for '--format <FORMAT>' [possible values: table, csv, json]
next: `envelock status --help` explains it",
    ),
    (
        "key list -k",
        "a value is required for '--keyring <KEYRING>' but none was supplied
next: `envelock key list --help` explains it",
    ),
];

#[test]
fn arguments_that_are_not_parsed_are_one_sentence() -> Result {
    let sandbox = Sandbox::empty()?;
    for (arguments, expected) in WHOLE {
        assert_eq!(sandbox.fails(arguments, 2)?, format!("envelock: {expected}\n"));
        let output = sandbox.run(&format!("--json {arguments}"))?;
        let value: Value = serde_json::from_slice(&output.stderr)?;
        let error = format!(
            "{}\nnext: {}",
            value["error"].as_str().unwrap_or(""),
            value["next"].as_str().unwrap_or("")
        );
        assert_eq!(error, *expected);
    }
    let value: Value = serde_json::from_slice(&sandbox.run("--json")?.stderr)?;
    assert_eq!(value["error"], "no command is given");
    Ok(())
}

#[test]
fn new_name_that_is_wrong_is_given_with_the_rule() -> Result {
    let sandbox = Sandbox::new()?;
    let rule =
        "begin with a letter or a digit, and go on with letters, digits and ._:/@+=-, 64 in all";
    let long = "a".repeat(65);
    let of_long = format!("key create {long}");
    let cases = [
        ("key create or?ders", "\"or?ders\" is no name of a key: character 3 is '?'".to_string()),
        ("key create öre --new-keyring", "\"öre\" is no name of a key: character 1 is 'ö'".into()),
        (of_long.as_str(), format!("\"{long}\" is no name of a key: it has 65 bytes")),
        (
            "key import a! --new-key --from-file no",
            "\"a!\" is no name of a key: character 2 is '!'".into(),
        ),
        ("key alias a! orders", "\"a!\" is no name of an alias: character 2 is '!'".into()),
        ("key label orders:1 a!=b", "\"a!\" is no name of a label: character 2 is '!'".into()),
        (
            "key protection add passphrase --name a!",
            "\"a!\" is no name of a protection: character 2 is '!'".into(),
        ),
    ];
    for (arguments, what) in cases {
        let errors = sandbox.fails(&format!("-k file:keys {arguments}"), 2)?;
        assert_eq!(errors, format!("envelock: {what}\nnext: {rule}\n"));
    }
    sandbox.ok(&format!("-k file:keys key create {}", "a".repeat(64))).map(drop)
}
