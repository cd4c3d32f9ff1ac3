//! Tokens that make the IV themselves, each in its own way: what is stored is the IV that was used,
//! so that every other token opens it (THREATS row 20).

use crate::hostile::{Hostile, PLAINTEXT, ROW, Scene, quick};
use envelock::{Envelope, Lifecycle, format::WrapAlgorithm, inspect};
use std::collections::BTreeSet;

/// AWS CloudHSM's own number for AES-GCM with a prepended IV.
const CKM_CLOUDHSM_AES_GCM: std::ffi::c_ulong = 0x8000_1087;

#[test]
fn whoever_makes_the_iv_it_is_the_one_that_is_stored() {
    let gcm = WrapAlgorithm::TOKEN_AES_256_GCM;
    let hostile = Hostile::new();
    for (lie, number, words) in [
        ("", None, "made here, taken by the token"),
        ("gcm-iv-written", None, "made here, taken by the token"),
        ("gcm-iv-written-late", None, "made here, taken by the token"),
        ("gcm-cloudhsm", None, "made by the token, written back to where zeros were"),
        ("gcm-luna", None, "made by the token, behind its output"),
        ("gcm-vendor-prepends", Some(CKM_CLOUDHSM_AES_GCM), "made by the token, before its output"),
    ] {
        let scene = Scene::new(gcm);
        let mut options = quick(gcm);
        if let Some(number) = number {
            options = options.gcm_mechanism(number);
        }
        hostile.tell("reset");
        if !lie.is_empty() {
            hostile.tell(&format!("{lie} always"));
        }
        let token = options.token().unwrap();
        let report = token.probe().unwrap();
        assert_eq!(report.algorithms[0].iv, Some(words), "{lie}: {report}");
        assert_eq!(report.chosen(), Some(gcm), "{lie}: {report}");

        let keyring = scene.open_by(&token).unwrap();
        keyring.rotate().unwrap();
        let envelope = Envelope::new(&keyring);
        let mut ivs = BTreeSet::new();
        let messages: Vec<_> = (0..20)
            .map(|_| {
                let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
                assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT, "{lie}");
                let header = inspect(&message).unwrap();
                let iv = header.slots().next().unwrap().wrapped_key[..12].to_vec();
                assert_ne!(iv, [0; 12], "{lie}");
                ivs.insert(iv);
                message
            })
            .collect();
        assert_eq!(ivs.len(), messages.len(), "{lie}: an IV came twice");

        // By a token that takes the IV it is given.
        hostile.tell("reset");
        for message in &messages {
            assert!(scene.opens(message), "{lie}");
        }
    }
}
