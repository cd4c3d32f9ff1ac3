//! Shards: parts of a job that several workers do without a coordinator.

use crate::digest::fraction;
use crate::item::ItemKey;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One part of a job, a pure function of index, count and the key of an item.
///
/// Each worker lists all items and skips those of other shards. Two workers with the same shard harm nothing: the
/// store compares before it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    index: u32,
    count: u32,
}

/// Why there is no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// The index is not below the count.
    #[error("shard {index} of {count} does not exist: indexes go from 0 to {count} - 1")]
    OutOfRange {
        /// The index.
        index: u32,
        /// The count.
        count: u32,
    },
    /// A variable has no number.
    #[error("{variable} is {value:?}, not a number")]
    NotANumber {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The index is set and the count is not.
    #[error("{index} is set and {count} is not: set it to the number of tasks")]
    NoCount {
        /// The variable with the index.
        index: &'static str,
        /// The variable that is missing.
        count: &'static str,
    },
    /// Two schedulers set variables that do not agree.
    #[error("the variables of {0} and {1} name different shards: give the shard explicitly")]
    Ambiguous(&'static str, &'static str),
    /// No variable of a known scheduler is set.
    #[error("no variable of a known scheduler is set: give the shard explicitly")]
    Unknown,
}

/// The variables of one scheduler.
struct Scheduler {
    name: &'static str,
    index: &'static str,
    count: &'static str,
    /// The variable with the lowest index, and with the step, where they need not be 0 and 1.
    first: Option<(&'static str, &'static str)>,
}

/// What the schedulers set, by their manuals. Kubernetes sets no count: the manifest passes `.spec.completions` as
/// `JOB_COMPLETIONS`.
const SCHEDULERS: [Scheduler; 5] = [
    Scheduler {
        name: "Slurm",
        index: "SLURM_ARRAY_TASK_ID",
        count: "SLURM_ARRAY_TASK_COUNT",
        first: Some(("SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP")),
    },
    Scheduler {
        name: "Kubernetes",
        index: "JOB_COMPLETION_INDEX",
        count: "JOB_COMPLETIONS",
        first: None,
    },
    Scheduler {
        name: "AWS Batch",
        index: "AWS_BATCH_JOB_ARRAY_INDEX",
        count: "AWS_BATCH_JOB_ARRAY_SIZE",
        first: None,
    },
    Scheduler {
        name: "GCP Batch",
        index: "BATCH_TASK_INDEX",
        count: "BATCH_TASK_COUNT",
        first: None,
    },
    Scheduler {
        name: "Cloud Run",
        index: "CLOUD_RUN_TASK_INDEX",
        count: "CLOUD_RUN_TASK_COUNT",
        first: None,
    },
];

impl Shard {
    /// The one shard of a job that is not divided.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Returns shard `index` of `count`, from 0.
    ///
    /// # Errors
    ///
    /// [`ShardError::OutOfRange`].
    pub const fn new(index: u32, count: u32) -> Result<Self, ShardError> {
        if index < count {
            Ok(Shard { index, count })
        } else {
            Err(ShardError::OutOfRange { index, count })
        }
    }

    /// Returns the shard of the scheduler that started this process: Slurm, Kubernetes Indexed Jobs, AWS Batch, GCP
    /// Batch or Cloud Run. `variable` looks up a variable of the environment.
    ///
    /// # Errors
    ///
    /// [`ShardError`]. Without any variable, [`ShardError::Unknown`]: a guess of the whole would let each of many
    /// workers do everything.
    pub fn auto(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ShardError> {
        let number = |name: &'static str| match variable(name) {
            None => Ok(None),
            Some(value) => match value.trim().parse::<u32>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(ShardError::NotANumber { variable: name, value }),
            },
        };
        let mut found: Option<(&'static str, Shard)> = None;
        for Scheduler { name, index, count, first } in &SCHEDULERS {
            let Some(mut at) = number(index)? else { continue };
            let of = number(count)?.ok_or(ShardError::NoCount { index, count })?;
            if let Some((first, step)) = first {
                let (first, step) = (number(first)?.unwrap_or(0), number(step)?.unwrap_or(1));
                at = at.checked_sub(first).map_or(u32::MAX, |at| at / step.max(1));
            }
            let shard = Shard::new(at, of)?;
            match found {
                Some((other, before)) if before != shard => {
                    return Err(ShardError::Ambiguous(other, name));
                }
                _ => found = Some((name, shard)),
            }
        }
        found.map(|(_, shard)| shard).ok_or(ShardError::Unknown)
    }

    /// Returns the index, from 0.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Returns how many shards the job has.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// Returns whether this shard has the item.
    pub fn has(self, key: &ItemKey) -> bool {
        // A count of 0 is never made, and is refused where it is read.
        self.count == 1
            || fraction(&[b"envelock shard v1", key.as_bytes()]).checked_rem(u64::from(self.count))
                == Some(u64::from(self.index))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(set: &[(&str, &str)]) -> Result<Shard, ShardError> {
        Shard::auto(|name| {
            set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn auto_reads_each_scheduler() {
        let shard = Shard::new(3, 16);
        for set in [
            [("JOB_COMPLETION_INDEX", "3"), ("JOB_COMPLETIONS", "16")],
            [("AWS_BATCH_JOB_ARRAY_INDEX", "3"), ("AWS_BATCH_JOB_ARRAY_SIZE", "16")],
            [("BATCH_TASK_INDEX", "3"), ("BATCH_TASK_COUNT", "16")],
            [("CLOUD_RUN_TASK_INDEX", "3"), ("CLOUD_RUN_TASK_COUNT", "16")],
            [("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_COUNT", "16")],
        ] {
            assert_eq!(auto(&set), shard);
        }
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "7"),
            ("SLURM_ARRAY_TASK_COUNT", "16"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
        ];
        assert_eq!(auto(&slurm), shard);
    }

    #[test]
    fn auto_never_guesses() {
        assert_eq!(auto(&[]), Err(ShardError::Unknown));
        let no_count = auto(&[("JOB_COMPLETION_INDEX", "3")]);
        assert!(matches!(no_count, Err(ShardError::NoCount { .. })));
        let text = auto(&[("BATCH_TASK_INDEX", "x"), ("BATCH_TASK_COUNT", "4")]);
        assert!(matches!(text, Err(ShardError::NotANumber { .. })));
        let beyond = auto(&[("BATCH_TASK_INDEX", "4"), ("BATCH_TASK_COUNT", "4")]);
        assert_eq!(beyond, Err(ShardError::OutOfRange { index: 4, count: 4 }));
        let two = auto(&[
            ("BATCH_TASK_INDEX", "1"),
            ("BATCH_TASK_COUNT", "4"),
            ("CLOUD_RUN_TASK_INDEX", "2"),
            ("CLOUD_RUN_TASK_COUNT", "4"),
        ]);
        assert!(matches!(two, Err(ShardError::Ambiguous("GCP Batch", "Cloud Run"))));
    }

    #[test]
    fn each_item_has_one_shard() {
        for number in 0..1000_u32 {
            let key = ItemKey::new(number.to_be_bytes()).expect("4 bytes");
            let shards = (0..7).filter(|&index| Shard::new(index, 7).expect("below 7").has(&key));
            assert_eq!(shards.count(), 1);
        }
    }
}
