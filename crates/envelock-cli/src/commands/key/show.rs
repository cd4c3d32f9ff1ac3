//! `envelock key show`: every version of a key.

use crate::context::Context;
use crate::failure::Failure;
use clap::Args;
use envelock::Timestamp;
use envelock::keyset::VersionRecord;
use serde_json::{Map, Value, json};

/// Arguments of `envelock key show`.
#[derive(Args)]
pub struct Show {
    /// The name or an alias of the key.
    key: String,
}

impl Show {
    /// Prints each version: a block of lines, or an object.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keysets = context.keyring()?.lifecycle().keysets()?;
        let keyset = keysets.resolve(&self.key).map_err(envelock::Error::from)?;
        let name = keyset.name();
        for record in keyset.versions() {
            let text = || {
                let title = format!("{name}:{}  {}\n", record.version, record.state.name());
                facts(record).iter().fold(title, |text, (fact, value)| {
                    text + &format!("  {:<13} {value}\n", format!("{fact}:"))
                })
            };
            context.output().result(text, || as_json(name.as_str(), record))?;
        }
        Ok(())
    }
}

/// Returns what is on record of a version, without what is not set.
fn facts(record: &VersionRecord) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("created", record.created.to_string()),
        ("state since", record.state_since.to_string()),
    ];
    let mut date = |fact, date: Option<Timestamp>| {
        facts.extend(date.map(|date| (fact, date.to_string())));
    };
    date("promoted", record.promoted);
    date("last promoted", record.last_promoted.filter(|last| record.promoted != Some(*last)));
    date("compromised", record.compromised);
    date("destroy at", record.destroy_at);
    date("kept", record.kept);
    if let Some(hold) = &record.hold {
        facts.push(("on hold", format!("since {}: {}", hold.since(), hold.reason())));
    }
    let bound = if record.is_reserved { "at most" } else { "at least" };
    facts.push(("wraps", format!("{bound} {}", record.usage.wraps)));
    facts.push(("bytes", format!("at least {}", record.usage.bytes)));
    facts.push(("material", format!("{}, id {}", record.origin, record.master_key_id)));
    facts.push(("algorithm", record.algorithm.to_string()));
    if let Some(evidence) = &record.evidence {
        facts.push(("evidence", hexadecimal(&**evidence)));
    }
    facts.extend(record.labels.iter().map(|(name, value)| ("label", format!("{name}={value}"))));
    facts
}

fn as_json(key: &str, record: &VersionRecord) -> Value {
    let date = |date: Option<Timestamp>| date.map(|date| date.to_string());
    let labels: Map<String, Value> =
        record.labels.iter().map(|(name, value)| (name.into(), value.into())).collect();
    json!({
        "key": key,
        "version": record.version.number(),
        "state": record.state.name(),
        "state_since": record.state_since.to_string(),
        "created": record.created.to_string(),
        "promoted": date(record.promoted),
        "last_promoted": date(record.last_promoted),
        "compromised": date(record.compromised),
        "destroy_at": date(record.destroy_at),
        "kept": date(record.kept),
        "hold": record.hold.as_ref().map(|hold| hold.reason()),
        "wraps": record.usage.wraps,
        "wraps_are_reserved": record.is_reserved,
        "bytes": record.usage.bytes,
        "origin": record.origin.name(),
        "master_key_id": record.master_key_id.to_string(),
        "algorithm": record.algorithm.to_string(),
        "evidence": record.evidence.as_ref().map(|evidence| hexadecimal(&**evidence)),
        "labels": labels,
        "changed": record.changed,
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
