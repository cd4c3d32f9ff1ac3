//! Random faults that a caller can recover from. The same seed gives the same faults.

use cryptoki_sys::*;

use crate::commands::{Fault, RandomOptions};
use crate::functions::Function::{self, *};

pub(crate) struct RandomFaults {
    options: RandomOptions,
    state: u64,
    /// Eligible calls since the last fault.
    since_last: u64,
}

/// Return codes of a dead device.
pub(crate) const DEVICE_CODES: [CK_RV; 5] = [
    CKR_DEVICE_ERROR,
    CKR_DEVICE_REMOVED,
    CKR_TOKEN_NOT_PRESENT,
    CKR_GENERAL_ERROR,
    CKR_CRYPTOKI_NOT_INITIALIZED,
];

/// Return codes that any function may have once.
const TRANSIENT_CODES: [CK_RV; 4] =
    [CKR_GENERAL_ERROR, CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED, CKR_DEVICE_MEMORY];

/// Return codes of the command `random-codes`.
const RANDOM_CODES: [CK_RV; 10] = [
    CKR_GENERAL_ERROR,
    CKR_DEVICE_ERROR,
    CKR_FUNCTION_FAILED,
    CKR_DEVICE_MEMORY,
    CKR_HOST_MEMORY,
    CKR_SESSION_HANDLE_INVALID,
    CKR_SESSION_CLOSED,
    CKR_USER_NOT_LOGGED_IN,
    CKR_TOKEN_NOT_PRESENT,
    CKR_CRYPTOKI_NOT_INITIALIZED,
];

impl RandomFaults {
    pub(crate) fn new(options: RandomOptions) -> RandomFaults {
        RandomFaults { options, state: options.seed, since_last: options.gap }
    }

    /// The fault of this call, if it has one.
    pub(crate) fn draw(&mut self, function: Function) -> Option<Fault> {
        if self.options.max == 0 || !is_eligible(function) {
            return None;
        }
        if self.since_last < self.options.gap {
            self.since_last += 1;
            return None;
        }
        if self.below(1000) >= self.options.rate {
            return None;
        }
        self.options.max -= 1;
        self.since_last = 0;
        Some(self.pick(function))
    }

    /// Takes back a fault that could not be injected.
    pub(crate) fn put_back(&mut self) {
        self.options.max += 1;
    }

    fn pick(&mut self, function: Function) -> Fault {
        if self.options.codes_only {
            return Fault::Fail(RANDOM_CODES[self.below(RANDOM_CODES.len() as u64) as usize]);
        }
        let transient =
            Fault::Fail(TRANSIENT_CODES[self.below(TRANSIENT_CODES.len() as u64) as usize]);
        let uses_session = !matches!(function, C_OpenSession);
        let uses_key = matches!(function, C_EncryptInit | C_DecryptInit | C_SignInit);
        match self.below(12) {
            0 | 1 => Fault::LoseSessions,
            2 | 3 => Fault::Logout,
            4 if uses_session => Fault::Fail(CKR_SESSION_HANDLE_INVALID),
            5 if uses_key => Fault::Fail(CKR_KEY_HANDLE_INVALID),
            6 if uses_key => Fault::Fail(CKR_USER_NOT_LOGGED_IN),
            7 | 8 => Fault::Dead(DEVICE_CODES[self.below(DEVICE_CODES.len() as u64) as usize]),
            9 => Fault::Answer(CKR_DEVICE_ERROR),
            _ => transient,
        }
    }

    /// SplitMix64 modulo `limit`: the bias does not matter here.
    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Whether a call belongs to an operation that may be repeated. C_Login does not, since a token
/// counts wrong PINs.
fn is_eligible(function: Function) -> bool {
    matches!(
        function,
        C_EncryptInit
            | C_Encrypt
            | C_DecryptInit
            | C_Decrypt
            | C_SignInit
            | C_Sign
            | C_FindObjectsInit
            | C_FindObjects
            | C_OpenSession
            | C_GetSessionInfo
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(seed: u64) -> Vec<(usize, Fault)> {
        let mut random = RandomFaults::new(RandomOptions {
            seed,
            rate: 200,
            max: 100,
            gap: 3,
            codes_only: false,
        });
        (0..5000).filter_map(|call| Some((call, random.draw(C_EncryptInit)?))).collect()
    }

    #[test]
    fn same_seed_gives_same_faults() {
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
    }

    #[test]
    fn faults_are_limited_and_apart() {
        let faults = faults(7);
        assert_eq!(faults.len(), 100);
        assert!(faults.windows(2).all(|pair| pair[1].0 - pair[0].0 > 3));
    }

    #[test]
    fn every_kind_occurs() {
        let faults = faults(7);
        let has = |wanted: fn(&Fault) -> bool| faults.iter().any(|(_, fault)| wanted(fault));
        assert!(has(|fault| *fault == Fault::LoseSessions));
        assert!(has(|fault| *fault == Fault::Logout));
        assert!(has(|fault| matches!(fault, Fault::Answer(_))));
        for code in DEVICE_CODES {
            assert!(faults.iter().any(|(_, fault)| *fault == Fault::Dead(code)), "{code:#x}");
        }
    }
}
