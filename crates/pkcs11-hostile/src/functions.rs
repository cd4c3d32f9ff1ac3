//! The functions of PKCS#11 version 2.40, and their names in commands.

/// Calls another macro with the name of every function, in the order of the function list.
macro_rules! with_functions {
    ($macro:ident) => {
        $macro! {
            C_Initialize C_Finalize C_GetInfo C_GetFunctionList C_GetSlotList C_GetSlotInfo
            C_GetTokenInfo C_GetMechanismList C_GetMechanismInfo C_InitToken C_InitPIN C_SetPIN
            C_OpenSession C_CloseSession C_CloseAllSessions C_GetSessionInfo C_GetOperationState
            C_SetOperationState C_Login C_Logout C_CreateObject C_CopyObject C_DestroyObject
            C_GetObjectSize C_GetAttributeValue C_SetAttributeValue C_FindObjectsInit C_FindObjects
            C_FindObjectsFinal C_EncryptInit C_Encrypt C_EncryptUpdate C_EncryptFinal C_DecryptInit
            C_Decrypt C_DecryptUpdate C_DecryptFinal C_DigestInit C_Digest C_DigestUpdate
            C_DigestKey C_DigestFinal C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit
            C_SignRecover C_VerifyInit C_Verify C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit
            C_VerifyRecover C_DigestEncryptUpdate C_DecryptDigestUpdate C_SignEncryptUpdate
            C_DecryptVerifyUpdate C_GenerateKey C_GenerateKeyPair C_WrapKey C_UnwrapKey C_DeriveKey
            C_SeedRandom C_GenerateRandom C_GetFunctionStatus C_CancelFunction C_WaitForSlotEvent
        }
    };
}
pub(crate) use with_functions;

macro_rules! functions {
    ($($name:ident)*) => {
        #[allow(non_camel_case_types, clippy::enum_variant_names)] // the standard's names
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Function { $($name),* }

        impl Function {
            pub(crate) const ALL: &'static [Function] = &[$(Function::$name),*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Function::$name => stringify!($name)),* }
            }
        }

        /// A copy of a function list in which one member is NULL.
        pub(crate) fn without(
            mut list: cryptoki_sys::CK_FUNCTION_LIST,
            member: Function,
        ) -> cryptoki_sys::CK_FUNCTION_LIST {
            match member { $(Function::$name => list.$name = None),* }
            list
        }
    };
}

with_functions!(functions);

impl Function {
    pub(crate) fn named(name: &str) -> Option<Function> {
        Self::ALL.iter().copied().find(|function| function.name() == name)
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Whether `any` excludes the function: with faults in these, no caller could recover.
    pub(crate) fn is_excluded(self) -> bool {
        matches!(self, Function::C_Initialize | Function::C_Finalize | Function::C_GetFunctionList)
    }
}
