//! What a rule remembers between events: its state in a map, and its threads'.

use core::cell::Cell;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task},
};
use chaos_common::{ReplayKey, RuleMemory, RuleState, ThreadKey};

use crate::{
    atomics,
    kernel::{OFF_TASK_START, read},
    maps::{RULES_REPLAY, THREADS_ORDINAL},
};

/// The memory of one rule, and the ordinal of the event that it is asked about. A packet belongs to
/// no thread, and its programs may not ask for one.
pub struct Memory<const TASK: bool> {
    rule: u32,
    state: *mut RuleState,
    ordinal: Cell<u64>,
}

impl<const TASK: bool> Memory<TASK> {
    /// `state` is the rule's entry in `RULES_STATE`.
    #[inline(always)]
    pub const fn new(rule: u32, state: *mut RuleState) -> Self {
        Self {
            rule,
            state,
            ordinal: Cell::new(0),
        }
    }

    /// The ordinal that was given to the event, 0 if none was.
    #[inline(always)]
    pub const fn ordinal(&self) -> u64 {
        self.ordinal.get()
    }
}

impl<const TASK: bool> RuleMemory for Memory<TASK> {
    #[inline(always)]
    fn next_ordinal(&self) -> u64 {
        // SAFETY: a map's value.
        let ordinal = unsafe { atomics::fetch_add(&raw mut (*self.state).ordinal, 1) + 1 };
        self.ordinal.set(ordinal);
        ordinal
    }

    #[inline(always)]
    fn next_of_thread(&self) -> Option<u64> {
        if !TASK {
            return None;
        }
        // SAFETY: no pointer of ours is passed, and the read is checked by a helper.
        let start_ns = unsafe { read::<u64>(bpf_get_current_task(), &OFF_TASK_START)? };
        let key = ThreadKey {
            start_ns,
            tid: bpf_get_current_pid_tgid() as u32,
            rule: self.rule,
        };
        let Some(ordinal) = THREADS_ORDINAL.get_ptr_mut(key) else {
            // Only this thread adds this key, so nobody can have been faster.
            THREADS_ORDINAL
                .insert(key, 1, u64::from(BPF_NOEXIST))
                .ok()?;
            return Some(1);
        };
        // SAFETY: a map's value.
        Some(unsafe { atomics::fetch_add(ordinal, 1) + 1 })
    }

    #[inline(always)]
    fn is_replayed(&self, ordinal: u64) -> bool {
        let key = ReplayKey {
            ordinal,
            rule: self.rule,
            padding: 0,
        };
        RULES_REPLAY.get_ptr(key).is_some()
    }

    #[inline(always)]
    fn move_rate(&self, seen: u64, next: u64) -> Result<(), u64> {
        // SAFETY: a map's value.
        let found =
            unsafe { atomics::compare_exchange(&raw mut (*self.state).rate_until_ns, seen, next) };
        if found == seen { Ok(()) } else { Err(found) }
    }

    #[inline(always)]
    fn rate_until(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.state).rate_until_ns).read_volatile() }
    }

    #[inline(always)]
    fn spend(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { atomics::fetch_add(&raw mut (*self.state).spent, 1) + 1 }
    }
}
