//! Methods of [`Keyring`](super::Keyring) that call another keyring, or one method for both wraps.

/// Writes the named methods of an `impl Keyring`, each of which calls the keyring `$to`.
///
/// `wrap_for` writes `wrap` and `wrap_under`, which call a method of this name with no name and with theirs.
macro_rules! forward_keyring {
    ($this:ident => $to:expr; $($method:ident),+ $(,)?) => {$(
        $crate::keyring::forward_keyring!(@ $method $this $to);
    )+};
    (@ visit_primaries $this:ident $to:expr) => {
        fn visit_primaries(
            &$this,
            visit: &mut dyn FnMut(&$crate::keyring::PrimaryKey<'_>),
        ) -> Result<(), $crate::keyring::KeyringError> {
            ($to).visit_primaries(visit)
        }
    };
    (@ wrap $this:ident $to:expr) => {
        fn wrap(
            &$this,
            data_key: &$crate::crypto::secret::DataKey,
            context: &$crate::keyring::WrapContext<'_>,
            slots: &mut $crate::keyring::SlotWriter<'_>,
            rng: &mut $crate::random::KeyringRng<'_>,
        ) -> Result<(), $crate::keyring::KeyringError> {
            ($to).wrap(data_key, context, slots, rng)
        }
    };
    (@ wrap_under $this:ident $to:expr) => {
        fn wrap_under(
            &$this,
            name: $crate::format::KeyName<'_>,
            data_key: &$crate::crypto::secret::DataKey,
            context: &$crate::keyring::WrapContext<'_>,
            slots: &mut $crate::keyring::SlotWriter<'_>,
            rng: &mut $crate::random::KeyringRng<'_>,
        ) -> Result<(), $crate::keyring::KeyringError> {
            ($to).wrap_under(name, data_key, context, slots, rng)
        }
    };
    (@ wrap_for $this:ident $to:expr) => {
        fn wrap(
            &$this,
            data_key: &$crate::crypto::secret::DataKey,
            context: &$crate::keyring::WrapContext<'_>,
            slots: &mut $crate::keyring::SlotWriter<'_>,
            rng: &mut $crate::random::KeyringRng<'_>,
        ) -> Result<(), $crate::keyring::KeyringError> {
            ($to).wrap_for(None, data_key, context, slots, rng)
        }

        fn wrap_under(
            &$this,
            name: $crate::format::KeyName<'_>,
            data_key: &$crate::crypto::secret::DataKey,
            context: &$crate::keyring::WrapContext<'_>,
            slots: &mut $crate::keyring::SlotWriter<'_>,
            rng: &mut $crate::random::KeyringRng<'_>,
        ) -> Result<(), $crate::keyring::KeyringError> {
            ($to).wrap_for(Some(name), data_key, context, slots, rng)
        }
    };
    (@ holds $this:ident $to:expr) => {
        fn holds(
            &$this,
            name: $crate::format::KeyName<'_>,
            visit: &mut dyn FnMut($crate::format::KeyName<'_>),
        ) -> Result<(), $crate::keyring::KeyringError> {
            ($to).holds(name, visit)
        }
    };
    (@ unwrap $this:ident $to:expr) => {
        fn unwrap(
            &$this,
            slot: &$crate::format::Slot<'_>,
            context: &$crate::keyring::WrapContext<'_>,
            data_key: &mut $crate::crypto::secret::DataKey,
        ) -> Result<(), $crate::keyring::KeyringError> {
            ($to).unwrap(slot, context, data_key)
        }
    };
    (@ rewrap $this:ident $to:expr) => {
        fn rewrap(
            &$this,
            slot: &$crate::format::Slot<'_>,
            context: &$crate::keyring::WrapContext<'_>,
            slots: &mut $crate::keyring::SlotWriter<'_>,
            rng: &mut $crate::random::KeyringRng<'_>,
        ) -> Result<(), $crate::keyring::KeyringError> {
            ($to).rewrap(slot, context, slots, rng)
        }
    };
    (@ freshness $this:ident $to:expr) => {
        fn freshness(
            &$this,
            slot: &$crate::format::SlotLabel<'_>,
        ) -> Result<$crate::keyring::Freshness, $crate::keyring::KeyringError> {
            ($to).freshness(slot)
        }
    };
}

pub(crate) use forward_keyring;
