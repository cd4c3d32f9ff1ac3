//! The list of all faults, each as a command.

use crate::wrong_results::WrongResult;

/// Faults that any function can have: the command, the functions and the effect.
const GENERAL: &[(&str, &str, &str)] = &[
    ("lose-sessions", "any", "closes all sessions, then forwards the call"),
    ("logout", "any", "logs out, then forwards the call"),
    ("dead DEVICE_ERROR", "any", "every call returns this code until C_Finalize and C_Initialize"),
    ("dead DEVICE_REMOVED", "any", "the same"),
    ("dead TOKEN_NOT_PRESENT", "any", "the same"),
    ("dead GENERAL_ERROR", "any", "the same"),
    ("dead CRYPTOKI_NOT_INITIALIZED", "any", "the same"),
    ("dead DEVICE_MEMORY", "any", "the same"),
    ("dead FUNCTION_FAILED", "any", "the same"),
    ("fail any GENERAL_ERROR", "any", "returns a code, not forwarded; any code, any function"),
    ("fail C_EncryptInit KEY_FUNCTION_NOT_PERMITTED", "C_EncryptInit", "the key is disabled"),
    ("fail C_EncryptInit KEY_TYPE_INCONSISTENT", "C_EncryptInit", "the same, with the code of NSS"),
    ("fail C_EncryptInit KEY_HANDLE_INVALID", "C_EncryptInit", "the key's handle is stale"),
    (
        "fail C_EncryptInit OBJECT_HANDLE_INVALID",
        "C_EncryptInit",
        "the same, with the code of SoftHSM",
    ),
    ("fail C_EncryptInit USER_NOT_LOGGED_IN", "C_EncryptInit", "the login has ended"),
    ("fail C_EncryptInit OPERATION_ACTIVE", "C_EncryptInit", "the session is not free"),
    (
        "fail C_Encrypt GENERAL_ERROR",
        "C_Encrypt",
        "a transient failure; the operation stays active",
    ),
    ("fail C_Encrypt SESSION_HANDLE_INVALID", "C_Encrypt", "the session is gone"),
    ("fail C_Encrypt SESSION_CLOSED", "C_Encrypt", "the same"),
    ("fail C_Decrypt DEVICE_ERROR", "C_Decrypt", "a transient failure; the operation stays active"),
    (
        "fail C_Decrypt DATA_INVALID",
        "C_Decrypt",
        "a transient failure with the code of a forged input",
    ),
    ("fail C_Sign DEVICE_MEMORY", "C_Sign", "a transient failure; the operation stays active"),
    ("fail C_OpenSession SESSION_COUNT", "C_OpenSession", "no session left"),
    ("fail C_Login PIN_INCORRECT", "C_Login", "the PIN is refused without a check"),
    ("fail C_Login PIN_LOCKED", "C_Login", "the same"),
    ("fail C_Login PIN_EXPIRED", "C_Login", "the same"),
    ("fail C_Login USER_ALREADY_LOGGED_IN", "C_Login", "which is not true"),
    ("fail C_Login USER_ANOTHER_ALREADY_LOGGED_IN", "C_Login", "which is not true"),
    ("fail C_Initialize CRYPTOKI_ALREADY_INITIALIZED", "C_Initialize", "which is not true"),
    ("answer C_Initialize CRYPTOKI_ALREADY_INITIALIZED", "C_Initialize", "which is true then"),
    ("fail C_Initialize CANT_LOCK", "C_Initialize", "no locks"),
    ("fail C_Initialize GENERAL_ERROR", "C_Initialize", "no library"),
    ("fail C_GenerateKey TEMPLATE_INCONSISTENT", "C_GenerateKey", "no key"),
    (
        "answer C_GenerateKey DEVICE_ERROR",
        "C_GenerateKey",
        "a key is generated, its handle is lost",
    ),
    ("answer C_Encrypt DEVICE_ERROR", "C_Encrypt", "forwarded, the result is lost"),
    ("answer C_Decrypt GENERAL_ERROR", "C_Decrypt", "the same"),
    ("answer C_DestroyObject FUNCTION_FAILED", "C_DestroyObject", "the object is destroyed"),
    ("delay any 50", "any", "sleeps that many milliseconds first; `clear` and `reset` end it"),
    (
        "random 1 100 100",
        "the calls of an operation",
        "SEED, faults in a thousand calls, most faults",
    ),
    (
        "random-codes 1 50 100",
        "the calls of an operation",
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
    let general = GENERAL
        .iter()
        .map(|(command, functions, does)| ((*command).to_owned(), (*functions).to_owned(), *does));
    let lies = WrongResult::ALL.iter().flat_map(|wrong| {
        let functions: Vec<_> = wrong.functions().iter().map(|function| function.name()).collect();
        let functions = functions.join(" ");
        let plain = (wrong.name().to_owned(), functions.clone(), wrong.does());
        let more = ARGUMENTS.iter().filter(move |(other, _)| other == wrong).map(
            move |(wrong, argument)| {
                (format!("{} {argument}", wrong.name()), functions.clone(), wrong.does())
            },
        );
        std::iter::once(plain).chain(more)
    });
    general.chain(lies).collect()
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
