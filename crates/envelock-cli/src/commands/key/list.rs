//! `envelock key list`: the keys of a keyring.

use crate::context::Context;
use crate::failure::Failure;
use crate::table::Table;
use clap::Args;
use envelock::keyset::{Keyset, KeysetMap};
use serde_json::{Value, json};

/// Arguments of `envelock key list`.
#[derive(Args)]
pub struct List {}

impl List {
    /// Prints a line for each key.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keysets = context.keyring()?.lifecycle().keysets()?;
        let output = context.output();
        if output.is_json() {
            return keysets
                .iter()
                .try_for_each(|keyset| output.result(String::new, || as_json(&keysets, keyset)));
        }
        let mut table = Table::new(&["KEY", "PRIMARY", "VERSIONS", "ALIASES", "NOTES"]);
        for keyset in keysets.iter() {
            table.row([
                keyset.name().to_string(),
                keyset.primary().map_or("none".into(), |version| version.to_string()),
                keyset.versions().len().to_string(),
                aliases(&keysets, keyset).join(" "),
                notes(keyset),
            ]);
        }
        output.result(|| table.to_string(), || Value::Null)
    }
}

fn aliases<'k>(keysets: &'k KeysetMap, keyset: &Keyset) -> Vec<&'k str> {
    let all = keysets.aliases();
    all.filter(|(_, key)| *key == keyset.name().as_str()).map(|(alias, _)| alias).collect()
}

fn notes(keyset: &Keyset) -> String {
    let mut notes = Vec::new();
    if let Some(date) = keyset.erased() {
        notes.push(format!("erased {date}"));
    }
    if let Some(hold) = keyset.hold() {
        notes.push(format!("on hold: {}", hold.reason()));
    }
    if keyset.evidence_required() {
        notes.push("evidence required".into());
    }
    notes.join("; ")
}

fn as_json(keysets: &KeysetMap, keyset: &Keyset) -> Value {
    json!({
        "key": keyset.name().to_string(),
        "primary": keyset.primary().map(|version| version.number()),
        "versions": keyset.versions().iter().map(|it| it.version.number()).collect::<Vec<_>>(),
        "aliases": aliases(keysets, keyset),
        "erased": keyset.erased().map(|date| date.to_string()),
        "hold": keyset.hold().map(envelock::keyset::Hold::reason),
        "evidence_required": keyset.evidence_required(),
    })
}
