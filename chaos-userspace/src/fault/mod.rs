//! From a validated fault to what the kernel is told: no I/O, one file per kind.

mod file_error;
mod net_loss;
mod pressure_cpu;

use std::time::Duration;

use chaos_common::{Hook, PathFilter, RuleConfig, flags};

use crate::{
    engine::{Object, RuleSpec},
    experiment::{Common, Fault, FaultKind, Mechanism, Share},
    knob::Limit,
};

/// What a kind adds to what every rule has.
#[derive(Debug)]
pub(crate) struct Effect {
    hook: Hook,
    value: u32,
    flags: u32,
    path: Option<PathFilter>,
    share: Share,
}

/// When and where a fault runs: what a rule needs beyond the fault itself.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Boot time at which the plan starts.
    pub now_ns: u64,
    /// The fault's own or the experiment's.
    pub duration: Duration,
    /// The fault's own or the experiment's.
    pub seed: u64,
}

/// The mechanisms of a kind, best first: exactness before cost.
pub const fn ladder(kind: &FaultKind) -> &'static [Mechanism] {
    match kind {
        FaultKind::FileError(_) => file_error::LADDER,
        FaultKind::NetLoss(_) => net_loss::LADDER,
        FaultKind::PressureCpu(_) => pressure_cpu::LADDER,
    }
}

/// The BPF object of a kind; `None` for a kind that is done without BPF.
pub const fn object(kind: &FaultKind) -> Option<Object> {
    match kind {
        FaultKind::FileError(_) => Some(Object::FileError),
        FaultKind::NetLoss(_) => Some(Object::NetLoss),
        FaultKind::PressureCpu(_) => None,
    }
}

/// What a kind that is done by a control file of the target's cgroup wants in it.
pub(crate) fn knob(kind: &FaultKind) -> Option<Limit> {
    match kind {
        FaultKind::PressureCpu(kind) => Some(kind.quota.into()),
        FaultKind::FileError(_) | FaultKind::NetLoss(_) => None,
    }
}

/// What a mechanism can't see of a kind, in words for people.
pub fn not_covered(kind: &FaultKind) -> Vec<String> {
    let rows = match kind {
        FaultKind::FileError(_) => file_error::NOT_COVERED,
        FaultKind::NetLoss(_) => net_loss::NOT_COVERED,
        FaultKind::PressureCpu(_) => pressure_cpu::NOT_COVERED,
    };
    rows.iter().map(|row| (*row).to_owned()).collect()
}

/// From when to when a fault lives, in boot time.
pub fn lifetime(fault: &Fault, timing: &Timing) -> (u64, u64) {
    let start_ns = timing
        .now_ns
        .saturating_add(fault.common.after.map_or(0, nanoseconds));
    let deadline_ns = start_ns.saturating_add(nanoseconds(timing.duration));
    (start_ns, deadline_ns)
}

/// Compiles a fault into its rule, if it has one. `index` is the fault's place in its experiment,
/// and `plan` the slot of its plan.
pub fn compile(fault: &Fault, index: u32, plan: u32, timing: &Timing) -> Option<RuleSpec> {
    let effect = match &fault.kind {
        FaultKind::FileError(kind) => file_error::effect(kind, &fault.common),
        FaultKind::NetLoss(kind) => net_loss::effect(kind),
        FaultKind::PressureCpu(_) => return None,
    };
    let Common {
        when,
        times,
        pulse,
        shadow,
        ..
    } = &fault.common;
    let (start_ns, deadline_ns) = lifetime(fault, timing);
    let mut flags = effect.flags;
    if *shadow {
        flags |= flags::SHADOW;
    }
    if effect.path.is_some() {
        flags |= flags::PATH;
    }
    Some(RuleSpec {
        hook: effect.hook,
        config: RuleConfig {
            seed: fault.common.seed.unwrap_or(timing.seed),
            threshold: effect.share.threshold(),
            start_ns,
            deadline_ns,
            pulse_active_ns: pulse.map_or(0, |pulse| nanoseconds(pulse.active)),
            pulse_every_ns: pulse.map_or(0, |pulse| nanoseconds(pulse.every)),
            when_first: when.map_or(1, |when| when.first),
            when_last: when.map_or(u64::MAX, |when| when.last.unwrap_or(u64::MAX)),
            when_step: when.map_or(1, |when| when.step),
            times: times.unwrap_or(u64::MAX),
            identity: index,
            plan,
            flags,
            effect: effect.value,
        },
        path: effect.path,
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
