//! Every wrong result: its name in commands, its functions and its effect.

use cryptoki_sys::{CK_ULONG, CKR_GENERAL_ERROR};

use crate::codes;
use crate::functions::Function::{self, *};

macro_rules! wrong_results {
    ($($wrong:ident $name:literal [$($function:ident)*] $does:literal)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum WrongResult { $($wrong),* }

        impl WrongResult {
            pub(crate) const ALL: &'static [WrongResult] = &[$(WrongResult::$wrong),*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(WrongResult::$wrong => $name),* }
            }

            /// The functions that can have this result.
            pub(crate) fn functions(self) -> &'static [Function] {
                match self { $(WrongResult::$wrong => &[$($function),*]),* }
            }

            pub(crate) fn does(self) -> &'static str {
                match self { $(WrongResult::$wrong => $does),* }
            }
        }
    };
}

wrong_results! {
    GcmIvIgnored "gcm-iv-ignored" [C_EncryptInit C_DecryptInit]
        "AES-GCM under an all-zero IV, without an error"
    GcmIvAltered "gcm-iv-altered" [C_EncryptInit]
        "AES-GCM under an IV of the token, which it does not return"
    GcmIvWritten "gcm-iv-written" [C_EncryptInit]
        "AES-GCM under an IV of the token, written back into pIv by C_EncryptInit"
    GcmIvWrittenLate "gcm-iv-written-late" [C_EncryptInit]
        "the same, written back by C_Encrypt: the caller's parameters must still be alive"
    GcmCloudHsm "gcm-cloudhsm" [C_EncryptInit]
        "AWS CloudHSM: MECHANISM_PARAM_INVALID unless the IV is zero, then an IV of the token, written back"
    GcmLuna "gcm-luna" [C_EncryptInit]
        "Luna in FIPS mode: an IV of the token, appended to ciphertext and tag; pIv untouched"
    GcmVendorPrepends "gcm-vendor-prepends" [C_EncryptInit C_DecryptInit C_GetMechanismList C_GetMechanismInfo]
        "offers CKM_CLOUDHSM_AES_GCM (0x80001087): pIv NULL, the IV is before the ciphertext"
    GcmAadIgnored "gcm-aad-ignored" [C_EncryptInit C_DecryptInit]
        "AES-GCM without the associated data: round trips succeed with any"
    GcmRefused "gcm-refused" [C_EncryptInit C_DecryptInit]
        "AES-GCM is listed, but MECHANISM_INVALID when used"
    CbcIvIgnored "cbc-iv-ignored" [C_EncryptInit C_DecryptInit]
        "AES-CBC under an all-zero IV, without an error"
    CbcIvAltered "cbc-iv-altered" [C_EncryptInit]
        "AES-CBC under an IV of the token, which it does not return"
    CbcIvWritten "cbc-iv-written" [C_EncryptInit]
        "AES-CBC under an IV of the token, written back into pParameter"
    LengthZero "length-zero" [C_Encrypt C_Decrypt C_Sign]
        "OK, all bytes written, the length is 0"
    LengthLess "length-less" [C_Encrypt C_Decrypt C_Sign]
        "OK, all bytes written, the length is one less"
    LengthMore "length-more" [C_Encrypt C_Decrypt C_Sign]
        "OK, all bytes written, the length is one more"
    LengthHuge "length-huge" [C_Encrypt C_Decrypt C_Sign]
        "OK, the length is CK_UNAVAILABLE_INFORMATION"
    LengthBeyond "length-beyond" [C_Encrypt C_Decrypt C_Sign]
        "OK, the length is one more than that of the caller's buffer"
    QueryZero "query-zero" [C_Encrypt C_Decrypt C_Sign]
        "the length query (output NULL) returns 0"
    QueryLess "query-less" [C_Encrypt C_Decrypt C_Sign]
        "the length query returns 16 bytes less, as NSS does for GCM"
    QueryHuge "query-huge" [C_Encrypt C_Decrypt C_Sign]
        "the length query returns CK_UNAVAILABLE_INFORMATION"
    BufferTooSmall "buffer-too-small" [C_Encrypt C_Decrypt C_Sign]
        "BUFFER_TOO_SMALL, and one byte more is requested"
    OutputShort "output-short" [C_Encrypt C_Decrypt C_Sign]
        "OK, the right length, but only the first half is written"
    OutputUntouched "output-untouched" [C_Encrypt C_Decrypt C_Sign]
        "OK, the right length, but nothing is written"
    OutputLonger "output-longer" [C_Encrypt C_Decrypt C_Sign]
        "OK, one more byte is written and counted, if the buffer has room"
    OutputZeros "output-zeros" [C_Encrypt C_Decrypt C_Sign]
        "OK, the right length, all bytes zero"
    OutputEcho "output-echo" [C_Encrypt C_Decrypt]
        "encrypts and decrypts by copying: round trips succeed, nothing is encrypted"
    FlipFirst "flip-first" [C_Encrypt C_Decrypt C_Sign]
        "OK, the lowest bit of the first byte flipped"
    FlipLast "flip-last" [C_Encrypt C_Decrypt C_Sign]
        "OK, the lowest bit of the last byte flipped (of a GCM ciphertext: the tag)"
    BadTagSays "bad-tag-says" [C_Decrypt]
        "a refused ciphertext is refused with another code (argument: CODE)"
    BadTagAccepted "bad-tag-accepted" [C_Decrypt]
        "a refused ciphertext is accepted, with a wrong plaintext"
    GoodDecryptSays "good-decrypt-says" [C_Decrypt]
        "a valid ciphertext is refused with a code (argument: CODE), nothing written"
    Stuck "stuck" [C_Encrypt C_Decrypt C_Sign]
        "GENERAL_ERROR, and every C_*Init in the session returns OPERATION_ACTIVE until it is closed"
    FindNothing "find-nothing" [C_FindObjects]
        "finds no object although there is one"
    FindTwice "find-twice" [C_FindObjects]
        "finds the first object twice"
    FindForeign "find-foreign" [C_FindObjects]
        "finds another object of the token instead (garbage if there is none)"
    FindGarbage "find-garbage" [C_FindObjects]
        "finds a handle of no object"
    FindBeyond "find-beyond" [C_FindObjects]
        "returns one more than the caller's buffer can have"
    FindHuge "find-huge" [C_FindObjects]
        "returns CK_UNAVAILABLE_INFORMATION as the count"
    AttributeExtractable "attribute-extractable" [C_GetAttributeValue]
        "CKA_EXTRACTABLE reads true"
    AttributeNotSensitive "attribute-not-sensitive" [C_GetAttributeValue]
        "CKA_SENSITIVE reads false"
    AttributeWrap "attribute-wrap" [C_GetAttributeValue]
        "CKA_WRAP and CKA_DECRYPT read true"
    AttributeUnwrap "attribute-unwrap" [C_GetAttributeValue]
        "CKA_UNWRAP and CKA_ENCRYPT read true"
    AttributeKeyType "attribute-key-type" [C_GetAttributeValue]
        "CKA_KEY_TYPE reads CKK_DES3"
    AttributeValueLen "attribute-value-len" [C_GetAttributeValue]
        "CKA_VALUE_LEN reads 16"
    AttributeUnavailable "attribute-unavailable" [C_GetAttributeValue]
        "OK, every length CK_UNAVAILABLE_INFORMATION"
    AttributeLengthGarbage "attribute-length-garbage" [C_GetAttributeValue]
        "OK, every length far beyond the caller's buffer"
    AttributeTypeInvalid "attribute-type-invalid" [C_GetAttributeValue]
        "ATTRIBUTE_TYPE_INVALID, every length CK_UNAVAILABLE_INFORMATION"
    TokenLabelNul "token-label-nul" [C_GetTokenInfo]
        "the label is padded with NULs, not with blanks"
    TokenLabelGarbage "token-label-garbage" [C_GetTokenInfo]
        "the label is not UTF-8"
    TokenTimeGarbage "token-time-garbage" [C_GetTokenInfo]
        "utcTime is not a time"
    TokenSerialOther "token-serial-other" [C_GetTokenInfo]
        "another serial number"
    TokenPinCountLow "token-pin-count-low" [C_GetTokenInfo]
        "CKF_USER_PIN_COUNT_LOW"
    TokenPinFinalTry "token-pin-final-try" [C_GetTokenInfo]
        "CKF_USER_PIN_FINAL_TRY"
    TokenPinLocked "token-pin-locked" [C_GetTokenInfo]
        "CKF_USER_PIN_LOCKED"
    TokenMaxSessions "token-max-sessions" [C_GetTokenInfo]
        "ulMaxSessionCount and ulMaxRwSessionCount are the argument (0: effectively infinite)"
    SlotsNone "slots-none" [C_GetSlotList]
        "no slot"
    SlotsGrow "slots-grow" [C_GetSlotList]
        "the count query returns one less than there are"
    SlotsShrink "slots-shrink" [C_GetSlotList]
        "the list has one entry less than the count query returned"
    SlotsHuge "slots-huge" [C_GetSlotList]
        "the count is CK_UNAVAILABLE_INFORMATION"
    SlotIdsChange "slot-ids-change" [C_Initialize]
        "from this C_Initialize on, every slot has another id"
    MechanismsWithoutGcm "mechanisms-without-gcm" [C_GetMechanismList]
        "the list lacks CKM_AES_GCM"
    MechanismsGrow "mechanisms-grow" [C_GetMechanismList]
        "the count query returns one less than there are"
    MechanismsHuge "mechanisms-huge" [C_GetMechanismList]
        "the count is CK_UNAVAILABLE_INFORMATION"
    MechanismNoEncrypt "mechanism-no-encrypt" [C_GetMechanismInfo]
        "flags without CKF_ENCRYPT and CKF_DECRYPT"
    LoginIgnored "login-ignored" [C_Login]
        "OK, and no user is logged in"
    SessionZero "session-zero" [C_OpenSession]
        "OK, handle 0, no session opened"
    SessionShared "session-shared" [C_OpenSession]
        "OK, the handle of a session that is already open"
    GenerateZero "generate-zero" [C_GenerateKey]
        "OK, handle 0, no key generated"
    GenerateExtractable "generate-extractable" [C_GenerateKey]
        "generates the key with CKA_EXTRACTABLE true, against the template"
    GenerateNotSensitive "generate-not-sensitive" [C_GenerateKey]
        "generates the key with CKA_SENSITIVE false, against the template"
    GenerateShort "generate-short" [C_GenerateKey]
        "generates a key of 16 bytes, against the template"
    DestroyIgnored "destroy-ignored" [C_DestroyObject]
        "OK, and the object is not destroyed"
    ListNullMember "list-null-member" [C_GetFunctionList]
        "a function list in which one member is NULL (argument: FUNCTION)"
    ListVersion3 "list-version-3" [C_GetFunctionList]
        "a function list of version 3.0, NULL after the members of 2.40"
    ListVersionGarbage "list-version-garbage" [C_GetFunctionList]
        "a function list of version 255.255"
    ListNull "list-null" [C_GetFunctionList]
        "OK, and NULL for a list"
}

/// The kind of an argument, with its default.
pub(crate) enum Argument {
    None,
    Code(CK_ULONG),
    Number(CK_ULONG),
    Function(Function),
}

impl WrongResult {
    pub(crate) fn named(name: &str) -> Option<WrongResult> {
        Self::ALL.iter().copied().find(|wrong| wrong.name() == name)
    }

    fn argument(self) -> Argument {
        match self {
            WrongResult::BadTagSays | WrongResult::GoodDecryptSays => {
                Argument::Code(CKR_GENERAL_ERROR)
            }
            WrongResult::TokenMaxSessions => Argument::Number(2),
            WrongResult::ListNullMember => Argument::Function(C_Encrypt),
            _ => Argument::None,
        }
    }

    /// Reads the argument, a function as its index; `None` if it is not valid.
    pub(crate) fn read_argument(self, word: Option<&str>) -> Option<CK_ULONG> {
        match (self.argument(), word) {
            (Argument::None, None) => Some(0),
            (Argument::None, Some(_)) => None,
            (Argument::Code(default) | Argument::Number(default), None) => Some(default),
            (Argument::Function(default), None) => Some(default.index() as CK_ULONG),
            (Argument::Code(_), Some(word)) => codes::parse(word),
            (Argument::Number(_), Some(word)) => CK_ULONG::try_from(codes::number(word)?).ok(),
            (Argument::Function(_), Some(word)) => {
                Function::named(word).map(|function| function.index() as CK_ULONG)
            }
        }
    }
}
