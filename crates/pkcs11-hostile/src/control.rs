//! What a test calls besides PKCS#11: commands in, counts out.

use std::ffi::{CStr, c_char, c_int};

use crate::functions::Function;
use crate::{manual, overlaps, script, stage};

/// What `hostile_calls` answers for a name that is no function.
const NO_SUCH_FUNCTION: u64 = u64::MAX;

/// Carries out commands, all or none of them: 0 when understood, else -1 with the reason on
/// standard error.
///
/// # Safety
/// `text` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hostile_command(text: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let commands = match unsafe { string(text) } {
        Some(text) => script::parse(text),
        None => Err("not a string of UTF-8".to_owned()),
    };
    match commands {
        Ok(commands) => {
            stage::obey(&commands);
            0
        }
        Err(reason) => {
            eprintln!("hostile: {reason}");
            -1
        }
    }
}

/// How often a function has been called since the last `reset`, forwarded or not; `u64::MAX` for
/// a name that is no function.
///
/// # Safety
/// `function` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hostile_calls(function: *const c_char) -> u64 {
    // SAFETY: the caller's promise.
    let name = unsafe { string(function) };
    name.and_then(Function::named).map_or(NO_SUCH_FUNCTION, stage::calls)
}

/// How many faults have really been injected since the last `reset`.
#[unsafe(no_mangle)]
pub extern "C" fn hostile_injected() -> u64 {
    stage::injected()
}

/// How many calls ran together since the last `reset` that PKCS#11 leaves undefined together.
#[unsafe(no_mangle)]
pub extern "C" fn hostile_overlaps() -> u64 {
    overlaps::count()
}

/// Writes the list of faults, as far as `len` bytes go, and answers its whole length. A line is a
/// command that can be sent as it is, a tab, the functions it strikes, a tab, and what it does.
///
/// # Safety
/// `buffer` is NULL or holds `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hostile_list(buffer: *mut c_char, len: usize) -> usize {
    let list = manual::list();
    if !buffer.is_null() {
        // SAFETY: the caller's promise; no more than either holds.
        unsafe {
            buffer.cast::<u8>().copy_from_nonoverlapping(list.as_ptr(), list.len().min(len));
        }
    }
    list.len()
}

/// # Safety
/// `text` is NULL or a C string that outlives the answer.
unsafe fn string<'a>(text: *const c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}
