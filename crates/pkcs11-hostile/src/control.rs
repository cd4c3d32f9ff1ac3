//! The functions that a test calls besides those of PKCS#11.

use std::ffi::{CStr, c_char, c_int};

use crate::functions::Function;
use crate::{commands, fault_list, overlaps, state};

/// The result of `hostile_calls` for an unknown name.
const NO_SUCH_FUNCTION: u64 = u64::MAX;

/// Runs all commands of `text` and returns 0, or runs none and returns -1 with the reason on standard
/// error.
///
/// # Safety
/// `text` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hostile_command(text: *const c_char) -> c_int {
    // SAFETY: the caller's string, or NULL.
    let commands = match unsafe { string(text) } {
        Some(text) => commands::parse(text),
        None => Err("not a string of UTF-8".to_owned()),
    };
    match commands {
        Ok(commands) => {
            state::run(&commands);
            0
        }
        Err(reason) => {
            eprintln!("hostile: {reason}");
            -1
        }
    }
}

/// The calls of a function since the last `reset`, forwarded or not; `u64::MAX` for an unknown name.
///
/// # Safety
/// `function` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hostile_calls(function: *const c_char) -> u64 {
    // SAFETY: the caller's string, or NULL.
    let name = unsafe { string(function) };
    name.and_then(Function::named).map_or(NO_SUCH_FUNCTION, state::calls)
}

/// The injected faults since the last `reset`.
#[unsafe(no_mangle)]
pub extern "C" fn hostile_injected() -> u64 {
    state::injected()
}

/// The calls since the last `reset` that ran at the same time although they must not.
#[unsafe(no_mangle)]
pub extern "C" fn hostile_overlaps() -> u64 {
    overlaps::count()
}

/// Writes the list of faults, at most `len` bytes, and returns its whole length. A line is a command,
/// a tab, the functions that it affects, a tab, and its effect.
///
/// # Safety
/// `buffer` is NULL or has `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hostile_list(buffer: *mut c_char, len: usize) -> usize {
    let list = fault_list::list();
    if !buffer.is_null() {
        // SAFETY: no more bytes than the list and the caller's buffer have.
        unsafe {
            buffer.cast::<u8>().copy_from_nonoverlapping(list.as_ptr(), list.len().min(len));
        }
    }
    list.len()
}

/// `text` is NULL or a C string that outlives the result.
unsafe fn string<'a>(text: *const c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's string, or NULL.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}
