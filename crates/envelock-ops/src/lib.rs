#![doc = include_str!("../README.md")]
// Each item that a feature adds says so on docs.rs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs, rustdoc::broken_intra_doc_links)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

// Which file holds what:
//
//   definition  what a job does              job/      the state machine of a job, step by step
//   operation/  what is done to one header   work/     the state machine of one item
//   store, item, rewrite  a store's interface stores/  stores
//   checkpoint  the state between two pages  drivers/  who makes the calls, and has the clock
//   undo        old headers, and intents     shard, stage, limits, breaker   which items, and when
//   outcome, census, calls, strata, report    what came of it
//   planner     rewrap or a new encryption   test_util/  the suite for stores, a store with faults

mod breaker;
mod calls;
mod census;
mod checkpoint;
mod definition;
mod digest;
pub mod drivers;
mod error_text;
mod header_bytes;
mod item;
mod job;
mod latency;
mod limiter;
mod limits;
#[cfg(unix)]
mod medium;
mod operation;
mod outcome;
mod planner;
mod population;
mod report;
mod rewrite;
mod shard;
mod stage;
mod store;
mod store_error;
pub mod stores;
mod strata;
#[cfg(feature = "test-util")]
pub mod test_util;
mod undo;
mod work;

pub use breaker::{BackEnd, Outage};
pub use calls::{Calls, Prices};
pub use census::{Census, ItemFacts, MAX_USES, Unopenable, Use};
pub use checkpoint::{Adopted, Checkpoint, CheckpointError};
pub use definition::{CensusMode, Definition, Task, VersionName};
pub use item::{ItemKey, Listed, MAX_ITEM_KEY_LEN, Page};
pub use job::{End, Halt, Job, Probe, Scan, Scanned, Start, StartError, Step, UndoRoom};
pub use latency::Latency;
pub use limits::Limits;
#[cfg(unix)]
pub use medium::medium_id;
pub use operation::{EnvelopeOperation, Item, LabelCensus, Operation, Verdict};
pub use outcome::{Exclusion, Failure, Outcome, Tally};
pub use planner::{Advice, Cause, Need, advise};
pub use population::Population;
pub use report::{MergeError, Merged, Report, merge};
pub use rewrite::Rewrite;
pub use shard::{Shard, ShardError};
pub use stage::{FailureLimit, Stage, StageReport};
pub use store::{
    CompareAndSwap, Expected, MovesBodies, Properties, Replaced, Store, StoredHeader, StoredItem,
    Token,
};
pub use store_error::StoreError;
pub use strata::{MAX_STRATA, STRATUM_SAMPLE, Strata, Stratum, StratumCount};
pub use undo::{NotAnUndoLog, UndoIndex};
pub use work::{Call, Work};
