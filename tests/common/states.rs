//! The state table as the documentation of `VersionState` prints it, read from that very file.

use envelock::keyset::{MIN_DESTRUCTION_DELAY, Operation, VersionState};

const TABLE: &str = include_str!("../../src/keyset/states.md");

/// Every operation, in the order of the table, with its heading.
pub const OPERATIONS: [(&str, Operation); 8] = [
    ("promote", Operation::Promote),
    ("enable", Operation::Enable),
    ("disable", Operation::Disable),
    ("mark compromised", Operation::MarkCompromised),
    ("schedule destruction", Operation::ScheduleDestruction { after: MIN_DESTRUCTION_DELAY }),
    ("cancel destruction", Operation::CancelDestruction),
    ("destroy when due", Operation::Destroy),
    ("destroy immediately", Operation::DestroyImmediately),
];

/// One row: a state, and what the table says of it.
pub struct Row {
    pub state: VersionState,
    pub wraps: bool,
    pub unwraps: bool,
    /// The state after each of [`OPERATIONS`], or none where the cell is empty.
    pub after: [Option<VersionState>; 8],
}

/// The whole table; anything but the expected headings and words fails.
pub fn table() -> Vec<Row> {
    let mut lines = TABLE.lines().map(cells);
    let mut headings = vec!["state", "wraps", "unwraps"];
    headings.extend(OPERATIONS.map(|(heading, _)| heading));
    assert_eq!(lines.next().unwrap(), headings);
    assert!(lines.next().unwrap().iter().all(|cell| *cell == "---"));
    let rows: Vec<Row> = lines.map(|cells| row(&cells)).collect();
    assert!(rows.iter().map(|row| row.state).eq(VersionState::ALL.iter().copied()));
    rows
}

/// The next state in the table, by the index of an operation.
pub fn after(state: VersionState, operation: usize) -> Option<VersionState> {
    table().into_iter().find(|row| row.state == state).unwrap().after[operation]
}

fn cells(line: &str) -> Vec<&str> {
    let line = line.strip_prefix('|').unwrap().strip_suffix('|').unwrap();
    line.split('|').map(str::trim).collect()
}

fn row(cells: &[&str]) -> Row {
    let [name, wraps, unwraps, after @ ..] = cells else { panic!("{cells:?}") };
    let after: &[&str; 8] = after.try_into().unwrap();
    Row {
        state: state(name),
        wraps: yes(wraps),
        unwraps: yes(unwraps),
        after: after.map(|cell| (!cell.is_empty()).then(|| state(cell))),
    }
}

fn yes(cell: &str) -> bool {
    assert!(cell == "yes" || cell == "no", "{cell:?}");
    cell == "yes"
}

// Not by `VersionState::name`, so that a changed name is detected.
fn state(name: &str) -> VersionState {
    match name {
        "pending" => VersionState::Pending,
        "primary" => VersionState::Primary,
        "enabled" => VersionState::Enabled,
        "disabled" => VersionState::Disabled,
        "compromised" => VersionState::Compromised,
        "destroy scheduled" => VersionState::DestroyScheduled,
        "destroyed" => VersionState::Destroyed,
        other => panic!("unknown state {other:?}"),
    }
}
