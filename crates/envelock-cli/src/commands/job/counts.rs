//! The counts of a job, as text.

use super::console::grouped;
use envelock_ops::{Tally, Task};

/// Returns the counts on one line, in the words of the task.
pub fn tally_line(task: &Task, tally: Tally) -> String {
    let Tally {
        listed,
        changed,
        current,
        excluded,
        conflict,
        gone,
        failed,
        partly,
        absent,
        trusted,
        ..
    } = tally;
    let reasons = [
        (tally.not_envelock, "not envelock"),
        (tally.other_keyring, "of other keyrings"),
        (tally.links, "symbolic links"),
        (tally.not_in_log, "not in the undo log"),
    ];
    let reasons = reasons.iter().filter(|(items, _)| *items > 0);
    let reasons: Vec<_> =
        reasons.map(|(items, why)| format!("{} {why}", grouped(*items))).collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let never_there =
        if absent == 0 { String::new() } else { format!(" ({} absent)", grouped(absent)) };
    let unproven =
        if trusted == 0 { String::new() } else { format!(" ({} trusted)", grouped(trusted)) };
    let mut text = format!(
        "{} {}{unproven}  current {}  excluded {}{why}  conflict {}  gone {}{never_there}  failed {}  = listed {}",
        task.verb(),
        grouped(changed),
        grouped(current),
        grouped(excluded),
        grouped(conflict),
        grouped(gone),
        grouped(failed),
        grouped(listed),
    );
    if partly > 0 {
        text += &format!("; {} of them in part", grouped(partly));
    }
    text
}
