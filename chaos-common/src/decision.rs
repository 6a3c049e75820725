//! The one decision that every program takes for every event.

use crate::rule::{RuleConfig, flags};

/// What became of one event for one rule. The numbers are places in [`crate::Counters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Decision {
    /// Before the rule's start, or in the silent part of a pulse.
    NotLive,
    /// At or after the deadline, or after the plan's lease.
    Expired,
    /// A filter said no.
    Filtered,
    /// A filter could not be answered: the event passes.
    Error,
    /// The filters said yes, but it was not this event's turn (`when`, probability).
    Spared,
    /// The event's turn, but the rate or the budget is spent.
    OverBudget,
    /// The event's turn in a rule that only watches.
    WouldInject,
    /// Inject.
    Inject,
}

impl Decision {
    /// How many there are.
    pub const COUNT: usize = 8;
    /// All of them, in their order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::NotLive,
        Self::Expired,
        Self::Filtered,
        Self::Error,
        Self::Spared,
        Self::OverBudget,
        Self::WouldInject,
        Self::Inject,
    ];

    /// Whether the event passed the filters of a live rule.
    #[must_use]
    pub const fn matched(self) -> bool {
        matches!(
            self,
            Self::Spared | Self::OverBudget | Self::WouldInject | Self::Inject
        )
    }
}

/// What the filters of a rule say about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// All of them say yes.
    In,
    /// One says no.
    Out,
    /// One can't be answered.
    Unknown,
}

/// What a rule remembers between events. All of it is shared by all CPUs, so each of these must be
/// one atomic step: two events never get the same number.
pub trait RuleMemory {
    /// Counts one more event that passed the filters and returns its ordinal, from 1.
    fn next_ordinal(&self) -> u64;
    /// The same for the events of the current thread; `None` when it can't be remembered. Asked only
    /// of rules with [`flags::SCOPE_THREAD`].
    fn next_of_thread(&self) -> Option<u64>;
    /// Whether a replay hits this ordinal. Asked only of rules with [`flags::REPLAY`].
    fn is_replayed(&self, ordinal: u64) -> bool;
    /// Moves the time at which the rate is used up no more from `seen` to `next`, unless somebody
    /// else has moved it; then what they have made of it is returned.
    fn move_rate(&self, seen: u64, next: u64) -> Result<(), u64>;
    /// The time that [`Self::move_rate`] moves, to begin with.
    fn rate_until(&self) -> u64;
    /// Asks the budget for one more injection and returns how many were asked for, this one
    /// included.
    fn spend(&self) -> u64;
}

/// Decides about one event of an armed plan, in this order: live and in pulse, lease, filters (here
/// the ordinal is counted), `when` and probability or the replay's list, rate, budget.
///
/// `now` is boot time in nanoseconds, `held_until` the boot time at which the plan's lease ends.
#[inline(always)]
pub fn decide(
    rule: &RuleConfig,
    now: u64,
    held_until: u64,
    filters: impl FnOnce() -> Filtered,
    memory: &impl RuleMemory,
) -> Decision {
    if now >= rule.deadline_ns || now >= held_until {
        return Decision::Expired;
    }
    if !live(rule, now) {
        return Decision::NotLive;
    }
    match filters() {
        Filtered::In => {}
        Filtered::Out => return Decision::Filtered,
        Filtered::Unknown => return Decision::Error,
    }
    let ordinal = memory.next_ordinal();
    let turn = if rule.flags & flags::SCOPE_THREAD == 0 {
        ordinal
    } else {
        match memory.next_of_thread() {
            Some(turn) => turn,
            None => return Decision::Error,
        }
    };
    let hit = if rule.flags & flags::REPLAY == 0 {
        due(rule, turn) && roll(rule.seed, rule.identity, ordinal) < rule.threshold
    } else {
        memory.is_replayed(ordinal)
    };
    if !hit {
        return Decision::Spared;
    }
    if rule.rate_interval_ns != 0 && !within_rate(rule, now, memory) {
        return Decision::OverBudget;
    }
    // Shadow spends its budget as well, so that it says what would have happened.
    if rule.times != u64::MAX && memory.spend() > rule.times {
        return Decision::OverBudget;
    }
    if rule.flags & flags::SHADOW != 0 {
        Decision::WouldInject
    } else {
        Decision::Inject
    }
}

/// How often a rate is tried to be moved against others who move it: whoever loses that often on a
/// busy machine is treated as over the rate, so that no program loops for long.
const RATE_TRIES: u32 = 4;

/// The token bucket as a generic cell rate algorithm: one word, the time at which it is full again.
#[inline(always)]
fn within_rate(rule: &RuleConfig, now: u64, memory: &impl RuleMemory) -> bool {
    let mut seen = memory.rate_until();
    let mut tries = 0;
    while tries < RATE_TRIES {
        let from = if seen > now { seen } else { now };
        if from - now > rule.rate_tolerance_ns {
            return false;
        }
        match memory.move_rate(seen, from.wrapping_add(rule.rate_interval_ns)) {
            Ok(()) => return true,
            Err(other) => seen = other,
        }
        tries += 1;
    }
    false
}

#[inline(always)]
fn live(rule: &RuleConfig, now: u64) -> bool {
    if now < rule.start_ns {
        return false;
    }
    rule.pulse_every_ns == 0 || (now - rule.start_ns) % rule.pulse_every_ns < rule.pulse_active_ns
}

#[inline(always)]
fn due(rule: &RuleConfig, ordinal: u64) -> bool {
    if ordinal < rule.when_first || ordinal > rule.when_last {
        return false;
    }
    // Division is the dearest instruction here and almost no rule has a step.
    rule.when_step <= 1 || (ordinal - rule.when_first).is_multiple_of(rule.when_step)
}

/// A 32-bit number that looks random and depends on nothing but its arguments: the same seed and
/// the same order of events give the same decisions, on every CPU and on every machine.
#[inline(always)]
#[must_use]
pub fn roll(seed: u64, identity: u32, ordinal: u64) -> u64 {
    let key = mix(seed ^ u64::from(identity).wrapping_mul(0xd6e8_feb8_6659_fd93));
    mix(key ^ ordinal.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 32
}

/// The finalizer of `SplitMix64` (Steele, Lea and Flood, 2014): each input bit flips each output bit
/// with a chance close to one half.
#[inline(always)]
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
