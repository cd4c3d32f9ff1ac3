//! The operations of an operator, as far as Transit has them.

use crate::{KeyConfig, KeyDescription, Transit};
use envelock::KeyVersion;
use envelock::keyset::{Change, Keyset, KeysetMap, LifecycleError, Material, Operation};
use envelock_remote::{Administer, ServiceError};

/// | change | in Transit |
/// |---|---|
/// | create, rotate | the same; a new version is the primary at once |
/// | disable | raises `min_decryption_version` by one: the oldest version that decrypts, and no other |
/// | enable | lowers it by one: the newest version that is disabled, and no other |
/// | destroy immediately | trims the oldest version, once it is disabled |
/// | others | [`LifecycleError::NotOffered`], with what to do instead |
impl Administer for Transit {
    async fn keysets(&self, key: &str) -> Result<KeysetMap, ServiceError> {
        let described = match self.describe_key(key).await {
            Err(ServiceError::UnknownKey) => return Ok(KeysetMap::new()),
            described => described?,
        };
        described.check(self.mount()).map_err(ServiceError::broken)?;
        let id = self.master_key_id(key).await?;
        described.record(id).map_err(ServiceError::broken)
    }

    fn check(
        &self,
        key: &str,
        before: &KeysetMap,
        change: &Change<'_>,
    ) -> Result<(), LifecycleError> {
        let Some((why, instead)) = lacking(before.keyset(key), change) else { return Ok(()) };
        let path = format!("{}/keys/{key}", self.mount());
        let (key, instead) = (key.into(), instead.replace("PATH", &path));
        Err(LifecycleError::NotOffered { key, why, instead })
    }

    async fn change(&self, before: &KeysetMap, change: &Change<'_>) -> Result<(), ServiceError> {
        match *change {
            Change::CreateKey { key, .. } => self.create_key(key).await,
            Change::Rotate { key } => {
                let newest = before.keyset(key).map_or(0, Keyset::highest_version);
                match self.describe_key(key).await?.latest.number() > newest {
                    true => Ok(()),
                    false => self.rotate(key).await,
                }
            }
            Change::Version { key, version, operation } => {
                let now = self.describe_key(key).await?;
                self.operate(key, &now, version, operation).await
            }
            _ => Err(ServiceError::broken("the change was not checked")),
        }
    }
}

impl Transit {
    async fn operate(
        &self,
        key: &str,
        now: &KeyDescription,
        version: KeyVersion,
        operation: Operation,
    ) -> Result<(), ServiceError> {
        // A key has far fewer versions than there are numbers.
        let next = version.next().unwrap_or(version);
        // Transit refuses to encrypt on request under what does not decrypt.
        let encrypts_from = now.min_encryption.filter(|oldest| *oldest >= next).unwrap_or(next);
        match operation {
            Operation::Enable if version < now.min_decryption => {
                let config = KeyConfig::default().with_min_decryption(version);
                self.configure(key, &config).await
            }
            Operation::Disable if version >= now.min_decryption => {
                let mut config = KeyConfig::default().with_min_decryption(next);
                if now.min_encryption.is_some() {
                    config = config.with_min_encryption(encrypts_from);
                }
                self.configure(key, &config).await
            }
            Operation::DestroyImmediately if version >= now.min_available => {
                let config = KeyConfig::default().with_min_encryption(encrypts_from);
                self.configure(key, &config).await?;
                self.trim(key, next).await
            }
            // It is made already.
            _ => Ok(()),
        }
    }
}

/// Returns what Transit lacks for a change, and what to do instead, in which `PATH` is that of the key.
fn lacking(keyset: Option<&Keyset>, change: &Change<'_>) -> Option<(String, String)> {
    let (why, instead) = match *change {
        // Refused as material that this keyring does not make.
        Change::AddVersion { material: Material::Imported(_), .. }
        | Change::CreateKey { material: Material::Imported(_), .. } => return None,
        Change::CreateKey { version: KeyVersion::FIRST, .. } => return None,
        Change::CreateKey { .. } => ("the first version of Transit is 1", "create it as that"),
        Change::Rotate { .. } | Change::Version { .. } if keyset.is_some_and(is_soft_deleted) => {
            ("it is soft-deleted", "restore it first: bao write -f PATH/soft-delete-restore")
        }
        Change::Rotate { .. } => return None,
        Change::Version { version, operation, .. } => {
            return of_version(keyset?, version, operation);
        }
        Change::AddVersion { .. } => {
            ("a new version of Transit is the primary at once", "rotate instead")
        }
        Change::RemoveRecords { .. } => {
            ("Transit counts its versions for ever", "leave the destroyed ones: they take no room")
        }
        Change::EraseKey { .. } => (
            "Transit deletes a key with its record, so that another can take its name",
            "if that is right: bao write PATH/config deletion_allowed=true, then bao delete PATH",
        ),
        Change::SetAlias { .. } | Change::RemoveAlias { .. } => {
            ("Transit has no aliases", "open the keyring by the name of the key")
        }
        Change::SetLabel { .. } => ("Transit has no labels", "keep them elsewhere"),
        Change::Hold { .. }
        | Change::Release { .. }
        | Change::RequireEvidence { .. }
        | Change::WaiveEvidence { .. } => (
            "Transit has neither holds nor evidence",
            "allow PATH/config and PATH/trim in no policy but that of the person who decides",
        ),
        Change::CorrectDates { .. } => ("the dates are those of the service", "correct its clock"),
        _ => ("Transit has no such change", "look for one of its own: bao path-help PATH"),
    };
    Some((why.into(), instead.into()))
}

/// A soft-deleted key has versions, and no primary.
fn is_soft_deleted(keyset: &Keyset) -> bool {
    keyset.primary().is_none()
}

fn of_version(
    keyset: &Keyset,
    version: KeyVersion,
    operation: Operation,
) -> Option<(String, String)> {
    let (why, instead) = match operation {
        Operation::MarkCompromised => (
            "Transit has no mark for a version that an attacker knows",
            "rotate, rewrap what is under the version, and disable it",
        ),
        Operation::ScheduleDestruction { .. }
        | Operation::CancelDestruction
        | Operation::Destroy => (
            "Transit destroys at once, and at no date",
            "disable the version, and destroy it immediately when no message is under it",
        ),
        Operation::Promote if keyset.primary() != Some(version) => {
            ("Transit encrypts under its newest version alone", "rotate instead")
        }
        Operation::Promote => return None,
        Operation::Enable | Operation::Disable | Operation::DestroyImmediately => {
            return out_of_order(keyset, version, operation);
        }
        _ => ("Transit has no such operation", "look for one of its own: bao path-help PATH"),
    };
    Some((why.into(), instead.into()))
}

/// Transit has one line between versions that are destroyed, disabled and enabled each, and moves it by versions.
fn out_of_order(
    keyset: &Keyset,
    version: KeyVersion,
    operation: Operation,
) -> Option<(String, String)> {
    let state = keyset.version(version)?.state;
    // What the state does not allow is refused by the records.
    state.after(operation)?;
    let mut alike = keyset.versions().iter().filter(|record| record.state == state);
    let (why, verb, first) = match operation {
        Operation::Enable => {
            ("Transit enables the newest disabled version alone", "enable", alike.next_back())
        }
        Operation::Disable => {
            ("Transit disables the oldest enabled version alone", "disable", alike.next())
        }
        _ => ("Transit destroys the oldest disabled version alone", "destroy", alike.next()),
    };
    let first = first.filter(|first| first.version != version)?.version;
    Some((why.into(), format!("{verb} version {first} first")))
}
