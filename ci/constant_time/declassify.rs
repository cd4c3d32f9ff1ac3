
/// Marks a verdict as public, for memcheck (added by envelock's ci/constant_time.sh).
#[inline(never)]
#[allow(missing_docs, unsafe_code, clippy::all)]
fn declassified(choice: Choice) -> Choice {
    let address = core::ptr::addr_of!(choice) as usize;
    // A `Choice` is one byte.
    let arguments: [usize; 6] = [0x4D43_0002, address, 1, 0, 0, 0];
    // SAFETY: valgrind's request MAKE_MEM_DEFINED; on a CPU nothing but the flags changes. The
    // value is read back from memory, whose definedness has changed.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") 0_usize => _,
        );
        core::ptr::read_volatile(core::ptr::addr_of!(choice))
    }
}
