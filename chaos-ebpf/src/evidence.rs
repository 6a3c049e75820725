//! What programs tell of what they did: counters, the record of injections, sampled events.

use chaos_common::{
    Counters, Decision, Event, NO_PLACE, NO_SLOT, RuleConfig, RuleState, Stack, flags,
    limits::{RECORD_ORDINALS, SAMPLES_PER_SECOND},
    link::late::place,
};

use crate::{
    atomics,
    bounds::masked,
    maps::{EVENTS, EVENTS_LOST, LINKS_LATE, RECORD, RULES_COUNT, UNCOUNTED},
    plane::Hit,
    subject::Subject,
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
    let place = masked::<{ Decision::COUNT - 1 }>(decision as usize);
    // SAFETY: a map's value, and the place is masked.
    unsafe {
        let decided = (&raw mut (*counters).decided).cast::<u64>().add(place);
        atomics::add(decided, 1);
    }
}

/// So much passes on a hook, and no rule can count it.
#[inline(always)]
pub fn uncounted(hook: u32, much: u64) {
    if let Some(passed) = UNCOUNTED.get_ptr_mut(hook) {
        // SAFETY: a map's value.
        unsafe { atomics::add(passed, much) };
    }
}

/// A packet has come off a link, so many nanoseconds after it was due.
#[inline(always)]
pub fn late(late_ns: u64) {
    if let Some(packets) = LINKS_LATE.get_ptr_mut(place(late_ns)) {
        // SAFETY: a map's value.
        unsafe { atomics::add(packets, 1) };
    }
}

/// Records an injection, and sends an event of it if the rule's sampling allows. `detail` is what
/// [`Event::detail`] is to be, unless the subject knows better.
#[inline(always)]
pub fn injected<S: Subject>(hit: &Hit, subject: &S, hook: u32, detail: u64) {
    record(hit);
    if !sampled(hit.state, hit.now) {
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        return lost();
    };
    let event = entry.as_mut_ptr();
    // Field by field: a whole value would be cleared by a loop over its bytes first.
    // SAFETY: room for a whole event, and every field of it is written.
    unsafe {
        (&raw mut (*event).version).write_volatile(Event::VERSION);
        (&raw mut (*event).len).write_volatile(Event::LEN);
        (&raw mut (*event).rule).write_volatile(hit.number);
        (&raw mut (*event).ordinal).write_volatile(hit.ordinal);
        (&raw mut (*event).time_ns).write_volatile(hit.now);
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
    if S::TASK && hit.rule.flags & flags::STACK != 0 {
        stack(hit, subject);
    }
}

/// Sends the stack that belongs to the event which was sent last.
#[inline(always)]
fn stack(hit: &Hit, subject: &impl Subject) {
    let Some(mut entry) = EVENTS.reserve::<Stack>(0) else {
        return lost();
    };
    let stack = entry.as_mut_ptr();
    // SAFETY: room for all of it, and every field is written.
    unsafe {
        (&raw mut (*stack).version).write_volatile(Stack::VERSION);
        (&raw mut (*stack).len).write_volatile(Stack::LEN);
        (&raw mut (*stack).rule).write_volatile(hit.number);
        (&raw mut (*stack).ordinal).write_volatile(hit.ordinal);
        let bytes = subject.stack((&raw mut (*stack).frames).cast());
        (&raw mut (*stack).bytes).write_volatile(bytes);
    }
    entry.submit(0);
}

/// There was no room in the ring buffer.
#[inline(always)]
fn lost() {
    if let Some(lost) = EVENTS_LOST.get_ptr_mut(0) {
        // SAFETY: a map's value.
        unsafe { atomics::add(lost, 1) };
    }
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
