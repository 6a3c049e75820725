//! From a validated fault to what the kernel is told: no I/O, one file per kind.

mod file_error;
mod net_loss;

use std::time::Duration;

use chaos_common::{Hook, PathFilter, RuleConfig, flags};

use crate::{
    engine::{Object, RuleSpec},
    experiment::{Common, Fault, FaultKind, Mechanism, Share},
};

/// What a kind adds to what every rule has.
#[derive(Debug)]
pub(crate) struct Effect {
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
    }
}

/// The BPF object of a kind.
pub const fn object(kind: &FaultKind) -> Object {
    match kind {
        FaultKind::FileError(_) => Object::FileError,
        FaultKind::NetLoss(_) => Object::NetLoss,
    }
}

/// What a mechanism can't see of a kind, in words for people.
pub fn not_covered(kind: &FaultKind) -> Vec<String> {
    let rows = match kind {
        FaultKind::FileError(_) => file_error::NOT_COVERED,
        FaultKind::NetLoss(_) => net_loss::NOT_COVERED,
    };
    rows.iter().map(|row| (*row).to_owned()).collect()
}

/// Compiles a fault into its rule. `hook` is where its mechanism asks, `index` the fault's place in
/// its experiment, and `plan` the slot of its plan.
pub fn compile(fault: &Fault, hook: Hook, index: u32, plan: u32, timing: &Timing) -> RuleSpec {
    let effect = match &fault.kind {
        FaultKind::FileError(kind) => file_error::effect(kind, &fault.common),
        FaultKind::NetLoss(kind) => net_loss::effect(kind),
    };
    let Common {
        when,
        times,
        after,
        pulse,
        shadow,
        ..
    } = &fault.common;
    let start_ns = timing.now_ns.saturating_add(after.map_or(0, nanoseconds));
    let mut flags = effect.flags;
    if *shadow {
        flags |= flags::SHADOW;
    }
    RuleSpec {
        hook,
        config: RuleConfig {
            seed: fault.common.seed.unwrap_or(timing.seed),
            threshold: effect.share.threshold(),
            start_ns,
            deadline_ns: start_ns.saturating_add(nanoseconds(timing.duration)),
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
            ..RuleConfig::ALWAYS
        },
        path: effect.path,
        narrowing: None,
        exclude: Vec::new(),
        replay: None,
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
