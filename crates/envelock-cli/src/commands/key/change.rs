//! Changes of master keys: made or only tried, and printed as their transitions.

use crate::confirmation::confirm;
use crate::context::Context;
use crate::failure::Failure;
use crate::open_keyring::OpenKeyring;
use clap::Args;
use envelock::keyset::{
    Change, ChangeOptions, ChangeOutcome, KeysetMap, LifecycleError, Material, NewMaterial,
    Transition,
};
use envelock::{Error, Lifecycle, MemoryKeyring, OsRandom, Timestamp};
use serde_json::{Value, json};

/// Arguments of every change.
#[derive(Args, Debug)]
pub struct ChangeArguments {
    /// Print what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Change the keyring only if N is the number of its last change.
    #[arg(long, value_name = "N")]
    pub if_unchanged_since: Option<u64>,
}

impl ChangeArguments {
    /// Opens the keyring, makes `changes` or tries them, and prints the outcome.
    pub fn make(&self, context: &Context, changes: &[Change<'_>]) -> Result<(), Failure> {
        self.make_in(context, &context.keyring()?, changes, None)
    }

    /// Makes `changes` in an open keyring, or tries them, and prints the outcome.
    pub fn make_in(
        &self,
        context: &Context,
        keyring: &OpenKeyring,
        changes: &[Change<'_>],
        evidence: Option<[u8; 32]>,
    ) -> Result<(), Failure> {
        let made = self.make_or_try(keyring, changes, &self.options(evidence));
        let print = |outcome: &ChangeOutcome| print(context, outcome, self.dry_run);
        match made {
            Ok(outcome) => print(&outcome),
            // The changes are made. The material of a destroyed version is still on its token.
            Err(Error::Lifecycle(LifecycleError::NotDestroyed { ref changed, .. })) => {
                // What was not printed is in this failure, too.
                drop(print(changed));
                made.map(drop).map_err(Failure::from)
            }
            Err(error) => Err(Failure::from(error).of(format!("keyring {}", keyring.given))),
        }
    }

    /// Makes changes, or tries them. What changes nothing is not written and takes no number.
    pub fn make_or_try(
        &self,
        keyring: &OpenKeyring,
        changes: &[Change<'_>],
        options: &ChangeOptions,
    ) -> Result<ChangeOutcome, Error> {
        let (before, after, outcome) = attempt(keyring, changes, options)?;
        match () {
            () if is_same(&before, &after) => Ok(ChangeOutcome::new(before.change(), Vec::new())),
            () if self.dry_run => Ok(outcome),
            () => keyring.lifecycle().change(changes, options, &mut OsRandom),
        }
    }

    /// Returns the same arguments for a change of these records: a change that comes in between is a conflict.
    pub fn since(&self, keysets: &KeysetMap) -> Self {
        let if_unchanged_since = self.if_unchanged_since.or(Some(keysets.change()));
        ChangeArguments { dry_run: self.dry_run, if_unchanged_since }
    }

    /// Asks a person about changes that the keyring would make, with the question and the name to type.
    /// `may_skip` is `--yes`.
    ///
    /// # Errors
    ///
    /// The keyring would refuse the changes, or the person does not confirm them.
    pub fn confirm(
        &self,
        keyring: &OpenKeyring,
        changes: &[Change<'_>],
        evidence: Option<[u8; 32]>,
        (what, name): (&str, &str),
        may_skip: bool,
    ) -> Result<(), Failure> {
        if self.dry_run {
            return Ok(());
        }
        attempt(keyring, changes, &self.options(evidence))
            .map(drop)
            .map_err(|error| Failure::from(error).of(format!("keyring {}", keyring.given)))?;
        confirm(what, name, may_skip)
    }

    fn options(&self, evidence: Option<[u8; 32]>) -> ChangeOptions {
        let mut options = ChangeOptions::at(Timestamp::now());
        if let Some(change) = self.if_unchanged_since {
            options = options.if_unchanged_since(change);
        }
        if let Some(judgement) = evidence {
            options = options.on_evidence(judgement);
        }
        options
    }
}

/// Makes the changes in a copy of the records. Returns those of before, too.
fn attempt(
    keyring: &OpenKeyring,
    changes: &[Change<'_>],
    options: &ChangeOptions,
) -> Result<(KeysetMap, KeysetMap, ChangeOutcome), Error> {
    let mut material = |name: envelock::KeyName<'_>, version, material: Material<'_>| {
        let twin = match material {
            Material::Imported(_) if !keyring.imports() => {
                return Err(LifecycleError::ImportRefused.into());
            }
            Material::Imported(key) => MemoryKeyring::import(name.as_str(), version, key)?,
            _ => MemoryKeyring::create(name.as_str())?,
        };
        let keyset = twin.keyset()?;
        let record = keyset.versions().first().ok_or(Error::NoPrimary)?;
        let (master_key_id, algorithm, origin) =
            (record.master_key_id, record.algorithm, record.origin);
        Ok(NewMaterial { master_key_id, algorithm, origin })
    };
    let before = keyring.lifecycle().keysets()?;
    keyring.check_offered(&before, changes, options)?;
    let (after, outcome) = before.with_changes::<Error>(changes, options, &mut material)?;
    Ok((before, after, outcome))
}

/// Returns whether both have the same keys and aliases, whatever their change numbers are.
fn is_same(before: &KeysetMap, after: &KeysetMap) -> bool {
    before.iter().eq(after.iter())
        && before.aliases().eq(after.aliases())
        && before
            .aliases()
            .all(|(alias, _)| before.alias_changed(alias) == after.alias_changed(alias))
}

/// Prints the transitions of a change.
pub fn print(context: &Context, outcome: &ChangeOutcome, dry_run: bool) -> Result<(), Failure> {
    let printed =
        context.output().result(|| as_text(outcome, dry_run), || as_json(outcome, dry_run));
    printed.map_err(|failure| match dry_run {
        true => failure,
        false => failure.after(
            format!("change {} was made", outcome.change),
            "`envelock key list` shows what it is now; do not run the command again",
        ),
    })
}

fn as_text(outcome: &ChangeOutcome, dry_run: bool) -> String {
    let mut text: String = outcome.transitions.iter().map(|it| line(it) + "\n").collect();
    if outcome.transitions.is_empty() {
        text += "nothing changes\n";
    }
    text + &match dry_run {
        true => "dry run: nothing was changed".into(),
        false => format!("change {}", outcome.change),
    }
}

fn line(transition: &Transition) -> String {
    match transition {
        Transition::Added { key, version } => format!("{key}:{version}  added, pending"),
        Transition::State { key, version, from, to } => {
            format!("{key}:{version}  {} -> {}", from.name(), to.name())
        }
        Transition::Alias { alias, from, to } => {
            let name = |key: &Option<String>| key.clone().unwrap_or_else(|| "none".into());
            format!("alias {alias}  {} -> {}", name(from), name(to))
        }
        Transition::Erased { key } => format!("{key}  erased: all its versions are destroyed"),
        Transition::Label { key, version } => format!("{key}:{version}  labels changed"),
        Transition::Hold { key, version, is_held } => {
            let version = version.map(|version| format!(":{version}")).unwrap_or_default();
            let now = if *is_held { "on hold" } else { "released" };
            format!("{key}{version}  {now}")
        }
        Transition::RecordsRemoved { key, floor } => {
            format!("{key}  records of versions below {floor} removed")
        }
        Transition::Evidence { key, is_required } => {
            let now = if *is_required { "required" } else { "waived" };
            format!("{key}  evidence {now}")
        }
        Transition::Dates { key } => format!("{key}  dates after the present corrected"),
        other => format!("{other:?}"),
    }
}

fn as_json(outcome: &ChangeOutcome, dry_run: bool) -> Value {
    let transitions: Vec<Value> = outcome.transitions.iter().map(transition_as_json).collect();
    json!({ "change": outcome.change, "dry_run": dry_run, "transitions": transitions })
}

fn transition_as_json(transition: &Transition) -> Value {
    match transition {
        Transition::Added { key, version } => {
            json!({ "kind": "added", "key": key, "version": version.number() })
        }
        Transition::State { key, version, from, to } => json!({
            "kind": "state", "key": key, "version": version.number(),
            "from": from.name(), "to": to.name(),
        }),
        Transition::Alias { alias, from, to } => {
            json!({ "kind": "alias", "alias": alias, "from": from, "to": to })
        }
        Transition::Erased { key } => json!({ "kind": "erased", "key": key }),
        Transition::Label { key, version } => {
            json!({ "kind": "label", "key": key, "version": version.number() })
        }
        Transition::Hold { key, version, is_held } => json!({
            "kind": "hold", "key": key, "version": version.map(|it| it.number()), "is_held": is_held,
        }),
        Transition::RecordsRemoved { key, floor } => {
            json!({ "kind": "records_removed", "key": key, "floor": floor })
        }
        Transition::Evidence { key, is_required } => {
            json!({ "kind": "evidence", "key": key, "is_required": is_required })
        }
        Transition::Dates { key } => json!({ "kind": "dates", "key": key }),
        other => json!({ "kind": "other", "text": format!("{other:?}") }),
    }
}
