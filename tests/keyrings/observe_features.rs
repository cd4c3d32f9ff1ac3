//! What the observers of features `tracing` and `metrics` emit is what their documentation says,
//! one line at most, bounded, and without a secret (THREATS 48 and 72).

#![cfg(all(feature = "metrics", feature = "tracing"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod events;
mod metrics;
use crate::observe::secrets;
mod tracing;

/// The cells of the table in `text` whose heading begins with `heading`, by row.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let rows = text.lines().skip_while(|line| !line.starts_with(&format!("| {heading} |")));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        let row = row.trim_matches('|');
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    assert!(!rows.is_empty(), "no table {heading}");
    rows
}

/// The words in code font in `cell`.
fn words(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}
