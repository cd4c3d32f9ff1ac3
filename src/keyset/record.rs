//! What is known of one version, none of it secret.

use super::VersionState;
use super::hold::Hold;
use super::labels::Labels;
use crate::format::{KeyVersion, MasterKeyId, WrapAlgorithm, index_bytes};
use crate::time::Timestamp;
use alloc::boxed::Box;
use core::fmt;

/// What is known of one version of a master key. Nothing here is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionRecord {
    /// The version.
    pub version: KeyVersion,
    /// Names its key material.
    pub master_key_id: MasterKeyId,
    /// How it wraps, for life.
    pub algorithm: WrapAlgorithm,
    /// Where its key material came from.
    pub origin: Origin,
    /// Its state. The primary is [`VersionState::Primary`].
    pub state: VersionState,
    /// Since when it is in that state.
    pub state_since: Timestamp,
    /// When it was added.
    pub created: Timestamp,
    /// When it was first promoted. Kept through a rollback and back.
    pub promoted: Option<Timestamp>,
    /// When it was last promoted, as far as that was noted: age counts from here.
    pub last_promoted: Option<Timestamp>,
    /// When it was marked compromised, whatever its state has been since.
    pub compromised: Option<Timestamp>,
    /// When its destruction is due, while that is scheduled.
    pub destroy_at: Option<Timestamp>,
    /// Since when an operator keeps it in its state: it was enabled again, or its destruction was
    /// cancelled. No policy takes it further; entering another state ends that, and so does
    /// [`Change::Release`](crate::keyset::Change::Release).
    pub kept: Option<Timestamp>,
    /// What keeps policies off it, and any destruction.
    pub hold: Option<Hold>,
    /// The SHA-256 digest of the judgement on which it was destroyed, if there was one. Boxed, so that a
    /// record has no room for one that is absent: moves would carry what lay on the stack along in it.
    pub evidence: Option<Box<[u8; 32]>>,
    /// How much was protected under it.
    pub usage: Usage,
    /// Whether the wraps of [`usage`](Self::usage) are those that were made or reserved: no less than
    /// were made. Else they are those that are known of: no more than were made.
    pub is_reserved: bool,
    /// The operator's own notes.
    pub labels: Labels,
    /// The number of the last change of this record, which usage is not: 0 if that is not known,
    /// as in a key file that was not changed since format version 1.
    pub changed: u64,
}

impl VersionRecord {
    /// What stands in bytes 25..37 of a header whose slot 0 is under this version: see
    /// [`SlotLabel::index_bytes`](crate::SlotLabel::index_bytes).
    pub fn index_bytes(&self) -> [u8; 12] {
        index_bytes(self.version, self.master_key_id)
    }

    /// The record of a version that was added at `now`: pending, unused, without labels.
    pub fn new(version: KeyVersion, material: NewMaterial, now: Timestamp) -> Self {
        let NewMaterial { master_key_id, algorithm, origin } = material;
        VersionRecord {
            version,
            master_key_id,
            algorithm,
            origin,
            state: VersionState::Pending,
            state_since: now,
            created: now,
            promoted: None,
            last_promoted: None,
            compromised: None,
            destroy_at: None,
            kept: None,
            hold: None,
            evidence: None,
            usage: Usage::default(),
            is_reserved: false,
            labels: Labels::default(),
            changed: 0,
        }
    }
}

/// What a keyring says of the key material of a version that it adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "keyrings of other crates make it")]
pub struct NewMaterial {
    /// Names the material.
    pub master_key_id: MasterKeyId,
    /// How it wraps, for life.
    pub algorithm: WrapAlgorithm,
    /// Where it came from.
    pub origin: Origin,
}

/// Where key material came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// Drawn from a random generator by the keyring.
    Generated,
    /// Handed in: others may have a copy.
    Imported,
    /// Made inside a token, and never outside of it.
    Token,
}

impl Origin {
    /// The name of the origin, as key files have it.
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Generated => "generated",
            Origin::Imported => "imported",
            Origin::Token => "token",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much was protected under a version, as far as is known.
///
/// A statistic, and as a rule a lower bound: what a process counted and could not write before it
/// was killed is missing. [`VersionRecord::is_reserved`] tells where wraps are reserved before they
/// are made, so that none is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two counters")]
pub struct Usage {
    /// Data keys wrapped, rewraps included.
    pub wraps: u64,
    /// Plaintext bytes encrypted under those data keys, where the length was known at the wrap.
    pub bytes: u64,
}

impl Usage {
    /// The sum of both, saturating.
    #[must_use]
    pub const fn plus(self, other: Usage) -> Self {
        Usage {
            // Saturates: a statistic, and so below.
            wraps: self.wraps.saturating_add(other.wraps),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// This less `other`, and no less than zero.
    #[must_use]
    pub const fn minus(self, other: Usage) -> Self {
        Usage {
            // Saturates: a statistic that went back counts nothing.
            wraps: self.wraps.saturating_sub(other.wraps),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}
