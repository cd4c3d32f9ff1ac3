//! `envelock doctor`: tries what a job needs, on one scratch message for each source.

use super::job::console::stop_flag;
use super::job::settings::open_keyring;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::open_keyring::OpenKeyring;
use crate::open_rows::try_write;
use crate::open_source::{absolute, open_source};
use crate::output::{Output, printable, shell_word};
use crate::source_locator::{HeaderPlace, SourceLocator};
use clap::Args;
use envelock::{Aad, Envelope, Keyring, Lifecycle, MemoryKeyring, RewrapOptions, inspect};
use envelock_ops::{Expected, ItemKey, Replaced, Store, Token};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Items of a source whose headers are read.
const SAMPLE: usize = 200;

/// Arguments of `envelock doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Messages: `dir:PATH`, `list:FILE`, `sqlite:FILE?...`, or a name [default: every source of envelock.toml].
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// Write no scratch message into the sources.
    #[arg(long)]
    read_only: bool,
}

/// The checks that were made.
struct Checks {
    output: Output,
    subject: String,
    failures: Vec<Failure>,
}

impl Checks {
    /// Makes one check and prints it. What it returns says what was found. Returns whether it passed.
    fn check(
        &mut self,
        name: &str,
        check: impl FnOnce() -> Result<String, Failure>,
    ) -> Result<bool, Failure> {
        let began = Instant::now();
        let done = check();
        let took = began.elapsed();
        let subject = &self.subject;
        let took = Duration::from_micros(took.as_micros().try_into().unwrap_or(u64::MAX));
        self.output.result(
            || match &done {
                Ok(found) => format!("ok     {name:<8} {subject}: {found} ({took:?})"),
                Err(failure) => {
                    format!(
                        "FAILS  {name:<8} {subject}: {}\n       next: {}",
                        failure.what, failure.next
                    )
                }
            },
            || {
                let micros = took.as_micros() as u64;
                match &done {
                    Ok(found) => json!({
                        "check": name, "subject": subject, "ok": true, "found": found,
                        "microseconds": micros,
                    }),
                    Err(failure) => json!({
                        "check": name, "subject": subject, "ok": false, "error": failure.what,
                        "next": failure.next,
                    }),
                }
            },
        )?;
        let passed = done.is_ok();
        self.failures.extend(done.err().map(|failure| failure.of(format!("{name} {subject}"))));
        Ok(passed)
    }

    /// Prints that a check was not made, since it needs one that failed.
    fn skip(&self, name: &str, needs: &str) -> Result<(), Failure> {
        let subject = &self.subject;
        self.output.result(
            || format!("skip   {name:<8} {subject}: it needs {needs}"),
            || json!({ "check": name, "subject": subject, "ok": null, "needs": needs }),
        )
    }
}

impl Doctor {
    /// Makes all checks, and says which failed.
    ///
    /// # Errors
    ///
    /// A check failed.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config()?;
        let sources: Vec<String> = match self.sources.is_empty() {
            true => config.sources.keys().cloned().collect(),
            false => self.sources.clone(),
        };
        let mut checks =
            Checks { output: context.output(), subject: String::new(), failures: Vec::new() };
        let mut tried = BTreeSet::new();
        // A signal ends the process after the check under way, which removes its scratch message.
        let stop = stop_flag()?;
        if sources.is_empty() {
            let (keyring, _) = open_keyring(context, None)?;
            check_keyring(&mut checks, &keyring)?;
        }
        for given in &sources {
            let (source, of_source) = config.source(given)?;
            let (keyring, _) = open_keyring(context, of_source.as_deref())?;
            if tried.insert(keyring.given.clone()) {
                check_keyring(&mut checks, &keyring)?;
            }
            checks.subject.clone_from(given);
            self.check_source(&mut checks, &source, &keyring)?;
            keyring.flush()?;
            if stop.load(Ordering::Relaxed) {
                let next = "run the command again: no scratch message was left";
                return Err(Failure::new(Exit::Stopped, "stopped", next));
            }
        }
        let Some(first) = checks.failures.first() else { return Ok(()) };
        let what = format!("{} checks failed: {}", checks.failures.len(), first.what);
        Err(Failure::new(first.exit, what, first.next.clone()))
    }

    fn check_source(
        &self,
        checks: &mut Checks,
        source: &SourceLocator,
        keyring: &OpenKeyring,
    ) -> Result<(), Failure> {
        let envelope = keyring.envelope();
        let store = match open_source(source, keyring.envelope()) {
            Ok(store) => store,
            Err(failure) => return checks.check("list", || Err(failure)).map(drop),
        };
        let mut items = Vec::new();
        let is_listed = checks.check("list", || {
            let page = store.list(None, SAMPLE)?;
            items = page.items;
            let more = if page.is_last { "" } else { " and more" };
            Ok(format!("{} items{more}", items.len()))
        })?;
        match is_listed {
            true => drop(checks.check("rewrap", || rewrap_in_memory(&*store, &envelope, &items))?),
            false => checks.skip("rewrap", "list")?,
        }
        if self.read_only {
            return Ok(());
        }
        let replaced = checks.check("replace", || match source {
            SourceLocator::Directory { path: root, header }
            | SourceLocator::List { root, header, .. } => replace_scratch(&absolute(root)?, header),
            SourceLocator::Rows(rows) => try_write(rows).map(Into::into),
        });
        replaced.map(drop)
    }
}

fn check_keyring(checks: &mut Checks, keyring: &OpenKeyring) -> Result<(), Failure> {
    checks.subject.clone_from(&keyring.given);
    let envelope = keyring.envelope();
    let mut message = Vec::new();
    let is_wrapped = checks.check("wrap", || {
        message = envelope.encrypt(b"envelock doctor", Aad::none())?;
        let under = inspect(&message)?.slots().next().map(|slot| slot.label);
        let under = under.map(|label| format!("under {}:{}", label.name, label.version));
        Ok(under.unwrap_or_else(|| "no slot".into()))
    })?;
    if !is_wrapped {
        checks.skip("unwrap", "wrap")?;
        return keyring.flush();
    }
    checks.check("unwrap", || match envelope.decrypt(&message, Aad::none())?.as_slice() {
        b"envelock doctor" => Ok("the message opens".into()),
        _ => Err(Failure::new(
            Exit::NotVerified,
            "another message came back",
            "take the keyring out of use, and keep it for an examination",
        )),
    })?;
    keyring.flush()
}

/// Rewraps one message under each version of a sample, in memory alone.
fn rewrap_in_memory(
    store: &dyn Store,
    envelope: &Envelope<Arc<dyn Keyring>>,
    items: &[envelock_ops::Listed],
) -> Result<String, Failure> {
    let (mut versions, mut stale) = (BTreeSet::new(), 0_usize);
    for item in items {
        let Some(stored) = store.read(&item.key)? else {
            if item.is_required {
                let what = format!("{} is listed, and does not exist", item.key);
                let next = "correct the list, or put back what is missing";
                return Err(Failure::new(Exit::ItemsLeft, what, next));
            }
            continue;
        };
        let Ok(header) = inspect(&stored.header) else { continue };
        let labels: Vec<String> = header
            .slots()
            .map(|slot| format!("{}:{}", slot.label.name, slot.label.version))
            .collect();
        if !versions.insert(labels.join("+")) {
            continue;
        }
        let of = |error: envelock::Error| Failure::from(error).of(&item.key);
        if envelope.needs_rewrap(&stored.header).map_err(of)? {
            let options = RewrapOptions::new();
            drop(envelope.rewrap(&stored.header, options).map_err(of)?);
            stale = stale.saturating_add(1);
        } else {
            drop(envelope.open(&stored.header).map_err(of)?);
        }
    }
    let list: Vec<String> = versions.into_iter().collect();
    Ok(match list.is_empty() {
        true => "no message in the sample".into(),
        false => format!("{} open, {stale} of them to another version", list.join(", ")),
    })
}

/// The name of a scratch directory, between which is the process. No listing descends into it.
const SCRATCH: (&str, &str) = (".envelock-doctor-", ".envelock-partial");

/// A directory in a source that goes away with its check.
struct Scratch(PathBuf);

impl Scratch {
    fn new(root: &Path) -> Result<Self, Failure> {
        remove_leftovers(root);
        let path = root.join(format!("{}{}{}", SCRATCH.0, std::process::id(), SCRATCH.1));
        let failed = |error: std::io::Error| Failure::io(printable(&path), &error);
        std::fs::create_dir(&path).map_err(failed)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next call removes what stays.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Removes the scratch directories of processes that were killed.
fn remove_leftovers(root: &Path) {
    let Ok(entries) = root.read_dir() else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(SCRATCH.0));
        let process = process.and_then(|name| name.strip_suffix(SCRATCH.1)?.parse().ok());
        let Some(process) = process.and_then(Pid::from_raw) else { continue };
        if test_kill_process(process) == Err(Errno::SRCH) {
            // One of another user stays.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// Writes a message under a key of its own into the root, replaces its header, and removes it.
fn replace_scratch(root: &Path, header: &HeaderPlace) -> Result<String, Failure> {
    let keyring = Arc::new(MemoryKeyring::create("scratch")?);
    let keys: Arc<dyn Keyring> = keyring.clone();
    let envelope = Envelope::new(keys.clone());
    let message = envelope.encrypt(b"envelock doctor", Aad::none())?;
    let (old, _) = message.split_at_checked(inspect(&message)?.len()).unwrap_or((&message, &[]));
    keyring.rotate()?;
    let new = envelope.rewrap(old, RewrapOptions::new())?.into_parts().0;
    let (suffix, content) = match header {
        HeaderPlace::Inline => ("", message.as_slice()),
        HeaderPlace::Sidecar { suffix } => (suffix.as_str(), old),
    };
    let scratch = Scratch::new(root)?;
    let name = format!("message{suffix}");
    let path = scratch.0.join(&name);
    let failed = |error: std::io::Error| Failure::io(printable(&path), &error);
    let file = std::fs::File::options().write(true).create_new(true).open(&path);
    let mut file = file.map_err(failed)?;
    std::io::Write::write_all(&mut file, content).and_then(|()| file.sync_all()).map_err(failed)?;
    drop(file);
    let source = SourceLocator::Directory { path: scratch.0.clone(), header: header.clone() };
    let store = open_source(&source, Envelope::new(keys))?;
    let wrong = |what: &str| {
        let next =
            format!("do not run jobs here: examine the file system: `df {}`", shell_word(root));
        Err(Failure::new(Exit::Refused, what, next))
    };
    let item = ItemKey::new(name.as_bytes());
    let Some(item) = item else { return wrong("the name of the scratch message is too long") };
    let token = Token::default();
    let none = Expected { header: &new, token: &token };
    if store.replace(&item, none, old)? == Replaced::Done {
        return wrong("a header was replaced that was not the expected one");
    }
    if store.replace(&item, Expected { header: old, token: &token }, &new)? != Replaced::Done {
        return wrong("a header was not replaced although it was the expected one");
    }
    match store.read(&item)? {
        Some(stored) if stored.header == new => {
            Ok("a scratch message, compared and replaced".into())
        }
        _ => wrong("the new header was not read back"),
    }
}
