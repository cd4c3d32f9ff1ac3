//! Listings: pages of items, and pages of headers that are counted while they are listed.

use super::page::PageWork;
use super::{Halt, Job, Phase, Step};
use crate::breaker::Sign;
use crate::calls::Calls;
use crate::census::LabelCounts;
use crate::checkpoint::Checkpoint;
use crate::definition::{CensusMode, Definition, Task};
use crate::limits::Limits;
use crate::operation::Operation;
use crate::outcome::{Exclusion, Outcome, Tally};
use crate::population::Population;
use crate::work::Work;
use std::collections::VecDeque;
use std::time::Duration;

use crate::item::{ItemKey, Listed, Page};
use crate::shard::Shard;
use crate::store::{Store, StoredItem};
use crate::store_error::StoreError;
use envelock::inspect;

/// The most items of the first page of a run, before its time is known: what follows can be ten times as large.
pub(super) const FIRST_PAGE: usize = 50;

/// How long a page is meant to take, in milliseconds.
const PAGE_TIME: u128 = 5_000;

/// A page of a census of labels, which needs no call for each item where the store lists headers.
#[derive(Debug)]
pub struct Scan {
    after: Option<ItemKey>,
    most: usize,
    shard: Shard,
    allowed_names: Vec<String>,
}

/// What a [`Scan`] found.
#[derive(Debug)]
pub struct Scanned(pub(super) Found);

#[derive(Debug)]
pub(super) enum Found {
    /// The store lists no headers.
    Listed(Page),
    Counted(Counts),
    /// The store listed this key out of order.
    Disorder(ItemKey),
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) census: LabelCounts,
    /// How many items the census has.
    pub(super) counted: u64,
    /// The items of the shard that are not in the census: each is read, and has an outcome of its own.
    pub(super) rest: Vec<Listed>,
    pub(super) last: Option<ItemKey>,
    pub(super) is_last: bool,
}

impl Scan {
    pub(super) fn new(
        after: Option<ItemKey>,
        most: usize,
        shard: Shard,
        definition: &Definition,
    ) -> Self {
        Scan { after, most, shard, allowed_names: definition.allowed_names.clone() }
    }

    /// Makes the call, and counts what it lists.
    ///
    /// # Errors
    ///
    /// Those of [`Store::scan`] and of [`Store::list`].
    pub fn run(&self, store: &dyn Store) -> Result<Scanned, StoreError> {
        let mut counts = Counts::default();
        let mut last = self.after.as_ref().map_or(Vec::new(), |after| after.as_bytes().to_vec());
        let mut disorder = None;
        let scanned = store.scan(self.after.as_ref(), self.most, &mut |item| {
            let key = item.key.as_bytes();
            if *last >= *key {
                disorder.get_or_insert_with(|| item.key.clone());
            }
            // One allocation for the page, not one for each key.
            last.clear();
            last.extend_from_slice(key);
            self.count(&item, &mut counts);
        })?;
        let Some(is_last) = scanned else {
            let page = store.list(self.after.as_ref(), self.most)?;
            return Ok(Scanned(Found::Listed(page)));
        };
        let last = ItemKey::new(last).filter(|last| self.after.as_ref() != Some(last));
        Ok(Scanned(match disorder {
            Some(key) => Found::Disorder(key),
            None => Found::Counted(Counts { last, is_last, ..counts }),
        }))
    }

    fn count(&self, item: &StoredItem<'_>, counts: &mut Counts) {
        if !self.shard.has(item.key) {
            return;
        }
        let header = inspect(item.header).ok();
        let is_allowed = |name: &str| self.allowed_names.iter().any(|allowed| allowed == name);
        match header {
            Some(header)
                if self.allowed_names.is_empty()
                    || header.slots().all(|slot| is_allowed(slot.label.name.as_str())) =>
            {
                counts.census.count(header.slots().map(|slot| slot.label), item.bytes.unwrap_or(0));
                counts.counted += 1;
            }
            _ => counts.rest.push(Listed::new(item.key.clone(), item.bytes)),
        }
    }
}

impl Job {
    pub(super) fn list(&mut self, now: Duration, operation: &dyn Operation) -> Step {
        if let Err(until) = self.limiter.begin_listing(now) {
            return Step::Wait { until: Some(until) };
        }
        let most = self.limiter.page(self.page_size);
        let after = self.state.after.clone();
        let Checkpoint { definition, shard, .. } = &self.state;
        // What limits each item begins each by itself.
        let Limits { items_per_second, spend, .. } = self.limiter.limits();
        let scans = operation.counts_labels()
            && definition.task == Task::Census { mode: CensusMode::Labels }
            && definition.stages.len() == 1
            && items_per_second.is_none()
            && spend.is_none();
        if scans {
            Step::Scan(Scan::new(after, most, *shard, definition))
        } else {
            Step::List { after, most }
        }
    }

    /// Takes the result of [`Step::Scan`].
    pub fn scanned(&mut self, scanned: Result<Scanned, StoreError>, now: Duration) {
        let counts = match scanned.map(|scanned| scanned.0) {
            Err(error) => return self.listed(Err(error), now),
            Ok(Found::Listed(page)) => return self.listed(Ok(page), now),
            Ok(Found::Disorder(key)) => {
                self.was_listed(now);
                self.halt = Some(Halt::Order(key));
                return;
            }
            Ok(Found::Counted(counts)) => counts,
        };
        self.was_listed(now);
        self.limiter.store_works();
        if counts.last.is_none() && !counts.is_last {
            self.halt = Some(Halt::NoProgress);
            return;
        }
        // No read follows that would say so.
        self.limiter.probes(now);
        self.limiter.saw(Sign::Works, Sign::Unknown, now);
        let Counts { census, counted, rest, last, is_last } = counts;
        self.begin_page(rest, last, is_last, now);
        self.page.tally.listed += counted;
        self.page.tally.current += counted;
        // A hash of each key would cost as much as the rest, and labels are no evidence.
        self.page.population = None;
        self.page.census = census.finish();
    }

    fn was_listed(&mut self, now: Duration) {
        let call = Calls { lists: 1, ..Calls::default() };
        self.state.calls = self.state.calls.plus(call);
        self.limiter.charge(call, now);
    }

    /// Takes the result of [`Step::List`].
    pub fn listed(&mut self, page: Result<Page, StoreError>, now: Duration) {
        self.was_listed(now);
        let page = match page {
            Ok(page) => page,
            Err(error) if error.is_retryable() => return self.store_failed(&error, now),
            Err(error) => {
                self.halt = Some(Halt::Listing(error));
                return;
            }
        };
        self.limiter.store_works();
        let mut before = self.state.after.as_ref();
        for item in &page.items {
            if before.is_some_and(|before| *before >= item.key) {
                self.halt = Some(Halt::Order(item.key.clone()));
                return;
            }
            before = Some(&item.key);
        }
        if page.items.is_empty() && !page.is_last {
            self.halt = Some(Halt::NoProgress);
            return;
        }
        let last = before.cloned();
        self.begin_page(page.items, last, page.is_last, now);
    }

    fn begin_page(
        &mut self,
        items: Vec<Listed>,
        last: Option<ItemKey>,
        is_last: bool,
        now: Duration,
    ) {
        let Checkpoint { definition, shard, stage, .. } = &self.state;
        let is_mine = |key: &ItemKey| shard.has(key) && definition.stage_of(key) == *stage;
        let writes = definition.writes();
        let mut works = VecDeque::with_capacity(items.len());
        let (mut links, mut of_links) = (Tally::default(), Population::default());
        for item in items {
            if is_mine(&item.key) && item.is_link {
                links.listed += 1;
                links.count(&Outcome::Excluded(Exclusion::Link));
                of_links.add(&item.key);
            } else if is_mine(&item.key) {
                let work = Work::new(item, definition, writes);
                let mut work = match self.counted.pop_back() {
                    Some(mut room) => {
                        *room = work;
                        room
                    }
                    None => Box::new(work),
                };
                self.give_records(&mut work);
                works.push_back(work);
            }
        }
        self.page = PageWork::new(works, last, is_last);
        self.page.tally = self.page.tally.plus(links);
        self.page.population = self.page.population.map(|of| of.plus(of_links));
        self.page.began = now;
        self.phase = Phase::Page;
    }

    /// Sizes the next page so that it takes about five seconds, by the time of this one: a crash loses no more.
    pub(super) fn fit_next_page(&mut self, now: Duration) {
        let time = now.saturating_sub(self.page.began).as_millis().max(1);
        let size = self.page_size as u128;
        let fits = if time > PAGE_TIME { size * PAGE_TIME / time } else { size };
        let next = if time < PAGE_TIME / 2 { fits * 2 } else { fits };
        let most = self.state.definition.page;
        self.page_size = usize::try_from(next).unwrap_or(most).clamp(1, most);
    }
}
