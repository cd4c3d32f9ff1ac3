//! `envelock key hold`, `label`, `alias`: what an operator notes beside the keys.

use super::change::ChangeArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::new_name;
use crate::version_name::{VersionName, key_or_version};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use envelock::keyset::Change;

/// Arguments of `envelock key hold`.
#[derive(Args)]
pub struct Hold {
    /// The key, or one version of it.
    #[arg(value_name = "KEY[:VERSION]")]
    name: String,
    /// Why, for the next operator.
    #[arg(
        long,
        required_unless_present = "release",
        conflicts_with = "release",
        value_parser = NonEmptyStringValueParser::new()
    )]
    reason: Option<String>,
    /// Lift the hold.
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

impl Hold {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keyring = context.keyring()?;
        let keysets = keyring.lifecycle().keysets()?;
        let (key, version) = key_or_version(&keysets, &self.name)?;
        let key = key.as_str();
        let change = match &self.reason {
            Some(reason) => Change::Hold { key, version, reason },
            None => Change::Release { key, version },
        };
        self.change.since(&keysets).make_in(context, &keyring, &[change], None)
    }
}

/// Arguments of `envelock key label`.
#[derive(Args)]
pub struct Label {
    /// The version: `orders:3`.
    #[arg(value_name = "KEY:VERSION")]
    version: VersionName,
    /// Labels to set.
    #[arg(value_name = "NAME=VALUE", required_unless_present = "remove", value_parser = pair)]
    set: Vec<(String, String)>,
    /// A label to remove.
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
    #[command(flatten)]
    change: ChangeArguments,
}

impl Label {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let VersionName { key, version } = &self.version;
        self.set.iter().try_for_each(|(name, _)| new_name::check("a label", name))?;
        let label = |name, value| Change::SetLabel { key, version: *version, name, value };
        let set = self.set.iter().map(|(name, value)| label(name, Some(value.as_str())));
        let removed = self.remove.iter().map(|name| label(name, None));
        let changes: Vec<Change<'_>> = set.chain(removed).collect();
        self.change
            .make(context, &changes)
            .map_err(|failure| failure.naming("KEY:VERSION", &self.version))
    }
}

/// Parses `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.into(), value.into()))
}

/// Arguments of `envelock key alias`.
#[derive(Args)]
pub struct Alias {
    /// The alias.
    alias: String,
    /// The key that it stands for from now on.
    #[arg(required_unless_present = "remove", conflicts_with = "remove")]
    key: Option<String>,
    /// Remove the alias, with its record of former keys: final.
    #[arg(long)]
    remove: bool,
    /// Do not ask for the name.
    #[arg(long, short, requires = "remove")]
    yes: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

impl Alias {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let alias = self.alias.as_str();
        let Some(key) = &self.key else {
            let keyring = context.keyring()?;
            let change = self.change.since(&keyring.lifecycle().keysets()?);
            let changes = [Change::RemoveAlias { alias }];
            let what = format!("Alias {alias} will be removed, with its record of former keys");
            change.confirm(&keyring, &changes, None, (&what, alias), self.yes)?;
            return change.make_in(context, &keyring, &changes, None);
        };
        new_name::check("an alias", alias)?;
        self.change.make(context, &[Change::SetAlias { alias, key }])
    }
}
