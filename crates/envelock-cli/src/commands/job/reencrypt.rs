//! New encryptions: why, and with which associated data.

use super::task::{Keys, of_ops};
use crate::failure::{Exit, Failure};
use crate::version_name::VersionName;
use clap::Args;
use envelock::Suite;
use envelock_ops::{Cause, ItemKey, Operation, Task};

/// The spellings of causes, for errors.
const CAUSES: &str = "`data-key-leaked`, `suite=2` or `leaked=orders:1`";

/// Why messages are encrypted again, and with what.
#[derive(Args, Clone, Debug, Default)]
pub struct ReencryptOptions {
    /// Encrypt messages again under new data keys where CAUSE needs it: `data-key-leaked`, `suite=2`, `leaked=orders:1`. This
    /// cannot be undone. `job plan` shows what each message needs, and why.
    #[arg(long, value_name = "CAUSE", conflicts_with_all = ["retiring", "add", "remove", "from_compromised"])]
    re_encrypt: Option<String>,
    /// Those who know the leaked version can have read headers, present ones or old ones in a backup.
    #[arg(long, requires = "re_encrypt")]
    headers_exposed: bool,
    /// When the leaked version stopped being primary: 2026-11-30T12:00:00Z. It spares messages whose body is newer. Refused for
    /// a source that does not know that, as directories and lists do not.
    #[arg(long, value_name = "TIME", requires = "re_encrypt", value_parser = parse_time)]
    retired: Option<u64>,
    /// Associated data of each message, before and after: `{item}` stands for its path in the source, `{{` for `{`.
    #[arg(long, value_name = "TEXT", requires = "re_encrypt")]
    pub aad: Option<String>,
}

/// Parses a time into seconds since 1970.
fn parse_time(text: &str) -> Result<u64, String> {
    let time: jiff::Timestamp = text.parse().map_err(|_| "write 2026-11-30T12:00:00Z")?;
    u64::try_from(time.as_second()).map_err(|_| "it is before 1970".into())
}

impl ReencryptOptions {
    /// Returns the cause, if there is one.
    ///
    /// # Errors
    ///
    /// It is none, or an option belongs to another cause.
    pub fn cause(&self) -> Result<Option<Cause>, Failure> {
        let Some(text) = &self.re_encrypt else { return Ok(None) };
        let usage = |what: String| Failure::usage(what, CAUSES);
        let cause = match text.split_once('=') {
            None if text == "data-key-leaked" => Cause::DataKeyLeaked,
            Some(("suite", id)) => {
                let is_suite = |id: &u8| Suite::ALL.iter().any(|suite| suite.id() == *id);
                let suite = id.parse().ok().filter(is_suite);
                let suite = suite.ok_or_else(|| usage(format!("{id:?} is no id of a suite")))?;
                Cause::SuiteDeprecated { suite }
            }
            Some(("leaked", version)) => {
                let version: VersionName = version.parse().map_err(usage)?;
                return Ok(Some(Cause::VersionLeaked {
                    version: of_ops(&version),
                    retired: self.retired,
                    headers_exposed: self.headers_exposed,
                }));
            }
            _ => return Err(usage(format!("{text:?} is no cause"))),
        };
        match self.headers_exposed || self.retired.is_some() {
            true => {
                let what = "--headers-exposed and --retired are about a version that leaked";
                Err(Failure::usage(what, "`--re-encrypt leaked=orders:1 --headers-exposed`"))
            }
            false => Ok(Some(cause)),
        }
    }
}

/// Refuses a new encryption that would leave its cause as it is.
///
/// # Errors
///
/// New messages would be under the version that leaked, or of the suite that is left, or none is due.
pub fn check(task: &Task, keys: &Keys) -> Result<(), Failure> {
    let Task::Reencrypt { cause, .. } = task else { return Ok(()) };
    let (what, next) = match cause {
        Cause::VersionLeaked { version, .. } if keys.targets()?.contains(version) => (
            format!("{version} is primary, so new messages would be under the version that leaked"),
            format!("`envelock key rotate {}`", version.name),
        ),
        Cause::VersionLeaked { headers_exposed: false, .. } => (
            "no header was exposed, so no message needs a new encryption".into(),
            "without `--re-encrypt`, the job rewraps; `--headers-exposed` if headers can have been read".into(),
        ),
        Cause::SuiteDeprecated { suite } if *suite == Suite::default().id() => (
            format!("new messages have suite {suite} themselves"),
            "encrypt to another suite with the library".into(),
        ),
        _ => return Ok(()),
    };
    Err(Failure::new(Exit::Refused, what, next))
}

/// Returns the associated data of an item: `{item}` is its name, `{{` is `{`, and every other byte is itself.
pub fn associated_data(template: &str, item: &ItemKey) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        bytes.extend_from_slice(before.as_bytes());
        rest = if let Some(after) = after.strip_prefix("item}") {
            bytes.extend_from_slice(item.as_bytes());
            after
        } else {
            bytes.push(b'{');
            after.strip_prefix('{').unwrap_or(after)
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn template_has_the_item_and_nothing_else() {
        let cases = [
            ("", ""),
            ("order", "order"),
            ("{item}", "a/{item}"),
            ("order {item}!{item}", "order a/{item}!a/{item}"),
            ("{{item}", "{item}"),
            ("{{{item}", "{a/{item}"),
            ("{{{{", "{{"),
            ("{\"id\":\"{item}\"}", "{\"id\":\"a/{item}\"}"),
            ("{ item} {Item} }} {", "{ item} {Item} }} {"),
        ];
        for (template, expected) in cases {
            let item = ItemKey::new("a/{item}").unwrap();
            assert_eq!(associated_data(template, &item), expected.as_bytes(), "{template}");
        }
        let bytes = ItemKey::new([0xff, b'{']).unwrap();
        assert_eq!(associated_data("é{item}", &bytes), b"\xc3\xa9\xff{");
    }
}
