//! Memcheck's client requests: marking memory as secret, and asking what was reported.
//!
//! Memcheck follows undefined bits through every instruction and reports a branch or an address
//! that depends on one. A secret that is marked undefined is followed in the same way.

use std::arch::asm;

const RUNNING_ON_VALGRIND: usize = 0x1001;
const COUNT_ERRORS: usize = 0x1201;
const MAKE_UNDEFINED: usize = 0x4D43_0001;
const MAKE_DEFINED: usize = 0x4D43_0002;

/// Makes a request. Outside of valgrind it does nothing and returns 0.
fn request(code: usize, first: usize, second: usize) -> usize {
    let arguments = [code, first, second, 0, 0, 0];
    let answer: usize;
    // SAFETY: the rotations of `rdi` add up to 128 bits and the exchange is of a register with
    // itself, so that a CPU changes nothing but the flags. Valgrind knows the sequence, reads the
    // six words at `rax`, and writes its result to `rdx`.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") 0_usize => answer,
        );
    }
    answer
}

pub fn is_running() -> bool {
    request(RUNNING_ON_VALGRIND, 0, 0) != 0
}

/// Reports so far, suppressed ones left out.
pub fn reports() -> usize {
    request(COUNT_ERRORS, 0, 0)
}

/// From here on no branch and no address may depend on these bytes.
pub fn secret(bytes: &mut [u8]) {
    secret_block(bytes.as_mut_ptr() as usize, bytes.len());
}

/// As [`secret`], of a block that another owns.
pub fn secret_block(address: usize, len: usize) {
    request(MAKE_UNDEFINED, address, len);
}

/// These bytes are a result that anyone may see.
pub fn public<T: ?Sized>(value: &T) {
    request(MAKE_DEFINED, std::ptr::from_ref(value).cast::<u8>() as usize, size_of_val(value));
}
