//! Changes as an observer sees them.

use super::{Observed, observed, saw, version};
use envelock::rand_core::{TryCryptoRng, TryRng};
use envelock::{
    Error, Keyring, Lifecycle, OsRandom,
    keyring::KeyringRng,
    keyset::{Change, ChangeOptions, Operation},
};
use envelock::{Timestamp, keyring::RandomnessUnavailable};
use std::time::Duration;

/// The system's generator with the error that keyrings see.
struct Random;

impl TryRng for Random {
    type Error = RandomnessUnavailable;

    fn try_next_u32(&mut self) -> Result<u32, RandomnessUnavailable> {
        OsRandom.try_next_u32().map_err(|_| RandomnessUnavailable::new())
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomnessUnavailable> {
        OsRandom.try_next_u64().map_err(|_| RandomnessUnavailable::new())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        OsRandom.try_fill_bytes(out).map_err(|_| RandomnessUnavailable::new())
    }
}

impl TryCryptoRng for Random {}

fn change(keyring: &Observed, changes: &[Change<'_>]) -> Result<u64, Error> {
    let rng: &mut KeyringRng<'_> = &mut Random;
    let options = ChangeOptions::at(Timestamp::from_unix_seconds(1_800_000_000));
    keyring.change(changes, &options, rng).map(|changed| changed.change)
}

#[test]
fn rotation_and_its_rollback_are_reported() {
    let keyring = observed();
    assert_eq!(keyring.rotate().unwrap(), version(2));
    let rotation = [
        "2: added orders 2",
        "2: orders 1 from primary to enabled",
        "2: orders 2 from pending to primary",
        "2: rotated orders from 1 to 2",
    ];
    saw(&keyring, &rotation);
    keyring.promote(version(1)).unwrap();
    let rollback = [
        "3: orders 2 from primary to enabled",
        "3: orders 1 from enabled to primary",
        "3: rotated orders from 2 to 1",
    ];
    saw(&keyring, &rollback);
    // In two phases: nothing is rotated before the promotion.
    keyring.add_version().unwrap();
    saw(&keyring, &["4: added orders 3"]);
    keyring.promote(version(3)).unwrap();
    assert_eq!(keyring.observer().take().last().unwrap(), "5: rotated orders from 1 to 3");
}

#[test]
fn every_change_of_version_is_reported() {
    let keyring = observed();
    keyring.rotate().unwrap();
    keyring.observer().take();
    keyring.mark_compromised(version(1)).unwrap();
    saw(&keyring, &["3: orders 1 from enabled to compromised"]);
    keyring.disable(version(1)).unwrap();
    saw(&keyring, &["4: orders 1 from compromised to disabled"]);
    keyring.enable(version(1)).unwrap();
    saw(&keyring, &["5: orders 1 from disabled to compromised"]);
    keyring.disable(version(1)).unwrap();
    keyring.schedule_destruction(version(1), Duration::from_secs(7 * 86_400)).unwrap();
    keyring.cancel_destruction(version(1)).unwrap();
    keyring.destroy_immediately(version(1)).unwrap();
    let end = [
        "6: orders 1 from compromised to disabled",
        "7: orders 1 from disabled to destroy scheduled",
        "8: orders 1 from destroy scheduled to disabled",
        "9: orders 1 from disabled to destroyed",
    ];
    saw(&keyring, &end);
}

#[test]
fn keys_aliases_and_labels_are_reported() {
    let keyring = observed();
    keyring.create_key("invoices").unwrap();
    let created = [
        "2: added invoices 1",
        "2: invoices 1 from pending to primary",
        "2: rotated invoices from none to 1",
    ];
    saw(&keyring, &created);
    keyring.set_alias("now", "orders").unwrap();
    keyring.set_alias("now", "invoices").unwrap();
    let (key, name) = ("orders", "ticket");
    let version = version(1);
    let label = Change::SetLabel { key, version, name, value: Some("42") };
    change(&keyring, &[label, Change::RemoveAlias { alias: "now" }]).unwrap();
    let reported = [
        "3: alias now from None to Some(\"orders\")",
        "4: alias now from Some(\"orders\") to Some(\"invoices\")",
        "5: label of orders 1",
        "5: alias now from Some(\"invoices\") to None",
    ];
    saw(&keyring, &reported);
}

/// Several changes are one change; each rotation names the primary before it.
#[test]
fn changes_made_at_once_are_reported_in_order() {
    let keyring = observed();
    keyring.create_key("invoices").unwrap();
    keyring.observer().take();
    let operation = Operation::MarkCompromised;
    let changes = [
        Change::Version { key: "orders", version: version(1), operation },
        Change::Rotate { key: "invoices" },
        Change::Rotate { key: "orders" },
        Change::Rotate { key: "orders" },
    ];
    assert_eq!(change(&keyring, &changes).unwrap(), 3);
    let reported = [
        "3: orders 1 from primary to compromised",
        "3: added invoices 2",
        "3: invoices 1 from primary to enabled",
        "3: invoices 2 from pending to primary",
        "3: rotated invoices from 1 to 2",
        "3: added orders 2",
        "3: orders 2 from pending to primary",
        "3: rotated orders from 1 to 2",
        "3: added orders 3",
        "3: orders 2 from primary to enabled",
        "3: orders 3 from pending to primary",
        "3: rotated orders from 2 to 3",
    ];
    saw(&keyring, &reported);
    // A primary that was lost earlier is not the one before this change.
    let lost = Change::Version { key: "orders", version: version(3), operation };
    change(&keyring, &[lost]).unwrap();
    keyring.promote(version(2)).unwrap();
    let reported = [
        "4: orders 3 from primary to compromised",
        "5: orders 2 from enabled to primary",
        "5: rotated orders from none to 2",
    ];
    saw(&keyring, &reported);
}

#[test]
fn failing_change_is_not_reported() {
    let keyring = observed();
    keyring.disable(version(1)).unwrap_err();
    keyring.promote(version(9)).unwrap_err();
    keyring.create_key("orders").unwrap_err();
    let disable =
        Change::Version { key: "orders", version: version(1), operation: Operation::Disable };
    change(&keyring, &[Change::Rotate { key: "orders" }, disable, disable]).unwrap_err();
    saw(&keyring, &[]);
    assert_eq!(keyring.keysets().unwrap().change(), 1);
}

#[test]
fn rest_of_the_keyring_shows_through() {
    let keyring = observed();
    assert_eq!(keyring.key(), "orders");
    assert_eq!(keyring.keysets().unwrap(), keyring.keyring().keysets().unwrap());
    let mut count = 0;
    keyring.visit_primaries(&mut |_| count += 1).unwrap();
    assert_eq!(count, 1);
    saw(&keyring, &[]);
}
