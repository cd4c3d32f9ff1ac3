//! `envelock key`: what operators do with master keys.

mod change;
mod copy;
mod create;
mod destroy;
mod final_changes;
mod import;
mod list;
mod material;
mod notes;
mod operate;
mod protection;
mod salvage;
mod show;

use crate::context::Context;
use crate::failure::Failure;
use clap::Subcommand;

/// Commands on master keys.
#[derive(Subcommand)]
pub enum Key {
    /// Create a master key, in a new keyring or in an existing one.
    Create(create::Create),
    /// List the keys of the keyring, with their versions and aliases.
    List(list::List),
    /// Show every version of a key: state, dates, usage, labels, holds.
    Show(show::Show),
    /// Add a fresh version and make it the primary: new messages use it, old ones keep opening.
    Rotate(operate::Rotate),
    /// Add a pending version, which opens messages everywhere before `promote` makes it the primary.
    Add(operate::Add),
    /// Make a version the primary. An older one undoes a rotation.
    Promote(operate::Promote),
    /// Let a disabled version open messages again.
    Enable(operate::Enable),
    /// Stop a version from opening messages. `enable` takes it back.
    Disable(operate::Disable),
    /// Record that an attacker knows a version. Final.
    Compromise(operate::Compromise),
    /// Schedule the destruction of a disabled version, cancel it, or carry it out.
    Destroy(destroy::Destroy),
    /// Wipe all versions of a key now, such as that of a former tenant. Final.
    Erase(final_changes::Erase),
    /// Remove the records of destroyed versions, so that the key file gets smaller.
    RemoveRecords(final_changes::RemoveRecords),
    /// Require evidence for each destruction of a version of a key.
    RequireEvidence(final_changes::RequireEvidence),
    /// Require no evidence any more. The reason stays on record.
    WaiveEvidence(final_changes::WaiveEvidence),
    /// Set every date on record that is after the present to the present. The clock has to be right.
    CorrectDates(final_changes::CorrectDates),
    /// Keep policies and destruction off a key or a version, or release it.
    Hold(notes::Hold),
    /// Add a version whose key material you have already.
    Import(import::Import),
    /// Copy the versions of a key to another keyring, which then opens its messages, too.
    Copy(copy::Copy),
    /// Set and remove labels of a version.
    Label(notes::Label),
    /// Let an alias stand for a key, or remove it.
    Alias(notes::Alias),
    /// List and change the secrets that open the key file.
    #[command(subcommand)]
    Protection(protection::Protection),
    /// Write the intact records of a damaged key file to a new one. The damaged file is only read.
    Salvage(salvage::Salvage),
}

impl Key {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Key::Create(create) => create.run(context),
            Key::List(list) => list.run(context),
            Key::Show(show) => show.run(context),
            Key::Rotate(rotate) => rotate.run(context),
            Key::Add(add) => add.run(context),
            Key::Promote(promote) => promote.run(context),
            Key::Enable(enable) => enable.run(context),
            Key::Disable(disable) => disable.run(context),
            Key::Compromise(compromise) => compromise.run(context),
            Key::Destroy(destroy) => destroy.run(context),
            Key::Erase(erase) => erase.run(context),
            Key::RemoveRecords(remove) => remove.run(context),
            Key::RequireEvidence(require) => require.run(context),
            Key::WaiveEvidence(waive) => waive.run(context),
            Key::CorrectDates(correct) => correct.run(context),
            Key::Hold(hold) => hold.run(context),
            Key::Import(import) => import.run(context),
            Key::Copy(copy) => copy.run(context),
            Key::Label(label) => label.run(context),
            Key::Alias(alias) => alias.run(context),
            Key::Protection(protection) => protection.run(context),
            Key::Salvage(salvage) => salvage.run(context),
        }
    }
}
