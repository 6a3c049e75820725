//! From the wire to the model.
//!
//! What can't be represented is a violation too; it is replaced by something harmless, so that the
//! rest is checked as well and everything that is wrong is reported at once.

mod clock;
mod disk;
mod memory;
mod sockets;

use std::time::Duration;

use crate::{
    api::proto,
    experiment::{
        ByteRate, Comm, Common, Complete, CpuQuota, DiskLimit, DiskReadonly, Errno, Experiment,
        Fault, FaultKind, FileDelay, FileError, FileOp, Mechanism, Ordinals, PathFilter,
        PressureCpu, Pulse, Rate, Scope, Share, SyscallDelay, SyscallError, SyscallOp,
        SyscallReturn, Target, Violation, Violations, When, number_default_ids,
    },
};

impl TryFrom<proto::Experiment> for Experiment {
    type Error = Violations;

    fn try_from(wire: proto::Experiment) -> Result<Self, Violations> {
        let mut reader = Reader::default();
        let mut experiment = Self {
            name: wire.name,
            target: wire
                .target
                .and_then(|target| reader.target("spec.target", target)),
            duration: reader.duration("spec.duration", wire.duration),
            seed: wire.seed,
            faults: wire
                .faults
                .into_iter()
                .enumerate()
                .map(|(i, fault)| reader.fault(&format!("spec.faults[{i}]"), fault))
                .collect(),
            checks: wire
                .checks
                .into_iter()
                .enumerate()
                .map(|(i, check)| reader.check(&format!("spec.checks[{i}]"), check))
                .collect::<Vec<_>>()
                .into_iter()
                // Without the ones that can't be read the others would have other numbers.
                .collect::<Option<_>>()
                .unwrap_or_default(),
        };
        if experiment.faults.iter().any(|fault| fault.id.is_empty()) {
            for fault in experiment
                .faults
                .iter_mut()
                .filter(|fault| fault.id.is_empty())
            {
                fault.kind.name().clone_into(&mut fault.id);
            }
            number_default_ids(&mut experiment.faults);
        }
        reader.finish(experiment)
    }
}

/// Empty is no filter.
fn path(wire: &str) -> Option<PathFilter> {
    (!wire.is_empty()).then(|| path_of(wire))
}

/// A subtree ends with a slash.
fn path_of(wire: &str) -> PathFilter {
    let path = wire.to_owned();
    if wire.ends_with('/') {
        PathFilter::Subtree(path)
    } else {
        PathFilter::File(path)
    }
}

#[derive(Default)]
pub(super) struct Reader {
    pub(super) found: Vec<Violation>,
}

impl Reader {
    pub(super) fn bad(&mut self, field: &str, problem: impl Into<String>) {
        self.found.push(Violation::new(field, problem));
    }

    /// The experiment when nothing is wrong with it, else everything that is.
    fn finish(mut self, experiment: Experiment) -> Result<Experiment, Violations> {
        if let Err(violations) = experiment.validate(Complete::File) {
            for violation in violations {
                // The replacement of an unreadable field is not to blame.
                if self
                    .found
                    .iter()
                    .all(|known| known.field != violation.field)
                {
                    self.found.push(violation);
                }
            }
        }
        Violations::check(self.found).map(|()| experiment)
    }

    fn target(&mut self, field: &str, wire: proto::Target) -> Option<Target> {
        use proto::target::Target as Wire;
        let Some(target) = wire.target else {
            self.bad(
                field,
                "names no target; say one of cgroup, cgroups, unit, pid",
            );
            return None;
        };
        Some(match target {
            Wire::Cgroup(path) => Target::Cgroup(path),
            Wire::Cgroups(several) => Target::Cgroups(several.paths),
            Wire::Unit(name) => Target::Unit(name),
            Wire::Pid(pid) => Target::Pid(pid),
            Wire::Command(command) => Target::Command(command.argv),
        })
    }

    pub(super) fn duration(
        &mut self,
        field: &str,
        wire: Option<prost_types::Duration>,
    ) -> Option<Duration> {
        let duration = Duration::try_from(wire?);
        if duration.is_err() {
            self.bad(field, "is negative");
        }
        duration.ok()
    }

    fn fault(&mut self, field: &str, wire: proto::Fault) -> Fault {
        use proto::fault::Kind as Wire;
        let target = wire
            .target
            .and_then(|target| self.target(&format!("{field}.target"), target));
        let common = wire.common.unwrap_or_default();
        let (kind, common) = match wire.kind {
            Some(Wire::FileError(wire)) => {
                let inside = format!("{field}.fileError");
                let kind = FaultKind::FileError(self.file_error(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::NetLoss(wire)) => {
                let inside = format!("{field}.netLoss");
                let kind = FaultKind::NetLoss(self.net_loss(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::NetPartition(wire)) => {
                let inside = format!("{field}.netPartition");
                let kind = FaultKind::NetPartition(self.net_partition(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::NetDown(wire)) => {
                let inside = format!("{field}.netDown");
                let kind = FaultKind::NetDown(self.net_down(&inside, wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::PressureCpu(wire)) => {
                let inside = format!("{field}.pressureCpu");
                let kind = FaultKind::PressureCpu(self.pressure_cpu(&inside, wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::SyscallDelay(wire)) => {
                let inside = format!("{field}.syscallDelay");
                let kind = FaultKind::SyscallDelay(self.syscall_delay(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::SyscallError(wire)) => {
                let inside = format!("{field}.syscallError");
                let kind = FaultKind::SyscallError(self.syscall_error(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::SyscallReturn(wire)) => {
                let inside = format!("{field}.syscallReturn");
                let kind = FaultKind::SyscallReturn(self.syscall_return(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::DiskLimit(wire)) => {
                let inside = format!("{field}.diskLimit");
                let kind = FaultKind::DiskLimit(self.disk_limit(&inside, wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::MemSlab(wire)) => {
                let inside = format!("{field}.memSlab");
                let kind = FaultKind::MemSlab(self.mem_slab(&inside, wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::MemPage(wire)) => {
                let inside = format!("{field}.memPage");
                let kind = FaultKind::MemPage(self.mem_page(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::MemMmap(wire)) => {
                let inside = format!("{field}.memMmap");
                let kind = FaultKind::MemMmap(self.mem_mmap(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::DiskFull(wire)) => {
                let inside = format!("{field}.diskFull");
                let kind = FaultKind::DiskFull(self.disk_full(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::DiskReadonly(wire)) => {
                let inside = format!("{field}.diskReadonly");
                let path = path_of(&wire.path);
                let kind = FaultKind::DiskReadonly(DiskReadonly { path });
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::DiskQuota(wire)) => {
                let inside = format!("{field}.diskQuota");
                let kind = FaultKind::DiskQuota(self.disk_quota(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::FileDelay(wire)) => {
                let inside = format!("{field}.fileDelay");
                let kind = FaultKind::FileDelay(self.file_delay(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::DiskError(wire)) => {
                let inside = format!("{field}.diskError");
                let kind = FaultKind::DiskError(self.disk_error(&inside, wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::NetConnect(wire)) => {
                let inside = format!("{field}.netConnect");
                let kind = FaultKind::NetConnect(self.net_connect(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::NetReset(wire)) => {
                let inside = format!("{field}.netReset");
                let kind = FaultKind::NetReset(self.net_reset(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::ClockOffset(wire)) => {
                let inside = format!("{field}.clockOffset");
                let kind = FaultKind::ClockOffset(self.clock_offset(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::ClockSpeed(wire)) => {
                let inside = format!("{field}.clockSpeed");
                let kind = FaultKind::ClockSpeed(self.clock_speed(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::ClockFreeze(wire)) => {
                let inside = format!("{field}.clockFreeze");
                let kind = FaultKind::ClockFreeze(self.clock_freeze(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::ClockStep(wire)) => {
                let inside = format!("{field}.clockStep");
                let kind = FaultKind::ClockStep(self.clock_step(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::NetLink(wire)) => {
                let inside = format!("{field}.netLink");
                let kind = FaultKind::NetLink(self.net_link(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::DnsError(wire)) => {
                let inside = format!("{field}.dnsError");
                let kind = FaultKind::DnsError(self.dns_error(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::DnsAnswer(wire)) => {
                let inside = format!("{field}.dnsAnswer");
                let kind = FaultKind::DnsAnswer(self.dns_answer(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            Some(Wire::DnsDelay(wire)) => {
                let inside = format!("{field}.dnsDelay");
                let kind = FaultKind::DnsDelay(self.dns_delay(&inside, &wire));
                (kind, self.common(field, &inside, &common))
            }
            None => {
                self.bad(
                    field,
                    "has no kind; say one of clockFreeze, clockOffset, clockSpeed, clockStep, diskError, diskFull, diskLimit, diskQuota, diskReadonly, dnsAnswer, dnsDelay, dnsError, fileDelay, fileError, \
                     memMmap, memPage, memSlab, netConnect, netDown, netLink, netLoss, netPartition, netReset, pressureCpu, syscallDelay, syscallError or syscallReturn",
                );
                let harmless = FileError {
                    ops: vec![FileOp::Open],
                    errno: Errno::EIO,
                    path: None,
                    include_exec: false,
                };
                (FaultKind::FileError(harmless), Common::default())
            }
        };
        Fault {
            id: wire.id,
            target,
            kind,
            common,
        }
    }

    fn file_error(&mut self, field: &str, wire: &proto::FileError) -> FileError {
        FileError {
            ops: self.file_ops(field, &wire.ops),
            errno: self.errno(field, &wire.errno),
            path: path(&wire.path),
            include_exec: wire.include_exec,
        }
    }

    fn file_delay(&mut self, field: &str, wire: &proto::FileDelay) -> FileDelay {
        FileDelay {
            ops: self.file_ops(field, &wire.ops),
            delay: self.delay(field, wire.delay),
            path: path(&wire.path),
            include_exec: wire.include_exec,
        }
    }

    fn file_ops(&mut self, field: &str, wire: &[i32]) -> Vec<FileOp> {
        let mut ops = Vec::new();
        for op in wire {
            let known = FileOp::ALL
                .into_iter()
                .find(|known| i32::from(proto::FileOp::from(*known)) == *op);
            match known {
                Some(known) => ops.push(known),
                None => self.bad(&format!("{field}.ops"), format!("{op} is not an operation")),
            }
        }
        ops
    }

    fn syscall_delay(&mut self, field: &str, wire: &proto::SyscallDelay) -> SyscallDelay {
        SyscallDelay {
            ops: self.calls(field, &wire.ops),
            filter: self.call_filter(field, wire.filter.as_ref()),
            delay: self.delay(field, wire.delay),
        }
    }

    fn delay(&mut self, field: &str, wire: Option<prost_types::Duration>) -> Duration {
        let at = format!("{field}.delay");
        if wire.is_none() {
            self.bad(&at, "is missing");
        }
        self.duration(&at, wire).unwrap_or(SyscallDelay::MIN)
    }

    fn syscall_error(&mut self, field: &str, wire: &proto::SyscallError) -> SyscallError {
        SyscallError {
            ops: self.calls(field, &wire.ops),
            filter: self.call_filter(field, wire.filter.as_ref()),
            errno: self.errno(field, &wire.errno),
        }
    }

    fn syscall_return(&mut self, field: &str, wire: &proto::SyscallReturn) -> SyscallReturn {
        SyscallReturn {
            ops: self.calls(field, &wire.ops),
            filter: self.call_filter(field, wire.filter.as_ref()),
            value: wire.value.unwrap_or_else(|| {
                self.bad(&format!("{field}.value"), "is missing");
                0
            }),
        }
    }

    fn calls(&mut self, field: &str, names: &[String]) -> Vec<SyscallOp> {
        self.each(field, "ops", names)
    }

    fn errno(&mut self, field: &str, name: &str) -> Errno {
        name.parse().unwrap_or_else(|bad| {
            self.found
                .push(Violation::of(format!("{field}.errno"), bad));
            Errno::EIO
        })
    }

    fn pressure_cpu(&mut self, field: &str, wire: proto::PressureCpu) -> PressureCpu {
        let quota = CpuQuota::from_millipercent(wire.quota_millipercent).unwrap_or_else(|| {
            self.bad(
                &format!("{field}.quota"),
                format!(
                    "{} thousandths of a percent is not from {} to {}",
                    wire.quota_millipercent,
                    CpuQuota::MIN,
                    CpuQuota::MAX
                ),
            );
            CpuQuota::ONE
        });
        PressureCpu { quota }
    }

    fn disk_limit(&mut self, field: &str, wire: proto::DiskLimit) -> DiskLimit {
        let mut rate = |key: &str, bytes: Option<u64>| {
            let rate = ByteRate::from_bytes(bytes?);
            if rate.is_none() {
                self.bad(
                    &format!("{field}.{key}"),
                    format!("is not from 1 byte to {} a second", ByteRate::MAX),
                );
            }
            Some(rate.unwrap_or(ByteRate::MEBIBYTE))
        };
        DiskLimit {
            read_bps: rate("readBps", wire.read_bps),
            write_bps: rate("writeBps", wire.write_bps),
            device: wire.device,
            read_iops: wire.read_iops,
            write_iops: wire.write_iops,
        }
    }

    pub(super) fn share(&mut self, field: &str, wire: proto::Share) -> Share {
        Share::from_billionths(wire.billionths).unwrap_or_else(|| {
            self.bad(
                field,
                format!("{} billionths is more than everything", wire.billionths),
            );
            Share::ALL
        })
    }

    /// Empty is no filter.
    fn comm(&mut self, field: &str, name: &str) -> Option<Comm> {
        if name.is_empty() {
            return None;
        }
        name.parse()
            .map_err(|bad| self.found.push(Violation::of(field, bad)))
            .ok()
    }

    /// `inside` is the path of the fault's kind, which is where a file has most of these keys.
    fn common(&mut self, field: &str, inside: &str, wire: &proto::Common) -> Common {
        let mechanism = proto::Mechanism::try_from(wire.mechanism).unwrap_or_else(|_unknown| {
            self.bad(
                &format!("{inside}.mechanism"),
                format!("{} is not a mechanism", wire.mechanism),
            );
            proto::Mechanism::Unspecified
        });
        let pulse = wire.pulse.as_ref().map(|pulse| {
            let at = format!("{field}.pulse");
            Pulse {
                active: self.duration(&at, pulse.active).unwrap_or_default(),
                every: self.duration(&at, pulse.every).unwrap_or_default(),
            }
        });
        Common {
            probability: wire
                .probability
                .map(|share| self.share(&format!("{inside}.probability"), share)),
            when: wire.when.as_ref().map(|when| When {
                first: when.first,
                last: when.last,
                step: when.step.max(1),
            }),
            scope: match proto::Scope::try_from(wire.scope) {
                Ok(proto::Scope::Thread) => Scope::Thread,
                Ok(proto::Scope::Unspecified | proto::Scope::Rule) => Scope::Rule,
                Err(_) => {
                    let problem = format!("{} is not a scope", wire.scope);
                    self.bad(&format!("{inside}.scope"), problem);
                    Scope::Rule
                }
            },
            times: wire.times,
            max_rate: wire.max_rate.as_ref().map(|rate| Rate {
                count: rate.count,
                per: self
                    .duration(&format!("{inside}.maxRate"), rate.per)
                    .unwrap_or_default(),
            }),
            replay: wire.replay.as_ref().and_then(|replay| {
                Ordinals::new(replay.ordinals.clone())
                    .map_err(|bad| {
                        let field = format!("{inside}.replay");
                        self.found.push(Violation::of(field, bad));
                    })
                    .ok()
            }),
            comm: self.comm(&format!("{inside}.comm"), &wire.comm),
            uid: wire.uid,
            thread: self.comm(&format!("{inside}.thread"), &wire.thread),
            exclude: wire
                .exclude
                .iter()
                .enumerate()
                .filter_map(|(i, part)| {
                    part.parse()
                        .map_err(|bad| {
                            let field = format!("{inside}.exclude[{i}]");
                            self.found.push(Violation::of(field, bad));
                        })
                        .ok()
                })
                .collect(),
            seed: wire.seed,
            duration: self.duration(&format!("{field}.duration"), wire.duration),
            after: self.duration(&format!("{field}.after"), wire.after),
            pulse,
            shadow: wire.shadow,
            stack: wire.stack,
            mechanism: mechanism_of(mechanism),
        }
    }
}

/// `None` is the node's choice.
pub(in crate::api) fn mechanism_of(wire: proto::Mechanism) -> Option<Mechanism> {
    match wire {
        proto::Mechanism::Unspecified => None,
        proto::Mechanism::Lsm => Some(Mechanism::Lsm),
        proto::Mechanism::FmodRet => Some(Mechanism::FmodRet),
        proto::Mechanism::CgroupSkb => Some(Mechanism::CgroupSkb),
        proto::Mechanism::CgroupKnob => Some(Mechanism::CgroupKnob),
        proto::Mechanism::Tcx => Some(Mechanism::Tcx),
        proto::Mechanism::Vdso => Some(Mechanism::Vdso),
        proto::Mechanism::FmodRetSyscall => Some(Mechanism::FmodRetSyscall),
        proto::Mechanism::KprobeOverride => Some(Mechanism::KprobeOverride),
        proto::Mechanism::SeccompNotify => Some(Mechanism::SeccompNotify),
        proto::Mechanism::CgroupSockAddr => Some(Mechanism::CgroupSockAddr),
        proto::Mechanism::SockDestroy => Some(Mechanism::SockDestroy),
        proto::Mechanism::Ifb => Some(Mechanism::Ifb),
    }
}
