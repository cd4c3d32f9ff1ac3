//! `envelock key rotate`, `add`, `promote`, `enable`, `disable`, `compromise`: one operation each.

use super::change::ChangeArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::version_name::VersionName;
use clap::Args;
use envelock::keyset::{Change, Material, Operation};

/// Arguments of `envelock key rotate`.
#[derive(Args)]
pub struct Rotate {
    /// The name or an alias of the key.
    key: String,
    #[command(flatten)]
    change: ChangeArguments,
}

impl Rotate {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        self.change.make(context, &[Change::Rotate { key: &self.key }])
    }
}

/// Arguments of `envelock key add`.
#[derive(Args)]
pub struct Add {
    /// The name or an alias of the key.
    key: String,
    #[command(flatten)]
    change: ChangeArguments,
}

impl Add {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let (key, material) = (self.key.as_str(), Material::Fresh);
        self.change.make(context, &[Change::AddVersion { key, version: None, material }])
    }
}

/// The arguments of a command that is one operation on one version.
macro_rules! operations {
    ($($name:ident => $operation:expr),* $(,)?) => {$(
        /// Arguments of the command of that name.
        #[derive(Args)]
        pub struct $name {
            /// The version: `orders:3`.
            #[arg(value_name = "KEY:VERSION")]
            version: VersionName,
            #[command(flatten)]
            change: ChangeArguments,
        }

        impl $name {
            pub fn run(&self, context: &Context) -> Result<(), Failure> {
                let VersionName { key, version } = &self.version;
                let (version, operation) = (*version, $operation);
                self.change.make(context, &[Change::Version { key, version, operation }])
            }
        }
    )*};
}

operations! {
    Promote => Operation::Promote,
    Enable => Operation::Enable,
    Disable => Operation::Disable,
}

/// Arguments of `envelock key compromise`.
#[derive(Args)]
pub struct Compromise {
    /// The version: `orders:3`.
    #[arg(value_name = "KEY:VERSION")]
    version: VersionName,
    /// Do not ask for the name.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

impl Compromise {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keyring = context.keyring()?;
        let keysets = keyring.lifecycle().keysets()?;
        let name = self.version.resolved(&keysets)?;
        let operation = Operation::MarkCompromised;
        let changes = [Change::Version { key: &name.key, version: name.version, operation }];
        let (change, name) = (self.change.since(&keysets), name.to_string());
        let what = format!("{name} will be compromised. It never wraps again");
        change.confirm(&keyring, &changes, None, (&what, &name), self.yes)?;
        change.make_in(context, &keyring, &changes, None)
    }
}
