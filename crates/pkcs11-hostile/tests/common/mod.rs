//! The built module, loaded as a test loads it, and a fresh SoftHSM token behind it.

#![allow(dead_code)] // not every test needs all of it

pub mod crypto;
pub mod token;

use std::ffi::{CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cryptoki_sys::*;
use libloading::Library;

pub const LABEL: &str = "hostile";
pub const PIN: &[u8] = b"12345678";

/// The module's functions of its own, and its PKCS#11 entry.
pub struct Hostile {
    library: Library,
}

/// One module and one token for the process, set up on first use.
pub fn hostile() -> &'static Hostile {
    static HOSTILE: OnceLock<Hostile> = OnceLock::new();
    HOSTILE.get_or_init(|| {
        fresh_token();
        let path = module();
        // SAFETY: the module's initialisers are those of the standard library.
        let library = unsafe { Library::new(&path) };
        Hostile { library: library.unwrap_or_else(|error| panic!("{}: {error}", path.display())) }
    })
}

/// `HOSTILE_MODULE`, else what `cargo build` has left beside this test: `cargo test` alone builds
/// no library that a test could open.
fn module() -> PathBuf {
    if let Some(path) = std::env::var_os("HOSTILE_MODULE") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("a path of this test");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    profile.join("libpkcs11_hostile.so")
}

/// Initialises a token of SoftHSM in a directory of this process's.
fn fresh_token() {
    let base = std::env::temp_dir().join(format!("hostile-{}", std::process::id()));
    let tokens = base.join("tokens");
    std::fs::create_dir_all(&tokens).expect("a directory for tokens");
    let configuration = base.join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(&configuration, text).expect("a configuration");
    // SAFETY: tests call this first, under the lock of a `OnceLock`, before anybody reads it.
    unsafe { std::env::set_var("SOFTHSM2_CONF", &configuration) };
    let output = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", LABEL, "--so-pin", "87654321", "--pin"])
        .arg("12345678")
        .output()
        .expect("softhsm2-util: apt-get install softhsm2");
    assert!(output.status.success(), "{output:?}");
}

impl Hostile {
    /// Sends commands that must be understood.
    pub fn command(&self, text: &str) {
        assert_eq!(self.try_command(text), 0, "{text}");
    }

    pub fn try_command(&self, text: &str) -> c_int {
        let text = CString::new(text).expect("no NUL in a command");
        // SAFETY: the symbol has this type, and the text is a C string.
        unsafe {
            let command = self
                .library
                .get::<unsafe extern "C" fn(*const c_char) -> c_int>(b"hostile_command\0");
            command.expect("hostile_command")(text.as_ptr())
        }
    }

    pub fn calls(&self, function: &str) -> u64 {
        let function = CString::new(function).expect("no NUL in a name");
        // SAFETY: the symbol has this type, and the name is a C string.
        unsafe {
            let calls =
                self.library.get::<unsafe extern "C" fn(*const c_char) -> u64>(b"hostile_calls\0");
            calls.expect("hostile_calls")(function.as_ptr())
        }
    }

    pub fn injected(&self) -> u64 {
        // SAFETY: the symbol has this type.
        unsafe {
            let injected = self.library.get::<extern "C" fn() -> u64>(b"hostile_injected\0");
            injected.expect("hostile_injected")()
        }
    }

    /// Calls that ran together and must not.
    pub fn overlaps(&self) -> u64 {
        // SAFETY: the symbol has this type.
        unsafe {
            let overlaps = self.library.get::<extern "C" fn() -> u64>(b"hostile_overlaps\0");
            overlaps.expect("hostile_overlaps")()
        }
    }

    /// The list of faults: the command and the functions that it strikes.
    pub fn list(&self) -> Vec<(String, String)> {
        // SAFETY: the symbol has this type, and the buffer the length that is given.
        let text = unsafe {
            let list = self
                .library
                .get::<unsafe extern "C" fn(*mut c_char, usize) -> usize>(b"hostile_list\0")
                .expect("hostile_list");
            let mut text = vec![0u8; list(std::ptr::null_mut(), 0)];
            list(text.as_mut_ptr().cast(), text.len());
            String::from_utf8(text).expect("a list in UTF-8")
        };
        text.lines()
            .map(|line| {
                let mut fields = line.split('\t').map(str::to_owned);
                let mut field = || fields.next().expect("three fields a line");
                (field(), field())
            })
            .collect()
    }

    /// What C_GetFunctionList answers.
    pub fn function_list(&self) -> Result<*mut CK_FUNCTION_LIST, CK_RV> {
        let mut list = std::ptr::null_mut();
        // SAFETY: the symbol has this type, and the argument is a place for one pointer.
        let code = unsafe {
            let entry =
                self.library.get::<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV>(
                    b"C_GetFunctionList\0",
                );
            entry.expect("C_GetFunctionList")(&mut list)
        };
        if code == CKR_OK { Ok(list) } else { Err(code) }
    }
}
