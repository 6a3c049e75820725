//! The maps of the fault plane. Every object has its own set of them.
//!
//! Hashes are not preallocated, so that memory follows the rules that there are. Configuration and
//! state are apart: replacing a hash value drops what was stored in it.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, PerCpuHashMap},
};
use chaos_common::{
    Counters, Gate, PathFilter, RuleConfig, RuleList, RuleState, TargetKey,
    limits::{PLANS, RULES},
};

/// One word per plan: zero while it is not armed. Arming and disarming a plan is one store.
#[map]
pub static PLANS_ARMED: Array<u64> = Array::with_max_entries(PLANS, 0);

/// Indexed by [`chaos_common::Hook`].
#[map]
pub static GATES: Array<Gate> = Array::with_max_entries(8, 0);

/// Target to its rules, for hooks that run for every task of the machine.
#[map]
pub static TARGETS: HashMap<TargetKey, RuleList> =
    HashMap::with_max_entries(RULES, BPF_F_NO_PREALLOC);

/// Rule number to its configuration.
#[map]
pub static RULES_CONFIG: HashMap<u32, RuleConfig> =
    HashMap::with_max_entries(RULES, BPF_F_NO_PREALLOC);

/// Rule number to its state.
#[map]
pub static RULES_STATE: HashMap<u32, RuleState> =
    HashMap::with_max_entries(RULES, BPF_F_NO_PREALLOC);

/// Rule number to its counters.
#[map]
pub static RULES_COUNT: PerCpuHashMap<u32, Counters> =
    PerCpuHashMap::with_max_entries(RULES, BPF_F_NO_PREALLOC);

/// Rule number to the paths that it wants.
#[map]
pub static RULES_PATH: HashMap<u32, PathFilter> =
    HashMap::with_max_entries(RULES, BPF_F_NO_PREALLOC);
