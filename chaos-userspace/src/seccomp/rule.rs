//! A rule with everything that is remembered of it, in shared memory.
//!
//! One guard writes at a time, so that single stores and loads are enough; they are atomic because
//! kchaos, and the next guard, look at the same memory.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use chaos_common::{
    CallFilter, Decision, Filtered, Narrowing, PathFilter, RuleConfig, RuleMemory, decide, flags,
    limits::RECORD_ORDINALS, limits::SAMPLES_PER_SECOND,
};

use super::{
    notify::Answer,
    task::{Portrait, Task},
    threads::Threads,
};
use crate::{
    boot,
    node::{Counters, Sample, Subject, Trail},
};

const SECOND_NS: u64 = 1_000_000_000;
const MICROSECOND_NS: u64 = 1_000;

/// All zeros is a rule that has seen nothing.
#[repr(C)]
pub(super) struct Rule {
    /// Written before anybody shares it.
    pub(super) config: RuleConfig,
    /// As `config`.
    pub(super) narrowing: Narrowing,
    /// As `config`: whether the narrowing counts.
    pub(super) is_narrowed: u32,
    /// As `config`; it counts with the flag of the same name.
    pub(super) call: CallFilter,
    /// As `config`; as above.
    pub(super) path: PathFilter,
    /// As `config`: how much of `replay` counts.
    pub(super) replay_len: u32,
    /// As `config`: ordinals to hit, in order.
    pub(super) replay: [u64; RECORD_ORDINALS as usize],
    ordinal: AtomicU64,
    spent: AtomicU64,
    rate_until: AtomicU64,
    sample_until: AtomicU64,
    counts: Counts,
    recorded: AtomicU64,
    record: [AtomicU64; RECORD_ORDINALS as usize],
    sampled: AtomicU64,
    samples: [Slot; Trail::EVENTS],
}

#[repr(C)]
struct Counts {
    considered: AtomicU64,
    matched: AtomicU64,
    injected: AtomicU64,
    would_inject: AtomicU64,
    over_budget: AtomicU64,
    expired: AtomicU64,
    error: AtomicU64,
}

#[repr(C)]
struct Slot {
    ordinal: AtomicU64,
    time_ns: AtomicU64,
    cgroup: AtomicU64,
    pid: AtomicU32,
    tid: AtomicU32,
    call: AtomicU64,
    comm: [AtomicU64; 2],
}

/// One injection, to be shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shot {
    pub(super) time_ns: u64,
    pub(super) call: u32,
    pub(super) of: Portrait,
}

/// What [`decide`] asks of a rule for one event.
struct Memory<'a> {
    rule: &'a Rule,
    index: u32,
    task: &'a Task<'a>,
    threads: &'a Threads,
    ordinal: Cell<u64>,
}

impl RuleMemory for Memory<'_> {
    fn next_ordinal(&self) -> u64 {
        let ordinal = self.rule.ordinal.fetch_add(1, Relaxed) + 1;
        self.ordinal.set(ordinal);
        ordinal
    }

    fn next_of_thread(&self) -> Option<u64> {
        let start = self.task.start()?;
        self.threads.next(self.index, self.task.tid, start)
    }

    fn is_replayed(&self, ordinal: u64) -> bool {
        let len = usize::try_from(self.rule.replay_len).unwrap_or(0);
        let list = self.rule.replay.get(..len).unwrap_or_default();
        list.binary_search(&ordinal).is_ok()
    }

    fn move_rate(&self, seen: u64, next: u64) -> Result<(), u64> {
        self.rule
            .rate_until
            .compare_exchange(seen, next, Relaxed, Relaxed)
            .map(drop)
    }

    fn rate_until(&self) -> u64 {
        self.rule.rate_until.load(Relaxed)
    }

    fn spend(&self) -> u64 {
        self.rule.spent.fetch_add(1, Relaxed) + 1
    }
}

impl Rule {
    /// Decides about one event; with its ordinal, if it got one.
    pub(super) fn decide(
        &self,
        index: u32,
        now: u64,
        held_until: u64,
        task: &Task<'_>,
        threads: &Threads,
    ) -> (Decision, u64) {
        let memory = Memory {
            rule: self,
            index,
            task,
            threads,
            ordinal: Cell::new(0),
        };
        let filters = || {
            let has = |flag: u32| self.config.flags & flag != 0;
            let narrowed = if self.is_narrowed == 0 {
                Filtered::In
            } else {
                task.filter(&self.narrowing)
            };
            match narrowed {
                Filtered::In if has(flags::CALL) => match task.filter_call(&self.call) {
                    Filtered::In if has(flags::PATH) => task.filter_path(&self.path),
                    other => other,
                },
                Filtered::In if has(flags::PATH) => task.filter_path(&self.path),
                other => other,
            }
        };
        let decision = decide(&self.config, now, held_until, filters, &memory);
        (decision, memory.ordinal.get())
    }

    /// What becomes of a call that it hits.
    pub(super) const fn answer(&self) -> Answer {
        if self.config.flags & flags::RETURN == 0 {
            Answer::Fail(self.config.effect)
        } else {
            Answer::Return(self.config.effect)
        }
    }

    /// Until when a call waits that it hits, if that is what it is about: no longer than it lives.
    pub(super) fn wait_until(&self, from: u64) -> Option<u64> {
        let delay = u64::from(self.config.effect) * MICROSECOND_NS;
        let until = from.saturating_add(delay).min(self.config.deadline_ns);
        (self.config.flags & flags::DELAY != 0).then_some(until.max(from))
    }

    /// Whether it counts the events of each thread for itself.
    pub(super) const fn counts_threads(&self) -> bool {
        self.config.flags & flags::SCOPE_THREAD != 0
    }

    /// Counts a decision as programs do. An injection counts only if somebody got it.
    pub(super) fn count(&self, decision: Decision, delivered: bool) {
        let one = |counter: &AtomicU64| {
            counter.fetch_add(1, Relaxed);
        };
        let counts = &self.counts;
        if decision == Decision::Expired {
            return one(&counts.expired);
        }
        one(&counts.considered);
        if decision.matched() {
            one(&counts.matched);
        }
        match decision {
            Decision::Inject if delivered => one(&counts.injected),
            Decision::WouldInject => one(&counts.would_inject),
            Decision::OverBudget => one(&counts.over_budget),
            Decision::Error => one(&counts.error),
            Decision::Inject
            | Decision::NotLive
            | Decision::Expired
            | Decision::Filtered
            | Decision::Spared => {}
        }
    }

    /// Records the ordinal of an injection.
    pub(super) fn record(&self, ordinal: u64) {
        let place = self.recorded.fetch_add(1, Relaxed);
        let entry = usize::try_from(place)
            .ok()
            .and_then(|place| self.record.get(place));
        if let Some(entry) = entry {
            entry.store(ordinal, Relaxed);
        }
    }

    /// Whether an injection is to be shown: so many at once, and then so many in a second.
    pub(super) fn samples(&self, now: u64) -> bool {
        let from = self.sample_until.load(Relaxed).max(now);
        let interval = SECOND_NS / SAMPLES_PER_SECOND;
        if from - now > SECOND_NS - interval {
            return false;
        }
        self.sample_until.store(from + interval, Relaxed);
        true
    }

    /// Keeps an injection, in the place of the oldest.
    pub(super) fn show(&self, ordinal: u64, injection: &Shot) {
        let number = self.sampled.load(Relaxed);
        let slot = &self.samples[usize::try_from(number).unwrap_or(0) % Trail::EVENTS];
        slot.ordinal.store(ordinal, Relaxed);
        slot.time_ns.store(injection.time_ns, Relaxed);
        slot.cgroup.store(injection.of.cgroup, Relaxed);
        slot.pid.store(injection.of.pid, Relaxed);
        slot.tid.store(injection.of.tid, Relaxed);
        slot.call.store(injection.call.into(), Relaxed);
        for (place, word) in slot.comm.iter().zip(injection.of.comm) {
            place.store(word, Relaxed);
        }
        self.sampled.store(number + 1, Relaxed);
    }

    /// What was counted.
    pub(super) fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let counts = &self.counts;
        Counters {
            considered: read(&counts.considered),
            matched: read(&counts.matched),
            injected: read(&counts.injected),
            would_inject: read(&counts.would_inject),
            over_budget: read(&counts.over_budget),
            expired: read(&counts.expired),
            error: read(&counts.error),
        }
    }

    /// What was recorded and shown.
    pub(super) fn trail(&self) -> Trail {
        let recorded = usize::try_from(self.recorded.load(Relaxed)).unwrap_or(usize::MAX);
        let sampled = self.sampled.load(Relaxed);
        let kept = sampled.min(Trail::EVENTS as u64);
        Trail {
            events: (sampled - kept..sampled)
                .map(|number| {
                    self.samples[usize::try_from(number).unwrap_or(0) % Trail::EVENTS].read()
                })
                .collect(),
            sampled,
            lost: 0,
            ordinals: self
                .record
                .iter()
                .take(recorded)
                .map(|ordinal| ordinal.load(Relaxed))
                .collect(),
            truncated: recorded > self.record.len(),
        }
    }
}

impl Slot {
    fn read(&self) -> Sample {
        let bytes: Vec<u8> = self
            .comm
            .iter()
            .flat_map(|word| word.load(Relaxed).to_ne_bytes())
            .take_while(|byte| *byte != 0)
            .collect();
        let since_boot = Duration::from_nanos(self.time_ns.load(Relaxed));
        Sample {
            ordinal: self.ordinal.load(Relaxed),
            at: boot::time_of_day(since_boot),
            since_boot,
            cgroup: self.cgroup.load(Relaxed),
            subject: Subject::Task {
                pid: self.pid.load(Relaxed),
                tid: self.tid.load(Relaxed),
                comm: String::from_utf8_lossy(&bytes).into_owned(),
                call: u32::try_from(self.call.load(Relaxed)).ok(),
            },
            // Refused: see `run::split`.
            stack: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Box<Rule> {
        // SAFETY: all zeros is a rule that has seen nothing.
        unsafe { Box::new_zeroed().assume_init() }
    }

    #[test]
    fn the_newest_are_shown_and_all_are_counted() {
        let rule = empty();
        let of = Portrait {
            pid: 7,
            tid: 8,
            comm: [u64::from_ne_bytes(*b"nginx\0ga"), 0],
            cgroup: 9,
        };
        let shot = Shot {
            time_ns: 1,
            call: 74,
            of,
        };
        for ordinal in 1..=200 {
            rule.show(ordinal, &shot);
            rule.record(ordinal);
            rule.count(Decision::Inject, ordinal != 200);
        }
        let trail = rule.trail();
        assert_eq!((trail.sampled, trail.events.len()), (200, Trail::EVENTS));
        assert_eq!((trail.ordinals.len(), trail.truncated), (200, false));
        let last = trail.events.last().unwrap();
        assert_eq!(last.ordinal, 200);
        let Subject::Task { comm, call, .. } = &last.subject else {
            panic!("{last:?}");
        };
        assert_eq!((comm.as_str(), *call), ("nginx", Some(74)));
        let counters = rule.counters();
        assert_eq!((counters.matched, counters.injected), (200, 199));
    }

    #[test]
    fn a_seconds_worth_is_shown_at_once() {
        let rule = empty();
        let shown = |now| (0..1000).filter(|_| rule.samples(now)).count() as u64;
        assert_eq!(shown(SECOND_NS), SAMPLES_PER_SECOND);
        assert_eq!(shown(SECOND_NS + SECOND_NS / 10), SAMPLES_PER_SECOND / 10);
    }
}
