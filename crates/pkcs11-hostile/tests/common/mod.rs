//! The module, loaded as a test loads it, and a fresh SoftHSM token.

#![allow(dead_code)] // not every test needs all of it

pub mod crypto;
pub mod token;

use std::ffi::{CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cryptoki_sys::*;
use libloading::{Library, Symbol};

pub const LABEL: &str = "hostile";
pub const PIN: &[u8] = b"12345678";

/// The functions that a test calls besides those of PKCS#11, and C_GetFunctionList.
pub struct Hostile {
    library: Library,
}

/// The module and the token of this process, set up at the first use.
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

/// The path of the module: `HOSTILE_MODULE`, or the output of `cargo build`, since `cargo test` builds
/// no dynamic library.
fn module() -> PathBuf {
    if let Some(path) = std::env::var_os("HOSTILE_MODULE") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("a path of this test");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    profile.join("libpkcs11_hostile.so")
}

/// Initialises a token of SoftHSM in a directory of this process.
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
    // SAFETY: this runs once, in a `OnceLock`, before any other code reads the variable.
    unsafe { std::env::set_var("SOFTHSM2_CONF", &configuration) };
    let output = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", LABEL, "--so-pin", "87654321", "--pin"])
        .arg("12345678")
        .output()
        .expect("softhsm2-util: apt-get install softhsm2");
    assert!(output.status.success(), "{output:?}");
}

impl Hostile {
    /// Runs commands, which must be valid.
    pub fn command(&self, text: &str) {
        assert_eq!(self.try_command(text), 0, "{text}");
    }

    pub fn try_command(&self, text: &str) -> c_int {
        let text = CString::new(text).expect("no NUL in a command");
        // SAFETY: the symbol has this type, and the text is a C string.
        unsafe {
            let command =
                self.symbol::<unsafe extern "C" fn(*const c_char) -> c_int>("hostile_command");
            command(text.as_ptr())
        }
    }

    pub fn calls(&self, function: &str) -> u64 {
        let function = CString::new(function).expect("no NUL in a name");
        // SAFETY: the symbol has this type, and the name is a C string.
        unsafe {
            let calls = self.symbol::<unsafe extern "C" fn(*const c_char) -> u64>("hostile_calls");
            calls(function.as_ptr())
        }
    }

    pub fn injected(&self) -> u64 {
        // SAFETY: the symbol has this type.
        unsafe { self.symbol::<extern "C" fn() -> u64>("hostile_injected")() }
    }

    /// Calls that ran at the same time although they must not.
    pub fn overlaps(&self) -> u64 {
        // SAFETY: the symbol has this type.
        unsafe { self.symbol::<extern "C" fn() -> u64>("hostile_overlaps")() }
    }

    /// # Safety
    ///
    /// The symbol has the type `T`.
    unsafe fn symbol<T>(&self, name: &str) -> Symbol<'_, T> {
        // SAFETY: the caller states the type.
        unsafe { self.library.get(name.as_bytes()) }.expect(name)
    }

    /// The list of faults: each command, and its functions.
    pub fn list(&self) -> Vec<(String, String)> {
        type List = unsafe extern "C" fn(*mut c_char, usize) -> usize;
        // SAFETY: the symbol has this type, and the buffer the length that is given.
        let text = unsafe {
            let list = self.symbol::<List>("hostile_list");
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

    /// The result of C_GetFunctionList.
    pub fn function_list(&self) -> Result<*mut CK_FUNCTION_LIST, CK_RV> {
        type GetList = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
        let mut list = std::ptr::null_mut();
        // SAFETY: the symbol has this type, and the argument is a local variable.
        let code = unsafe { self.symbol::<GetList>("C_GetFunctionList")(&mut list) };
        if code == CKR_OK { Ok(list) } else { Err(code) }
    }
}
