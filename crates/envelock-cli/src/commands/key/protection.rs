//! `envelock key protection`: the secrets that open a key file.

use crate::confirmation::confirm;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::new_name;
use crate::open_keyring::OpenKeyring;
use crate::table::Table;
use clap::{Args, Subcommand};
use envelock::file::{Protection as Secret, ProtectionId, ProtectionKind, ProtectionRecord};
use envelock::keyring::Freshness;
use serde_json::{Value, json};

/// Commands on the protections of a key file. Each of them opens the file; master keys and messages stay.
#[derive(Subcommand)]
pub enum Protection {
    /// List the protections of the key file, each with its id.
    List(List),
    /// Add a protection, which then opens the file as well.
    Add(Add),
    /// Replace a protection by another one: a new passphrase, or the same keyring after its rotation. Revokes nothing.
    Rewrap(Rewrap),
    /// Remove a protection, unless it is the only one. Revokes nothing: see `replace-file-key`.
    Remove(Remove),
    /// Draw a fresh file key that the given protections alone open, after an incident. Processes that have the file open stop
    /// wrapping until they open it again.
    ReplaceFileKey(ReplaceFileKey),
}

impl Protection {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Protection::List(list) => list.run(context),
            Protection::Add(add) => add.run(context),
            Protection::Rewrap(rewrap) => rewrap.run(context),
            Protection::Remove(remove) => remove.run(context),
            Protection::ReplaceFileKey(replace) => replace.run(context),
        }
    }
}

/// A new secret. It is written as in the locator of a keyring.
#[derive(Args)]
pub struct NewSecret {
    /// `passphrase` (asked for), `passphrase-file=PATH`, `passphrase-env=NAME`, `raw-key-file=PATH` or `outer=KEYRING`.
    #[arg(value_name = "SECRET")]
    secret: String,
}

/// Arguments of `envelock key protection list`.
#[derive(Args)]
pub struct List {}

/// Arguments of `envelock key protection add`.
#[derive(Args)]
pub struct Add {
    #[command(flatten)]
    secret: NewSecret,
    /// A name for people, which the file has in the clear: recovery, hsm-frankfurt.
    #[arg(long)]
    name: Option<String>,
}

/// Arguments of `envelock key protection rewrap`.
#[derive(Args)]
pub struct Rewrap {
    /// The id, as `list` shows it.
    #[arg(value_name = "ID", value_parser = id)]
    id: ProtectionId,
    #[command(flatten)]
    secret: NewSecret,
}

/// Arguments of `envelock key protection remove`.
#[derive(Args)]
pub struct Remove {
    /// The id, as `list` shows it.
    #[arg(value_name = "ID", value_parser = id)]
    id: ProtectionId,
    /// Do not ask for the id.
    #[arg(long, short)]
    yes: bool,
}

/// Arguments of `envelock key protection replace-file-key`.
#[derive(Args)]
pub struct ReplaceFileKey {
    /// `passphrase` (asked for), `passphrase-file=PATH`, `passphrase-env=NAME`, `raw-key-file=PATH` or `outer=KEYRING`:
    /// all that open the file afterwards.
    #[arg(value_name = "SECRET", required = true)]
    secrets: Vec<String>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

fn id(text: &str) -> Result<ProtectionId, String> {
    ProtectionId::parse(text).ok_or_else(|| "an id has 16 hexadecimal digits".into())
}

/// Opens the key file of the call, whose protections can be changed.
fn key_file(context: &Context) -> Result<OpenKeyring, Failure> {
    let keyring = context.keyring()?;
    keyring.file()?;
    match keyring.imports() {
        true => Ok(keyring),
        false => {
            let what = "the token itself protects its catalogue";
            let next = "change the PIN with the vendor's tool";
            Err(Failure::new(Exit::Refused, what, next).of(format!("keyring {}", keyring.given)))
        }
    }
}

fn protection(context: &Context, secret: &str) -> Result<Secret, Failure> {
    context.opening(&context.keyring_name()?)?.new_protection(secret)
}

fn failed(keyring: &OpenKeyring) -> impl FnOnce(envelock::Error) -> Failure {
    let given = keyring.given.clone();
    move |error| Failure::from(error).of(format!("keyring {given}"))
}

/// Prints that a change was made.
fn print(
    context: &Context,
    done: &str,
    id: Option<ProtectionId>,
    change: u64,
) -> Result<(), Failure> {
    let id = id.map(|id| id.to_string());
    let printed = context.output().result(
        || {
            format!(
                "{}{done}\nchange {change}",
                id.as_ref().map_or(String::new(), |id| format!("{id}  "))
            )
        },
        || json!({ "change": change, "protection": id, "done": done }),
    );
    printed.map_err(|failure| {
        failure.after(format!("change {change} was made"), "`envelock key protection list`")
    })
}

impl List {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keyring = context.keyring()?;
        let (file, output) = (keyring.file()?, context.output());
        let freshness = file.outer_freshness();
        let outer = |record: &ProtectionRecord| -> Vec<String> {
            let of = |key: &envelock::file::OuterKey| {
                let label = key.label();
                let known = freshness.iter().find(|it| it.id == record.id && it.key == *key);
                let due = match known.and_then(|it| it.freshness) {
                    Some(Freshness::Stale) => ", to be rewrapped",
                    Some(Freshness::Refused(_)) => ", refused",
                    _ => "",
                };
                format!("{}:{}{due}", label.name, label.version)
            };
            record.outer.iter().map(of).collect()
        };
        if output.is_json() {
            return file.protections().iter().try_for_each(|record| {
                let json = || {
                    json!({
                        "protection": record.id.to_string(), "kind": kind(record),
                        "name": record.name, "outer": outer(record),
                    })
                };
                output.result(String::new, json)
            });
        }
        let mut table = Table::new(&["ID", "KIND", "NAME", "OUTER KEYS"]);
        for record in file.protections() {
            let name = record.name.clone().unwrap_or_default();
            table.row([
                record.id.to_string(),
                kind(&record).into(),
                name,
                outer(&record).join(" "),
            ]);
        }
        output.result(|| table.to_string(), || Value::Null)
    }
}

fn kind(record: &ProtectionRecord) -> &'static str {
    match record.kind {
        Some(ProtectionKind::Passphrase) => "passphrase",
        Some(ProtectionKind::RawKey) => "raw key",
        Some(ProtectionKind::Keyring) => "keyring",
        Some(ProtectionKind::Unprotected) => "none",
        _ => "unknown",
    }
}

impl Add {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        if let Some(name) = &self.name {
            new_name::check("a protection", name)?;
        }
        let keyring = key_file(context)?;
        let mut protection = protection(context, &self.secret.secret)?;
        if let Some(name) = &self.name {
            protection = protection.named(name);
        }
        let added = keyring.file()?.add_protection(&protection).map_err(failed(&keyring))?;
        print(context, "added", Some(added.id), added.change)
    }
}

impl Rewrap {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keyring = key_file(context)?;
        check_id(&keyring, self.id)?;
        let protection = protection(context, &self.secret.secret)?;
        let change = keyring.file()?.rewrap_protection(self.id, &protection);
        print(context, "replaced", Some(self.id), change.map_err(failed(&keyring))?)
    }
}

impl Remove {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keyring = key_file(context)?;
        check_id(&keyring, self.id)?;
        let what =
            format!("Protection {} will be removed. Nobody opens the file by it then", self.id);
        confirm(&what, &self.id.to_string(), self.yes)?;
        let change = keyring.file()?.remove_protection(self.id).map_err(failed(&keyring))?;
        print(context, "removed", Some(self.id), change)
    }
}

impl ReplaceFileKey {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let keyring = key_file(context)?;
        let new = self.secrets.iter().map(|secret| protection(context, secret));
        let new = new.collect::<Result<Vec<_>, _>>()?;
        let what = "Only the given protections will open the file. Processes that have it open must open it again";
        confirm(what, "replace", self.yes)?;
        let new: Vec<&Secret> = new.iter().collect();
        let change = keyring.file()?.replace_file_key(&new).map_err(failed(&keyring))?;
        print(context, "file key replaced", None, change)
    }
}

/// Refuses an id that the file does not have.
fn check_id(keyring: &OpenKeyring, id: ProtectionId) -> Result<(), Failure> {
    if keyring.file()?.protections().iter().any(|record| record.id == id) {
        return Ok(());
    }
    let what = format!("keyring {}: there is no protection {id}", keyring.given);
    Err(Failure::new(Exit::CouldNotRun, what, "`envelock key protection list` shows the ids"))
}
