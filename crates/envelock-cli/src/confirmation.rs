//! Confirmation of what cannot be undone: the name, typed.

use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

/// Asks a person to type `name` before `what` is done. `may_skip` is `--yes`, which covers no override.
///
/// # Errors
///
/// Something else is typed, or there is no terminal.
pub fn confirm(what: &str, name: &str, may_skip: bool) -> Result<(), Failure> {
    if may_skip {
        return Ok(());
    }
    let Some(terminal) = Terminal::open() else {
        let fault = format!("{what}: a person has to confirm it, and there is no terminal");
        let next = "run it on a terminal; `--yes` confirms all but an override";
        return Err(Failure::new(Exit::Refused, fault, next));
    };
    let typed = terminal.ask_line(&format!("{what}.\nType {name} to confirm: "))?;
    if typed.trim_end() == name {
        return Ok(());
    }
    let next = "run the command again, and type the name as it is shown";
    Err(Failure::new(Exit::Stopped, "not confirmed: nothing was changed", next))
}
