//! A transaction of changes, made on a copy of the keysets.

use super::{
    Change, ChangeOptions, EvidenceRule, Hold, Keyset, KeysetMap, LifecycleError, Material,
    NewMaterialFn, Operation, Transition, VersionState,
};
use crate::format::{KeyVersion, MasterKeyId};
use crate::wiped::clear_stack;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// A copy of the keysets with the changes made so far.
pub(super) struct Transaction {
    pub(super) keysets: KeysetMap,
    pub(super) transitions: Vec<Transition>,
    options: ChangeOptions,
    /// Every master key id on record; collected when the first version is added.
    ids: Option<BTreeSet<MasterKeyId>>,
}

impl Transaction {
    pub(super) fn new(keysets: KeysetMap, options: ChangeOptions) -> Self {
        Transaction { keysets, transitions: Vec::new(), options, ids: None }
    }

    pub(super) fn make<E: From<LifecycleError>>(
        &mut self,
        change: &Change<'_>,
        material: &mut NewMaterialFn<'_, E>,
    ) -> Result<(), E> {
        match *change {
            Change::CreateKey { key, version, material: source } => {
                self.keysets.insert(Keyset::new(key)?)?;
                self.add(key, Some(version), source, material)?;
                self.apply(key, version, Operation::Promote)?;
            }
            Change::AddVersion { key, version, material: source } => {
                self.add(key, version, source, material)?;
            }
            Change::Rotate { key } => {
                let version = self.add(key, None, Material::Fresh, material)?;
                self.apply(key, version, Operation::Promote)?;
            }
            Change::Version { key, version, operation } => self.apply(key, version, operation)?,
            Change::RemoveRecords { key, through } => self.remove_records(key, through)?,
            Change::EraseKey { key } => self.erase(key)?,
            Change::SetAlias { alias, key } => {
                self.transitions.push(self.keysets.set_alias(alias, key)?);
            }
            Change::RemoveAlias { alias } => {
                self.transitions.push(self.keysets.remove_alias(alias)?);
            }
            Change::SetLabel { key, version, name, value } => self.edit(key, |keyset| {
                let labels = &mut keyset.record_mut(version)?.labels;
                let set = labels.set(name, value);
                set.map_err(|fault| LifecycleError::Label { name: name.into(), fault })?;
                Ok(Transition::Label { key: keyset.name.clone(), version })
            })?,
            Change::Hold { key, version, reason } => {
                let hold = self.dated("hold", reason)?;
                self.set_hold(key, version, Some(hold))?;
            }
            Change::Release { key, version } => self.set_hold(key, version, None)?,
            Change::RequireEvidence { key } => self.set_evidence(key, None)?,
            Change::WaiveEvidence { key, reason } => {
                let waived = self.dated("evidence", reason)?;
                self.set_evidence(key, Some(waived))?;
            }
            Change::CorrectDates { key } => {
                let now = self.options.now();
                self.edit(key, |keyset| {
                    keyset.correct_dates(now);
                    Ok(Transition::Dates { key: keyset.name.clone() })
                })?;
            }
        }
        Ok(())
    }

    /// Edits the keyset of a name or alias and records the transition.
    fn edit(
        &mut self,
        key: &str,
        edit: impl FnOnce(&mut Keyset) -> Result<Transition, LifecycleError>,
    ) -> Result<(), LifecycleError> {
        let transition = edit(self.keysets.resolve_mut(key)?)?;
        self.transitions.push(transition);
        Ok(())
    }

    fn add<E: From<LifecycleError>>(
        &mut self,
        key: &str,
        version: Option<KeyVersion>,
        source: Material<'_>,
        material: &mut NewMaterialFn<'_, E>,
    ) -> Result<KeyVersion, E> {
        let keyset = self.keysets.resolve(key)?;
        let version = match version {
            Some(version) => version,
            None => keyset.next_version()?,
        };
        // No material is made for a version that cannot be added.
        keyset.check_free(version)?;
        let new = material(keyset.name(), version, source)?;
        clear_stack();
        // Ids of destroyed and removed versions count as well: destroyed material must not return
        // under another number.
        let records = self.keysets.iter().flat_map(Keyset::ids);
        let ids = self.ids.get_or_insert_with(|| records.collect());
        if !ids.insert(new.master_key_id) {
            return Err(LifecycleError::KeyMaterial.into());
        }
        let now = self.options.now();
        self.edit(key, |keyset| {
            keyset.add(version, new, now)?;
            Ok(Transition::Added { key: keyset.name.clone(), version })
        })?;
        Ok(version)
    }

    fn apply(
        &mut self,
        key: &str,
        version: KeyVersion,
        operation: Operation,
    ) -> Result<(), LifecycleError> {
        let keyset = self.keysets.resolve_mut(key)?;
        let former = keyset.primary().filter(|former| *former != version);
        let states = |keyset: &Keyset| {
            [former, Some(version)].map(|version| Some(keyset.version(version?)?.state))
        };
        let before = states(keyset);
        keyset.apply(version, operation, &self.options)?;
        let versions = [former, Some(version)].into_iter();
        for ((version, from), to) in versions.zip(before).zip(states(keyset)) {
            if let (Some(version), Some(from), Some(to)) = (version, from, to)
                && from != to
            {
                let key = keyset.name.clone();
                self.transitions.push(Transition::State { key, version, from, to });
            }
        }
        Ok(())
    }

    fn remove_records(&mut self, key: &str, through: KeyVersion) -> Result<(), LifecycleError> {
        let keyset = self.keysets.resolve_mut(key)?;
        let before = keyset.floor();
        keyset.remove_records(through)?;
        let (key, floor) = (keyset.name.clone(), keyset.floor());
        if floor != before {
            self.transitions.push(Transition::RecordsRemoved { key, floor });
        }
        Ok(())
    }

    fn erase(&mut self, key: &str) -> Result<(), LifecycleError> {
        let keyset = self.keysets.resolve_mut(key)?;
        let before: Vec<_> = keyset.versions.iter().map(|it| (it.version, it.state)).collect();
        keyset.erase(&self.options)?;
        let to = VersionState::Destroyed;
        for (version, from) in before.into_iter().filter(|(_, from)| *from != to) {
            let key = keyset.name.clone();
            self.transitions.push(Transition::State { key, version, from, to });
        }
        self.transitions.push(Transition::Erased { key: keyset.name.clone() });
        Ok(())
    }

    /// Returns an operator's reason with the date of the change. `subject` names it in the error.
    fn dated(&self, subject: &str, reason: &str) -> Result<Hold, LifecycleError> {
        let hold = Hold::new(self.options.now(), reason);
        hold.map_err(|fault| LifecycleError::Label { name: subject.into(), fault })
    }

    fn set_hold(
        &mut self,
        key: &str,
        version: Option<KeyVersion>,
        hold: Option<Hold>,
    ) -> Result<(), LifecycleError> {
        let is_held = hold.is_some();
        self.edit(key, |keyset| {
            keyset.set_hold(version, hold)?;
            Ok(Transition::Hold { key: keyset.name.clone(), version, is_held })
        })
    }

    fn set_evidence(&mut self, key: &str, waived: Option<Hold>) -> Result<(), LifecycleError> {
        let is_required = waived.is_none();
        self.edit(key, |keyset| {
            keyset.key.evidence = EvidenceRule::new(is_required);
            keyset.key.evidence_waived = waived.or(keyset.key.evidence_waived.take());
            Ok(Transition::Evidence { key: keyset.name.clone(), is_required })
        })
    }
}
