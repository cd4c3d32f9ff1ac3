//! What every command gets: the global arguments, the output, names, and keyrings by their locator.

use crate::config::Config;
use crate::failure::Failure;
use crate::keyring_locator::KeyringLocator;
use crate::open_keyring::{OpenKeyring, Opening};
use crate::output::{Output, shell_word};
use crate::secrets::SecretOptions;
use clap::Args;
use serde_json::json;
use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Arguments of every command.
#[derive(Args, Debug)]
pub struct Global {
    /// Keyring: `file:PATH`, `pkcs11:...`, `transit:...`, or a name of envelock.toml [default: ENVELOCK_KEYRING, or
    /// `keyring` of envelock.toml].
    #[arg(short, long, global = true, value_name = "KEYRING")]
    keyring: Option<String>,
    /// Print one JSON object a line, progress and errors included.
    #[arg(long, global = true)]
    pub json: bool,
    /// File with the names of keyrings and sources [default: ENVELOCK_CONFIG, or ./envelock.toml].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    secrets: SecretOptions,
}

/// Returns an environment variable; `None` for an empty one, too.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// What every command gets.
pub struct Context {
    global: Global,
    config: OnceCell<Config>,
    files: RefCell<Vec<PathBuf>>,
    counts: Cell<bool>,
}

impl Context {
    pub fn new(global: Global) -> Self {
        Context {
            global,
            config: OnceCell::new(),
            files: RefCell::default(),
            counts: Cell::new(true),
        }
    }

    /// Opens keyrings that count no wraps from now on, for a dry run: what is wrapped is thrown away.
    pub fn without_counts(&self) {
        self.counts.set(false);
    }

    /// Returns where results and progress go.
    pub fn output(&self) -> Output {
        Output::new(self.global.json)
    }

    /// Returns the options of secrets.
    pub fn secrets(&self) -> &SecretOptions {
        &self.global.secrets
    }

    /// Returns `-k`, as it was given.
    pub fn keyring_argument(&self) -> Option<&str> {
        self.global.keyring.as_deref()
    }

    /// Returns the global arguments as they are given, for the commands of a next step.
    pub fn arguments(&self) -> String {
        let Global { keyring, config, secrets, .. } = &self.global;
        let option = |name: &str, value: Option<&Path>| {
            value.map(|value| format!(" {name} {}", shell_word(value))).unwrap_or_default()
        };
        // A locator that is wrong can have a secret, which is not repeated.
        let keyring = keyring.as_deref().filter(|given| KeyringLocator::parse(given).is_ok());
        option("-k", keyring.map(Path::new))
            + &option("--config", config.as_deref())
            + &secrets.arguments()
    }

    /// Returns the names of `envelock.toml`, which is read at the first call.
    ///
    /// # Errors
    ///
    /// Those of [`Config::read`].
    pub fn config(&self) -> Result<&Config, Failure> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = Config::read(self.global.config.as_deref())?;
        self.files.borrow_mut().extend(config.path.clone());
        Ok(self.config.get_or_init(|| config))
    }

    /// Returns the name or locator of the keyring of this call.
    ///
    /// # Errors
    ///
    /// The call names none.
    pub fn keyring_name(&self) -> Result<String, Failure> {
        if let Some(given) = &self.global.keyring {
            return Ok(given.clone());
        }
        if let Some(given) = variable("ENVELOCK_KEYRING") {
            return given.into_string().map_err(|_| {
                Failure::usage("ENVELOCK_KEYRING is not UTF-8", "pass the keyring by `-k`")
            });
        }
        self.config()?.keyring.clone().ok_or_else(|| {
            let next = "pass `-k file:PATH`, set ENVELOCK_KEYRING, or write `keyring = \"NAME\"` into \
                        envelock.toml";
            Failure::usage("no keyring is named", next)
        })
    }

    /// Opens the keyring of this call: `-k`, `ENVELOCK_KEYRING`, or the default of `envelock.toml`.
    ///
    /// # Errors
    ///
    /// There is none, or it does not open.
    pub fn keyring(&self) -> Result<OpenKeyring, Failure> {
        self.opening(&self.keyring_name()?)?.open()
    }

    /// Opens another keyring by name or locator. Its secret comes from its locator or from a person: the
    /// options and variables of secrets belong to the keyring of the call.
    ///
    /// # Errors
    ///
    /// It does not open.
    pub fn other_keyring(&self, given: &str) -> Result<OpenKeyring, Failure> {
        let opening = Opening::other(self.config()?, given)?.counting(self.counts.get());
        self.files.borrow_mut().extend(opening.files()?);
        opening.open()
    }

    /// Writes the counts of wraps. Where that fails, such as on a medium for reading, it says so and no more: the
    /// messages are complete.
    pub fn flush<'a>(&self, keyrings: impl IntoIterator<Item = &'a OpenKeyring>) {
        for keyring in keyrings {
            if let Err(failure) = keyring.flush() {
                let what = format!(
                    "the messages are complete; keyring {} did not count them: {}",
                    keyring.given, failure.what
                );
                self.output().progress(|| format!("note: {what}"), || json!({ "note": what }));
            }
        }
    }

    /// Returns how the keyring `given` of this call opens, or is created.
    pub fn opening(&self, given: &str) -> Result<Opening<'_>, Failure> {
        let opening = Opening::new(self.config()?, given, &self.global.secrets)?;
        let opening = opening.counting(self.counts.get());
        self.files.borrow_mut().extend(opening.files()?);
        Ok(opening)
    }

    /// Notes a file that this call reads.
    pub fn use_file(&self, path: &Path) {
        self.files.borrow_mut().push(path.into());
    }

    /// Returns the files that this call reads: its configuration, the files of its keyrings and their secrets, and
    /// its input. None of them is an output.
    pub fn files_in_use(&self) -> Vec<PathBuf> {
        self.files.borrow().clone()
    }
}
