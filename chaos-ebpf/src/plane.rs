//! From an event to a verdict: which rules it meets, and what they decide.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_boot_ns,
    generated::bpf_get_current_ancestor_cgroup_id,
};
use chaos_common::{
    Counters, Decision, Filtered, Gate, Hook, RuleConfig, RuleList, RuleMemory, RuleState,
    TargetKey, decide,
    limits::{RULES_PER_EVENT, RULES_PER_TARGET, TARGET_LEVELS},
};

use crate::{
    atomics,
    kernel::{OFF_TASK_LEADER, OFF_TASK_START, read},
    maps::{GATES, PLANS_ARMED, RULES_CONFIG, RULES_COUNT, RULES_STATE, TARGETS},
    scratch::Scratch,
};

/// The rules that the current task meets on a hook: those of its cgroup's ancestors, outermost
/// first in time of arming, and its own. `None` costs one lookup in an array while the hook has no
/// rules, and one lookup per depth in use for a task that is no target.
#[inline(always)]
pub fn met_by_task(hook: Hook) -> Option<(Scratch, &'static Gate)> {
    let gate = GATES.get(hook as u32)?;
    if gate.levels_len == 0 && gate.processes == 0 {
        return None;
    }
    let mut scratch = None;
    let mut index = 0;
    while index < TARGET_LEVELS {
        if index >= gate.levels_len as usize {
            break;
        }
        // A slot without a level asks for level -1, which the helper answers with 0: no target.
        // SAFETY: no pointer is passed.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(gate.levels[index].cast_signed()) };
        look_up(
            &mut scratch,
            &TargetKey {
                id,
                hook: hook as u32,
                scope: TargetKey::CGROUP,
            },
        )?;
        index += 1;
    }
    if gate.processes != 0
        && let Some(id) = current_process()
    {
        look_up(
            &mut scratch,
            &TargetKey {
                id,
                hook: hook as u32,
                scope: TargetKey::PROCESS,
            },
        )?;
    }
    scratch.map(|scratch| (scratch, gate))
}

/// Adds the rules of one target; `None` when there is no room to remember any.
#[inline(always)]
fn look_up(scratch: &mut Option<Scratch>, key: &TargetKey) -> Option<()> {
    // SAFETY: values are replaced whole, and the map is not preallocated.
    let Some(list) = (unsafe { TARGETS.get(key) }) else {
        return Some(());
    };
    if scratch.is_none() {
        *scratch = Some(Scratch::claim()?);
    }
    let scratch = scratch.as_ref()?;
    let mut index = 0;
    while index < RULES_PER_TARGET {
        if index >= list.len as usize {
            break;
        }
        scratch.add(list.rules[index]);
        index += 1;
    }
    Some(())
}

/// Asks the rules in order and returns the first one that injects.
#[inline(always)]
pub fn decide_met(
    scratch: &Scratch,
    filters: impl Fn(u32, &RuleConfig) -> Filtered,
) -> Option<&'static RuleConfig> {
    // SAFETY: no pointer is passed.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let mut index = 0;
    while index < RULES_PER_EVENT {
        if index >= scratch.rules() {
            break;
        }
        if let Some(rule) = decide_one(scratch.rule(index), now, &filters) {
            return Some(rule);
        }
        index += 1;
    }
    None
}

/// The same for the rules of one target.
#[inline(always)]
pub fn decide_list(
    list: &RuleList,
    filters: impl Fn(u32, &RuleConfig) -> Filtered,
) -> Option<&'static RuleConfig> {
    if list.len == 0 {
        return None;
    }
    // SAFETY: no pointer is passed.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let mut index = 0;
    while index < RULES_PER_TARGET {
        if index >= list.len as usize {
            break;
        }
        if let Some(rule) = decide_one(list.rules[index], now, &filters) {
            return Some(rule);
        }
        index += 1;
    }
    None
}

/// The identity of the current process: its number alone may be another process's tomorrow.
#[inline(always)]
fn current_process() -> Option<u64> {
    // SAFETY: no pointer of ours is passed, and reads are checked by a helper.
    let start: u64 = unsafe {
        let leader: u64 = read(bpf_get_current_task(), &OFF_TASK_LEADER)?;
        read(leader, &OFF_TASK_START)?
    };
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    Some(TargetKey::process(pid, start / TargetKey::TICK_NS))
}

#[inline(always)]
fn decide_one(
    number: u32,
    now: u64,
    filters: &impl Fn(u32, &RuleConfig) -> Filtered,
) -> Option<&'static RuleConfig> {
    // SAFETY: values are replaced whole, and the map is not preallocated.
    let rule = unsafe { RULES_CONFIG.get(number) }?;
    if *PLANS_ARMED.get(rule.plan)? == 0 {
        return None;
    }
    let counters = RULES_COUNT.get_ptr_mut(number)?;
    let memory = Memory(RULES_STATE.get_ptr_mut(number)?);
    let decision = decide(rule, now, || filters(number, rule), &memory);
    count(counters, decision);
    (decision == Decision::Inject).then_some(rule)
}

struct Memory(*mut RuleState);

impl RuleMemory for Memory {
    #[inline(always)]
    fn next_ordinal(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { atomics::fetch_add(&raw mut (*self.0).ordinal, 1) + 1 }
    }

    #[inline(always)]
    fn spend(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { atomics::fetch_add(&raw mut (*self.0).spent, 1) + 1 }
    }
}

/// The counters belong to this CPU, but a preempted program may be in the middle of the same line.
#[inline(always)]
fn count(counters: *mut Counters, decision: Decision) {
    // SAFETY: a map's value.
    unsafe {
        let counters = &raw mut *counters;
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
