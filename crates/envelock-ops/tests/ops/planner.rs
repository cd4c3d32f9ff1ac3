//! The planner: every cause, and each reason to change a message or to leave it.

use crate::common::{header, keyring, rng};
use envelock::{Aad, Envelope, KeyVersion, MultiKeyring, Suite, Timestamp, inspect};
use envelock_ops::{Cause, Need, VersionName, advise};

const V1: KeyVersion = KeyVersion::FIRST;

fn need(cause: Cause, header: &[u8], written: Option<u64>) -> Need {
    let advice = advise(&cause, &inspect(header).unwrap(), written);
    assert!(!advice.why.is_empty());
    advice.need
}

#[test]
fn routine_and_moves_never_touch_the_body() {
    let mut rng = rng(3);
    let (old, new) = (keyring("old", &mut rng), keyring("new", &mut rng));
    let alone = header(&Envelope::new(&old));
    let both = header(&Envelope::new(MultiKeyring::new(old).with(new).unwrap()));
    let routine = |name: &str, version| Cause::Routine {
        primary: VersionName { name: name.into(), version },
    };
    let moved = |from: &str, to: &str| Cause::Move { from: from.into(), to: to.into() };
    assert_eq!(need(routine("old", 2), &alone, None), Need::Rewrap);
    // A rollback: what is not the primary is stale, whatever its number.
    assert_eq!(need(routine("old", 1), &alone, None), Need::Nothing);
    assert_eq!(need(routine("new", 2), &both, None), Need::Rewrap);
    assert_eq!(need(moved("old", "new"), &alone, None), Need::AddAndRemove);
    assert_eq!(need(moved("old", "new"), &both, None), Need::Remove);
    assert_eq!(need(moved("third", "old"), &alone, None), Need::Nothing);
}

#[test]
fn leak_reaches_what_was_rewrapped_since() {
    let mut rng = rng(3);
    let key = keyring("orders", &mut rng);
    let under_v1 = header(&Envelope::new(&key));
    key.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut rng).unwrap();
    let rewrapped = Envelope::new(&key).rewrap(&under_v1, Default::default()).unwrap();
    let leak = |headers_exposed, retired: Option<u64>| Cause::VersionLeaked {
        version: VersionName::new("orders", V1),
        retired,
        headers_exposed,
    };
    let now = rewrapped.header();
    for (exposed, retired, header, written, expected) in [
        (true, Some(100), now, None, Need::Reencrypt),
        (true, Some(100), now, Some(99), Need::Reencrypt),
        (true, Some(100), now, Some(100), Need::Reencrypt),
        (true, Some(100), now, Some(101), Need::Nothing),
        (true, None, now, Some(101), Need::Reencrypt),
        // A label that contradicts the date is believed.
        (true, Some(100), &under_v1[..], Some(101), Need::Reencrypt),
        (false, Some(100), now, Some(99), Need::Nothing),
        (false, Some(100), &under_v1[..], Some(99), Need::Rewrap),
        (false, None, &under_v1[..], None, Need::Rewrap),
    ] {
        let found = need(leak(exposed, retired), header, written);
        assert_eq!(found, expected, "{exposed} {retired:?} {written:?}");
    }
}

#[test]
fn data_key_and_suite_need_a_new_encryption() {
    let envelope = Envelope::new(keyring("orders", &mut rng(3))).with_suite(Suite::Cobblestone128);
    let message = envelope.encrypt(b"payload", Aad::none()).unwrap();
    assert_eq!(need(Cause::DataKeyLeaked, &message, None), Need::Reencrypt);
    let deprecated =
        |suite: Suite| need(Cause::SuiteDeprecated { suite: suite.id() }, &message, None);
    assert_eq!(deprecated(Suite::Cobblestone128), Need::Reencrypt);
    assert_eq!(deprecated(Suite::default()), Need::Nothing);
}
