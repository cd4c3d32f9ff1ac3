//! The list of everything that can go wrong, each as a command that can be sent as it is.

use crate::catalogue::Lie;

/// Commands of the faults that any function can have: command, what it strikes, what it does.
const GENERAL: &[(&str, &str, &str)] = &[
    ("lose-sessions", "any", "really closes all sessions before the call, which is then forwarded"),
    ("logout", "any", "really logs out before the call, which is then forwarded"),
    ("dead DEVICE_ERROR", "any", "this code to every call until C_Finalize and C_Initialize"),
    ("dead DEVICE_REMOVED", "any", "the same"),
    ("dead TOKEN_NOT_PRESENT", "any", "the same"),
    ("dead GENERAL_ERROR", "any", "the same"),
    ("dead CRYPTOKI_NOT_INITIALIZED", "any", "the same"),
    ("dead DEVICE_MEMORY", "any", "the same"),
    ("dead FUNCTION_FAILED", "any", "the same"),
    ("fail any GENERAL_ERROR", "any", "a code, not forwarded; any code, any function"),
    ("fail C_EncryptInit KEY_FUNCTION_NOT_PERMITTED", "C_EncryptInit", "the key is disabled"),
    ("fail C_EncryptInit KEY_TYPE_INCONSISTENT", "C_EncryptInit", "the same, as NSS says it"),
    ("fail C_EncryptInit KEY_HANDLE_INVALID", "C_EncryptInit", "the key's handle is stale"),
    ("fail C_EncryptInit OBJECT_HANDLE_INVALID", "C_EncryptInit", "the same, as SoftHSM says it"),
    ("fail C_EncryptInit USER_NOT_LOGGED_IN", "C_EncryptInit", "the login has ended"),
    ("fail C_EncryptInit OPERATION_ACTIVE", "C_EncryptInit", "the session is not free"),
    ("fail C_Encrypt GENERAL_ERROR", "C_Encrypt", "a hiccup; the operation stays active"),
    ("fail C_Encrypt SESSION_HANDLE_INVALID", "C_Encrypt", "the session is gone"),
    ("fail C_Encrypt SESSION_CLOSED", "C_Encrypt", "the same"),
    ("fail C_Decrypt DEVICE_ERROR", "C_Decrypt", "a hiccup; the operation stays active"),
    ("fail C_Decrypt DATA_INVALID", "C_Decrypt", "a hiccup that looks like tampering"),
    ("fail C_Sign DEVICE_MEMORY", "C_Sign", "a hiccup; the operation stays active"),
    ("fail C_OpenSession SESSION_COUNT", "C_OpenSession", "no session left"),
    ("fail C_Login PIN_INCORRECT", "C_Login", "the PIN is refused without being looked at"),
    ("fail C_Login PIN_LOCKED", "C_Login", "the same"),
    ("fail C_Login PIN_EXPIRED", "C_Login", "the same"),
    ("fail C_Login USER_ALREADY_LOGGED_IN", "C_Login", "which is not true"),
    ("fail C_Login USER_ANOTHER_ALREADY_LOGGED_IN", "C_Login", "which is not true"),
    ("fail C_Initialize CRYPTOKI_ALREADY_INITIALIZED", "C_Initialize", "which is not true"),
    ("answer C_Initialize CRYPTOKI_ALREADY_INITIALIZED", "C_Initialize", "which is true by then"),
    ("fail C_Initialize CANT_LOCK", "C_Initialize", "no threads"),
    ("fail C_Initialize GENERAL_ERROR", "C_Initialize", "no library"),
    ("fail C_GenerateKey TEMPLATE_INCONSISTENT", "C_GenerateKey", "no key"),
    (
        "answer C_GenerateKey DEVICE_ERROR",
        "C_GenerateKey",
        "a key, whose handle was lost on the way",
    ),
    ("answer C_Encrypt DEVICE_ERROR", "C_Encrypt", "forwarded, the answer lost on the way"),
    ("answer C_Decrypt GENERAL_ERROR", "C_Decrypt", "the same"),
    ("answer C_DestroyObject FUNCTION_FAILED", "C_DestroyObject", "destroyed all the same"),
    ("delay any 50", "any", "sleeps that many milliseconds first; `clear` and `reset` wake it"),
    (
        "storm 1 100 100",
        "the calls of an operation",
        "SEED, faults in a thousand calls, most faults",
    ),
    (
        "hail 1 50 100",
        "the calls of an operation",
        "SEED, calls in a thousand that answer one of ten codes, most of them",
    ),
];

/// Arguments that are worth a line of their own.
const ARGUMENTS: &[(Lie, &str)] = &[
    (Lie::GoodDecryptSays, "DATA_INVALID"),
    (Lie::BadTagSays, "DEVICE_ERROR"),
    (Lie::TokenMaxSessions, "1"),
    (Lie::TokenMaxSessions, "0"),
    (Lie::ListNullMember, "C_Finalize"),
];

/// Every line: command, functions, what it does.
fn lines() -> Vec<(String, String, &'static str)> {
    let general = GENERAL
        .iter()
        .map(|(command, functions, does)| ((*command).to_owned(), (*functions).to_owned(), *does));
    let lies = Lie::ALL.iter().flat_map(|lie| {
        let functions: Vec<_> = lie.functions().iter().map(|function| function.name()).collect();
        let functions = functions.join(" ");
        let plain = (lie.name().to_owned(), functions.clone(), lie.does());
        let more =
            ARGUMENTS.iter().filter(move |(other, _)| other == lie).map(move |(lie, argument)| {
                (format!("{} {argument}", lie.name()), functions.clone(), lie.does())
            });
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
    use crate::script;

    #[test]
    fn every_line_is_a_command() {
        for (command, _, _) in lines() {
            let commands = script::parse(&command);
            assert_eq!(commands.as_ref().map(Vec::len), Ok(1), "{command}");
        }
    }

    /// The table of the manual is this list. `UPDATE=1 cargo test` writes it anew.
    #[test]
    fn manual_has_the_same_table() {
        const BEGIN: &str = "<!-- list: begin -->\n";
        const END: &str = "<!-- list: end -->";
        let mut table = String::from("| command | strikes | what it does |\n|---|---|---|\n");
        for (command, functions, does) in lines() {
            table += &format!("| `{command}` | {functions} | {does} |\n");
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let manual = std::fs::read_to_string(path).expect("README.md");
        let (before, rest) = manual.split_once(BEGIN).expect("begin of the list");
        let (shown, after) = rest.split_once(END).expect("end of the list");
        if std::env::var_os("UPDATE").is_some() {
            let manual = format!("{before}{BEGIN}{table}{END}{after}");
            std::fs::write(path, manual).expect("README.md is written");
        } else {
            assert!(shown == table, "README.md has another table: UPDATE=1 cargo test");
        }
    }
}
