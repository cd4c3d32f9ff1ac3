//! An observer that records one line for each event.

use envelock::{
    SlotLabel,
    keyring::Refusal,
    keyset::Transition,
    observe::{Event, Observer},
};
use std::sync::Mutex;

#[derive(Default)]
pub struct Recorder {
    lines: Mutex<Vec<String>>,
}

impl Recorder {
    /// The events since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

impl Observer for Recorder {
    fn event(&self, event: &Event<'_>) {
        self.lines.lock().unwrap().push(line(event));
    }
}

fn label(label: &SlotLabel<'_>) -> String {
    format!("{} {}", label.name, label.version)
}

fn line(event: &Event<'_>) -> String {
    match event {
        Event::Wrapped { label: of } => format!("wrapped {}", label(of)),
        Event::Unwrapped { label: of, compromised: false } => format!("unwrapped {}", label(of)),
        Event::Unwrapped { label: of, compromised: true } => {
            format!("unwrapped compromised {}", label(of))
        }
        Event::Refused { label: of, refusal } => format!("refused {}: {refusal:?}", label(of)),
        Event::NotVerified { label: of } => format!("not verified {}", label(of)),
        Event::Unavailable { error } => format!("unavailable: {error}"),
        Event::NoPrimary => "no primary".into(),
        Event::Changed { transition, change } => {
            format!("{change}: {}", transition_line(transition))
        }
        Event::Rotated { key, from, to, change } => {
            let from = from.map_or("none".into(), |from| from.to_string());
            format!("{change}: rotated {key} from {from} to {to}")
        }
        other => panic!("{other:?} is no event of this keyring"),
    }
}

fn transition_line(transition: &Transition) -> String {
    match transition {
        Transition::Added { key, version } => format!("added {key} {version}"),
        Transition::State { key, version, from, to } => {
            format!("{key} {version} from {} to {}", from.name(), to.name())
        }
        Transition::Alias { alias, from, to } => format!("alias {alias} from {from:?} to {to:?}"),
        Transition::Label { key, version } => format!("label of {key} {version}"),
        Transition::Hold { key, version, is_held } => {
            format!("hold of {key} {version:?}: {is_held}")
        }
        Transition::Evidence { key, is_required } => format!("evidence of {key}: {is_required}"),
        Transition::Dates { key } => format!("dates of {key}"),
        other => panic!("{other:?} is new"),
    }
}

pub const REFUSALS: [Refusal; 5] = [
    Refusal::UnknownVersion,
    Refusal::Disabled,
    Refusal::Compromised,
    Refusal::DestroyScheduled,
    Refusal::Destroyed,
];
