//! The operations of an operator by the trait `Lifecycle`.

use crate::client::{client, version};
use crate::server::Server;
use envelock::keyset::{
    Change, ChangeOptions, LifecycleError, Material, Operation, Origin, Transition, VersionState,
};
use envelock::{
    Aad, Envelope, Error, KeyVersion, Keyring, Lifecycle, MasterKey, OsRandom, RewrapOptions,
    Timestamp,
};
use envelock_remote::{RemoteKeyring, SyncKeyring};
use envelock_transit::{Token, Transit};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

type Orders = SyncKeyring<RemoteKeyring<Transit>>;

fn over(transit: Transit) -> Orders {
    SyncKeyring::start(async move || RemoteKeyring::new(transit, "orders")).unwrap()
}

/// A server with the key `orders`, and a keyring over it.
fn orders() -> (Server, Orders) {
    let server = Server::start();
    let keyring = over(client(&server, &server.root));
    keyring.create_key("orders").unwrap();
    (server, keyring)
}

fn states(keyring: &impl Lifecycle) -> Vec<VersionState> {
    keyring.keyset().unwrap().versions().iter().map(|record| record.state).collect()
}

fn text<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn version_lives_until_it_is_destroyed() {
    use VersionState::{Destroyed, Disabled, Enabled, Primary};
    let (server, keyring) = orders();
    let envelope = Envelope::new(&keyring);
    let old = envelope.encrypt(b"four boxes", Aad::none()).unwrap();
    assert_eq!(keyring.rotate().unwrap(), version(2));
    assert_eq!(states(&keyring), [Enabled, Primary]);
    let mut moved = old.clone();
    envelope.rewrap(&old, RewrapOptions::default()).unwrap().write_over(&mut moved).unwrap();

    let disabled = keyring.disable(version(1)).unwrap();
    let [Transition::State { from: Enabled, to: Disabled, .. }] = *disabled.transitions else {
        panic!("{disabled:?}")
    };
    assert_eq!(disabled.change, keyring.keysets().unwrap().change());
    // No process of this keyring waits a minute for it.
    assert!(envelope.decrypt(&old, Aad::none()).is_err());
    keyring.enable(version(1)).unwrap();
    assert_eq!(envelope.decrypt(&old, Aad::none()).unwrap(), b"four boxes");

    keyring.disable(version(1)).unwrap();
    keyring.destroy_immediately(version(1)).unwrap();
    assert_eq!(states(&keyring), [Destroyed, Primary]);
    assert!(envelope.decrypt(&old, Aad::none()).is_err());
    assert_eq!(envelope.decrypt(&moved, Aad::none()).unwrap(), b"four boxes");
    // The service encrypts under no version that it does not decrypt, which it wants to be told.
    for (number, oldest) in [(2, "2"), (3, "3")] {
        keyring.rotate().unwrap();
        assert_eq!(server.get("transit/keys/orders").field("min_encryption_version"), oldest);
        keyring.disable(version(number)).unwrap();
    }
    keyring.destroy_immediately(version(2)).unwrap();
    assert_eq!(states(&keyring), [Destroyed, Destroyed, Disabled, Primary]);
    assert_eq!(server.get("transit/keys/orders").field("min_encryption_version"), "4");
}

#[test]
fn record_has_what_the_service_knows() {
    let (server, keyring) = orders();
    keyring.rotate().unwrap();
    let keyset = keyring.keyset().unwrap();
    let [first, second] = keyset.versions() else { panic!("{keyset:?}") };
    let age = Timestamp::now().since(second.created);
    assert!(age < Duration::from_secs(60), "{age:?}");
    assert_eq!((first.origin, first.master_key_id), (Origin::Token, second.master_key_id));
    assert_eq!((first.state_since, first.promoted), (second.created, Some(first.created)));
    let mut ids = Vec::new();
    keyring.visit_primaries(&mut |primary| ids.push(primary.label.master_key_id)).unwrap();
    assert_eq!(ids, [second.master_key_id]);
    // What is not listed any more has the date of the oldest version that is.
    keyring.disable(version(1)).unwrap();
    let keyset = keyring.keyset().unwrap();
    assert_eq!(keyset.versions()[0].created, second.created);
    let body = r#"{"exportable":true}"#;
    assert_eq!(server.post("transit/keys/orders/config", body).status, 200);
    assert_eq!(keyring.keyset().unwrap().versions()[1].origin, Origin::Generated);
}

#[test]
fn refusals_say_what_to_do_instead() {
    let (_server, keyring) = orders();
    keyring.rotate().unwrap();
    keyring.rotate().unwrap();
    let policy = "key orders: Transit has neither holds nor evidence; allow transit/keys/orders/config and \
                  transit/keys/orders/trim in no policy but that of the person who decides";
    let at_once = "key orders: Transit destroys at once, and at no date; disable the version, and destroy it \
                   immediately when no message is under it";
    let evidence = ChangeOptions::at(Timestamp::now()).on_evidence([7; 32]);
    let rotation = Change::Rotate { key: "orders" };
    let fresh = (KeyVersion::FIRST, Material::Fresh);
    let [alias, no_alias] = [
        Change::SetAlias { alias: "current", key: "orders" },
        Change::RemoveAlias { alias: "current" },
    ];
    let label = Change::SetLabel { key: "orders", version: version(1), name: "owner", value: None };
    let other = Change::CreateKey { key: "invoices", version: fresh.0, material: fresh.1 };
    let now = ChangeOptions::at(Timestamp::now());
    let make = |changes: &[Change<'_>], options| keyring.change(changes, options, &mut OsRandom);
    for (refused, expected) in [
        (
            keyring.promote(version(1)),
            "key orders: Transit encrypts under its newest version alone; rotate instead",
        ),
        (
            keyring.operate(version(2), Operation::MarkCompromised),
            "key orders: Transit has no mark for a version that an attacker knows; rotate, rewrap what is \
             under the version, and disable it",
        ),
        (keyring.schedule_destruction(version(1), Duration::from_secs(864_000)), at_once),
        (keyring.cancel_destruction(version(1)), at_once),
        (keyring.destroy(version(1)), at_once),
        (
            keyring.add_version().map(|_| unreachable!()),
            "key orders: a new version of Transit is the primary at once; rotate instead",
        ),
        (
            keyring.import_version(version(9), &MasterKey::from_slice(&[7; 32]).unwrap()),
            "key material cannot be imported: this keyring makes its own",
        ),
        (keyring.hold(version(1), "audit"), policy),
        (keyring.release(version(1)), policy),
        (keyring.require_evidence(), policy),
        (
            make(&[rotation], &evidence),
            "key orders: the service keeps no evidence; keep it elsewhere",
        ),
        (
            make(&[rotation, rotation], &now),
            "key orders: the service makes one change at a time; make them one by one",
        ),
        (
            keyring.remove_records(version(1)),
            "key orders: Transit counts its versions for ever; leave the destroyed ones: they take no room",
        ),
        (
            keyring.erase_key("orders"),
            "key orders: Transit deletes a key with its record, so that another can take its name; if that is \
             right: bao write transit/keys/orders/config deletion_allowed=true, then bao delete transit/keys/orders",
        ),
        (
            make(&[alias], &now),
            "key orders: Transit has no aliases; open the keyring by the name of the key",
        ),
        (
            make(&[no_alias], &now),
            "key orders: Transit has no aliases; open the keyring by the name of the key",
        ),
        (make(&[label], &now), "key orders: Transit has no labels; keep them elsewhere"),
        (
            make(&[Change::CorrectDates { key: "orders" }], &now),
            "key orders: the dates are those of the service; correct its clock",
        ),
        (
            make(&[other], &now),
            "key orders: the keyring changes no other key; create invoices by a keyring that is opened for it",
        ),
        // What the records refuse of any keyring.
        (keyring.create_key("orders"), "the name orders is taken"),
        (keyring.disable(version(3)), "key orders version 3 is the primary: cannot disable it"),
        (keyring.disable(version(4)), "key orders has no version 4"),
        (keyring.enable(version(2)), "key orders version 2 is enabled: cannot enable it"),
        (
            keyring.destroy_immediately(version(1)),
            "key orders version 1 is enabled: cannot destroy it immediately",
        ),
    ] {
        assert_eq!(text(refused), expected);
    }
    use VersionState::{Enabled, Primary};
    assert_eq!(states(&keyring), [Enabled, Enabled, Primary]);
    assert_eq!(keyring.promote(version(3)).unwrap().transitions, []);
}

#[test]
fn versions_leave_and_return_in_order() {
    let (_server, keyring) = orders();
    for _ in 0..3 {
        keyring.rotate().unwrap();
    }
    assert_eq!(
        text(keyring.disable(version(2))),
        "key orders: Transit disables the oldest enabled version alone; disable version 1 first"
    );
    for number in 1..=3 {
        keyring.disable(version(number)).unwrap();
    }
    assert_eq!(
        text(keyring.enable(version(1))),
        "key orders: Transit enables the newest disabled version alone; enable version 3 first"
    );
    assert_eq!(
        text(keyring.destroy_immediately(version(2))),
        "key orders: Transit destroys the oldest disabled version alone; destroy version 1 first"
    );
    use VersionState::{Disabled, Primary};
    assert_eq!(states(&keyring), [Disabled, Disabled, Disabled, Primary]);
}

#[test]
fn soft_deleted_key_is_restored_first() {
    let (server, keyring) = orders();
    assert_eq!(server.request("DELETE", "transit/keys/orders/soft-delete", "").status, 200);
    assert_eq!(states(&keyring), [VersionState::Disabled]);
    let expected = "key orders: it is soft-deleted; restore it first: bao write -f \
                    transit/keys/orders/soft-delete-restore";
    assert_eq!(text(keyring.rotate()), expected);
    assert_eq!(text(keyring.enable(version(1))), expected);
}

#[test]
fn change_since_another_is_a_conflict() {
    let (server, keyring) = orders();
    let read = keyring.keysets().unwrap().change();
    let rotation = [Change::Rotate { key: "orders" }];
    let options = ChangeOptions::at(Timestamp::now()).if_unchanged_since(read);
    let made = keyring.change(&rotation, &options, &mut OsRandom).unwrap();
    assert!(made.change > read);
    let refused = keyring.change(&rotation, &options, &mut OsRandom).unwrap_err();
    let Error::Lifecycle(LifecycleError::Conflict { expected, found }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((expected, found), (read, made.change));
    // Each change takes another number, also one that undoes another.
    let mut numbers = vec![read, made.change];
    let config = |min| format!(r#"{{"min_decryption_version":{min}}}"#);
    assert_eq!(server.post("transit/keys/orders/config", &config(2)).status, 200);
    numbers.push(keyring.keysets().unwrap().change());
    numbers.push(keyring.destroy_immediately(version(1)).unwrap().change);
    assert_eq!(server.request("DELETE", "transit/keys/orders/soft-delete", "").status, 200);
    numbers.push(keyring.keysets().unwrap().change());
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

#[test]
fn missing_key_is_created_or_reported() {
    let server = Server::start();
    let keyring = over(client(&server, &server.root));
    assert_eq!(text(keyring.rotate()), "there is no key orders");
    assert_eq!(text(keyring.keyset()), "there is no key orders");
    let create = |version| {
        let material = Material::Fresh;
        let change = [Change::CreateKey { key: "orders", version, material }];
        keyring.change(&change, &ChangeOptions::at(Timestamp::now()), &mut OsRandom)
    };
    let expected = "key orders: the first version of Transit is 1; create it as that";
    assert_eq!(text(create(version(2))), expected);
    assert_eq!(create(version(1)).unwrap().added(), Some(version(1)));
    assert_eq!(states(&keyring), [VersionState::Primary]);
}

#[test]
fn policy_of_an_operator_is_enough() {
    let (server, _) = orders();
    let operator = r#"path "transit/keys/orders"        { capabilities = ["read"] }
        path "transit/keys/orders/rotate" { capabilities = ["update"] }
        path "transit/keys/orders/config" { capabilities = ["update"] }
        path "transit/keys/orders/trim"   { capabilities = ["update"] }"#;
    let keyring = over(client(&server, &server.token(operator)));
    keyring.rotate().unwrap();
    keyring.disable(version(1)).unwrap();
    keyring.destroy_immediately(version(1)).unwrap();
    let reader = r#"path "transit/keys/orders" { capabilities = ["read"] }"#;
    let keyring = over(client(&server, &server.token(reader)));
    let denied = keyring.rotate().unwrap_err();
    assert!(!denied.is_retryable(), "{denied:?}");
    let expected = "keyring denies the use of its key: the service answers 403: 1 error occurred: * permission denied";
    assert_eq!(denied.to_string(), expected);
    assert_eq!(states(&keyring), [VersionState::Destroyed, VersionState::Primary]);
}

/// Forwards requests, and closes the connection in the place of the answer to the first rotation. Returns its address
/// and how many rotations it has seen.
fn losing_a_rotation(server: &Server) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let upstream = server.address().replace("http://", "");
    let rotations = Arc::new(AtomicUsize::new(0));
    let seen = rotations.clone();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut server = TcpStream::connect(&upstream).unwrap();
            let seen = seen.clone();
            // A request, and its answer, are small enough to arrive at once.
            std::thread::spawn(move || {
                let mut buffer = [0; 65_536];
                while let Ok(count @ 1..) = client.read(&mut buffer) {
                    let is_rotation = buffer[..count].windows(8).any(|part| part == b"/rotate ");
                    server.write_all(&buffer[..count]).unwrap();
                    let count = server.read(&mut buffer).unwrap();
                    if is_rotation && seen.fetch_add(1, Ordering::SeqCst) == 0 {
                        return;
                    }
                    client.write_all(&buffer[..count]).unwrap();
                }
            });
        }
    });
    (address, rotations)
}

#[test]
fn lost_answer_causes_no_second_rotation() {
    let (server, _) = orders();
    let (address, rotations) = losing_a_rotation(&server);
    let token = Token::new(server.root.as_str()).unwrap();
    let keyring = over(Transit::builder(address).token(token).build().unwrap());
    assert_eq!(keyring.rotate().unwrap(), version(2));
    assert_eq!(rotations.load(Ordering::SeqCst), 1);
    assert_eq!(states(&keyring), [VersionState::Enabled, VersionState::Primary]);
    assert_eq!(keyring.rotate().unwrap(), version(3));
}
