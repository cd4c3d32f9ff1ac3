//! The list of all faults, each as a command.

use crate::wrong_results::WrongResult;

/// Faults that any function can have: the command and the effect.
const GENERAL: &[(&str, &str)] = &[
    ("lose-sessions", "closes all sessions, then forwards the call"),
    ("logout", "logs out, then forwards the call"),
    ("dead DEVICE_ERROR", "every call returns this code until C_Finalize and C_Initialize"),
    ("dead DEVICE_REMOVED", "the same"),
    ("dead TOKEN_NOT_PRESENT", "the same"),
    ("dead GENERAL_ERROR", "the same"),
    ("dead CRYPTOKI_NOT_INITIALIZED", "the same"),
    ("dead DEVICE_MEMORY", "the same"),
    ("dead FUNCTION_FAILED", "the same"),
    ("fail any GENERAL_ERROR", "returns a code, not forwarded; any code, any function"),
    ("fail C_EncryptInit KEY_FUNCTION_NOT_PERMITTED", "the key is disabled"),
    ("fail C_EncryptInit KEY_TYPE_INCONSISTENT", "the same, with the code of NSS"),
    ("fail C_EncryptInit KEY_HANDLE_INVALID", "the key's handle is stale"),
    ("fail C_EncryptInit OBJECT_HANDLE_INVALID", "the same, with the code of SoftHSM"),
    ("fail C_EncryptInit USER_NOT_LOGGED_IN", "the login has ended"),
    ("fail C_EncryptInit OPERATION_ACTIVE", "the session is not free"),
    ("fail C_Encrypt GENERAL_ERROR", "a transient failure; the operation stays active"),
    ("fail C_Encrypt SESSION_HANDLE_INVALID", "the session has ended"),
    ("fail C_Encrypt SESSION_CLOSED", "the same"),
    ("fail C_Decrypt DEVICE_ERROR", "a transient failure; the operation stays active"),
    ("fail C_Decrypt DATA_INVALID", "a transient failure with the code of a forged input"),
    ("fail C_Sign DEVICE_MEMORY", "a transient failure; the operation stays active"),
    ("fail C_OpenSession SESSION_COUNT", "no session left"),
    ("fail C_Login PIN_INCORRECT", "the PIN is refused without a check"),
    ("fail C_Login PIN_LOCKED", "the same"),
    ("fail C_Login PIN_EXPIRED", "the same"),
    ("fail C_Login USER_ALREADY_LOGGED_IN", "which is not true"),
    ("fail C_Login USER_ANOTHER_ALREADY_LOGGED_IN", "which is not true"),
    ("fail C_Initialize CRYPTOKI_ALREADY_INITIALIZED", "which is not true"),
    ("answer C_Initialize CRYPTOKI_ALREADY_INITIALIZED", "which is true then"),
    ("fail C_Initialize CANT_LOCK", "no locks"),
    ("fail C_Initialize GENERAL_ERROR", "no library"),
    ("fail C_GenerateKey TEMPLATE_INCONSISTENT", "no key"),
    ("answer C_GenerateKey DEVICE_ERROR", "a key is generated, its handle is lost"),
    ("answer C_Encrypt DEVICE_ERROR", "forwarded, the result is lost"),
    ("answer C_Decrypt GENERAL_ERROR", "the same"),
    ("answer C_DestroyObject FUNCTION_FAILED", "the object is destroyed"),
    ("delay any 50", "sleeps that many milliseconds first; `clear` and `reset` end it"),
    ("random 1 100 100", "SEED, faults in a thousand calls, most faults"),
    (
        "random-codes 1 50 100",
        "SEED, calls in a thousand that return one of ten codes, most of them",
    ),
];

/// Arguments with a line of their own.
const ARGUMENTS: &[(WrongResult, &str)] = &[
    (WrongResult::GoodDecryptSays, "DATA_INVALID"),
    (WrongResult::BadTagSays, "DEVICE_ERROR"),
    (WrongResult::TokenMaxSessions, "1"),
    (WrongResult::TokenMaxSessions, "0"),
    (WrongResult::ListNullMember, "C_Finalize"),
];

/// Every line: the command, the functions and the effect.
fn lines() -> Vec<(String, String, &'static str)> {
    let general = GENERAL.iter().map(|(command, does)| {
        let functions = match command.split(' ').collect::<Vec<_>>()[..] {
            ["fail" | "answer" | "delay", function, ..] => function,
            ["random" | "random-codes", ..] => "the calls of an operation",
            _ => "any",
        };
        ((*command).to_owned(), functions.to_owned(), *does)
    });
    let wrong = WrongResult::ALL.iter().flat_map(|it| {
        let functions: Vec<_> = it.functions().iter().map(|function| function.name()).collect();
        let functions = functions.join(" ");
        let arguments = ARGUMENTS.iter().filter(move |(other, _)| other == it);
        let commands = arguments.map(|(_, argument)| format!("{} {argument}", it.name()));
        std::iter::once(it.name().to_owned())
            .chain(commands)
            .map(move |command| (command, functions.clone(), it.does()))
    });
    general.chain(wrong).collect()
}

pub(crate) fn list() -> String {
    lines().iter().map(|(command, on, does)| format!("{command}\t{on}\t{does}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;

    #[test]
    fn every_line_is_a_command() {
        for (command, _, _) in lines() {
            let commands = commands::parse(&command);
            assert_eq!(commands.as_ref().map(Vec::len), Ok(1), "{command}");
        }
    }

    /// The table in README.md is this list. `UPDATE=1 cargo test` writes it.
    #[test]
    fn readme_has_the_same_table() {
        const BEGIN: &str = "<!-- list: begin -->\n";
        const END: &str = "<!-- list: end -->";
        let mut table = String::from("| command | functions | effect |\n|---|---|---|\n");
        for (command, functions, does) in lines() {
            table += &format!("| `{command}` | {functions} | {does} |\n");
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let manual = std::fs::read_to_string(path).expect("README.md");
        let (before, rest) = manual.split_once(BEGIN).expect("begin of the list");
        let (visible, after) = rest.split_once(END).expect("end of the list");
        if std::env::var_os("UPDATE").is_some() {
            let manual = format!("{before}{BEGIN}{table}{END}{after}");
            std::fs::write(path, manual).expect("README.md is written");
        } else {
            assert!(visible == table, "README.md has another table: UPDATE=1 cargo test");
        }
    }
}
