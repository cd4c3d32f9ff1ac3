//! The state table of the documentation, cell by cell: against the pure functions, and against a
//! keyring in each state, whose messages are opened, rewrapped and written.

use crate::common;

use common::states::{OPERATIONS, Row, table};
use envelock::keyset::LifecycleError;
use envelock::{
    Aad, Envelope, Error, KeyVersion, Keyring, Lifecycle, MasterKey, MemoryKeyring, RewrapOptions,
    Timestamp, inspect,
    keyring::{Freshness, Refusal},
    keyset::{Change, ChangeOptions, MIN_DESTRUCTION_DELAY, Material, Operation, VersionState},
};

const ROW: Aad<'static> = Aad::new(b"row");
const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// When a destruction that was scheduled at the start is due.
const DUE: Timestamp = START.plus(MIN_DESTRUCTION_DELAY);

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

/// The version that the table is about; version 1 is the other.
fn subject() -> KeyVersion {
    version(2)
}

fn key(number: u32) -> MasterKey {
    MasterKey::from_bytes(&[number as u8; 32])
}

fn apply(
    keyring: &MemoryKeyring,
    number: KeyVersion,
    operation: Operation,
    now: Timestamp,
) -> Result<envelock::keyset::ChangeOutcome, Error> {
    let change = Change::Version { key: "orders", version: number, operation };
    keyring.change_with_rng(&[change], &ChangeOptions::at(now), &mut common::rng(1))
}

fn state(keyring: &MemoryKeyring, number: KeyVersion) -> VersionState {
    keyring.keyset().unwrap().version(number).unwrap().state
}

/// Ways to have version 2 in a state, all of them taken.
fn ways_to(state: VersionState) -> Vec<Vec<(u32, Operation)>> {
    use Operation::*;
    let schedule = ScheduleDestruction { after: MIN_DESTRUCTION_DELAY };
    let old = [(2, Promote), (1, Promote)];
    let with = |more: &[(u32, Operation)]| [&old, more].concat();
    match state {
        VersionState::Pending => vec![vec![]],
        VersionState::Primary => vec![
            vec![(2, Promote)],
            with(&[(2, Promote)]),
            with(&[(2, Disable), (2, Enable), (2, Promote)]),
        ],
        VersionState::Enabled => {
            vec![with(&[]), with(&[(2, Disable), (2, Enable)]), vec![(2, Disable), (2, Enable)]]
        }
        VersionState::Disabled => vec![
            with(&[(2, Disable)]),
            vec![(2, Disable)],
            with(&[(2, Disable), (2, schedule), (2, CancelDestruction)]),
        ],
        VersionState::Compromised => vec![
            with(&[(2, MarkCompromised)]),
            vec![(2, Promote), (2, MarkCompromised), (1, Promote)],
            with(&[(2, MarkCompromised), (2, Disable), (2, Enable)]),
            with(&[(2, Disable), (2, MarkCompromised), (2, Enable)]),
            vec![(2, MarkCompromised)],
        ],
        VersionState::DestroyScheduled => vec![
            with(&[(2, Disable), (2, schedule)]),
            with(&[(2, MarkCompromised), (2, Disable), (2, schedule)]),
            with(&[(2, Disable), (2, schedule), (2, MarkCompromised)]),
        ],
        VersionState::Destroyed => vec![
            with(&[(2, Disable), (2, DestroyImmediately)]),
            with(&[(2, Disable), (2, schedule), (2, DestroyImmediately)]),
        ],
        other => panic!("{other}: a new state needs its ways here"),
    }
}

/// A keyring with version 1, the primary unless 2 is, and version 2 in `wanted`.
fn keyring_by(way: &[(u32, Operation)]) -> MemoryKeyring {
    let keyring = MemoryKeyring::import_at("orders", version(1), &key(1), START).unwrap();
    let second = key(2);
    let material = Material::Imported(&second);
    let add = Change::AddVersion { key: "orders", version: Some(subject()), material };
    keyring.change_with_rng(&[add], &ChangeOptions::at(START), &mut common::rng(1)).unwrap();
    for (number, operation) in way {
        apply(&keyring, version(*number), *operation, START).unwrap();
    }
    keyring
}

/// A message under version 2, from a process that promoted it.
fn message() -> Vec<u8> {
    let other_keyring = MemoryKeyring::import_at("orders", subject(), &key(2), START).unwrap();
    Envelope::new(&other_keyring).encrypt(b"text", ROW).unwrap()
}

fn written_under(message: &[u8]) -> KeyVersion {
    inspect(message).unwrap().slots().next().unwrap().label.version
}

#[test]
fn pure_functions_are_the_printed_table() {
    let mut cells = 0;
    for row in table() {
        assert_eq!(row.state.wraps(), row.wraps, "{}", row.state);
        assert_eq!(row.state.unwrap_refusal().is_none(), row.unwraps, "{}", row.state);
        for ((heading, operation), after) in OPERATIONS.into_iter().zip(row.after) {
            assert_eq!(row.state.after(operation), after, "{}: {heading}", row.state);
            cells += 1;
        }
        let (name, shown) = (row.state.name(), row.state.to_string());
        assert!(shown == name || shown == format!("the {name}"), "{shown}");
    }
    assert_eq!(cells, 7 * 8);
    let refusals: Vec<_> = VersionState::ALL.iter().map(|state| state.unwrap_refusal()).collect();
    let [.., disabled, None, scheduled, destroyed] = refusals[..] else { panic!("{refusals:?}") };
    assert_eq!(disabled, Some(Refusal::Disabled));
    assert_eq!(scheduled, Some(Refusal::DestroyScheduled));
    assert_eq!(destroyed, Some(Refusal::Destroyed));
}

#[test]
fn keyring_takes_the_operations_of_the_state_table() {
    let mut cells = 0;
    for row in table() {
        for (way, operation) in ways_to(row.state)
            .iter()
            .flat_map(|way| OPERATIONS.into_iter().enumerate().map(move |cell| (way, cell)))
        {
            let (column, (_, operation)) = operation;
            check_cell(&keyring_by(way), &row, operation, row.after[column]);
            cells += 1;
        }
    }
    assert_eq!(cells, 20 * 8);
}

fn check_cell(
    keyring: &MemoryKeyring,
    row: &Row,
    operation: Operation,
    after: Option<VersionState>,
) {
    let cell = format!("{} {operation}", row.state);
    let before = keyring.keysets().unwrap();
    assert_eq!(state(keyring, subject()), row.state, "{cell}");
    let marked = keyring.keyset().unwrap().version(subject()).unwrap().compromised.is_some();
    // A compromised version is enabled to that state, and is not marked twice.
    let after = match (operation, after) {
        (Operation::Enable, Some(_)) if marked => Some(VersionState::Compromised),
        (Operation::MarkCompromised, Some(_)) if marked => None,
        (_, after) => after,
    };
    match (apply(keyring, subject(), operation, DUE), after) {
        (Ok(changed), Some(after)) => {
            assert_eq!(state(keyring, subject()), after, "{cell}");
            assert_eq!(changed.change, before.change() + 1, "{cell}");
            assert_eq!(keyring.keysets().unwrap().change(), changed.change, "{cell}");
        }
        (
            Err(Error::Lifecycle(LifecycleError::VersionState {
                key,
                version,
                state,
                operation: asked,
            })),
            None,
        ) => {
            assert_eq!((&*key, version, state), ("orders", subject(), row.state), "{cell}");
            assert_eq!(asked, operation, "{cell}");
            assert_eq!(keyring.keysets().unwrap(), before, "{cell}: a refusal changes nothing");
        }
        (result, _) => panic!("{cell}: {result:?}"),
    }
    let keyset = keyring.keyset().unwrap();
    let primaries = keyset.versions().iter().filter(|one| one.state == VersionState::Primary);
    // A keyset has no primary only after the primary itself was marked as compromised.
    let lost = row.state == VersionState::Primary && operation == Operation::MarkCompromised;
    assert_eq!(primaries.count(), usize::from(!lost), "{cell}");
    check_use(keyring, state(keyring, subject()), &cell);
}

#[test]
fn messages_open_and_are_rewrapped_as_the_table_says() {
    for row in table() {
        for way in ways_to(row.state) {
            let keyring = keyring_by(&way);
            assert_eq!(state(&keyring, subject()), row.state);
            let opens = Envelope::new(&keyring).decrypt(&message(), ROW).is_ok();
            assert_eq!(opens, row.unwraps, "{}", row.state);
            check_use(&keyring, row.state, &format!("{way:?}"));
        }
    }
}

/// Whether a message under version 2 is treated as its state demands, by every door.
fn check_use(keyring: &MemoryKeyring, state: VersionState, cell: &str) {
    let message = message();
    let envelope = Envelope::new(keyring);
    let label = inspect(&message).unwrap().slots().next().unwrap().label;
    let primary = keyring.primary_version();
    match envelope.encrypt(b"new", ROW) {
        Ok(new) => assert_eq!(Some(written_under(&new)), primary, "{cell}"),
        Err(Error::NoPrimary) => assert_eq!(primary, None, "{cell}"),
        Err(other) => panic!("{cell}: {other:?}"),
    }
    assert_eq!(primary == Some(subject()), state.wraps(), "{cell}");
    let opened = envelope.decrypt(&message, ROW);
    let named = RewrapOptions::new().from_compromised("orders", subject());
    let unnamed = envelope.rewrap(&message, RewrapOptions::new());
    let rewrapped = envelope.rewrap(&message, named);
    if state == VersionState::Compromised {
        let reported = matches!(unnamed, Err(Error::Refused { refusal: Refusal::Compromised, .. }));
        assert!(reported, "{cell}: {unnamed:?}");
    }
    let needed = envelope.needs_rewrap(&message).unwrap();
    let freshness = keyring.freshness(&label).unwrap();
    assert_eq!(needed, state != VersionState::Primary, "{cell}");
    let Some(refusal) = state.unwrap_refusal() else {
        assert_eq!(opened.unwrap(), b"text", "{cell}");
        let expected = match state {
            VersionState::Primary => Freshness::Primary,
            VersionState::Compromised => Freshness::Compromised,
            _ => Freshness::Stale,
        };
        assert_eq!(freshness, expected, "{cell}");
        match primary {
            Some(primary) => {
                let header = rewrapped.unwrap();
                assert_eq!(written_under(header.header()), primary, "{cell}");
                assert_eq!(header.is_changed(), !state.wraps(), "{cell}");
            }
            None => assert!(matches!(rewrapped, Err(Error::NoPrimary)), "{cell}: {rewrapped:?}"),
        }
        let strict = Envelope::new(keyring.refusing_compromised()).decrypt(&message, ROW);
        let refused = state == VersionState::Compromised;
        assert_eq!(
            matches!(strict, Err(Error::Refused { refusal: Refusal::Compromised, .. })),
            refused
        );
        assert_eq!(strict.is_ok(), !refused, "{cell}");
        return;
    };
    assert_eq!(freshness, Freshness::Refused(refusal), "{cell}");
    for error in [opened.unwrap_err(), rewrapped.unwrap_err()] {
        let Error::Refused { key, version, refusal: reported, .. } = error else {
            panic!("{cell}: {error:?}")
        };
        assert_eq!((&*key, version, reported), ("orders", subject(), refusal), "{cell}");
    }
}

#[test]
fn compromised_primary_leaves_none_until_a_promotion() {
    let keyring = keyring_by(&[(2, Operation::Promote), (2, Operation::MarkCompromised)]);
    let envelope = Envelope::new(&keyring);
    assert_eq!(keyring.primary_version(), None);
    assert!(matches!(envelope.encrypt(b"", ROW), Err(Error::NoPrimary)));
    let named = RewrapOptions::new().from_compromised("orders", subject());
    assert!(matches!(envelope.rewrap(&message(), named), Err(Error::NoPrimary)));
    assert_eq!(envelope.decrypt(&message(), ROW).unwrap(), b"text");
    apply(&keyring, version(1), Operation::Promote, START).unwrap();
    assert_eq!(written_under(&envelope.encrypt(b"", ROW).unwrap()), version(1));
    let rewrapped = envelope.rewrap(&message(), named).unwrap();
    assert_eq!(written_under(rewrapped.header()), version(1));
}

#[test]
fn operation_on_missing_version_is_named() {
    let keyring = keyring_by(&[]);
    let before = keyring.keysets().unwrap();
    for (heading, operation) in OPERATIONS {
        match apply(&keyring, version(7), operation, DUE).unwrap_err() {
            Error::Lifecycle(LifecycleError::UnknownVersion { key, version: reported }) => {
                assert_eq!((&*key, reported), ("orders", version(7)), "{heading}");
            }
            other => panic!("{heading}: {other:?}"),
        }
        let change = Change::Version { key: "nobody", version: version(1), operation };
        let changed =
            keyring.change_with_rng(&[change], &ChangeOptions::at(DUE), &mut common::rng(1));
        assert!(
            matches!(changed, Err(Error::Lifecycle(LifecycleError::UnknownKey { key })) if key == "nobody"),
            "{heading}"
        );
    }
    assert_eq!(keyring.keysets().unwrap(), before);
}

/// SPEC O-STATES: its table has a row for each state and is the code's.
#[test]
fn table_of_specification_matches_wraps_and_unwraps() {
    let (_, table) = include_str!("../../src/format/SPEC.md")
        .split_once("| state | wraps | unwraps |\n")
        .unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let mut reported = Vec::new();
    for row in rows {
        let [_, states, wraps, unwraps, _] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let names = states.split_once(':').map_or(states, |(names, _)| names).split(',');
        reported.extend(
            names.map(|name| (name.trim(), wraps.trim() == "yes", unwraps.trim() == "yes")),
        );
    }
    let row =
        |state: &VersionState| (state.name(), state.wraps(), state.unwrap_refusal().is_none());
    let mut expected: Vec<_> = VersionState::ALL.iter().map(row).collect();
    reported.sort_unstable();
    expected.sort_unstable();
    assert_eq!(reported, expected);
}
