//! Random acts of operators and runs of policies under random clocks, beside a record of what each
//! operator wanted: no act is undone, nothing is destroyed early, and a second run finds nothing.

use super::*;
use crate::common::{below, rng};
use envelock::keyset::{MIN_DESTRUCTION_DELAY, Material};
use std::collections::BTreeMap;

const WALKS: u64 = 300;
const STEPS: u32 = 150;

/// The state that an operator gave a version, and that no operator has changed since.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    /// Enable it, or cancel its destruction: it stays in this state.
    Stays(VersionState),
    /// Promote it, at this time: it stays the primary until it is of age.
    Primary(Timestamp),
}

#[derive(Default)]
struct Operator {
    said: BTreeMap<u32, Said>,
    on_hold: BTreeMap<u32, VersionState>,
    /// When each destruction was scheduled, by true time.
    scheduled: BTreeMap<u32, Timestamp>,
}

fn policies() -> Vec<RotationPolicy> {
    let retiring = RotationPolicy::every(days(30))
        .disable_after(Duration::ZERO)
        .disable_compromised_after(days(2))
        .schedule_destruction_after(Duration::ZERO)
        .destruction_delay(days(7));
    vec![
        RotationPolicy::every(days(30)).disable_after(days(5)).schedule_destruction_after(days(5)),
        retiring.clone(),
        retiring.clone().carry_out_scheduled(),
        retiring.distribute_for(days(3)).carry_out_scheduled(),
    ]
}

fn states(keyring: &MemoryKeyring) -> BTreeMap<u32, VersionState> {
    let keyset = keyring.keyset().unwrap();
    keyset.versions().iter().map(|record| (record.version.number(), record.state)).collect()
}

impl Operator {
    fn act(
        &mut self,
        keyring: &MemoryKeyring,
        seed: &mut ChaCha20Rng,
        now: Timestamp,
        real: Timestamp,
    ) {
        let before = states(keyring);
        let number = 1 + below(seed, before.len()) as u32;
        let target = version(number);
        let operations = [
            Operation::Promote,
            Operation::Enable,
            Operation::Disable,
            Operation::MarkCompromised,
            Operation::ScheduleDestruction { after: MIN_DESTRUCTION_DELAY },
            Operation::CancelDestruction,
        ];
        let pick = below(seed, operations.len() + 3);
        let act = match pick {
            6 => Change::Hold { key: "orders", version: Some(target), reason: "walk" },
            7 => Change::Release { key: "orders", version: Some(target) },
            8 => Change::AddVersion { key: "orders", version: None, material: Material::Fresh },
            _ => Change::Version { key: "orders", version: target, operation: operations[pick] },
        };
        let generator = &mut TestRng::seeded(before.len() as u64 + 1_000 * real.unix_seconds());
        if keyring.change_with_rng(&[act], &ChangeOptions::at(now), generator).is_err() {
            return;
        }
        let after = states(keyring);
        for (number, state) in &after {
            if before.get(number) != Some(state) {
                self.said.remove(number);
                self.scheduled.remove(number);
            }
        }
        match (pick, after[&number]) {
            (0, state) if before[&number] != state => {
                self.said.insert(number, Said::Primary(real));
            }
            (1 | 5, state) => drop(self.said.insert(number, Said::Stays(state))),
            (4, _) => drop(self.scheduled.insert(number, real)),
            (6, state) => drop(self.on_hold.insert(number, state)),
            (7, _) => {
                self.on_hold.remove(&number);
                if matches!(self.said.get(&number), Some(Said::Stays(_))) {
                    self.said.remove(&number);
                }
            }
            _ => {}
        }
        // An operator may change the state of a version on hold.
        for (number, state) in &mut self.on_hold {
            *state = after[number];
        }
    }

    /// The actions of a policy on `before` undo nothing.
    fn check(
        &mut self,
        before: &BTreeMap<u32, VersionState>,
        keyring: &MemoryKeyring,
        real: Timestamp,
    ) {
        let after = states(keyring);
        for (number, said) in &self.said {
            match said {
                Said::Stays(state) => assert_eq!(after[number], *state, "{number}"),
                Said::Primary(since) if after[number] != VersionState::Primary => {
                    // Of age, by clocks that are a day apart at the most.
                    let is_of_age = real.since(*since) >= days(30 - 3 - 2);
                    assert!(is_of_age, "{number} was promoted at {since}, and it is {real}");
                }
                Said::Primary(_) => {}
            }
        }
        self.said.retain(|number, said| match said {
            Said::Primary(_) => after[number] == VersionState::Primary,
            Said::Stays(_) => true,
        });
        for (number, state) in &self.on_hold {
            assert_eq!(after[number], *state, "{number} is held");
        }
        for (number, state) in &after {
            let was = before.get(number);
            if *state == VersionState::DestroyScheduled && was != Some(state) {
                self.scheduled.insert(*number, real);
            }
            if *state == VersionState::Destroyed && was != Some(state) {
                let waited = real.since(self.scheduled[number]);
                assert!(waited >= MIN_DESTRUCTION_DELAY - days(1), "{number}: {waited:?}");
            }
        }
    }
}

#[test]
fn policy_undoes_no_operator_under_skewed_clocks() {
    let mut destroyed = 0;
    for seed in 0..WALKS {
        let mut random = rng(seed);
        let policies = policies();
        let policy = &policies[below(&mut random, policies.len())];
        let (keyring, mut operator, mut real) = (keyring(), Operator::default(), START);
        for step in 0..STEPS {
            real =
                real.plus([Duration::from_secs(7), DAY / 24, DAY, DAY * 4][below(&mut random, 4)]);
            // Each host has its own clock, half a day off at the most.
            let host = below(&mut random, 86_401) as u64;
            let now = Timestamp::from_unix_seconds(real.unix_seconds() + host - 43_200);
            if below(&mut random, 3) == 0 {
                operator.act(&keyring, &mut random, now, real);
                continue;
            }
            let before = states(&keyring);
            let plan = plan(policy, &keyring, now);
            assert_eq!(plan, self::plan(policy, &keyring, now), "a plan is a pure function");
            apply(&plan, &keyring, now);
            operator.check(&before, &keyring, real);
            let again = self::plan(policy, &keyring, now);
            assert!(again.is_empty(), "seed {seed}, step {step}: {plan}\n{again}");
            assert!(!again.warnings().iter().any(|it| matches!(it, Warning::FutureDate { .. })));
        }
        let states = states(&keyring);
        destroyed += states.values().filter(|it| **it == VersionState::Destroyed).count();
    }
    assert!(destroyed > 100, "{destroyed}");
}
