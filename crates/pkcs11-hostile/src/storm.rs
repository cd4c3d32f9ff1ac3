//! A random mixture of faults that a caller can recover from, the same for the same seed.

use cryptoki_sys::*;

use crate::functions::Function::{self, *};
use crate::script::{Fault, StormOrder};

pub(crate) struct Storm {
    order: StormOrder,
    state: u64,
    /// Eligible calls since the last fault.
    quiet: u64,
}

/// What a dead device answers.
pub(crate) const DEATHS: [CK_RV; 5] = [
    CKR_DEVICE_ERROR,
    CKR_DEVICE_REMOVED,
    CKR_TOKEN_NOT_PRESENT,
    CKR_GENERAL_ERROR,
    CKR_CRYPTOKI_NOT_INITIALIZED,
];

/// What any function may answer once.
const HICCUPS: [CK_RV; 4] =
    [CKR_GENERAL_ERROR, CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED, CKR_DEVICE_MEMORY];

/// What a call answers in a hail.
const HAIL: [CK_RV; 10] = [
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

impl Storm {
    pub(crate) fn new(order: StormOrder) -> Storm {
        Storm { order, state: order.seed, quiet: order.calm }
    }

    /// What strikes this call, if anything.
    pub(crate) fn draw(&mut self, function: Function) -> Option<Fault> {
        if self.order.max == 0 || !is_eligible(function) {
            return None;
        }
        if self.quiet < self.order.calm {
            self.quiet += 1;
            return None;
        }
        if self.below(1000) >= self.order.rate {
            return None;
        }
        self.order.max -= 1;
        self.quiet = 0;
        Some(self.pick(function))
    }

    /// Takes back a fault that could not be injected.
    pub(crate) fn refund(&mut self) {
        self.order.max += 1;
    }

    fn pick(&mut self, function: Function) -> Fault {
        if self.order.codes_only {
            return Fault::Fail(HAIL[self.below(HAIL.len() as u64) as usize]);
        }
        let hiccup = Fault::Fail(HICCUPS[self.below(HICCUPS.len() as u64) as usize]);
        let uses_session = !matches!(function, C_OpenSession);
        let uses_key = matches!(function, C_EncryptInit | C_DecryptInit | C_SignInit);
        match self.below(12) {
            0 | 1 => Fault::LoseSessions,
            2 | 3 => Fault::Logout,
            4 if uses_session => Fault::Fail(CKR_SESSION_HANDLE_INVALID),
            5 if uses_key => Fault::Fail(CKR_KEY_HANDLE_INVALID),
            6 if uses_key => Fault::Fail(CKR_USER_NOT_LOGGED_IN),
            7 | 8 => Fault::Dead(DEATHS[self.below(DEATHS.len() as u64) as usize]),
            9 => Fault::Answer(CKR_DEVICE_ERROR),
            _ => hiccup,
        }
    }

    /// SplitMix64, reduced: the bias does not matter here.
    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// The calls on the way of an operation. Management is left alone, which nobody may repeat
/// blindly, and so is C_Login, where repeating costs tries.
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
        let mut storm =
            Storm::new(StormOrder { seed, rate: 200, max: 100, calm: 3, codes_only: false });
        (0..5000).filter_map(|call| Some((call, storm.draw(C_EncryptInit)?))).collect()
    }

    #[test]
    fn same_seed_same_storm() {
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
    }

    #[test]
    fn as_many_as_ordered_and_calm_between() {
        let faults = faults(7);
        assert_eq!(faults.len(), 100);
        assert!(faults.windows(2).all(|pair| pair[1].0 - pair[0].0 > 3));
    }

    #[test]
    fn every_kind_comes() {
        let faults = faults(7);
        let has = |wanted: fn(&Fault) -> bool| faults.iter().any(|(_, fault)| wanted(fault));
        assert!(has(|fault| *fault == Fault::LoseSessions));
        assert!(has(|fault| *fault == Fault::Logout));
        assert!(has(|fault| matches!(fault, Fault::Answer(_))));
        for code in DEATHS {
            assert!(faults.iter().any(|(_, fault)| *fault == Fault::Dead(code)), "{code:#x}");
        }
    }
}
