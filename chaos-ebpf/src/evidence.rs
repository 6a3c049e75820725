//! What programs tell of what they did: counters, the record of injections, sampled events.

use chaos_common::{
    Counters, Decision, Event, NO_PLACE, NO_SLOT, RuleConfig, RuleState,
    limits::{RECORD_ORDINALS, SAMPLES_PER_SECOND},
};

use crate::{
    atomics,
    maps::{EVENTS, EVENTS_LOST, RECORD, RULES_COUNT},
    plane::Hit,
    subject::{Subject, now},
};

const SECOND_NS: u64 = 1_000_000_000;

/// Counts one decision. The counters may belong to this CPU, but a preempted program may be in the
/// middle of the same line.
#[inline(always)]
pub unsafe fn count(rule: &RuleConfig, state: *mut RuleState, decision: Decision) {
    // SAFETY: a map's value.
    let mut counters: *mut Counters = unsafe { &raw mut (*state).shared };
    if rule.counters != NO_SLOT
        && let Some(own) = RULES_COUNT.get_ptr_mut(rule.counters)
    {
        counters = own;
    }
    // SAFETY: a map's value.
    unsafe {
        if decision == Decision::Expired {
            return atomics::add(&raw mut (*counters).expired, 1);
        }
        atomics::add(&raw mut (*counters).considered, 1);
        if decision.matched() {
            atomics::add(&raw mut (*counters).matched, 1);
        }
        match decision {
            Decision::Inject => atomics::add(&raw mut (*counters).injected, 1),
            Decision::WouldInject => atomics::add(&raw mut (*counters).would_inject, 1),
            Decision::OverBudget => atomics::add(&raw mut (*counters).over_budget, 1),
            Decision::Error => atomics::add(&raw mut (*counters).error, 1),
            Decision::NotLive | Decision::Expired | Decision::Filtered | Decision::Spared => {}
        }
    }
}

/// Records an injection, and sends an event of it if the rule's sampling allows. `detail` is what
/// [`Event::detail`] is to be, unless the subject knows better.
#[inline(always)]
pub fn injected(hit: &Hit, subject: &impl Subject, hook: u32, detail: u64) {
    record(hit);
    let now = now();
    if !sampled(hit.state, now) {
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        if let Some(lost) = EVENTS_LOST.get_ptr_mut(0) {
            // SAFETY: a map's value.
            unsafe { atomics::add(lost, 1) };
        }
        return;
    };
    let event = entry.as_mut_ptr();
    // Field by field: a whole value would be cleared by a loop over its bytes first.
    // SAFETY: room for a whole event, and every field of it is written.
    unsafe {
        (&raw mut (*event).version).write_volatile(Event::VERSION);
        (&raw mut (*event).len).write_volatile(Event::LEN);
        (&raw mut (*event).rule).write_volatile(hit.number);
        (&raw mut (*event).ordinal).write_volatile(hit.ordinal);
        (&raw mut (*event).time_ns).write_volatile(now);
        (&raw mut (*event).hook).write_volatile(hook);
        (&raw mut (*event).effect).write_volatile(hit.rule.effect);
        let by = subject.describe(detail);
        (&raw mut (*event).cgroup).write_volatile(by.cgroup);
        (&raw mut (*event).pid).write_volatile(by.pid);
        (&raw mut (*event).tid).write_volatile(by.tid);
        (&raw mut (*event).detail).write_volatile(by.detail);
        (&raw mut (*event).comm[0]).write_volatile(by.comm[0]);
        (&raw mut (*event).comm[1]).write_volatile(by.comm[1]);
        let head = &raw mut (*event).head;
        (&raw mut (*head)[0]).write_volatile(0);
        (&raw mut (*head)[1]).write_volatile(0);
        (&raw mut (*head)[2]).write_volatile(0);
        (&raw mut (*head)[3]).write_volatile(0);
        (&raw mut (*head)[4]).write_volatile(0);
        (&raw mut (*head)[5]).write_volatile(0);
        subject.head(head.cast());
    }
    entry.submit(0);
}

#[inline(always)]
fn record(hit: &Hit) {
    if hit.rule.record == NO_PLACE {
        return;
    }
    // SAFETY: a map's value.
    let place = unsafe { atomics::fetch_add(&raw mut (*hit.state).recorded, 1) };
    if place >= u64::from(RECORD_ORDINALS) {
        return;
    }
    let index = u32::from(hit.rule.record).wrapping_mul(RECORD_ORDINALS) + place as u32;
    if let Some(entry) = RECORD.get_ptr_mut(index) {
        // SAFETY: a map's value, and no other event has this place.
        unsafe { entry.write_volatile(hit.ordinal) };
    }
}

/// The rule's token bucket for events: a second's worth of them at once.
#[inline(always)]
fn sampled(state: *mut RuleState, now: u64) -> bool {
    // SAFETY: a map's value.
    unsafe {
        let until = &raw mut (*state).sample_until_ns;
        let seen = until.read_volatile();
        let from = if seen > now { seen } else { now };
        if from - now > SECOND_NS - SECOND_NS / SAMPLES_PER_SECOND {
            return false;
        }
        // Whoever is faster is the sample.
        atomics::compare_exchange(until, seen, from + SECOND_NS / SAMPLES_PER_SECOND) == seen
    }
}
