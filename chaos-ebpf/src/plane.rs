//! From an event to a verdict: which rules it meets, and what they decide.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use chaos_common::{
    Decision, ExcludeKey, Filtered, Gate, NO_DEPTH, RuleConfig, RuleList, RuleState, TargetKey,
    decide, flags,
    limits::{EXCLUDE_DEPTHS, RULES_PER_TARGET, TARGET_LEVELS},
};

use crate::{
    evidence, levels,
    maps::{GATES, PLANS_HELD, RULES_CONFIG, RULES_EXCLUDE, RULES_NARROW, RULES_STATE, TARGETS},
    memory::Memory,
    scratch::{Claim, Scratch},
    subject::{Caller, Packet, Subject, Task, Who, current_process, now},
};

/// An injection that is to be made.
pub struct Hit {
    /// The rule that wants it.
    pub rule: &'static RuleConfig,
    /// Its number.
    pub number: u32,
    /// Which of its matching events this one is.
    pub ordinal: u64,
    /// Its state.
    pub state: *mut RuleState,
    /// Boot time in nanoseconds at which that was decided.
    pub now: u64,
}

/// The rules that the current task meets on a hook ([`chaos_common::Hook`]): see [`met_by`].
#[inline(always)]
pub fn met_by_task(hook: u32) -> Option<(Claim, &'static Gate)> {
    met_by(&Task, hook)
}

/// The rules that somebody meets on a hook: those of the cgroup's ancestors, in the order of the
/// gate's levels, and a task's own. `None` costs one lookup in an array while the hook has no rules,
/// and two for somebody who is no target and whose cgroup was asked about before.
#[inline(always)]
pub fn met_by<S: Subject>(subject: &S, hook: u32) -> Option<(Claim, &'static Gate)> {
    let gate = GATES.get(hook)?;
    let mut scratch = None;
    if gate.levels_len != 0 && levels::in_target(subject, hook, gate) {
        let claimed = claim(hook)?;
        add_cgroups(*claimed, subject, hook, gate);
        scratch = Some(claimed);
    }
    if S::TASK
        && gate.processes != 0
        && let Some(id) = current_process()
    {
        let key = TargetKey {
            id,
            hook,
            scope: TargetKey::PROCESS,
        };
        // SAFETY: values are replaced whole, and the map is not preallocated.
        if let Some(list) = unsafe { TARGETS.get(key) } {
            if scratch.is_none() {
                scratch = Some(claim(hook)?);
            }
            add(**scratch.as_ref()?, list);
        }
    }
    let scratch = scratch?;
    let beyond = scratch.beyond();
    if beyond != 0 {
        evidence::uncounted(hook, beyond);
    }
    Some((scratch, gate))
}

/// The rules of one target, which an attachment knows by itself.
#[inline(always)]
pub fn met_by_list(list: &RuleList, hook: u32) -> Option<(Claim, &'static Gate)> {
    if list.len == 0 {
        return None;
    }
    let gate = GATES.get(hook)?;
    let claimed = claim(hook)?;
    add(*claimed, list);
    Some((claimed, gate))
}

/// The same for a packet that leaves a network namespace: one that is no target's by its socket meets the
/// rules of those targets that have the namespace for themselves. It has none, or the kernel's own, which
/// belongs to whoever has made the namespace (`icmp_sk` and others; `cgroup_sk_alloc`, kernel/cgroup).
/// Whether it was that [`Scratch::note`] tells: not a value that is left undefined where there is none, which LLVM
/// moves about before it is asked for, and the verifier takes for a read.
#[inline(always)]
pub fn met_by_packet(packet: &Packet<'_>, hook: u32, netns: u32) -> Option<(Claim, &'static Gate)> {
    if let Some((claim, gate)) = met_by(packet, hook) {
        claim.set_note(0);
        return Some((claim, gate));
    }
    let (claim, gate) = met_by_namespace(hook, netns)?;
    claim.set_note(1);
    Some((claim, gate))
}

/// The same for a packet that arrives in a network namespace, whosever its socket is: it can still be its
/// sender's.
#[inline(always)]
pub fn met_by_namespace(hook: u32, netns: u32) -> Option<(Claim, &'static Gate)> {
    let gate = GATES.get(hook)?;
    if gate.processes == 0 {
        return None;
    }
    let key = TargetKey {
        id: u64::from(netns),
        hook,
        scope: TargetKey::NETNS,
    };
    // SAFETY: values are replaced whole, and the map is not preallocated.
    let list = unsafe { TARGETS.get(key) }?;
    let claimed = claim(hook)?;
    add(*claimed, list);
    Some((claimed, gate))
}

/// The same for one whose receiver may be known: who has a socket is a target by that, or not at all.
#[inline(always)]
pub fn met_by_arrival<S: Subject>(
    receiver: &S,
    hook: u32,
    netns: u32,
    is_known: bool,
) -> Option<(Claim, &'static Gate)> {
    if is_known {
        return met_by(receiver, hook);
    }
    met_by_namespace(hook, netns)
}

/// Adds the rules of the targets that the subject's cgroup lies in.
#[inline(always)]
fn add_cgroups<S: Subject>(scratch: Scratch, subject: &S, hook: u32, gate: &Gate) {
    let mut index = 0;
    while index < TARGET_LEVELS {
        if index >= gate.levels_len as usize {
            break;
        }
        // SAFETY: values are replaced whole, and the map is not preallocated.
        if let Some(list) = unsafe { TARGETS.get(levels::at(subject, hook, gate, index)) } {
            add(scratch, list);
        }
        index += 1;
    }
}

/// A buffer for an event that concerns a target.
#[inline(always)]
fn claim(hook: u32) -> Option<Claim> {
    let claimed = Scratch::claim();
    if claimed.is_none() {
        evidence::uncounted(hook, 1);
    }
    claimed
}

#[inline(always)]
fn add(scratch: Scratch, list: &RuleList) {
    let mut index = 0;
    while index < RULES_PER_TARGET {
        if index >= list.len as usize {
            break;
        }
        scratch.add(list.rules[index]);
        index += 1;
    }
}

/// What the rules of one event are asked with, one call of [`ask`] each.
struct Walk<S, C, F, P> {
    scratch: Scratch,
    subject: S,
    now: u64,
    concerns: C,
    filters: F,
    passes: P,
    /// The rule that injects, and the ordinal of the event; no event has the ordinal 0.
    number: u32,
    ordinal: u64,
}

/// Asks the rules that somebody meets in order and returns the first one that injects and does not
/// pass: `passes` is told of each that injects, and says whether the next one is asked as well.
///
/// The kernel does the loop: its verifier then follows what is done for a rule once instead of once
/// for each rule that there may be.
///
/// A rule that the event does not concern does not count it at all: on hooks that several kinds of
/// events come by.
///
/// No closure may hold a reference to anything on the stack ([`Scratch`] says why).
#[inline(always)]
pub fn decide_met<S, C, F, P>(
    scratch: Scratch,
    gate: &Gate,
    subject: S,
    concerns: C,
    filters: F,
    passes: P,
) -> Option<Hit>
where
    S: Subject,
    C: Fn(&RuleConfig) -> bool,
    F: Fn(u32, &RuleConfig) -> Filtered,
    P: Fn(&Hit) -> bool,
{
    if S::TASK && gate.narrowings != 0 {
        scratch.learn_who();
    } else {
        scratch.forget_who();
    }
    let mut walk = Walk {
        scratch,
        subject,
        now: now(),
        concerns,
        filters,
        passes,
        number: 0,
        ordinal: 0,
    };
    // SAFETY: the callback casts the pointer back to what it was.
    unsafe {
        bpf_loop(
            scratch.rules() as u32,
            ask::<S, C, F, P> as *mut c_void,
            (&raw mut walk).cast(),
            0,
        );
    }
    if walk.ordinal == 0 {
        return None;
    }
    // SAFETY: values are replaced whole, and the map is not preallocated.
    let rule = unsafe { RULES_CONFIG.get(walk.number) }?;
    Some(Hit {
        rule,
        number: walk.number,
        ordinal: walk.ordinal,
        state: RULES_STATE.get_ptr_mut(walk.number)?,
        now: walk.now,
    })
}

/// Asks one rule; 1 ends the walk.
unsafe extern "C" fn ask<S, C, F, P>(index: u64, walk: *mut c_void) -> i64
where
    S: Subject,
    C: Fn(&RuleConfig) -> bool,
    F: Fn(u32, &RuleConfig) -> Filtered,
    P: Fn(&Hit) -> bool,
{
    // SAFETY: the caller passes a walk of this type, and waits for the end of the loop.
    let walk = unsafe { &mut *walk.cast::<Walk<S, C, F, P>>() };
    let hit = decide_one(
        walk.scratch.rule(index as usize),
        walk.now,
        &walk.subject,
        |plan| walk.scratch.held_until(plan),
        &walk.concerns,
        |number, rule| match narrowed(number, rule, walk.scratch.who()) {
            Filtered::In => (walk.filters)(number, rule),
            other => other,
        },
    );
    match hit {
        Some(hit) if !(walk.passes)(&hit) => {
            walk.number = hit.number;
            walk.ordinal = hit.ordinal;
            1
        }
        _ => 0,
    }
}

/// The same for the rules of one target, which an attachment knows by itself.
#[inline(always)]
pub fn decide_list<S: Subject>(
    list: &RuleList,
    subject: &S,
    filters: impl Fn(u32, &RuleConfig) -> Filtered,
) -> Option<Hit> {
    if list.len == 0 {
        return None;
    }
    let now = now();
    // A plan's rules stand beside each other in a list, so the last word is the only one to keep.
    let mut plan = u32::MAX;
    let mut word = 0;
    let mut index = 0;
    while index < RULES_PER_TARGET {
        if index >= list.len as usize {
            break;
        }
        let hit = decide_one(
            list.rules[index],
            now,
            subject,
            |of| {
                if of != plan {
                    plan = of;
                    word = PLANS_HELD.get(of).map_or(0, |word| {
                        // SAFETY: a map's value.
                        unsafe { core::ptr::read_volatile(word) }
                    });
                }
                word
            },
            |_| true,
            &filters,
        );
        if hit.is_some() {
            return hit;
        }
        index += 1;
    }
    None
}

/// The same for what the current task does: rules about tasks ask who it is as well.
#[inline(always)]
pub fn decide_list_of_caller(
    list: &RuleList,
    filters: impl Fn(u32, &RuleConfig) -> Filtered,
) -> Option<Hit> {
    decide_list(list, &Caller, |number, rule| {
        if rule.flags & flags::NARROW == 0 {
            return filters(number, rule);
        }
        match narrowed(number, rule, &Who::current()) {
            Filtered::In => filters(number, rule),
            other => other,
        }
    })
}

#[inline(always)]
fn narrowed(number: u32, rule: &RuleConfig, who: &Who) -> Filtered {
    if rule.flags & flags::NARROW == 0 {
        return Filtered::In;
    }
    // SAFETY: values are replaced whole, and the map is not preallocated.
    match unsafe { RULES_NARROW.get(number) } {
        Some(wanted) => who.filter(wanted),
        None => Filtered::Unknown,
    }
}

/// Whether the event lies in a cgroup that the rule leaves out.
#[inline(always)]
fn left_out<S: Subject>(number: u32, rule: &RuleConfig, subject: &S) -> bool {
    let mut index = 0;
    while index < EXCLUDE_DEPTHS {
        let depth = rule.exclude_depths[index];
        if depth == NO_DEPTH {
            return false;
        }
        let key = ExcludeKey {
            id: subject.ancestor(u32::from(depth)),
            rule: number,
            padding: 0,
        };
        if RULES_EXCLUDE.get_ptr(key).is_some() {
            return true;
        }
        index += 1;
    }
    false
}

#[inline(always)]
fn decide_one<S: Subject>(
    number: u32,
    now: u64,
    subject: &S,
    held_until: impl FnOnce(u32) -> u64,
    concerns: impl Fn(&RuleConfig) -> bool,
    filters: impl Fn(u32, &RuleConfig) -> Filtered,
) -> Option<Hit> {
    // SAFETY: values are replaced whole, and the map is not preallocated.
    let rule = unsafe { RULES_CONFIG.get(number) }?;
    if !concerns(rule) {
        return None;
    }
    let held_until = held_until(rule.plan);
    if held_until == 0 || left_out(number, rule, subject) {
        return None;
    }
    let state = RULES_STATE.get_ptr_mut(number)?;
    let ordinal = if S::TASK {
        asked::<true>(number, rule, state, now, held_until, filters)
    } else {
        asked::<false>(number, rule, state, now, held_until, filters)
    }?;
    Some(Hit {
        rule,
        number,
        ordinal,
        state,
        now,
    })
}

/// Decides and counts; the ordinal if the rule injects.
#[inline(always)]
fn asked<const TASK: bool>(
    number: u32,
    rule: &RuleConfig,
    state: *mut RuleState,
    now: u64,
    held_until: u64,
    filters: impl Fn(u32, &RuleConfig) -> Filtered,
) -> Option<u64> {
    let memory = Memory::<TASK>::new(number, state);
    let decision = decide(rule, now, held_until, || filters(number, rule), &memory);
    // SAFETY: a map's value.
    unsafe { evidence::count(rule, state, decision) };
    (decision == Decision::Inject).then_some(memory.ordinal())
}
