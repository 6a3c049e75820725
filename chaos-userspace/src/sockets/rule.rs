//! The rule of a fault that decides here and not in the kernel, with all that is remembered of it.

use std::{cell::Cell, collections::VecDeque, time::Duration};

use chaos_common::{
    CallFacts, Counters as Decisions, Decision, Filtered, RuleConfig, RuleMemory, decide,
    limits::RECORD_ORDINALS,
};

use crate::{
    boot,
    engine::RuleSpec,
    node::{Counters, Flow, Sample, Subject, Trail},
};

/// A rule, for one thread at a time.
#[derive(Debug)]
pub(super) struct Rule {
    spec: RuleSpec,
    memory: Memory,
    decisions: Decisions,
    /// Ordinals of what was hit.
    record: Vec<u64>,
    /// The newest of these.
    events: VecDeque<Sample>,
    sampled: u64,
}

/// An event: something about a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    /// Of its cgroup.
    pub(super) cgroup: u64,
    /// Between whom it is.
    pub(super) flow: Flow,
    /// What filters ask about.
    pub(super) facts: CallFacts,
}

#[derive(Debug, Default)]
struct Memory {
    ordinal: Cell<u64>,
    spent: Cell<u64>,
    rate_until: Cell<u64>,
    /// In order.
    replay: Vec<u64>,
}

fn raise(cell: &Cell<u64>) -> u64 {
    cell.set(cell.get() + 1);
    cell.get()
}

impl RuleMemory for Memory {
    fn next_ordinal(&self) -> u64 {
        raise(&self.ordinal)
    }

    /// No connection is a thread's.
    fn next_of_thread(&self) -> Option<u64> {
        None
    }

    fn is_replayed(&self, ordinal: u64) -> bool {
        self.replay.binary_search(&ordinal).is_ok()
    }

    fn move_rate(&self, _seen: u64, next: u64) -> Result<(), u64> {
        self.rate_until.set(next);
        Ok(())
    }

    fn rate_until(&self) -> u64 {
        self.rate_until.get()
    }

    fn spend(&self) -> u64 {
        raise(&self.spent)
    }
}

impl Rule {
    pub(super) fn new(mut spec: RuleSpec) -> Self {
        let mut memory = Memory::default();
        if let Some(ordinals) = spec.replay.take() {
            spec.config.flags |= chaos_common::flags::REPLAY;
            memory.replay = ordinals;
            memory.replay.sort_unstable();
        }
        Self {
            spec,
            memory,
            decisions: Decisions::default(),
            record: Vec::new(),
            events: VecDeque::new(),
            sampled: 0,
        }
    }

    /// When it lives.
    pub(super) fn config(&self) -> &RuleConfig {
        &self.spec.config
    }

    /// Decides about one event at a moment of boot time, and does it with `inject` if it is to be done.
    /// That says whether somebody was hit, or `None` if it could not be done.
    pub(super) fn ask(&mut self, now: u64, event: &Event, inject: impl FnOnce() -> Option<bool>) {
        let filters = || match &self.spec.call {
            Some(wanted) => wanted.filter(&event.facts),
            None => Filtered::In,
        };
        // Whoever asks is alive, and that is all that a lease says.
        let mut decision = decide(&self.spec.config, now, u64::MAX, filters, &self.memory);
        if decision == Decision::Inject {
            decision = match inject() {
                Some(true) => Decision::Inject,
                // It matched, and was spared by its own end.
                Some(false) => Decision::Spared,
                None => Decision::Error,
            };
        }
        if decision == Decision::Inject {
            self.keep(now, event);
        }
        self.decisions.decided[decision as usize] += 1;
    }

    /// Records what was hit.
    fn keep(&mut self, now: u64, event: &Event) {
        let ordinal = self.memory.ordinal.get();
        if self.record.len() <= RECORD_ORDINALS as usize {
            self.record.push(ordinal);
        }
        if self.events.len() == Trail::EVENTS {
            self.events.pop_front();
        }
        let since_boot = Duration::from_nanos(now);
        self.sampled += 1;
        self.events.push_back(Sample {
            ordinal,
            at: boot::time_of_day(since_boot),
            since_boot,
            cgroup: event.cgroup,
            subject: Subject::Connection(event.flow),
            stack: Vec::new(),
        });
    }

    /// What was counted.
    pub(super) fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        counters.add(&self.decisions);
        counters
    }

    /// What was recorded.
    pub(super) fn trail(&self) -> Trail {
        let kept = self.record.len().min(RECORD_ORDINALS as usize);
        Trail {
            events: self.events.iter().cloned().collect(),
            sampled: self.sampled,
            lost: 0,
            ordinals: self.record[..kept].to_vec(),
            truncated: self.record.len() > kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use chaos_common::Hook;

    use super::*;

    fn rule(config: RuleConfig, replay: Option<Vec<u64>>) -> Rule {
        Rule::new(RuleSpec {
            also: None,
            packet: None,
            dns: None,
            hook: Hook::FileOpenLsm,
            config,
            path: None,
            calls: None,
            narrowing: None,
            allocation: None,
            device: None,
            room: None,
            link: None,
            call: None,
            exclude: Vec::new(),
            replay,
        })
    }

    fn event() -> Event {
        Event {
            cgroup: 9,
            flow: Flow {
                protocol: 6,
                source: [127, 0, 0, 1].into(),
                destination: [10, 0, 0, 7].into(),
                ports: Some((80, 4711)),
            },
            facts: CallFacts::default(),
        }
    }

    #[test]
    fn a_budget_is_kept_and_what_was_gone_before_is_not_counted_as_hit() {
        let config = RuleConfig {
            times: 3,
            ..RuleConfig::ALWAYS
        };
        let mut rule = rule(config, None);
        let mut done = 0;
        for number in 0..6 {
            rule.ask(1, &event(), || {
                done += 1;
                (number != 1).then_some(number != 2)
            });
        }
        let counters = rule.counters();
        assert_eq!((done, counters.considered, counters.injected), (3, 6, 1));
        assert_eq!((counters.over_budget, counters.error), (3, 1));
        assert_eq!(counters.matched, 5);
        let trail = rule.trail();
        assert_eq!((trail.ordinals, trail.sampled), (vec![1], 1));
        assert_eq!(trail.events[0].subject, Subject::Connection(event().flow));
    }

    #[test]
    fn a_seed_decides_the_same_again_and_so_does_a_replay() {
        let config = RuleConfig {
            seed: 7,
            threshold: 1 << 31,
            ..RuleConfig::ALWAYS
        };
        let ordinals = |mut rule: Rule| {
            for _ in 0..100 {
                rule.ask(1, &event(), || Some(true));
            }
            rule.trail().ordinals
        };
        let first = ordinals(rule(config, None));
        assert!((30..70).contains(&first.len()), "{first:?}");
        assert_eq!(ordinals(rule(config, None)), first);
        let other = RuleConfig { seed: 8, ..config };
        assert_eq!(ordinals(rule(other, Some(first.clone()))), first);
    }
}
