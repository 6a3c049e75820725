//! From a validated fault to what the kernel is told: no I/O, one file per kind.

pub(crate) mod call_filter;
pub(crate) mod clock;
mod clock_freeze;
mod clock_offset;
mod clock_speed;
mod clock_step;
mod disk_error;
mod disk_full;
mod disk_limit;
mod disk_quota;
mod disk_readonly;
mod disk_state;
mod dns;
mod dns_answer;
mod dns_delay;
mod dns_error;
mod file_delay;
mod file_error;
mod mem_mmap;
mod mem_page;
mod mem_slab;
mod net;
mod net_connect;
mod net_link;
mod net_loss;
mod net_reset;
mod pressure_cpu;
mod socket_filter;
mod syscall_delay;
pub(crate) mod syscall_error;
mod syscall_return;

use std::time::Duration;

use chaos_common::{
    AllocationFilter, CallFilter, CommFilter, Hook, Narrowing, PathFilter, RuleConfig, flags,
    limits::BUSY_WAIT_NS,
};

use crate::{
    engine::{Calls, Object, RuleSpec},
    experiment::{
        ByteSize, Comm, Common, Direction, DiskFull, DiskQuota, Fault, FaultKind, FileDelay,
        FileError, Mechanism, Scope, Share, SyscallDelay, SyscallError, SyscallOp, SyscallReturn,
    },
    knob::{self, Limit, Wanted},
};

/// What allocations fail with.
const ENOMEM: u32 = libc::ENOMEM.unsigned_abs();

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
        FaultKind::FileDelay(_) | FaultKind::FileError(_) => file_error::LADDER,
        FaultKind::NetDown(_) | FaultKind::NetLoss(_) | FaultKind::NetPartition(_) => net::LADDER,
        FaultKind::PressureCpu(_) => pressure_cpu::LADDER,
        FaultKind::SyscallDelay(_) => syscall_delay::LADDER,
        FaultKind::SyscallError(_) => syscall_error::LADDER,
        FaultKind::SyscallReturn(_) => syscall_return::LADDER,
        FaultKind::DiskLimit(_) => disk_limit::LADDER,
        FaultKind::MemSlab(_) => mem_slab::LADDER,
        FaultKind::MemPage(_) => mem_page::LADDER,
        FaultKind::MemMmap(_) => mem_mmap::LADDER,
        FaultKind::DiskFull(_) => disk_full::LADDER,
        FaultKind::DiskReadonly(_) => disk_readonly::LADDER,
        FaultKind::DiskQuota(_) => disk_quota::LADDER,
        FaultKind::DiskError(_) => disk_error::LADDER,
        FaultKind::NetConnect(_) => net_connect::LADDER,
        FaultKind::NetReset(_) => net_reset::LADDER,
        FaultKind::ClockOffset(_) => clock_offset::LADDER,
        FaultKind::ClockSpeed(_) => clock_speed::LADDER,
        FaultKind::ClockFreeze(_) => clock_freeze::LADDER,
        FaultKind::ClockStep(_) => clock_step::LADDER,
        FaultKind::DnsDelay(_) | FaultKind::NetLink(_) => net_link::LADDER,
        FaultKind::DnsAnswer(_) | FaultKind::DnsError(_) => dns::LADDER,
    }
}

/// The BPF object of a kind; `None` for a kind that is done without BPF.
pub const fn object(kind: &FaultKind) -> Option<Object> {
    match kind {
        // One object each, so that rules of all kinds on one event are asked in their order by one program.
        FaultKind::FileDelay(_)
        | FaultKind::FileError(_)
        | FaultKind::DiskFull(_)
        | FaultKind::DiskReadonly(_)
        | FaultKind::DiskQuota(_) => Some(Object::FileError),
        FaultKind::NetDown(_) | FaultKind::NetLoss(_) | FaultKind::NetPartition(_) => {
            Some(Object::NetLoss)
        }
        FaultKind::SyscallDelay(_) | FaultKind::SyscallError(_) | FaultKind::SyscallReturn(_) => {
            Some(Object::SyscallError)
        }
        FaultKind::DiskLimit(_)
        | FaultKind::NetReset(_)
        | FaultKind::ClockOffset(_)
        | FaultKind::ClockSpeed(_)
        | FaultKind::ClockFreeze(_)
        | FaultKind::ClockStep(_)
        | FaultKind::PressureCpu(_) => None,
        FaultKind::MemSlab(_) => Some(Object::MemSlab),
        FaultKind::MemPage(_) => Some(Object::MemPage),
        FaultKind::MemMmap(_) => Some(Object::MemMmap),
        FaultKind::DiskError(_) => Some(Object::DiskError),
        FaultKind::NetConnect(_) => Some(Object::NetConnect),
        FaultKind::DnsDelay(_) | FaultKind::NetLink(_) => Some(Object::NetLink),
        FaultKind::DnsAnswer(_) | FaultKind::DnsError(_) => Some(Object::DnsError),
    }
}

/// What a kind that is done by a control file of the target's cgroup wants in it.
pub(crate) fn knob(kind: &FaultKind) -> Option<Wanted> {
    match kind {
        FaultKind::PressureCpu(kind) => Some(Wanted {
            limit: Limit::Cpu(kind.quota.into()),
            device: None,
        }),
        FaultKind::DiskLimit(kind) => Some(Wanted {
            limit: Limit::Io(kind.into()),
            device: Some(kind.device.clone()),
        }),
        FaultKind::MemSlab(_)
        | FaultKind::MemPage(_)
        | FaultKind::MemMmap(_)
        | FaultKind::DiskFull(_)
        | FaultKind::DiskReadonly(_)
        | FaultKind::DiskQuota(_)
        | FaultKind::FileDelay(_)
        | FaultKind::FileError(_)
        | FaultKind::DnsError(_)
        | FaultKind::DnsAnswer(_)
        | FaultKind::DnsDelay(_)
        | FaultKind::DiskError(_)
        | FaultKind::NetDown(_)
        | FaultKind::NetConnect(_)
        | FaultKind::NetLink(_)
        | FaultKind::NetReset(_)
        | FaultKind::ClockOffset(_)
        | FaultKind::ClockSpeed(_)
        | FaultKind::ClockFreeze(_)
        | FaultKind::ClockStep(_)
        | FaultKind::NetLoss(_)
        | FaultKind::NetPartition(_)
        | FaultKind::SyscallDelay(_)
        | FaultKind::SyscallError(_)
        | FaultKind::SyscallReturn(_) => None,
    }
}

/// The controller that the target's cgroup must have, if the kind needs one.
pub(crate) fn controller(kind: &FaultKind) -> Option<&'static str> {
    match kind {
        FaultKind::DiskError(_) => Some("io"),
        _ => Some(knob::controller(knob(kind)?.limit.file())),
    }
}

/// Whether a node can do what a kind is about by a mechanism, on any machine.
///
/// # Errors
/// Why not.
pub(crate) fn covers(kind: &FaultKind, mechanism: Mechanism) -> Result<(), String> {
    call_filter::answers(kind, mechanism)?;
    net::covers(kind, mechanism)?;
    match kind {
        FaultKind::SyscallDelay(kind) => syscall_delay::covers(kind, mechanism),
        FaultKind::SyscallError(kind) => syscall_error::covers(kind, mechanism),
        FaultKind::SyscallReturn(kind) => syscall_return::covers(kind, mechanism),
        FaultKind::DiskLimit(_)
        | FaultKind::MemSlab(_)
        | FaultKind::MemPage(_)
        | FaultKind::MemMmap(_)
        | FaultKind::DiskFull(_)
        | FaultKind::DiskReadonly(_)
        | FaultKind::DiskQuota(_)
        | FaultKind::FileDelay(_)
        | FaultKind::FileError(_)
        | FaultKind::DnsError(_)
        | FaultKind::DnsAnswer(_)
        | FaultKind::DnsDelay(_)
        | FaultKind::DiskError(_)
        | FaultKind::NetDown(_)
        | FaultKind::NetConnect(_)
        | FaultKind::NetLink(_)
        | FaultKind::NetReset(_)
        | FaultKind::ClockOffset(_)
        | FaultKind::ClockSpeed(_)
        | FaultKind::ClockFreeze(_)
        | FaultKind::ClockStep(_)
        | FaultKind::NetLoss(_)
        | FaultKind::NetPartition(_)
        | FaultKind::PressureCpu(_) => Ok(()),
    }
}

/// Whether threads have to sleep for it: it is too long for a program to keep a processor busy.
pub(crate) fn sleeps(kind: &FaultKind) -> bool {
    match kind {
        FaultKind::FileDelay(FileDelay { delay, .. })
        | FaultKind::SyscallDelay(SyscallDelay { delay, .. }) => {
            *delay > Duration::from_nanos(BUSY_WAIT_NS)
        }
        _ => false,
    }
}

/// What a kind that is about system calls names.
fn ops(kind: &FaultKind) -> Option<&[SyscallOp]> {
    match kind {
        FaultKind::SyscallDelay(SyscallDelay { ops, .. })
        | FaultKind::SyscallError(SyscallError { ops, .. })
        | FaultKind::SyscallReturn(SyscallReturn { ops, .. }) => Some(ops),
        FaultKind::DiskLimit(_)
        | FaultKind::MemSlab(_)
        | FaultKind::MemPage(_)
        | FaultKind::MemMmap(_)
        | FaultKind::DiskFull(_)
        | FaultKind::DiskReadonly(_)
        | FaultKind::DiskQuota(_)
        | FaultKind::FileDelay(_)
        | FaultKind::FileError(_)
        | FaultKind::DnsError(_)
        | FaultKind::DnsAnswer(_)
        | FaultKind::DnsDelay(_)
        | FaultKind::DiskError(_)
        | FaultKind::NetDown(_)
        | FaultKind::NetConnect(_)
        | FaultKind::NetLink(_)
        | FaultKind::NetReset(_)
        | FaultKind::ClockOffset(_)
        | FaultKind::ClockSpeed(_)
        | FaultKind::ClockFreeze(_)
        | FaultKind::ClockStep(_)
        | FaultKind::NetLoss(_)
        | FaultKind::NetPartition(_)
        | FaultKind::PressureCpu(_) => None,
    }
}

/// The system calls, events of files, classes of allocations, or operations of a disk or a socket that a
/// kind is about, if it is about some.
pub(crate) fn calls(kind: &FaultKind) -> Option<Calls> {
    match kind {
        FaultKind::DiskError(kind) => return Some(disk_error::calls(kind)),
        FaultKind::MemMmap(kind) => return Some(mem_mmap::calls(kind)),
        FaultKind::NetConnect(kind) => return Some(net_connect::calls(kind)),
        FaultKind::MemPage(kind) => return Some(mem_slab::classes(&kind.gfp)),
        FaultKind::MemSlab(kind) => return Some(mem_slab::classes(&kind.gfp)),
        _ => {}
    }
    let mut calls = Calls::default();
    match kind {
        FaultKind::FileDelay(FileDelay { ops, .. })
        | FaultKind::FileError(FileError { ops, .. }) => {
            for op in ops {
                calls.all.insert(op.event() as u32);
            }
            calls.named = calls.all;
            return Some(calls);
        }
        FaultKind::DiskFull(kind) => return Some(disk_full::calls(kind)),
        FaultKind::DiskReadonly(kind) => return Some(disk_readonly::calls(kind)),
        FaultKind::DiskQuota(kind) => return Some(disk_quota::calls(kind)),
        _ => {}
    }
    let filter = kind.of_calls()?.1;
    for op in ops(kind)? {
        match op {
            SyscallOp::Call(call) => {
                calls.all.insert(call.number());
                calls.named.insert(call.number());
            }
            SyscallOp::Class(class) => class
                .calls()
                .filter(|call| filter.suits(*call))
                .for_each(|call| calls.all.insert(call.number())),
        }
    }
    Some(calls)
}

/// What a mechanism can't see of a kind, in words for people.
pub fn not_covered(kind: &FaultKind) -> Vec<String> {
    let rows = match kind {
        FaultKind::FileDelay(_) | FaultKind::FileError(_) => file_error::NOT_COVERED,
        FaultKind::NetDown(_) | FaultKind::NetLoss(_) | FaultKind::NetPartition(_) => {
            net::NOT_COVERED
        }
        FaultKind::PressureCpu(_) => pressure_cpu::NOT_COVERED,
        FaultKind::SyscallDelay(_) | FaultKind::SyscallError(_) | FaultKind::SyscallReturn(_) => {
            syscall_error::NOT_COVERED
        }
        FaultKind::DiskLimit(_) => disk_limit::NOT_COVERED,
        FaultKind::MemSlab(_) => mem_slab::NOT_COVERED,
        FaultKind::MemPage(_) => mem_page::NOT_COVERED,
        FaultKind::MemMmap(_) => mem_mmap::NOT_COVERED,
        FaultKind::DiskFull(_) => disk_full::NOT_COVERED,
        FaultKind::DiskReadonly(_) => disk_readonly::NOT_COVERED,
        FaultKind::DiskQuota(_) => disk_quota::NOT_COVERED,
        FaultKind::DiskError(_) => disk_error::NOT_COVERED,
        FaultKind::NetConnect(_) => net_connect::NOT_COVERED,
        FaultKind::NetReset(_) => net_reset::NOT_COVERED,
        FaultKind::ClockOffset(_) => clock_offset::NOT_COVERED,
        FaultKind::ClockSpeed(_) => clock_speed::NOT_COVERED,
        FaultKind::ClockFreeze(_) => clock_freeze::NOT_COVERED,
        FaultKind::ClockStep(_) => clock_step::NOT_COVERED,
        FaultKind::NetLink(_) => net_link::NOT_COVERED,
        FaultKind::DnsAnswer(_) | FaultKind::DnsDelay(_) | FaultKind::DnsError(_) => {
            dns::NOT_COVERED
        }
    };
    rows.iter().map(|row| (*row).to_owned()).collect()
}

/// What one of its mechanisms can't do as another one can, in words for people.
pub(crate) fn lacks(kind: &FaultKind, mechanism: Mechanism) -> Option<String> {
    net::lacks(kind, mechanism).map(ToOwned::to_owned)
}

/// Which allocations a kind is about, if it is about some.
fn allocation(kind: &FaultKind) -> Option<AllocationFilter> {
    match kind {
        FaultKind::MemMmap(kind) => mem_mmap::allocation(kind),
        FaultKind::MemPage(kind) => mem_page::allocation(kind),
        FaultKind::MemSlab(kind) => mem_slab::allocation(kind),
        _ => None,
    }
}

/// From when to when a fault lives, in boot time.
pub fn lifetime(fault: &Fault, timing: &Timing) -> (u64, u64) {
    let start_ns = timing
        .now_ns
        .saturating_add(fault.common.after.map_or(0, nanoseconds));
    let deadline_ns = start_ns.saturating_add(nanoseconds(timing.duration));
    (start_ns, deadline_ns)
}

/// Compiles a fault into its rule, if it has one. `hook` is where its mechanism asks, `index` the
/// fault's place in its experiment, and `plan` the slot of its plan.
pub fn compile(
    fault: &Fault,
    hook: Hook,
    index: u32,
    plan: u32,
    timing: &Timing,
) -> Option<RuleSpec> {
    let effect = match &fault.kind {
        FaultKind::FileDelay(kind) => file_delay::effect(kind, &fault.common),
        FaultKind::FileError(kind) => file_error::effect(kind, &fault.common),
        FaultKind::NetLoss(kind) => net_loss::effect(kind),
        FaultKind::NetDown(_)
        | FaultKind::NetPartition(_)
        | FaultKind::NetLink(_)
        | FaultKind::DnsDelay(_) => net::effect(&fault.common),
        FaultKind::SyscallDelay(kind) => syscall_delay::effect(kind, &fault.common),
        FaultKind::SyscallError(kind) => syscall_error::effect(kind, &fault.common),
        FaultKind::SyscallReturn(kind) => syscall_return::effect(kind, &fault.common),
        FaultKind::DiskLimit(_)
        | FaultKind::ClockOffset(_)
        | FaultKind::ClockSpeed(_)
        | FaultKind::ClockFreeze(_)
        | FaultKind::ClockStep(_)
        | FaultKind::PressureCpu(_) => {
            return None;
        }
        FaultKind::NetReset(kind) => net_reset::effect(kind),
        FaultKind::MemSlab(_) | FaultKind::MemPage(_) => mem_slab::effect(&fault.common),
        FaultKind::MemMmap(_) => mem_mmap::effect(&fault.common),
        FaultKind::DiskFull(kind) => disk_full::effect(kind),
        FaultKind::DiskReadonly(kind) => disk_readonly::effect(kind),
        FaultKind::DiskQuota(kind) => disk_quota::effect(kind),
        FaultKind::DiskError(_) => disk_error::effect(&fault.common),
        FaultKind::NetConnect(kind) => net_connect::effect(kind, &fault.common),
        FaultKind::DnsError(kind) => dns_error::effect(kind, &fault.common),
        FaultKind::DnsAnswer(_) => dns_answer::effect(&fault.common),
    };
    let Common {
        when,
        times,
        pulse,
        shadow,
        stack,
        scope,
        max_rate,
        ..
    } = &fault.common;
    let (start_ns, deadline_ns) = lifetime(fault, timing);
    let mut flags = effect.flags;
    if *shadow {
        flags |= flags::SHADOW;
    }
    if *stack {
        flags |= flags::STACK;
    }
    if *scope == Scope::Thread {
        flags |= flags::SCOPE_THREAD;
    }
    let interval = max_rate.map_or(0, |rate| rate.interval_ns());
    let traffic = fault.kind.traffic();
    let direction = match (&traffic, &fault.kind) {
        (Some(traffic), _) => Some(traffic.direction),
        (None, FaultKind::DnsDelay(_)) => Some(Direction::Ingress),
        _ => None,
    };
    let (hook, also) = direction.map_or((hook, None), |direction| net::hooks(direction, hook));
    if traffic.as_ref().is_some_and(|traffic| traffic.visible) {
        flags |= flags::VISIBLE;
    }
    Some(RuleSpec {
        hook,
        also,
        packet: match traffic {
            Some(traffic) => net::packet(&traffic),
            None => dns::servers(&fault.kind),
        },
        dns: dns::answers(&fault.kind),
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
            rate_interval_ns: interval,
            // As many at once as in one period.
            rate_tolerance_ns: max_rate.map_or(0, |rate| {
                interval.saturating_mul(rate.count.saturating_sub(1))
            }),
            identity: index,
            plan,
            flags,
            effect: effect.value,
            ..RuleConfig::ALWAYS
        },
        path: effect.path,
        calls: calls(&fault.kind),
        call: call_filter(&fault.kind),
        narrowing: narrowing(&fault.common),
        allocation: allocation(&fault.kind),
        // Which one it is, only the machine can tell.
        device: None,
        room: room(&fault.kind),
        link: net_link::link(&fault.kind).or_else(|| dns_delay::link(&fault.kind)),
        exclude: Vec::new(),
        replay: fault
            .common
            .replay
            .as_ref()
            .map(|ordinals| ordinals.as_slice().to_vec()),
    })
}

/// What it wants of a system call or of a socket.
fn call_filter(kind: &FaultKind) -> Option<CallFilter> {
    match kind {
        FaultKind::NetConnect(kind) => net_connect::filter(kind),
        FaultKind::NetReset(kind) => net_reset::filter(kind),
        _ => call_filter::compile(kind.of_calls()?.1),
    }
}

/// How many bytes may be written before it injects.
fn room(kind: &FaultKind) -> Option<u64> {
    match kind {
        FaultKind::DiskFull(DiskFull { bytes, .. })
        | FaultKind::DiskQuota(DiskQuota { bytes, .. }) => bytes.map(ByteSize::bytes),
        _ => None,
    }
}

/// Which tasks inside the target. Names were bounded when they were parsed.
fn narrowing(common: &Common) -> Option<Narrowing> {
    let Common {
        comm, uid, thread, ..
    } = common;
    if comm.is_none() && uid.is_none() && thread.is_none() {
        return None;
    }
    let filter = |name: &Option<Comm>, make: fn(&[u8]) -> Option<CommFilter>| {
        name.as_ref()
            .and_then(|name| make(name.as_str().as_bytes()))
            .unwrap_or_default()
    };
    Some(Narrowing {
        comm: filter(comm, CommFilter::exactly),
        thread: filter(thread, CommFilter::prefix),
        uid: uid.unwrap_or_default(),
        has_uid: uid.is_some().into(),
    })
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use chaos_common::limits::HOOKS;
    use proptest::prelude::*;

    use super::*;
    use crate::{engine::hook, experiment::strategies};

    proptest! {
        #[test]
        fn a_mechanism_that_may_be_named_is_a_rung_and_the_other_way_round(
            fault in strategies::fault(),
        ) {
            prop_assert_eq!(fault.kind.mechanisms(), ladder(&fault.kind));
        }

        /// A program would look for its gate beyond the map, and never hit anything.
        #[test]
        fn each_hook_has_a_place_in_the_maps(fault in strategies::fault()) {
            if let Some(object) = object(&fault.kind) {
                for mechanism in ladder(&fault.kind) {
                    prop_assert!((hook(object, *mechanism) as u32) < HOOKS);
                }
            }
        }
    }
}
