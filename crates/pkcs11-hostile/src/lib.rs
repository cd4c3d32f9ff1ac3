//! A PKCS#11 module that forwards to a real one, and injects faults and wrong results on command. For
//! tests only.
//!
//! The module of `HOSTILE_FORWARD` (SoftHSM when unset) does the work. A test opens this library
//! twice: as the PKCS#11 module under test, and by `dlopen` for five functions of its own, which
//! act on the same process-wide state:
//!
//! - `int hostile_command(const char *text)`: arms faults; 0, or -1 when not understood
//! - `uint64_t hostile_calls(const char *function)`: calls of a function since the last `reset`
//! - `uint64_t hostile_injected(void)`: injected faults since the last `reset`
//! - `uint64_t hostile_overlaps(void)`: calls that must not run together and did, since then
//! - `size_t hostile_list(char *buffer, size_t len)`: every fault as a ready command
//!
//! # Language
//!
//! One command a line (or before a `;`), `#` starts a comment:
//!
//! ```text
//! reset                              forget everything: faults, counts, a dead device
//! clear                              disarm every fault, wake every sleeper
//! fail FUNCTION|any CODE             return CODE, without forwarding
//! answer FUNCTION|any CODE           forward, then return CODE
//! delay FUNCTION|any MILLISECONDS    sleep, then go on
//! lose-sessions, logout              before the call, which is then forwarded
//! dead CODE                          CODE to every call until C_Finalize and C_Initialize
//! LIE [ARGUMENT]                     one of the list in README.md
//! storm SEED RATE MAX [calm CALLS]   RATE in a thousand calls struck, at most MAX, CALLS of
//!                                    peace after each (50)
//! hail SEED RATE MAX                 RATE in a thousand calls answered with one of ten codes
//! ```
//!
//! Behind every fault but `storm` and `hail`: `on FUNCTION`, `after N` (let N matching calls pass), `times M`
//! (strike M calls, default 1) or `always`. FUNCTION is `C_Encrypt` and the like; CODE a name with
//! or without `CKR_`, or a number. `any` spares C_Initialize, C_Finalize and C_GetFunctionList,
//! which must be named.
//!
//! A call that a fault cannot apply to, say another mechanism, is not a matching one. One call
//! suffers at most one of the general faults and one lie at each of its stages; the first armed
//! comes first.
//!
//! # Promises
//!
//! It never writes beyond a buffer of the caller, whatever length it returns. Faults that close
//! sessions or log out run while no other call is inside the real module.

#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod catalogue;
mod codes;
mod control;
mod exports;
mod faults;
mod forward;
mod functions;
mod manual;
mod overlaps;
mod plain;
mod script;
mod sessions;
mod slots;
mod stage;
mod storm;
