//! How many messages need what because of a cause.

use super::console::grouped;
use crate::table::Table;
use envelock::Header;
use envelock_ops::{Cause, Need, advise};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Messages by what they need and why.
#[derive(Debug, Default)]
pub struct Advice(Mutex<BTreeMap<(Need, &'static str), u64>>);

impl Advice {
    /// Counts a message, and returns whether it is to be encrypted again.
    pub fn count(&self, cause: &Cause, header: &Header<'_>, body_written: Option<u64>) -> bool {
        let advice = advise(cause, header, body_written);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let items = counts.entry((advice.need, advice.why)).or_default();
        *items = items.saturating_add(1);
        advice.need == Need::Reencrypt
    }

    fn rows(&self) -> Vec<(&'static str, u64, &'static str)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((need, why), items)| (name(*need), *items, *why)).collect()
    }

    /// Returns a table, or nothing where no cause was asked for.
    pub fn text(&self) -> String {
        let rows = self.rows();
        if rows.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["NEED", "ITEMS", "WHY"]);
        for (need, items, why) in rows {
            table.row([need.into(), grouped(items), why.into()]);
        }
        format!("\n{table}")
    }

    pub fn json(&self) -> Value {
        let row = |(need, items, why)| json!({ "need": need, "items": items, "why": why });
        self.rows().into_iter().map(row).collect()
    }
}

fn name(need: Need) -> &'static str {
    match need {
        Need::Nothing => "nothing",
        Need::Rewrap => "rewrap",
        Need::AddAndRemove => "add and remove",
        Need::Remove => "remove",
        Need::Reencrypt => "re-encrypt",
        _ => "unknown",
    }
}
