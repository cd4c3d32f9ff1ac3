//! Wrong results of C_Encrypt, C_Decrypt and C_Sign: lengths, bytes and return codes.
//!
//! The real module writes to a buffer of this one, and only what fits the caller's buffer is copied
//! there: a length may be wrong, but nothing is written beyond it.

use cryptoki_sys::*;

use crate::faults::iv::{self, GCM_IV};
use crate::functions::Function::{self, C_Decrypt, C_Encrypt, C_Sign};
use crate::real_module::call_real;
use crate::sessions::{self, Decrypting, DeferredInit, Encrypting, IvOut};
use crate::state;
use crate::wrong_results::WrongResult::{self, *};

/// How much more any mechanism may write than it reads: padding, tags, signatures.
const ROOM: usize = 4096;

/// The tag, which a length query of NSS for AES-GCM leaves out.
const TAG_LEN: CK_ULONG = 16;

/// The input of a call.
#[derive(Clone, Copy)]
pub(crate) struct Input {
    pub(crate) start: *mut u8,
    pub(crate) len: CK_ULONG,
}

impl Input {
    unsafe fn to_vec(self) -> Vec<u8> {
        if self.start.is_null() {
            return Vec::new();
        }
        // SAFETY: the caller's arguments.
        unsafe { std::slice::from_raw_parts(self.start, self.len as usize) }.to_vec()
    }
}

/// The output of a call.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) start: *mut u8,
    pub(crate) len: *mut CK_ULONG,
}

/// Bytes that are wiped on drop, so that searches for residue find only the caller's.
struct WipedBuffer(Vec<u8>);

impl Drop for WipedBuffer {
    fn drop(&mut self) {
        self.0.clear();
        self.0.resize(self.0.capacity(), 0);
        std::hint::black_box(&mut self.0);
    }
}

/// A call that returns bytes.
struct Delivery {
    function: Function,
    session: CK_SESSION_HANDLE,
    input: Input,
    /// The length of the tag after the ciphertext.
    tag: usize,
    /// How many bytes are added to the output of the real module.
    around: usize,
}

pub(crate) unsafe fn encrypt(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    input: Input,
    output: Output,
) -> CK_RV {
    let Encrypting { tag, iv } =
        sessions::with(session, |it| it.encrypting.clone()).unwrap_or_default();
    let around = match iv {
        IvOut::Appended(_) | IvOut::Prepended(_) => GCM_IV,
        _ => 0,
    };
    let delivery = Delivery { function: C_Encrypt, session, input, tag, around };
    let call = |start, len| {
        // SAFETY: the caller's input; an output of the caller or of `deliver`, with its length.
        unsafe { call_real!(real, C_Encrypt(session, input.start, input.len, start, len)) }
    };
    let finish = |bytes: &mut Vec<u8>| match iv {
        IvOut::Nowhere => {}
        // SAFETY: a test that arms this fault keeps the parameters alive until C_Encrypt.
        IvOut::Written(caller, iv) => unsafe { iv::write_back(caller, &iv) },
        IvOut::Appended(iv) => bytes.extend_from_slice(&iv),
        IvOut::Prepended(iv) => drop(bytes.splice(..0, iv)),
    };
    // SAFETY: the caller's arguments.
    unsafe { deliver(delivery, output, call, finish) }
}

pub(crate) unsafe fn decrypt(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    input: Input,
    output: Output,
) -> CK_RV {
    let Decrypting { tag, deferred } =
        sessions::with(session, |it| it.decrypting.clone()).unwrap_or_default();
    let input = match deferred {
        None => input,
        // SAFETY: the caller's arguments.
        Some(deferred) => match unsafe { begin_deferred(real, session, deferred, input, output) } {
            Ok(rest) => rest,
            Err(code) => return code,
        },
    };
    let delivery = Delivery { function: C_Decrypt, session, input, tag, around: 0 };
    let call = |start, len| {
        // SAFETY: the caller's input; an output of the caller or of `deliver`, with its length.
        unsafe { call_real!(real, C_Decrypt(session, input.start, input.len, start, len)) }
    };
    // SAFETY: the caller's arguments.
    unsafe { deliver(delivery, output, call, |_| {}) }
}

/// Begins the decryption of a ciphertext that starts with its IV. Returns the input after the IV, or
/// the code of a length query and of a buffer that is too small, which begin nothing.
unsafe fn begin_deferred(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    deferred: DeferredInit,
    input: Input,
    output: Output,
) -> Result<Input, CK_RV> {
    // SAFETY: the caller's variable for the length, or NULL.
    let Some(len) = (unsafe { output.len.as_mut() }) else { return Err(CKR_ARGUMENTS_BAD) };
    let tag = deferred.tag_bits as usize / 8;
    let Some(least) = (input.len as usize).checked_sub(GCM_IV + tag) else {
        sessions::with(session, |it| it.decrypting = Decrypting::default());
        return Err(CKR_ENCRYPTED_DATA_LEN_RANGE);
    };
    let is_query = output.start.is_null();
    if is_query || (*len as usize) < least {
        *len = least as CK_ULONG;
        return Err(if is_query { CKR_OK } else { CKR_BUFFER_TOO_SMALL });
    }
    sessions::with(session, |it| it.decrypting = Decrypting { tag, deferred: None });
    // SAFETY: the input is longer than an IV.
    let iv = unsafe { input.start.cast::<[u8; GCM_IV]>().read() };
    let mut aad = deferred.aad;
    let params = CK_GCM_PARAMS {
        pAAD: aad.as_mut_ptr(),
        ulAADLen: aad.len() as CK_ULONG,
        ulTagBits: deferred.tag_bits,
        ..CK_GCM_PARAMS::default()
    };
    let code = iv::with_gcm(params, &iv, |mechanism| {
        // SAFETY: a local mechanism, whose pointers are alive.
        unsafe { call_real!(real, C_DecryptInit(session, mechanism, deferred.key)) }
    });
    if code != CKR_OK {
        return Err(code);
    }
    // SAFETY: the input is longer than an IV.
    let start = unsafe { input.start.add(GCM_IV) };
    Ok(Input { start, len: input.len - GCM_IV as CK_ULONG })
}

pub(crate) unsafe fn sign(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    input: Input,
    output: Output,
) -> CK_RV {
    let delivery = Delivery { function: C_Sign, session, input, tag: 0, around: 0 };
    let call = |start, len| {
        // SAFETY: the caller's input; an output of the caller or of `deliver`, with its length.
        unsafe { call_real!(real, C_Sign(session, input.start, input.len, start, len)) }
    };
    // SAFETY: the caller's arguments.
    unsafe { deliver(delivery, output, call, |_| {}) }
}

/// Forwards a call, and returns its output or a wrong one.
unsafe fn deliver(
    delivery: Delivery,
    output: Output,
    call: impl Fn(*mut u8, *mut CK_ULONG) -> CK_RV,
    finish: impl FnOnce(&mut Vec<u8>),
) -> CK_RV {
    // SAFETY: the caller's variable for the length, or NULL.
    let Some(len) = (unsafe { output.len.as_mut() }) else { return call(output.start, output.len) };
    if output.start.is_null() {
        return query(&delivery, len, call);
    }
    let capacity = *len as usize;
    let read = delivery.input.len as usize;
    let wrong = match before(&delivery, capacity, len) {
        Ok(wrong) => wrong,
        Err(code) => return code,
    };
    let mut bytes = WipedBuffer(vec![0; capacity.min(read.saturating_add(ROOM))]);
    let given = bytes.0.len() as CK_ULONG;
    let mut written = given;
    let code = call(bytes.0.as_mut_ptr(), &mut written);
    bytes.0.truncate(written as usize);
    let code = if wrong == Some(OutputEcho) && code != CKR_BUFFER_TOO_SMALL {
        // SAFETY: the caller's input.
        bytes.0 = echo(&delivery, unsafe { delivery.input.to_vec() });
        CKR_OK
    } else if is_refusal(delivery.function, code) {
        change_refusal(&delivery, code, &mut bytes.0)
    } else {
        code
    };
    if code != CKR_OK {
        if written != given {
            *len = written;
        }
        return code;
    }
    finish(&mut bytes.0);
    let wrong = state::wrong_result(delivery.function, |wrong| match wrong {
        OutputLonger => bytes.0.len() < capacity,
        LengthLess | FlipFirst | FlipLast => !bytes.0.is_empty(),
        _ => is_about_output(wrong),
    });
    if let Some((GoodDecryptSays, other)) = wrong {
        return other;
    }
    let (reported, copied) = falsify(wrong.map(|(wrong, _)| wrong), &mut bytes.0, capacity);
    let copied = copied.min(capacity);
    // SAFETY: the caller's buffer holds `capacity` bytes, the local one at least `copied`.
    unsafe { output.start.copy_from_nonoverlapping(bytes.0.as_ptr(), copied) };
    *len = reported;
    CKR_OK
}

/// The fault that decides before the real module is called: a code to return, or a wrong result.
fn before(
    delivery: &Delivery,
    capacity: usize,
    len: &mut CK_ULONG,
) -> Result<Option<WrongResult>, CK_RV> {
    let wrong = state::wrong_result(delivery.function, |wrong| {
        matches!(wrong, BufferTooSmall | Stuck | OutputEcho)
    });
    match wrong {
        Some((BufferTooSmall, _)) => {
            *len = len.saturating_add(1);
            return Err(CKR_BUFFER_TOO_SMALL);
        }
        Some((Stuck, _)) => {
            sessions::with(delivery.session, |it| it.is_stuck = true);
            return Err(CKR_GENERAL_ERROR);
        }
        _ => {}
    }
    let least = delivery.input.len as usize + delivery.tag + delivery.around;
    if delivery.around > 0 && capacity < least {
        *len = least as CK_ULONG;
        return Err(CKR_BUFFER_TOO_SMALL);
    }
    Ok(wrong.map(|(wrong, _)| wrong))
}

/// The code for a ciphertext that the real module has refused.
fn change_refusal(delivery: &Delivery, code: CK_RV, bytes: &mut Vec<u8>) -> CK_RV {
    match state::wrong_result(delivery.function, |wrong| {
        matches!(wrong, BadTagSays | BadTagAccepted)
    }) {
        Some((BadTagSays, other)) => other,
        Some(_) => {
            *bytes = vec![0x5a; (delivery.input.len as usize).saturating_sub(delivery.tag)];
            CKR_OK
        }
        None => code,
    }
}

/// The result of a length query.
fn query(
    delivery: &Delivery,
    len: &mut CK_ULONG,
    call: impl Fn(*mut u8, *mut CK_ULONG) -> CK_RV,
) -> CK_RV {
    let code = call(std::ptr::null_mut(), len);
    if code != CKR_OK {
        return code;
    }
    *len += delivery.around as CK_ULONG;
    match state::wrong_result(delivery.function, |wrong| {
        matches!(wrong, QueryZero | QueryLess | QueryHuge)
    }) {
        Some((QueryZero, _)) => *len = 0,
        Some((QueryLess, _)) => *len = len.saturating_sub(TAG_LEN),
        Some(_) => *len = CK_UNAVAILABLE_INFORMATION,
        None => {}
    }
    CKR_OK
}

/// The output of a cipher that copies its input.
fn echo(delivery: &Delivery, mut bytes: Vec<u8>) -> Vec<u8> {
    let len = match delivery.function {
        C_Encrypt => bytes.len() + delivery.tag,
        _ => bytes.len().saturating_sub(delivery.tag),
    };
    bytes.resize(len, 0);
    bytes
}

/// Whether a token refuses a ciphertext with this code.
fn is_refusal(function: Function, code: CK_RV) -> bool {
    function == C_Decrypt
        && matches!(
            code,
            CKR_GENERAL_ERROR
                | CKR_FUNCTION_FAILED
                | CKR_DATA_INVALID
                | CKR_ENCRYPTED_DATA_INVALID
                | CKR_ENCRYPTED_DATA_LEN_RANGE
                | CKR_AEAD_DECRYPT_FAILED
        )
}

fn is_about_output(wrong: WrongResult) -> bool {
    matches!(
        wrong,
        LengthZero
            | LengthMore
            | LengthHuge
            | LengthBeyond
            | OutputShort
            | OutputUntouched
            | OutputZeros
            | GoodDecryptSays
    )
}

/// Changes the bytes. Returns the length to report, and how many bytes to copy.
fn falsify(wrong: Option<WrongResult>, bytes: &mut Vec<u8>, capacity: usize) -> (CK_ULONG, usize) {
    match wrong {
        Some(OutputLonger) => bytes.push(0xa5),
        Some(OutputZeros) => bytes.fill(0),
        Some(FlipFirst) => bytes.first_mut().into_iter().for_each(|byte| *byte ^= 1),
        Some(FlipLast) => bytes.last_mut().into_iter().for_each(|byte| *byte ^= 1),
        _ => {}
    }
    let (len, all) = (bytes.len() as CK_ULONG, bytes.len());
    match wrong {
        Some(LengthZero) => (0, all),
        Some(LengthLess) => (len - 1, all),
        Some(LengthMore) => (len + 1, all),
        Some(LengthHuge) => (CK_UNAVAILABLE_INFORMATION, all),
        Some(LengthBeyond) => ((capacity as CK_ULONG).saturating_add(1), all),
        Some(OutputShort) => (len, all / 2),
        Some(OutputUntouched) => (len, 0),
        _ => (len, all),
    }
}
