//! Where the address, the token and the certificates come from.

use crate::sandbox::{Result, Sandbox, failed, finish, succeeded};
use crate::server::Server;

const CREATE: &str = "key create orders";

/// Runs the program with environment variables of the service, and no others of it.
fn run(
    sandbox: &Sandbox,
    arguments: &str,
    variables: &[(&str, &str)],
) -> Result<std::process::Output> {
    let mut command = sandbox.command(arguments);
    for name in ["BAO_ADDR", "VAULT_ADDR", "BAO_TOKEN", "VAULT_TOKEN"] {
        command.env_remove(name);
    }
    finish(command.envs(variables.iter().copied()), b"")
}

#[test]
fn variables_stand_for_address_and_token() -> Result {
    let (server, sandbox) = (Server::start(), Sandbox::empty()?);
    let (address, root) = (server.address(), server.root.clone());
    let list = "-k transit:orders key list";
    for variables in [
        [("BAO_ADDR", &*address), ("BAO_TOKEN", &*root)],
        [("VAULT_ADDR", &*address), ("VAULT_TOKEN", &*root)],
    ] {
        succeeded(list, run(&sandbox, list, &variables)?)?;
    }
    let named = format!("-k transit:orders;address={address}?token-env=OWN key list");
    succeeded(&named, run(&sandbox, &named, &[("OWN", &root), ("BAO_TOKEN", "s.bad")])?)?;
    let failure = failed(list, &run(&sandbox, list, &[("BAO_TOKEN", &root)])?, 2)?;
    let expected = "envelock: keyring transit:orders: no address of the service is given\nnext: write \
                    `transit:KEY;address=https://HOST:PORT`, or set BAO_ADDR\n";
    assert_eq!(failure, expected);
    let failure = failed(list, &run(&sandbox, list, &[("BAO_ADDR", &address)])?, 2)?;
    let expected = "envelock: keyring transit:orders: there is no token for the service\nnext: name its file in \
                    the locator: `?token-file=PATH`, or set BAO_TOKEN\n";
    assert_eq!(failure, expected);
    Ok(())
}

#[test]
fn mount_and_namespace_are_those_of_the_locator() -> Result {
    let (server, sandbox) = (Server::start(), Sandbox::empty()?);
    sandbox.write_secret("token", &server.root)?;
    assert_eq!(server.post("sys/namespaces/team", "").status, 200);
    assert_eq!(server.post("team/sys/mounts/kept/keys", r#"{"type":"transit"}"#).status, 204);
    let locator =
        format!("transit:orders;address={};mount=kept/keys;namespace=team", server.address());
    sandbox.ok(&format!("-k {locator}?token-file=token {CREATE}"))?;
    assert_eq!(server.get("team/kept/keys/keys/orders").status, 200);
    // A name of envelock.toml, whose paths start at it.
    let toml = format!("[keyrings.orders]\nlocator = \"{locator}?token-file=token\"\n");
    std::fs::create_dir(sandbox.path("elsewhere"))?;
    sandbox.write("envelock.toml", toml)?;
    let mut command = sandbox.command("--config ../envelock.toml -k orders key list");
    let listed = finish(command.current_dir(sandbox.path("elsewhere")), b"")?;
    assert!(succeeded("key list", listed)?.contains("orders"));
    Ok(())
}

#[test]
fn authority_is_that_of_ca_file() -> Result {
    let (server, address, authority) = Server::start_with_tls();
    let sandbox = Sandbox::empty()?;
    sandbox.write_secret("token", &server.root)?;
    sandbox.write("ca.pem", authority)?;
    let locator = format!("transit:orders;address={address}?token-file=token");
    // The server has no engine, which it says once the connection is trusted.
    let answer = sandbox.fails(&format!("-k {locator}&ca-file=ca.pem {CREATE}"), 1)?;
    assert!(answer.contains("the service answers 404"), "{answer}");
    sandbox.write("other.pem", "nothing")?;
    let wrong = sandbox.fails(&format!("-k {locator}&ca-file=other.pem {CREATE}"), 2)?;
    assert!(wrong.contains("there is no certificate in them\nnext: check the file"), "{wrong}");
    Ok(())
}

#[test]
fn wrong_locators_and_tokens_are_refused() -> Result {
    let sandbox = Sandbox::empty()?;
    sandbox.write_secret("token", "s.token")?;
    sandbox.write("open", "s.token")?;
    sandbox.set_mode("open", 0o644)?;
    sandbox.write_secret("two", "two words")?;
    for (locator, code, expected) in [
        ("transit:", 2, "it names no key: write transit:KEY"),
        (
            "transit:orders;adress=x",
            2,
            "there is no attribute \"adress\" but address, mount, namespace",
        ),
        (
            "transit:orders?address=x",
            2,
            "there is no parameter \"address\" but token-file, token-env, ca-file",
        ),
        ("transit:orders?token-file=a&token-env=B", 2, "it has two sources of one token"),
        (
            "transit:orders;token=s.x",
            2,
            "every user of this machine can read a token in an argument",
        ),
        (
            "transit:orders?token=s.x",
            2,
            "every user of this machine can read a token in an argument",
        ),
        ("transit:orders;address=http://h:1?token-file=open", 6, "has mode 0644"),
        ("transit:orders;address=http://h:1?token-file=two", 2, "there is no token in it"),
        (
            "transit:orders;address=http://h:1?token-file=token",
            2,
            "would send the token and data keys in the clear",
        ),
        ("transit:orders;address=bao?token-file=token", 2, "is not http:// or https://"),
        (
            "transit:orders;address=https://h;mount=a//b?token-file=token",
            2,
            "mount a//b is not a path",
        ),
    ] {
        let failure = sandbox.fails(&format!("-k {locator} key list"), code)?;
        assert!(failure.contains(expected), "{locator}: {failure}");
        assert!(!failure.contains("s.x") && !failure.contains("two words"), "{failure}");
    }
    let locator = "transit:orders;address=https://h?token-file=token";
    let option = sandbox.fails(&format!("-k {locator} --pin-file token key list"), 2)?;
    assert!(option.contains("a service has no passphrase and no PIN\n"), "{option}");
    Ok(())
}
