//! Limits of a job, which can be changed while it runs.

use serde::{Deserialize, Serialize};

/// The limits of a job. All can be changed while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "callers set some fields and take the others from `default`"
)]
pub struct Limits {
    /// Items that are begun in a second; `None` for no limit. 0 pauses the job.
    pub items_per_second: Option<u32>,
    /// Bytes of messages that are written as a whole in a second, as [`Calls::moved_bytes`](crate::Calls::moved_bytes) counts them.
    pub bytes_per_second: Option<u64>,
    /// Calls of the store in a second: pages that are listed, headers that are read or replaced.
    pub requests_per_second: Option<u32>,
    /// Calls of the keys in a second, as [`Calls::keys`](crate::Calls::keys) counts them.
    pub key_calls_per_second: Option<u32>,
    /// Items at the same time, at most. At least 1.
    pub concurrency: u16,
    /// Items that are changed before the job halts; `None` for no limit. Counted over all runs.
    pub budget: Option<u64>,
    /// What calls may cost by the prices of the definition before the job halts, in billionths of a unit of currency; `None`
    /// for no limit. Counted over all runs. What attempts cost that are made again can come on top.
    pub spend: Option<u64>,
    /// No item is begun before this time, in seconds since 1970: the start of the next window, which the caller
    /// computes from its calendar.
    pub closed_until: u64,
    /// No item is begun from this time on, in seconds since 1970: the end of a window. Later than
    /// [`closed_until`](Self::closed_until), or without effect.
    pub closes_at: Option<u64>,
    /// How long a back end may be away before the job halts, in seconds; `None` for ever. 300 by default.
    pub outage_seconds: Option<u64>,
}

impl Default for Limits {
    /// Returns a concurrency of at most 8, five minutes for an outage, and no other limit.
    fn default() -> Self {
        Limits {
            items_per_second: None,
            bytes_per_second: None,
            requests_per_second: None,
            key_calls_per_second: None,
            concurrency: 8,
            budget: None,
            spend: None,
            closed_until: 0,
            closes_at: None,
            outage_seconds: Some(300),
        }
    }
}

impl Limits {
    /// Reads limits from JSON, such as `{"items_per_second":500}`. What it leaves out is as by default.
    ///
    /// # Errors
    ///
    /// The text of the error of the parser.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }
}
